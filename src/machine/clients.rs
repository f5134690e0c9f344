//! Pointing this computer's clients at a machine: docker's context, podman's connection.

use uuid::Uuid;

use super::tls::{self, Files};
use super::{Berth, Record, Result, check_name};
use crate::context::docker::{Endpoint, TlsFiles};
use crate::context::podman::Connection;
use crate::secrets::Secrets;

/// The kind of an engine that podman's own client is pointed at as well.
const PODMAN: &str = "podman";

impl Berth {
    /// The secrets of this berth.
    pub fn secrets(&self) -> Secrets {
        Secrets::of(&self.home)
    }

    /// Where docker's context of a machine leads: its unix socket, or TLS if that was asked for.
    ///
    /// # Errors
    /// If a TLS endpoint's certificates cannot be read.
    pub fn endpoint(&self, record: &Record) -> Result<Endpoint> {
        let folder = self.home.machine(&record.name);
        if let Some(wish) = record.tls.as_ref().filter(|wish| wish.context)
            && let Some(files) = Files::read(&folder)?
        {
            return Ok(Endpoint {
                host: wish.url(),
                tls: Some(TlsFiles {
                    ca: files.ca,
                    certificate: files.client.certificate,
                    key: files.client.key,
                }),
            });
        }
        Ok(Endpoint {
            host: format!("unix://{}", folder.engine_socket().display()),
            tls: None,
        })
    }

    /// Writes the machine's docker context and, for podman engines, its podman connection.
    ///
    /// # Errors
    /// [`crate::context::Error::Foreign`] if somebody else has one of that name.
    pub fn write_contexts(&self, record: &Record) -> Result<()> {
        if record.waits() {
            // Nobody's yet: it is not in anybody's list.
            return Ok(());
        }
        let endpoint = self.endpoint(record)?;
        let about = format!("berth machine {}", record.name);
        let home = self.home.data();
        self.docker
            .write(&record.name, record.id, home, &endpoint, &about)?;
        if is_podman(record) {
            let socket = self.home.machine(&record.name).engine_socket();
            self.podman.write(&record.name, &socket)?;
        }
        Ok(())
    }

    /// The podman connections that are berth's: each leads to the socket of the machine of its name.
    ///
    /// # Errors
    /// If podman's file cannot be read.
    pub fn podman_connections(&self) -> Result<Vec<Connection>> {
        let ours = |connection: &Connection| {
            let named = check_name(&connection.name).is_ok();
            named && connection.leads_to(&self.home.machine(&connection.name).engine_socket())
        };
        let all = self.podman.list()?.into_iter();
        Ok(all.filter(ours).collect())
    }

    /// Refuses a machine whose name somebody else's context or connection has.
    ///
    /// # Errors
    /// [`crate::context::Error::Foreign`].
    pub(super) fn check_contexts_free(&self, name: &str, engine: &str) -> Result<()> {
        self.check_contexts_free_for(None, name, engine)
    }

    /// As [`Berth::check_contexts_free`], for a machine that may have one already.
    ///
    /// # Errors
    /// As there.
    pub(super) fn check_contexts_free_for(
        &self,
        machine: Option<Uuid>,
        name: &str,
        engine: &str,
    ) -> Result<()> {
        self.docker.check_free(name, machine)?;
        if engine == PODMAN {
            let socket = self.home.machine(name).engine_socket();
            self.podman.check_free(name, &socket)?;
        }
        Ok(())
    }

    /// Removes the machine's docker context and podman connection; those of others are left alone.
    ///
    /// # Errors
    /// If the clients' files cannot be changed.
    pub(super) fn remove_contexts(&self, record: &Record) -> Result<()> {
        let socket = self.home.machine(&record.name).engine_socket();
        let removed = self.podman.remove(&record.name, &socket);
        self.docker.remove(&record.name, record.id)?;
        Ok(removed?)
    }

    /// Writes docker's context anew if it carries certificates: those were just renewed.
    pub(super) fn refresh_context(&self, record: &Record) -> Result<()> {
        let over_tls = tls::wish(record)?.context;
        let ours = |context: crate::context::docker::Context| context.machine == Some(record.id);
        if over_tls && self.docker.find(&record.name)?.is_some_and(ours) {
            self.write_contexts(record)?;
        }
        Ok(())
    }
}

/// True if the machine has a podman engine, or is to have one.
pub fn is_podman(record: &Record) -> bool {
    let kind = record.installed.as_ref().map(|installed| &installed.kind);
    kind.unwrap_or(&record.engine.kind) == PODMAN
}
