//! Letting the user, who may become root anyway, use the engine's socket.

use async_trait::async_trait;

use super::{Context, Step};
use crate::Result;
use crate::ssh::quote;

pub(super) struct Access;

#[async_trait]
impl Step for Access {
    fn title(&self) -> &'static str {
        "Letting the user use the engine"
    }

    async fn done(&self, context: &Context<'_>) -> Result<bool> {
        Ok(context.facts.is_root || context.facts.in_docker_group)
    }

    async fn run(&self, context: &mut Context<'_>) -> Result<()> {
        let user = quote(context.session.user());
        let script = format!("usermod -aG docker -- {user}");
        context
            .run_root("adding the user to the group docker", &script)
            .await?;
        Ok(())
    }
}
