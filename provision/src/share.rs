//! Folders of the host in a machine: what is done in the machine for them.

use berth_driver_api::Progress;
use berth_driver_api::process::last_lines;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::context::Context;
use crate::ssh::{Session, quote};
use crate::wanted::Wanted;
use crate::{Error, Result};

/// Where sshfs writes what goes wrong: its other streams carry SFTP.
const LOG_FOLDER: &str = "/run/berth";

/// How long sshfs may take to mount (tenths of a second); emulated guests are slow.
const PATIENCE: u32 = 600;

/// Longest word of the guest's that is kept (bytes).
const WORDS: usize = 2048;

/// A folder as the machine sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// By what it is known among the machine's mounts: letters, digits and dashes.
    pub tag: String,
    /// Where it goes in the machine: an absolute path.
    pub guest: String,
    /// Whether the machine may only read it.
    pub read_only: bool,
}

/// How a folder comes to a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// The hypervisor's, and it is mounted.
    Virtiofs,
    /// Over SSH, and it is to be mounted: files are to seem this user's and this group's, who are those of the login.
    Sshfs((u32, u32)),
}

/// Installs what mounting over SSH needs, if it is missing; true if it was.
///
/// # Errors
/// [`Error::UnknownSystem`], [`Error::Command`]; [`Error::Sudo`].
pub async fn prepare(session: &Session, progress: &dyn Progress) -> Result<bool> {
    if session.exec("command -v sshfs").await?.success() {
        return Ok(false);
    }
    let wanted = Wanted::default();
    let context = Context::look(session, &wanted, progress).await?;
    progress.phase("Installing sshfs");
    context
        .packages("installing sshfs", &context.family.sshfs_script())
        .await?;
    Ok(true)
}

impl Share {
    /// Makes the folder ready to be mounted on, and mounts it by virtiofs if `virtiofs` may be tried and the machine has
    /// it under this tag. What is left of an sshfs that lost its connection is taken away.
    ///
    /// # Errors
    /// [`Error::Command`] with what the machine says, as when it has no sshfs.
    pub async fn begin(&self, session: &Session, virtiofs: bool) -> Result<Way> {
        let options = if self.read_only { "ro" } else { "rw" };
        let by_virtiofs = match virtiofs {
            true => format!(
                "if w=$(mount -t virtiofs -o {options} {tag} \"$g\" 2>&1); then echo virtiofs; exit 0; fi; \
                 ! grep -qsx {tag} /sys/fs/virtiofs/*/tag || echo \"$w\" >&2;",
                tag = self.tag,
            ),
            false => String::new(),
        };
        let script = format!(
            "g={guest}; if grep -q '^{tag} [^ ]* virtiofs ' /proc/mounts; then echo virtiofs; exit 0; fi; \
             {clear}; mkdir -p \"$g\" {LOG_FOLDER} || exit; {by_virtiofs} \
             command -v sshfs >/dev/null || {{ echo 'sshfs is not installed in the machine' >&2; exit 1; }}; \
             echo \"sshfs $1 $2\"",
            guest = quote(&self.guest),
            tag = self.tag,
            clear = self.clear("umount -l"),
        );
        let output = session.exec(&as_root(&script)).await?;
        let what = format!("mounting on {}", self.guest);
        let words = String::from_utf8_lossy(&output.stdout);
        let words: Vec<&str> = words.split_ascii_whitespace().collect();
        match (output.success(), words.as_slice()) {
            (true, ["virtiofs"]) => Ok(Way::Virtiofs),
            (true, ["sshfs", user, group]) => match (user.parse(), group.parse()) {
                (Ok(user), Ok(group)) => Ok(Way::Sshfs((user, group))),
                _ => Err(Error::command(session.host(), &what, &output)),
            },
            _ => Err(Error::command(session.host(), &what, &output)),
        }
    }

    /// Starts sshfs in the machine; it speaks SFTP to whoever has the stream, and unmounts when that ends.
    ///
    /// # Errors
    /// [`Error::Refused`]; [`Error::Lost`].
    pub async fn start_sshfs(
        &self,
        session: &Session,
    ) -> Result<impl AsyncRead + AsyncWrite + Send + Unpin + use<>> {
        // Releases before 3.7.2 know `passive` by another word. Those since CVE-2026-47187 hide links that lead out of
        // the folder, unless the server is trusted: this one is the machine's own host. What the host changes is seen
        // within a second, not after twenty.
        let script = format!(
            "h=$(sshfs --help 2>&1); case $h in *passive*) o=passive;; *) o=slave;; esac; \
             case $h in *no_contain_symlinks*) o=$o,no_contain_symlinks;; esac; \
             exec sshfs -f berth:/ {guest} -o $o,fsname={tag},allow_other,dcache_timeout=1{read_only} \
             2>{LOG_FOLDER}/{tag}.log",
            guest = quote(&self.guest),
            tag = self.tag,
            read_only = if self.read_only { ",ro" } else { "" },
        );
        session.open_command(&as_root(&script)).await
    }

    /// Returns once sshfs has mounted; sshfs itself tells nobody.
    ///
    /// # Errors
    /// [`Error::Command`] if it never does.
    pub async fn mounted(&self, session: &Session) -> Result<()> {
        let script = format!(
            "i=0; until grep -q '^{} ' /proc/mounts; do i=$((i+1)); \
             [ $i -lt {PATIENCE} ] || {{ echo 'sshfs does not mount' >&2; exit 1; }}; sleep 0.1; done",
            self.tag
        );
        let output = session.exec(&format!("sh -c {}", quote(&script))).await?;
        match output.success() {
            true => Ok(()),
            false => Err(Error::command(session.host(), "mounting", &output)),
        }
    }

    /// What sshfs said last.
    pub async fn sshfs_words(&self, session: &Session) -> String {
        let script = format!("tail -c {WORDS} {LOG_FOLDER}/{}.log", self.tag);
        match session.exec(&as_root(&script)).await {
            Ok(output) => last_lines(&output.stdout, 3),
            Err(_) => String::new(),
        }
    }

    /// Unmounts the folder, however it came; one that is in use goes once it no longer is.
    ///
    /// # Errors
    /// [`Error::Command`] with what the machine says.
    pub async fn end(&self, session: &Session) -> Result<()> {
        let script = format!(
            "g={}; {}; rm -f {LOG_FOLDER}/{}.log",
            quote(&self.guest),
            self.clear("umount \"$g\" 2>/dev/null || umount -l"),
            self.tag
        );
        let output = session.exec(&as_root(&script)).await?;
        match output.success() {
            true => Ok(()),
            false => Err(Error::command(session.host(), "unmounting", &output)),
        }
    }

    fn clear(&self, unmount: &str) -> String {
        format!(
            "while grep -q '^{} ' /proc/mounts; do {unmount} \"$g\" || exit; done",
            self.tag
        )
    }
}

/// A script as root's, whose first words are the numbers of the login's user and group.
fn as_root(script: &str) -> String {
    let outer = "export LC_ALL=C; u=$(id -u); r=; [ \"$u\" = 0 ] || \
                 { if sudo -n true 2>/dev/null; then r='sudo -n'; else r='doas -n'; fi; }; \
                 exec $r sh -c \"$1\" sh \"$u\" \"$(id -g)\"";
    format!("sh -c {} sh {}", quote(outer), quote(script))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_of_roots_is_one_word_whatever_is_in_it() {
        let printed = std::process::Command::new("sh")
            .arg("-c")
            .arg(as_root("g='it''s $HOME'; echo \"$g\"; [ -n \"$1$2\" ]"))
            .env("PATH", std::env::var("PATH").unwrap())
            .output()
            .unwrap();
        // Where the tests run as nobody in particular, there may be neither sudo nor doas.
        if printed.status.success() {
            assert_eq!(printed.stdout, b"its $HOME\n");
        }
    }
}
