//! What can go wrong between here and the inside of a machine.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use berth_driver_api::process::last_lines;

/// The outcome of a call into this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why something could not be done in a machine.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No SSH server answered in time.
    #[error("{host} did not answer over SSH within {}: {last}", seconds(*after))]
    Unreachable {
        /// Where it was looked for.
        host: String,
        /// How long.
        after: Duration,
        /// What the last attempt met.
        last: String,
    },

    /// What answers is not the machine that the known_hosts file knows.
    #[error(
        "{host} does not have the host key recorded in {}, {recorded}: it offers {offered}. \
         Either the machine was rebuilt, or something stands between", known_hosts.display()
    )]
    HostKeyMismatch {
        /// Where it was looked for.
        host: String,
        /// The machine's own known_hosts file.
        known_hosts: PathBuf,
        /// Type and fingerprint of the key that was offered.
        offered: String,
        /// Types and fingerprints of those that are recorded.
        recorded: String,
    },

    /// The host shows none of the keys that it was said to have.
    #[error("{host} has no host key {wanted}: it offers {offered}")]
    OtherHostKey {
        /// Where it was looked for.
        host: String,
        /// The fingerprint that it should have.
        wanted: String,
        /// Types and fingerprints of all its keys.
        offered: String,
    },

    /// The known_hosts file records no key for the host, so nothing can be trusted.
    #[error("{} records no host key for {host}", known_hosts.display())]
    HostKeyUnknown {
        /// The name that was looked up.
        host: String,
        /// The machine's own known_hosts file.
        known_hosts: PathBuf,
    },

    /// The SSH server does not let this key in.
    #[error("{host} does not let {user} in with {key}{}", and_says(banner))]
    KeyRejected {
        /// Where.
        host: String,
        /// As whom.
        user: String,
        /// Which key or keys were tried.
        key: String,
        /// What the server said about it, if anything.
        banner: String,
    },

    /// The private key cannot be used.
    #[error("the key {} cannot be used: {detail}", path.display())]
    KeyFile {
        /// The key's file.
        path: PathBuf,
        /// Why.
        detail: String,
    },

    /// The private key has a passphrase, which is not known.
    #[error("the key {} has a passphrase", path.display())]
    KeySealed {
        /// The key's file.
        path: PathBuf,
    },

    /// The SSH agent cannot be used.
    #[error("the SSH agent cannot be used: {detail}")]
    Agent {
        /// Why.
        detail: String,
    },

    /// A `[user@]host[:port]` that is none.
    #[error("{hop:?} is not a jump host of the form [user@]host[:port]")]
    Hop {
        /// What was given.
        hop: String,
    },

    /// A host on the way does not let the connection through.
    #[error("the way over {hop} is closed: {detail}")]
    JumpHost {
        /// The host, or all of them in order, with commas.
        hop: String,
        /// What ssh said.
        detail: String,
    },

    /// The connection ended while it was in use.
    #[error("the connection to {host} was lost: {detail}")]
    Lost {
        /// To where.
        host: String,
        /// What is known of why.
        detail: String,
    },

    /// The machine would not open a socket, a port or a session for us.
    #[error("{host} would not open {what}: {detail}")]
    Refused {
        /// Which machine.
        host: String,
        /// What was asked for.
        what: String,
        /// Its reason.
        detail: String,
    },

    /// Something did not happen in time.
    #[error("{what} on {host} did not happen within {}", seconds(*after))]
    Timeout {
        /// On which machine.
        host: String,
        /// What was waited for.
        what: String,
        /// How long.
        after: Duration,
    },

    /// A command wrote more than is kept.
    #[error("{what} on {host} wrote more than {limit} bytes")]
    TooMuchOutput {
        /// On which machine.
        host: String,
        /// What ran.
        what: String,
        /// The bound.
        limit: usize,
    },

    /// A command failed in the machine.
    #[error("{what} failed on {host} ({}){}", exit_words(*status), on_new_lines(words))]
    Command {
        /// On which machine.
        host: String,
        /// What ran, in words: `installing docker.io`.
        what: String,
        /// Its exit status, 128+n if signal n ended it.
        status: i32,
        /// The last lines that it wrote, without control characters.
        words: String,
    },

    /// A file of the machine's could not be read or written over SFTP.
    #[error("{path} on {host}: {detail}")]
    RemoteFile {
        /// On which machine.
        host: String,
        /// Which file.
        path: String,
        /// What the machine said.
        detail: String,
    },

    /// A word of the user's that is none of the known ones.
    #[error("{word:?} is not {what}: {known}")]
    Word {
        /// What it should be: `an engine`.
        what: &'static str,
        /// What was written.
        word: String,
        /// What could have been.
        known: &'static str,
    },

    /// Berth cannot do this yet.
    #[error("{0} is not supported yet")]
    Unsupported(String),

    /// A distribution of no known family.
    #[error("{host} runs {found}, which berth cannot install an engine on; it knows {known}")]
    UnknownSystem {
        /// Which machine.
        host: String,
        /// What it says it is.
        found: String,
        /// What could be dealt with.
        known: &'static str,
    },

    /// Something that provisioning needs is missing in the machine.
    #[error("{host} has no {what}: {detail}")]
    Lacking {
        /// Which machine.
        host: String,
        /// What is missing.
        what: &'static str,
        /// What to do about it.
        detail: String,
    },

    /// The user may not become root there.
    #[error("{user} cannot become root on {host} without a password: {detail}")]
    Sudo {
        /// Which machine.
        host: String,
        /// Who.
        user: String,
        /// What sudo says, or what to do.
        detail: String,
    },

    /// The machine's distribution has other versions of the engine.
    #[error(
        "{host} is not offered version {wanted} of {engine}; it is offered {}",
        or_none(offered)
    )]
    VersionNotOffered {
        /// Which machine.
        host: String,
        /// Which engine.
        engine: String,
        /// The version that was asked for.
        wanted: String,
        /// The package versions that there are.
        offered: Vec<String>,
    },

    /// The machine has an engine from elsewhere, and nobody said that it may be replaced.
    #[error(
        "{host} has {engine} {found}, which is not from the channel {channel}, and not {wanted}"
    )]
    OtherEngine {
        /// Which machine.
        host: String,
        /// The package that was found.
        engine: String,
        /// Its version.
        found: String,
        /// The channel that was asked for.
        channel: String,
        /// The version that was asked for.
        wanted: String,
    },

    /// A bundle cannot be used, or not for this machine.
    #[error("the bundle {} cannot be used: {why}", path.display())]
    Bundle {
        /// The folder or archive.
        path: PathBuf,
        /// Why.
        why: String,
    },

    /// Something could not be fetched by this computer.
    #[error("{url} cannot be fetched: {detail}")]
    Fetch {
        /// From where.
        url: String,
        /// What is known of why.
        detail: String,
    },

    /// A repository's key is not the one that its packages must be signed with.
    #[error("the key at {url} is not to be trusted: {detail}")]
    RepositoryKey {
        /// Where it was fetched.
        url: String,
        /// What is wrong with it.
        detail: String,
    },

    /// A channel has nothing for this machine.
    #[error("{host} gets no {engine} from the channel {channel}: {why}")]
    NoChannel {
        /// Which machine.
        host: String,
        /// Which engine.
        engine: String,
        /// Which channel.
        channel: String,
        /// Why.
        why: String,
    },

    /// A configuration file in the machine cannot be read, and so not be extended.
    #[error("{path} on {host} is not valid{}: {detail}{}", at(*line, *column), on_new_lines(excerpt))]
    InvalidConfig {
        /// Which machine.
        host: String,
        /// Which file.
        path: &'static str,
        /// Counted from 1; 0 if it concerns the whole file.
        line: usize,
        /// Counted from 1.
        column: usize,
        /// What is wrong there.
        detail: String,
        /// The line.
        excerpt: String,
    },

    /// The engine does not answer as an engine should.
    #[error("the engine at {at} {what}: {detail}")]
    Engine {
        /// Machine and socket.
        at: String,
        /// What it does: `does not answer`.
        what: &'static str,
        /// What is known of why.
        detail: String,
    },

    /// An engine is there, and the user may not use it.
    #[error("{user} may not use the engine's socket {socket} on {host}")]
    SocketClosed {
        /// Which machine.
        host: String,
        /// Who.
        user: String,
        /// Where the engine listens.
        socket: String,
    },

    /// There is no engine whose version could be changed.
    #[error("{host} has no {engine} to upgrade")]
    NothingToUpgrade {
        /// Which machine.
        host: String,
        /// Which engine.
        engine: String,
    },

    /// No room for the old and the new packages.
    #[error("{host} has {} MiB free below /var; an upgrade with a way back needs {} MiB", free >> 20, needed >> 20)]
    LittleSpace {
        /// Which machine.
        host: String,
        /// In bytes.
        free: u64,
        /// In bytes.
        needed: u64,
    },

    /// An engine or its containers are not as they should be.
    #[error("{host}: {detail}")]
    Unhealthy {
        /// Which machine.
        host: String,
        /// What is wrong.
        detail: String,
    },

    /// An earlier upgrade, to another version, has neither ended nor been taken back.
    #[error("an upgrade of {host} to {to} broke off")]
    BrokenOff {
        /// Which machine.
        host: String,
        /// To which package version.
        to: String,
        /// By which channel.
        channel: String,
    },

    /// An upgrade failed, and everything is as it was.
    #[error("{host} has {from} again, since the upgrade to {to} failed: {why}")]
    RolledBack {
        /// Which machine.
        host: String,
        /// The package version that was wanted.
        to: String,
        /// The package version that is there.
        from: String,
        /// Why it failed.
        why: Box<Error>,
    },

    /// An upgrade failed, and so did putting the old version back.
    #[error("the upgrade of {host} to {to} failed: {why}\nand {from} could not be put back: {and}")]
    NotRolledBack {
        /// Which machine.
        host: String,
        /// The package version that was wanted.
        to: String,
        /// The package version that was there.
        from: String,
        /// Why it failed.
        why: Box<Error>,
        /// Why that could not be mended.
        and: Box<Error>,
    },

    /// A file operation failed on this computer.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Error {
    /// A closure for `map_err` that names the file.
    pub(crate) fn io(path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().to_owned();
        move |source| Error::Io { path, source }
    }

    /// A failed command, with the end of what it wrote.
    pub(crate) fn command(host: &str, what: &str, output: &crate::ssh::Output) -> Self {
        let written = if last_lines(&output.stderr, 1).is_empty() {
            &output.stdout
        } else {
            &output.stderr
        };
        Error::Command {
            host: host.to_owned(),
            what: what.to_owned(),
            status: output.status,
            words: last_lines(written, 8),
        }
    }
}

fn seconds(duration: Duration) -> String {
    format!("{} s", duration.as_secs_f32().ceil())
}

fn and_says(banner: &str) -> String {
    match banner {
        "" => String::new(),
        words => format!("; it says: {words}"),
    }
}

fn on_new_lines(words: &str) -> String {
    match words {
        "" => String::new(),
        words => format!(":\n{words}"),
    }
}

fn exit_words(status: i32) -> String {
    match status {
        129..=192 => format!("ended by signal {}", status - 128),
        _ => format!("exit status {status}"),
    }
}

fn or_none(versions: &[String]) -> String {
    match versions {
        [] => "none".to_owned(),
        versions => versions.join(", "),
    }
}

fn at(line: usize, column: usize) -> String {
    match line {
        0 => String::new(),
        line => format!(" at line {line}, column {column}"),
    }
}
