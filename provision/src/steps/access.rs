//! Letting the user, who may become root anyway, use the engine's socket.

use async_trait::async_trait;

use super::{Context, Step};
use crate::Result;
use crate::ssh::quote;
use crate::wanted::Kind;

pub(super) struct Access;

#[async_trait]
impl Step for Access {
    fn title(&self) -> &'static str {
        "Letting the user use the engine"
    }

    async fn done(&self, context: &Context<'_>) -> Result<bool> {
        let docker = context.wanted.engine == Kind::Docker;
        Ok(!docker || context.facts.is_root || context.facts.in_docker_group)
    }

    async fn run(&self, context: &mut Context<'_>) -> Result<()> {
        let user = quote(context.session.user());
        // Alpine has the one, everybody else the other.
        let script = format!(
            "if command -v usermod >/dev/null; then usermod -aG docker -- {user}; else addgroup {user} docker; fi"
        );
        context
            .run_root("adding the user to the group docker", &script)
            .await?;
        Ok(())
    }
}
