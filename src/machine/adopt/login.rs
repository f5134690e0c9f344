//! What lets berth in to a host: a key of the user's, or one of its own that it takes away again.

use berth_driver_api::{Access, Login, Progress};
use berth_provision::Error as ProvisionError;
use berth_provision::ssh::{Key, Session, Target, quote};

use super::HOST_KEY_DEADLINE;
use crate::machine::journal::Journal;
use crate::machine::operation::SSH_DEADLINE;
use crate::machine::{Berth, Error, Opened, Result, identity, passphrase, tls};
use crate::store;

/// A connection by the first of the user's keys that lets in, which is recorded; with berth's own from now on, if the
/// user wants that.
pub(in crate::machine) async fn log_in(
    berth: &Berth,
    opened: &mut Opened,
    access: &Access,
    progress: &dyn Progress,
) -> Result<Session> {
    let name = opened.record.name.clone();
    if opened.record.login.is_some() || opened.folder.key().exists() {
        // It let in before the create broke off.
        if let Ok(session) = opened.connect(SSH_DEADLINE).await {
            return Ok(session);
        }
    }
    let target = opened.target().await?;
    let (login, session) = try_logins(opened, &target, &access.logins).await?;
    opened.record.login = Some(login);
    opened.record.write(&berth.home)?;
    if !access.install_key {
        return Ok(session);
    }
    identity::make_login_key(&opened.folder, &name)?;
    let public = public_key(opened)?;
    let line = quote(&public);
    // A last line without an end would swallow the new one.
    let script = format!(
        "umask 077; mkdir -p ~/.ssh && f=~/.ssh/authorized_keys && {{ grep -qxF -- {line} $f 2>/dev/null || \
         {{ [ -z \"$(tail -c 1 $f 2>/dev/null)\" ] || echo >>$f; printf '%s\\n' {line} >>$f; }}; }}"
    );
    let output = session.exec(&script).await;
    let output = output.map_err(Error::provision(&name))?;
    if !output.success() {
        return Err(key_failed(&name, "letting berth's key in", &output.stderr));
    }
    opened.record.login = None;
    opened.record.write(&berth.home)?;
    progress.note(&format!("{name} lets berth's own key in from now on"));
    Ok(session)
}

/// The first login that lets in, and the connection.
///
/// # Errors
/// What the last one was told if none does.
async fn try_logins(
    opened: &Opened,
    target: &Target,
    logins: &[Login],
) -> Result<(Login, Session)> {
    let name = &opened.record.name;
    let mut refused = Vec::new();
    for login in logins {
        let target = Target {
            key: match login {
                Login::Agent => Key::Agent,
                Login::File(path) => passphrase::key(&opened.secrets, path).await?,
            },
            ..target.clone()
        };
        match Session::connect(&target, SSH_DEADLINE).await {
            Ok(session) => return Ok((login.clone(), session)),
            // Another one may do.
            Err(
                error @ (ProvisionError::KeyRejected { .. }
                | ProvisionError::KeyFile { .. }
                | ProvisionError::KeySealed { .. }
                | ProvisionError::Agent { .. }),
            ) => refused.push(error),
            Err(error) => return Err(Error::provision(name)(error)),
        }
    }
    // A key that was turned away tells more than one that could not be used.
    let told = refused
        .iter()
        .position(|error| matches!(error, ProvisionError::KeyRejected { .. }));
    let error = match refused.is_empty() {
        true => ProvisionError::Agent {
            detail: "none runs, and there is no key file: start one, or say -o key=FILE".into(),
        },
        false => refused.swap_remove(told.unwrap_or(0)),
    };
    Err(Error::provision(name)(error))
}

/// Takes berth's own key out of the host's authorized_keys again, if it was let in, and says what stays.
///
/// # Errors
/// If the host does not answer.
pub(in crate::machine) async fn release(
    opened: &Opened,
    journal: &mut Journal,
    progress: &dyn Progress,
) -> Result<()> {
    let name = &opened.record.name;
    if opened
        .record
        .tls
        .as_ref()
        .is_some_and(|wish| wish.by_engine)
    {
        journal
            .always("engine-tls", tls::engine::close(opened))
            .await?;
        progress.note(&format!("the engine of {name} no longer listens for TLS"));
    }
    if opened.folder.key().exists() {
        journal
            .always("key", async {
                let session = match opened.connect(HOST_KEY_DEADLINE).await {
                    Ok(session) => session,
                    // It is out already.
                    Err(Error::Provision { source, .. })
                        if matches!(*source, ProvisionError::KeyRejected { .. }) =>
                    {
                        return Ok(());
                    }
                    Err(error) => return Err(error),
                };
                let line = quote(&public_key(opened)?);
                // Its own file is written, not replaced, so that its owner and links stay.
                let script = format!(
                    "f=~/.ssh/authorized_keys; t=$(mktemp) && {{ grep -vxF -- {line} $f >$t; [ $? -le 1 ]; }} && \
                     cat $t >$f; s=$?; rm -f $t; exit $s"
                );
                let output = session.exec(&script).await;
                let output = output.map_err(Error::provision(name))?;
                session.disconnect().await;
                match output.success() {
                    true => Ok(()),
                    false => Err(key_failed(name, "taking berth's key out", &output.stderr)),
                }
            })
            .await?;
        progress.note(&format!("{name} no longer lets berth's key in"));
    }
    progress.note(&format!(
        "the host {name} itself stays as it is, with its engine and its containers"
    ));
    Ok(())
}

fn key_failed(name: &str, what: &str, words: &[u8]) -> Error {
    Error::provision(name)(ProvisionError::RemoteFile {
        host: name.to_owned(),
        path: "~/.ssh/authorized_keys".into(),
        detail: format!(
            "{what} failed: {}",
            berth_driver_api::process::last_lines(words, 3)
        ),
    })
}

/// The public half of berth's own key, one line.
fn public_key(opened: &Opened) -> Result<String> {
    let path = opened.folder.key().with_extension("pub");
    let text = std::fs::read_to_string(&path).map_err(store::Error::io(&path))?;
    Ok(text.trim().to_owned())
}
