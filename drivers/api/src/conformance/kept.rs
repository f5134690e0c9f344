//! What a driver promises that can freeze machines, take snapshots of them, copy or resize them.

use super::{CHANGE, Outcome, Subject, Trial, is, is_up, listens, words};
use crate::{Driver, Machine, Silent, State};

/// A snapshot's name.
const NAME: &str = "conformance";

/// By so much a machine grows, in bytes.
const MORE_MEMORY: u64 = 128 << 20;
const MORE_DISK: u64 = 64 << 20;

impl Trial<'_> {
    /// Goes on with a machine that runs and, for its copy, one that is not there.
    pub(super) async fn kept(&mut self, one: &Subject, gone: &Subject) {
        let driver = self.driver;
        let can = driver.info().capabilities;
        let machine = &one.machine;
        if can.suspend {
            self.suspended(machine).await;
        }
        if !can.snapshot && !can.clone && !can.resize {
            return;
        }
        self.case("powers off what ran or was frozen", CHANGE, async {
            driver.kill(machine).await.map_err(words)?;
            is(driver, machine, State::Stopped).await
        })
        .await;
        if can.snapshot {
            self.snapshots(machine).await;
        }
        if can.clone {
            let promise = "copies a machine that is off, which stays as it is";
            self.case(promise, CHANGE, async {
                let credentials = &gone.credentials;
                let copied = driver.copy(machine, &gone.machine, credentials, &Silent);
                copied.await.map_err(words)?;
                is(driver, &gone.machine, State::Stopped).await?;
                is(driver, machine, State::Stopped).await
            })
            .await;
        }
        if can.resize {
            self.resized(machine).await;
        }
    }

    async fn resized(&mut self, machine: &Machine) {
        let driver = self.driver;
        let mut larger = machine.clone();
        larger.spec.memory += MORE_MEMORY;
        larger.spec.disk += MORE_DISK;
        let promise = "gives one that is off another size, twice without harm, and starts it";
        self.case(promise, CHANGE, async {
            for _ in 0..2 {
                let resized = driver.resize(&larger, &Silent).await;
                match resized.map_err(words)?.as_slice() {
                    [] => {}
                    waits => return Err(format!("its {waits:?} wait for another start")),
                }
            }
            is(driver, &larger, State::Stopped).await?;
            driver.start(&larger, &Silent).await.map_err(words)?;
            is_up(driver, &larger).await?;
            let size = driver.size(&larger).await.map_err(words)?;
            if size != larger.spec.size() {
                return Err(format!("it runs and is {size:?}"));
            }
            driver.kill(&larger).await.map_err(words)
        })
        .await;
        self.case("does not take a larger disk's end away", CHANGE, async {
            match driver.resize(machine, &Silent).await {
                Err(_) => is(driver, machine, State::Stopped).await,
                Ok(_) => Err("it does".into()),
            }
        })
        .await;
    }

    async fn suspended(&mut self, machine: &Machine) {
        let driver = self.driver;
        self.case("freezes a machine, twice without harm", CHANGE, async {
            driver.suspend(machine, &Silent).await.map_err(words)?;
            driver.suspend(machine, &Silent).await.map_err(words)?;
            is(driver, machine, State::Suspended).await
        })
        .await;
        let promise = "has a frozen machine go on, its guest listening";
        self.case(promise, self.boot, async {
            driver.start(machine, &Silent).await.map_err(words)?;
            is_up(driver, machine).await?;
            listens(driver, machine).await
        })
        .await;
        self.case("freezes it again", CHANGE, async {
            driver.suspend(machine, &Silent).await.map_err(words)
        })
        .await;
    }

    async fn snapshots(&mut self, machine: &Machine) {
        let driver = self.driver;
        let promise = "takes, lists, goes back to and removes a snapshot";
        self.case(promise, CHANGE, async {
            let taken = driver.snapshot(machine, NAME, &Silent).await;
            taken.map_err(words)?;
            listed(driver, machine, &[NAME]).await?;
            let restored = driver.restore(machine, NAME, &Silent).await;
            restored.map_err(words)?;
            is(driver, machine, State::Stopped).await?;
            for _ in 0..2 {
                let removed = driver.remove_snapshot(machine, NAME).await;
                removed.map_err(words)?;
            }
            listed(driver, machine, &[]).await
        })
        .await;
    }
}

async fn listed(driver: &dyn Driver, machine: &Machine, wanted: &[&str]) -> Outcome {
    let all = driver.snapshots(machine).await.map_err(words)?;
    let names: Vec<&str> = all.iter().map(|one| one.name.as_str()).collect();
    match names == wanted {
        true => Ok(()),
        false => Err(format!("it lists {names:?}")),
    }
}
