//! Waiting for what installs packages at boot.

use async_trait::async_trait;

use super::{Context, Step};
use crate::Result;

pub(super) struct Settle;

#[async_trait]
impl Step for Settle {
    fn title(&self) -> &'static str {
        "Waiting for the package manager"
    }

    async fn done(&self, context: &Context<'_>) -> Result<bool> {
        // What is not going to install anything need not wait.
        super::install::Install.done(context).await
    }

    async fn run(&self, context: &mut Context<'_>) -> Result<()> {
        let script = context.family.wait_script();
        context
            .run_root("waiting for the package manager", script)
            .await?;
        Ok(())
    }
}
