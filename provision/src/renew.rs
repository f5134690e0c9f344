//! A guest that came up on the copy of another's disk: what it still has of that one.

use crate::ssh::{Session, quote};
use crate::{Error, Result};

/// Who a copy is, and who it must not be.
#[derive(Debug, Clone)]
pub struct Renewal {
    /// Its machine id (machine-id(5)): 32 hexadecimal digits.
    pub machine_id: String,
    /// The key that it lets in, as a line of authorized_keys.
    pub key: String,
    /// The key that the original lets in, as a line of authorized_keys; the copy lets it in no more.
    pub old_key: Option<String>,
    /// The id of its Docker Engine; none if it has no such engine.
    pub engine_id: Option<String>,
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
    // Root's key comes in a file of its own, which is handed over again whenever the guest reboots by itself.
    let mut script = format!(
        "set -e\nk={}; f=/root/.ssh/authorized_keys\nif [ -e ${{f}}2 ]; then\n\
         grep -qsxF \"$k\" $f || {{ [ ! -s $f ] || echo >>$f; echo \"$k\" >>$f; chmod 600 $f; }}\n\
         rm ${{f}}2\nfi\n",
        quote(renewal.key.trim())
    );
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
    if let Some(id) = &renewal.engine_id {
        // Before version 23 the id is that of a key. A swarm would take the copy for the member that it has.
        script += &format!(
            "docker() {{ if command -v systemctl >/dev/null; then systemctl $1 docker; else service docker $1; fi; }}\n\
             i={}; f=/var/lib/docker/engine-id; s=/var/lib/docker/swarm\n\
             if [ -e /etc/docker/key.json ] || [ -e $s/docker-state.json ] || \
             {{ [ -e $f ] && [ \"$(cat $f)\" != $i ]; }}; then\n\
             docker stop\n\
             rm -rf /etc/docker/key.json $s; printf %s $i >$f\n\
             docker start\nfi\n",
            quote(id)
        );
    }
    // What runs since before the id was its own has it in mind.
    script += &format!(
        "id={}\nif [ \"$(cat /etc/machine-id)\" != $id ]; then\n\
         echo $id >/etc/machine-id.new; chmod 444 /etc/machine-id.new; mv /etc/machine-id.new /etc/machine-id\nfi\n\
         if command -v systemctl >/dev/null; then\n\
         systemctl daemon-reexec; systemctl try-restart systemd-journald.service\nfi\n",
        quote(&renewal.machine_id)
    );
    script + "sync\n"
}

/// A script as root's.
pub(crate) fn as_root(script: &str) -> String {
    let outer = "export LC_ALL=C; r=; [ \"$(id -u)\" = 0 ] || \
                 { if sudo -n true 2>/dev/null; then r='sudo -n'; else r='doas -n'; fi; }; \
                 exec $r sh -c \"$1\"";
    format!("sh -c {} sh {}", quote(outer), quote(script))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = "ssh-ed25519 AAAAnew berth web2\n";

    /// Runs the part of the script about keys on a file of a test's.
    fn keys_left(old: &str, file: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("authorized_keys");
        std::fs::write(&path, file).unwrap();
        let renewal = Renewal {
            machine_id: "0".repeat(32),
            key: OWN.into(),
            old_key: Some(old.into()),
            engine_id: None,
        };
        let all = script(&renewal);
        let keys = all.split("id=").next().unwrap();
        std::fs::write(folder.path().join("authorized_keys2"), OWN).unwrap();
        let here = keys.replace("/root/.ssh", folder.path().to_str().unwrap());
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
            format!("ssh-ed25519 AAAAmine me@home\n\n{OWN}")
        );
        let without = "ssh-ed25519 AAAAold x";
        assert_eq!(keys_left("ssh-ed25519 AAAAold", without), OWN);
        assert_eq!(keys_left("ssh-ed25519 AAAAgone x", file), file);
    }
}
