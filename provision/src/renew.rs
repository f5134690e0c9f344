//! A guest that came up on the copy of another's disk: what it still has of that one.

use crate::ssh::{Session, quote};
use crate::{Error, Result};

/// Who a copy is, and who it must not be.
#[derive(Debug, Clone)]
pub struct Renewal {
    /// Its machine id (machine-id(5)): 32 hexadecimal digits.
    pub machine_id: String,
    /// The key that the original lets in, as a line of authorized_keys; the copy lets it in no more.
    pub old_key: Option<String>,
    /// Whether an engine may have come up with what makes it the original's: its id, its place in a swarm.
    pub engine: bool,
}

/// Gives the guest an identity of its own where it still has another's. Done twice, it changes nothing.
///
/// # Errors
/// [`Error::Command`] with what went wrong; the connection's errors.
pub async fn renew(session: &Session, renewal: &Renewal) -> Result<()> {
    let output = session.exec(&as_root(&script(renewal))).await?;
    match output.success() {
        true => Ok(()),
        false => Err(Error::command(
            session.host(),
            "making the copy a machine of its own",
            &output,
        )),
    }
}

fn script(renewal: &Renewal) -> String {
    let mut script = String::from("set -e\n");
    // The type and the key, without the comment, which anybody may have changed.
    let key = renewal.old_key.as_deref().unwrap_or_default();
    let key: Vec<&str> = key.split_whitespace().take(2).collect();
    if let [kind, key] = key[..] {
        script += &format!(
            "old={}\nfor f in /root/.ssh/authorized_keys /home/*/.ssh/authorized_keys; do\n\
             grep -qsF \"$old\" \"$f\" || continue\n\
             cp -p \"$f\" \"$f.new\"; grep -vF \"$old\" \"$f\" >\"$f.new\" || [ $? = 1 ]; mv \"$f.new\" \"$f\"\ndone\n",
            quote(&format!("{kind} {key}"))
        );
    }
    if renewal.engine {
        // Found by its parts: there may be no engine, or one that is no docker.
        script += "s=/var/lib/docker/swarm\n\
                   if [ -e /var/lib/docker/engine-id ] || [ -e /etc/docker/key.json ] || [ -e $s/docker-state.json ]; then\n\
                   systemctl stop docker.socket docker.service\n\
                   rm -rf /var/lib/docker/engine-id /etc/docker/key.json $s\n\
                   systemctl start docker.service\nfi\n";
    }
    // What runs since before the id was its own has it in mind.
    script += &format!(
        "id={}\nif [ \"$(cat /etc/machine-id)\" != $id ]; then\n\
         echo $id >/etc/machine-id.new; chmod 444 /etc/machine-id.new; mv /etc/machine-id.new /etc/machine-id\nfi\n\
         systemctl daemon-reexec\nsystemctl try-restart systemd-journald.service\n",
        quote(&renewal.machine_id)
    );
    script + "sync\n"
}

/// A script as root's.
fn as_root(script: &str) -> String {
    let outer = "export LC_ALL=C; r=; [ \"$(id -u)\" = 0 ] || \
                 { if sudo -n true 2>/dev/null; then r='sudo -n'; else r='doas -n'; fi; }; \
                 exec $r sh -c \"$1\"";
    format!("sh -c {} sh {}", quote(outer), quote(script))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the part of the script about keys on a file of a test's.
    fn keys_left(old: &str, file: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("authorized_keys");
        std::fs::write(&path, file).unwrap();
        let renewal = Renewal {
            machine_id: "0".repeat(32),
            old_key: Some(old.into()),
            engine: false,
        };
        let all = script(&renewal);
        let keys = all.split("id=").next().unwrap();
        let here = keys.replace("/root/.ssh/authorized_keys", path.to_str().unwrap());
        let ran = std::process::Command::new("sh")
            .arg("-c")
            .arg(here)
            .status();
        assert!(ran.unwrap().success());
        std::fs::read_to_string(&path).unwrap()
    }

    #[test]
    fn the_originals_key_goes_and_the_users_own_stay() {
        let file = "ssh-ed25519 AAAAold berth web1\nssh-ed25519 AAAAmine me@home\n\nssh-ed25519 AAAAnew berth web2\n";
        assert_eq!(
            keys_left("ssh-ed25519 AAAAold other words", file),
            "ssh-ed25519 AAAAmine me@home\n\nssh-ed25519 AAAAnew berth web2\n"
        );
        assert_eq!(
            keys_left("ssh-ed25519 AAAAold", "ssh-ed25519 AAAAold x\n"),
            ""
        );
        assert_eq!(keys_left("ssh-ed25519 AAAAgone x", file), file);
    }
}
