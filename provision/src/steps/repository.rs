//! Telling the package manager of upstream's repository.

use async_trait::async_trait;

use super::{Context, Step};
use crate::wanted::Channel;
use crate::{Error, Result, family, openpgp};

pub(crate) struct Repository;

#[async_trait]
impl Step for Repository {
    fn title(&self) -> &'static str {
        "Adding the engine's repository"
    }

    async fn done(&self, context: &Context<'_>) -> Result<bool> {
        match context.wanted.channel {
            Channel::Upstream => super::install::Install.done(context).await,
            _ => Ok(true),
        }
    }

    async fn run(&self, context: &mut Context<'_>) -> Result<()> {
        let repository = of(context)?;
        let key = key(context, &repository).await?;
        let prefix = context.facts.prefix(context.session)?;
        let folders = [repository.key_path, repository.list_path]
            .map(|path| path.rsplit_once('/').map_or("/", |(folder, _)| folder))
            .join(" ");
        context
            .run_root(
                "adding the engine's repository",
                &format!("mkdir -p -m 0755 {folders}"),
            )
            .await?;
        let session = context.session;
        for (path, text) in [
            (repository.key_path, &key),
            (repository.list_path, &repository.list),
        ] {
            session
                .write_file_as(prefix, path, text.as_bytes(), 0o644)
                .await?;
        }
        Ok(())
    }
}

/// Upstream's repository for this machine.
pub(crate) fn of(context: &Context<'_>) -> Result<family::Repository> {
    context
        .family
        .repository(&context.facts.os, &context.wanted.upstream)
        .map_err(|why| Error::NoChannel {
            host: context.session.host().to_owned(),
            engine: context.wanted.engine.to_string(),
            channel: Channel::Upstream.to_string(),
            why,
        })
}

/// The repository's key, fetched by the machine, which may reach what this computer does not, and believed by nobody
/// until its fingerprint was looked at here.
pub(crate) async fn key(context: &Context<'_>, repository: &family::Repository) -> Result<String> {
    let script = context.family.fetch_script(&repository.key_url);
    let file = context
        .packages("fetching the repository's key", &script)
        .await?;
    let refused = |detail: String| Error::RepositoryKey {
        url: repository.key_url.clone(),
        detail,
    };
    let found = openpgp::fingerprint(&file).map_err(refused)?;
    if found != repository.fingerprint {
        return Err(refused(format!(
            "its fingerprint is {found}, and {} is wanted",
            repository.fingerprint
        )));
    }
    String::from_utf8(file).map_err(|_| refused("it is not an armored key".into()))
}
