//! What a guest calls itself.

use crate::renew::as_root;
use crate::ssh::{Session, quote};
use crate::{Error, Result};

/// Has the guest call itself `name`, now and after it reboots (hostname(5)). Done twice, it changes nothing.
///
/// # Errors
/// [`Error::Command`] with what went wrong; the connection's errors.
pub async fn hostname(session: &Session, name: &str) -> Result<()> {
    let output = session.exec(&as_root(&script(name))).await?;
    match output.success() {
        true => Ok(()),
        false => Err(Error::command(
            session.host(),
            "giving the machine its name",
            &output,
        )),
    }
}

/// Where the old name is in /etc/hosts, as distributors' images have it, sudo would look for it in vain.
fn script(name: &str) -> String {
    format!(
        "set -e\nn={}; old=$(cat /proc/sys/kernel/hostname)\n[ \"$old\" != \"$n\" ] || exit 0\n\
         echo \"$n\" >/etc/hostname\necho \"$n\" >/proc/sys/kernel/hostname\n\
         if grep -qsw -e \"$old\" /etc/hosts; then\n\
         h=$(sed \"s/\\(^\\|[[:space:]]\\)$old\\([[:space:].]\\|\\$\\)/\\1$n\\2/g\" /etc/hosts)\n\
         printf '%s\\n' \"$h\" >/etc/hosts\nfi\n",
        quote(name)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_new_name_takes_the_old_ones_place_in_hosts() {
        let folder = tempfile::tempdir().unwrap();
        let write =
            |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("kernel", "wt--ci-1\n");
        write("hostname", "wt--ci-1\n");
        write(
            "hosts",
            "127.0.0.1 localhost\n127.0.1.1 wt--ci-1.lan wt--ci-1\n10.0.0.1 awt--ci-1\n",
        );
        for _ in 0..2 {
            let here = folder.path().display();
            let script = script("web1")
                .replace("/proc/sys/kernel/hostname", &format!("{here}/kernel"))
                .replace("/etc/", &format!("{here}/"));
            let ran = std::process::Command::new("sh")
                .arg("-c")
                .arg(script)
                .status();
            assert!(ran.unwrap().success());
        }
        let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
        assert_eq!(
            (read("kernel"), read("hostname")),
            ("web1\n".into(), "web1\n".into())
        );
        assert_eq!(
            read("hosts"),
            "127.0.0.1 localhost\n127.0.1.1 web1.lan web1\n10.0.0.1 awt--ci-1\n"
        );
    }
}
