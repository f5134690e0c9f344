//! Whether a driver keeps its promises: a machine's whole life, with calls that are repeated, overlap or are given up.
//!
//! [`check`] is for whoever writes a driver; `berth driver check NAME` runs it on any, in process or not.

mod found;
mod kept;

use std::future::Future;
use std::os::unix::fs::FileTypeExt;
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::time::{sleep, timeout};

use crate::ports::Ports;
use crate::{Credential, Driver, Error, Machine, Silent, State, ready};

/// How long a question may take: nothing is started for an answer.
const ANSWER: Duration = Duration::from_secs(10);
/// How long a change may take that waits for no guest.
const CHANGE: Duration = Duration::from_secs(120);
/// A call that is given up after this is still under way, with most hypervisors.
const GIVEN_UP: Duration = Duration::from_millis(30);

/// A machine that the driver may make, and remove again.
pub struct Subject {
    /// The driver's view of it; its folders exist.
    pub machine: Machine,
    /// What its guest is handed at the first boot.
    pub credentials: Vec<Credential>,
}

/// One promise, and whether it is kept.
#[derive(Debug, Clone, Serialize)]
pub struct Case {
    /// The promise, as a sentence about the driver.
    pub promise: &'static str,
    /// What went otherwise, if something did.
    pub broken: Option<String>,
    /// How long it took, in seconds.
    pub seconds: f64,
}

type Outcome = Result<(), String>;

/// Drives two machines through all that can happen to one, and tells of each promise as soon as it is known. Nothing is
/// left of them afterwards if the driver keeps its word. `boot` is how long a guest may take to listen for SSH.
pub async fn check(
    driver: &dyn Driver,
    one: &Subject,
    two: &Subject,
    boot: Duration,
    on_case: &(dyn Fn(&Case) + Send + Sync),
) -> Vec<Case> {
    let mut trial = Trial {
        driver,
        boot,
        cases: Vec::new(),
        on_case,
    };
    trial.before(one).await;
    if driver.info().capabilities.power {
        trial.found_again(one).await;
        trial.life(one).await;
        trial.given_up(one).await;
        trial.two_at_once(one, two).await;
        trial.kept(two, one).await;
    } else {
        trial.without_power(one).await;
    }
    trial.end(one, two).await;
    trial.cases
}

struct Trial<'a> {
    driver: &'a dyn Driver,
    boot: Duration,
    cases: Vec<Case>,
    on_case: &'a (dyn Fn(&Case) + Send + Sync),
}

impl Trial<'_> {
    async fn case(
        &mut self,
        promise: &'static str,
        within: Duration,
        work: impl Future<Output = Outcome>,
    ) {
        let begun = Instant::now();
        let outcome = timeout(within, work)
            .await
            .unwrap_or_else(|_| Err(format!("not within {} s", within.as_secs())));
        let case = Case {
            promise,
            broken: outcome.err(),
            seconds: begun.elapsed().as_secs_f64(),
        };
        (self.on_case)(&case);
        self.cases.push(case);
    }

    async fn before(&mut self, one: &Subject) {
        let driver = self.driver;
        let machine = &one.machine;
        self.case("tells whether it can be used here", CHANGE, async {
            match driver.probe().await.map_err(words)? {
                probe if probe.usable => Ok(()),
                probe => Err(format!("it cannot: {:?}", probe.findings)),
            }
        })
        .await;
        self.case("refuses an option that it does not have", ANSWER, async {
            let mut wrong = machine.clone();
            let options = &mut wrong.spec.options;
            options.insert("no-such-option".into(), "x".into());
            match driver.check(&wrong).await {
                Err(_) => Ok(()),
                Ok(()) => Err("it takes it".into()),
            }
        })
        .await;
        self.case("takes what it says that it takes", ANSWER, async {
            driver.check(machine).await.map_err(words)
        })
        .await;
        let promise = "says that a machine is missing that was not made";
        let missing = is(driver, machine, State::Missing);
        self.case(promise, ANSWER, missing).await;
        self.case("removes what was not made", CHANGE, async {
            driver.remove(machine).await.map_err(words)
        })
        .await;
        let promise = "makes a machine, and says what it does meanwhile";
        self.case(promise, CHANGE, made(driver, one)).await;
    }

    async fn life(&mut self, one: &Subject) {
        let driver = self.driver;
        let machine = &one.machine;
        let boot = self.boot;
        let promise = "starts a machine, and says what it does meanwhile";
        self.case(promise, CHANGE, async {
            let start = driver.start(machine, &Silent);
            asked_meanwhile(driver, machine, start).await?;
            is_up(driver, machine).await
        })
        .await;
        self.case("starts one that runs without harm", CHANGE, async {
            driver.start(machine, &Silent).await.map_err(words)?;
            is_up(driver, machine).await
        })
        .await;
        self.case("tells where the guest listens for SSH", boot, async {
            listens(driver, machine).await
        })
        .await;
        let promise = "has the guest shut down, and says what it does meanwhile";
        self.case(promise, boot, async {
            let stop = driver.stop(machine, boot);
            asked_meanwhile(driver, machine, stop).await?;
            is(driver, machine, State::Stopped).await
        })
        .await;
        self.case("stops one that is stopped without harm", CHANGE, async {
            driver.stop(machine, ANSWER).await.map_err(words)?;
            is(driver, machine, State::Stopped).await
        })
        .await;
        let promise = "hears at once that a machine was powered off, twice";
        self.case(promise, CHANGE, async {
            driver.start(machine, &Silent).await.map_err(words)?;
            let off = async {
                driver.kill(machine).await.map_err(words)?;
                driver.kill(machine).await.map_err(words)
            };
            let heard = async { driver.wait_stopped(machine).await.map_err(words) };
            let (off, heard) = tokio::join!(off, timeout(CHANGE / 2, heard));
            off?;
            heard.map_err(|_| "it never heard".to_owned())??;
            is(driver, machine, State::Stopped).await
        })
        .await;
    }

    async fn given_up(&mut self, one: &Subject) {
        let driver = self.driver;
        let machine = &one.machine;
        let promise = "starts a machine whose start was given up";
        self.case(promise, CHANGE, async {
            let _ = timeout(GIVEN_UP, driver.start(machine, &Silent)).await;
            driver.start(machine, &Silent).await.map_err(words)?;
            is_up(driver, machine).await
        })
        .await;
        let promise = "removes a machine that runs, and all that was its own";
        self.case(promise, CHANGE, gone(driver, machine)).await;
        self.case("removes one that is gone without harm", CHANGE, async {
            driver.remove(machine).await.map_err(words)?;
            is(driver, machine, State::Missing).await
        })
        .await;
        let promise = "removes what a create left that was given up";
        self.case(promise, CHANGE, async {
            let create = driver.create(machine, &one.credentials, &Silent);
            let _ = timeout(GIVEN_UP, create).await;
            gone(driver, machine).await
        })
        .await;
    }

    async fn two_at_once(&mut self, one: &Subject, two: &Subject) {
        let driver = self.driver;
        self.case("makes two machines at once", CHANGE, async {
            let (one, two) = tokio::join!(made(driver, one), made(driver, two));
            one.and(two)
        })
        .await;
        let promise = "runs two machines at once, each at an address of its own";
        self.case(promise, self.boot * 2, async {
            let up = async |machine: &Machine| {
                driver.start(machine, &Silent).await.map_err(words)?;
                listens(driver, machine).await?;
                driver.address(machine).await.map_err(words)
            };
            let (first, second) = tokio::join!(up(&one.machine), up(&two.machine));
            let (first, second) = (first?, second?);
            match (&first.host, first.port) == (&second.host, second.port) {
                true => Err(format!("both are at {}:{}", first.host, first.port)),
                false => Ok(()),
            }
        })
        .await;
        self.case(
            "leaves the one alone while it removes the other",
            CHANGE,
            async {
                driver.remove(&one.machine).await.map_err(words)?;
                is_up(driver, &two.machine).await
            },
        )
        .await;
    }

    async fn without_power(&mut self, one: &Subject) {
        let driver = self.driver;
        let machine = &one.machine;
        self.case(
            "tells where the machine listens for SSH",
            self.boot,
            async { listens(driver, machine).await },
        )
        .await;
        self.case("says that it powers nothing", CHANGE, async {
            for outcome in [
                driver.kill(machine).await,
                driver.stop(machine, ANSWER).await,
            ] {
                match outcome {
                    Err(Error::Unsupported { .. }) => {}
                    Err(error) => return Err(format!("it says instead: {error}")),
                    Ok(()) => return Err("it does not".into()),
                }
            }
            Ok(())
        })
        .await;
    }

    async fn end(&mut self, one: &Subject, two: &Subject) {
        let driver = self.driver;
        self.case("leaves nothing of its machines", CHANGE, async {
            gone(driver, &one.machine).await?;
            gone(driver, &two.machine).await
        })
        .await;
    }
}

/// Makes the machine; where it can be powered off, it is.
async fn made(driver: &dyn Driver, subject: &Subject) -> Outcome {
    let machine = &subject.machine;
    let create = driver.create(machine, &subject.credentials, &Silent);
    asked_meanwhile(driver, machine, create).await?;
    match driver.info().capabilities.power {
        true => is(driver, machine, State::Stopped).await,
        false => Ok(()),
    }
}

/// Removes the machine and looks that nothing of it is left.
async fn gone(driver: &dyn Driver, machine: &Machine) -> Outcome {
    driver.remove(machine).await.map_err(words)?;
    is(driver, machine, State::Missing).await?;
    let ports = Ports::open(&machine.ports).map_err(words)?;
    if let Some(port) = ports.leased(machine.id).map_err(words)? {
        return Err(format!("the machine still has port {port}"));
    }
    let sockets = std::fs::read_dir(&machine.sockets).into_iter().flatten();
    let mut left = sockets
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_socket()));
    match left.next() {
        Some(socket) => Err(format!("{} is left", socket.path().display())),
        None => Ok(()),
    }
}

fn words(error: Error) -> String {
    error.to_string()
}

async fn is(driver: &dyn Driver, machine: &Machine, wanted: State) -> Outcome {
    match driver.state(machine).await.map_err(words)? {
        state if state == wanted => Ok(()),
        state => Err(format!("its state is {state}, not {wanted}")),
    }
}

async fn is_up(driver: &dyn Driver, machine: &Machine) -> Outcome {
    match driver.state(machine).await.map_err(words)? {
        state if state.is_up() => Ok(()),
        state => Err(format!("its state is {state}")),
    }
}

/// Carries a call out, and asks for the state again and again until it ends.
async fn asked_meanwhile(
    driver: &dyn Driver,
    machine: &Machine,
    call: impl Future<Output = crate::Result<()>>,
) -> Outcome {
    let asking = async {
        loop {
            match timeout(ANSWER, driver.state(machine)).await {
                Ok(Ok(_)) => sleep(GIVEN_UP).await,
                Ok(Err(error)) => return format!("asked meanwhile, it says: {error}"),
                Err(_) => return "asked meanwhile, it does not answer".to_owned(),
            }
        }
    };
    tokio::select! {
        done = call => done.map_err(words),
        trouble = asking => Err(trouble),
    }
}

/// Returns when an SSH server greets at the machine's address. What is behind other hosts is taken at its word.
async fn listens(driver: &dyn Driver, machine: &Machine) -> Outcome {
    driver.ready(machine, ready::SSH).await.map_err(words)?;
    let address = driver.address(machine).await.map_err(words)?;
    if !address.jump.is_empty() {
        return Ok(());
    }
    let mut pause = Duration::from_millis(100);
    loop {
        if let Ok(address) = driver.address(machine).await
            && ready::greets(&address).await
        {
            return Ok(());
        }
        sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(2));
    }
}
