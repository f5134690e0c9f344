//! Services, and what starts them: systemd or OpenRC.

use crate::daemon_json::DAEMON_JSON;
use crate::environment;
use crate::ssh::quote;
use crate::wanted::Kind;

/// There from the writing of new settings to the restart that brings them; a reboot does both.
pub(crate) const RESTART_MARK: &str = "/run/berth-docker-restart";

/// What starts services in a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Init {
    /// systemd.
    Systemd,
    /// OpenRC, as in Alpine.
    OpenRc,
}

/// A service, as its machine tells.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Service {
    pub(crate) active: bool,
    /// Only starting: it may have read its settings already.
    pub(crate) starting: bool,
    pub(crate) enabled: bool,
}

impl Service {
    /// Reads what [`Init::look_script`] printed.
    pub(crate) fn parse(printed: &[u8]) -> Self {
        let text = String::from_utf8_lossy(printed);
        let has = |wanted: &str| text.lines().any(|line| line == wanted);
        Service {
            active: has("ActiveState=active"),
            starting: has("ActiveState=activating"),
            enabled: has("UnitFileState=enabled"),
        }
    }
}

/// systemd's units for an engine: the one that is started, and the one whose words tell of a failure.
fn units(kind: Kind) -> (&'static str, &'static str) {
    match kind {
        Kind::Podman => ("podman.socket", "podman.service"),
        Kind::Docker | Kind::None => ("docker.service", "docker.service"),
    }
}

/// There if berth's initrd found the kernel lacking.
const KERNEL_OPTIONS: &str = "/run/systemd/system/docker.service.d/50-berth-kernel.conf";

/// How a user's own systemd is reached by someone who logged in over SSH.
const USER: &str = "XDG_RUNTIME_DIR=/run/user/$(id -u) systemctl --user";

/// How systemd is told of podman's units: everybody but root has their own.
fn systemctl(is_root: bool) -> &'static str {
    match is_root {
        true => "systemctl",
        false => USER,
    }
}

impl Init {
    /// A script that prints the state of an engine's service, systemd's words for it.
    pub(crate) fn look_script(self, kind: Kind) -> String {
        let (unit, _) = units(kind);
        match (self, kind) {
            // A user's own podman is not root's.
            (Init::Systemd, Kind::Podman) => format!(
                "if [ \"$u\" = 0 ]; then systemctl show -p ActiveState,UnitFileState {unit}; \
                 elif [ -e \"/var/lib/systemd/linger/$(id -un)\" ]; then {USER} show -p ActiveState,UnitFileState {unit}; \
                 fi 2>/dev/null"
            ),
            (Init::Systemd, _) => {
                format!("systemctl show -p ActiveState,UnitFileState {unit} 2>/dev/null")
            }
            (Init::OpenRc, kind) => format!(
                "rc-service -q {kind} status >/dev/null 2>&1 && echo ActiveState=active; \
                 [ -e /etc/runlevels/default/{kind} ] && echo UnitFileState=enabled"
            ),
        }
    }

    /// A script that starts an engine's service, now and at every boot, as root.
    pub(crate) fn start_script(self, kind: Kind) -> String {
        let (unit, telling) = units(kind);
        match self {
            // systemd starts nothing that failed to start a few times before, until it is told to forget.
            Init::Systemd => format!(
                "{options}{afresh}; systemctl unmask -q {unit} 2>/dev/null; systemctl enable -q --now {unit} && exit 0; \
                 {words}; exit 1",
                options = match kind {
                    Kind::Docker => kernel_options(),
                    _ => String::new(),
                },
                afresh = afresh(kind),
                words = words(telling),
            ),
            Init::OpenRc => format!("rc-update -q add {kind} default; rc-service {kind} start"),
        }
    }

    /// A script that restarts Docker with settings that are new on the disk, as root. Those that it does not start
    /// with are taken back.
    pub(crate) fn restart_script(self) -> String {
        let (afresh, enable, reload, restart, words) = match self {
            Init::Systemd => (
                afresh(Kind::Docker),
                "systemctl enable -q docker.service",
                "systemctl reload docker.service",
                "systemctl restart docker.service",
                words("docker.service"),
            ),
            Init::OpenRc => (
                "true".to_owned(),
                "rc-update -q add docker default",
                "rc-service docker reload",
                "rc-service docker restart",
                "tail -n 15 /var/log/docker.log >&2".to_owned(),
            ),
        };
        // Reloading turns live-restore on, so that containers live through the restart that the other settings need.
        // Variables may be secret: old ones are not kept.
        format!(
            "{afresh}; {enable}; {reload}; {restart} && rm -f {RESTART_MARK} {environment}.before-berth && exit 0; \
             {words}; \
             for f in {DAEMON_JSON} {environment}; do \
             if [ -e \"$f.before-berth\" ]; then mv \"$f.before-berth\" \"$f\"; else rm -f \"$f\"; fi; done; \
             {afresh}; {restart} && rm -f {RESTART_MARK}; exit 1",
            environment = environment::FILE,
        )
    }

    /// A script that has a running Docker read what of its settings it takes without being restarted, as root.
    pub(crate) fn reload_script(self) -> &'static str {
        match self {
            Init::Systemd => "systemctl reload docker.service",
            Init::OpenRc => "rc-service docker reload",
        }
    }

    /// A script that prints which program an engine runs from, if it runs.
    pub(crate) fn program_script(self, kind: Kind, is_root: bool) -> String {
        let pid = match (self, kind) {
            (Init::Systemd, Kind::Podman) => {
                format!("{} show -P MainPID podman.service", systemctl(is_root))
            }
            // Where OpenRC keeps it is not known.
            (Init::OpenRc, Kind::Podman) => return "true".to_owned(),
            _ => "cat /run/docker.pid".to_owned(),
        };
        format!("readlink /proc/$({pid})/exe 2>/dev/null; true")
    }

    /// A script that starts an engine anew.
    pub(crate) fn again_script(self, kind: Kind, is_root: bool) -> String {
        match (self, kind) {
            // Its containers are none of this service's.
            (Init::Systemd, Kind::Podman) => {
                format!("{} try-restart podman.service", systemctl(is_root))
            }
            (Init::Systemd, _) => format!(
                "systemctl daemon-reload; {afresh}; systemctl restart docker.service && exit 0; {words}; exit 1",
                afresh = afresh(Kind::Docker),
                words = words("docker.service"),
            ),
            (Init::OpenRc, kind) => format!("rc-service {kind} restart"),
        }
    }
}

/// A script, for root, that lets a user have an engine of their own: services without a login, and ids for containers.
pub(crate) fn rootless_script(user: &str) -> String {
    format!(
        "u={user}; loginctl enable-linger \"$u\" || exit; for f in /etc/subuid /etc/subgid; do \
         grep -q \"^$u:\" $f 2>/dev/null && continue; \
         n=$(awk -F: '{{ e = $2 + $3; if (e > m) m = e }} END {{ print m < 100000 ? 100000 : m }}' $f 2>/dev/null); \
         echo \"$u:${{n:-100000}}:65536\" >>$f || exit; done",
        user = quote(user),
    )
}

/// A script, for that user, that starts podman's socket. Their systemd may be coming up just now.
pub(crate) fn rootless_start_script() -> String {
    format!(
        "r=/run/user/$(id -u); n=0; until [ -S \"$r/bus\" ] || [ -S \"$r/systemd/private\" ]; do \
         n=$((n + 1)); [ $n -lt 60 ] || {{ echo 'the user has no systemd of their own' >&2; exit 1; }}; sleep 0.5; done; \
         {USER} enable -q --now podman.socket && exit 0; journalctl --user -n 15 --no-pager -o cat >&2; exit 1"
    )
}

/// A script that has the engine told what the machine's kernel lacks. Berth's initrd says it in `$DOCKER_OPTS`, which
/// Debian's unit passes on and upstream's does not.
fn kernel_options() -> String {
    format!(
        "if [ -e {KERNEL_OPTIONS} ] && ! systemctl cat docker.service | grep -q '^ExecStart=.*DOCKER_OPTS'; then \
         d=/etc/systemd/system/docker.service.d; mkdir -p $d && printf %s {} >$d/berth-kernel.conf && \
         systemctl daemon-reload; fi; ",
        // systemd finds the program wherever the package has it.
        quote(
            "[Service]\nExecStart=\nExecStart=dockerd -H fd:// --containerd=/run/containerd/containerd.sock $DOCKER_OPTS\n"
        ),
    )
}

fn afresh(kind: Kind) -> String {
    let names = match kind {
        Kind::Podman => "podman.service podman.socket",
        Kind::Docker | Kind::None => "docker.service docker.socket",
    };
    format!("systemctl reset-failed {names} 2>/dev/null")
}

/// Why a service did not start, in its own words.
fn words(unit: &str) -> String {
    format!("journalctl -u {unit} -n 15 --no-pager -o cat >&2")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_tell_the_same_words() {
        let on = Service {
            active: true,
            starting: false,
            enabled: true,
        };
        let printed = b"ActiveState=active\nUnitFileState=enabled\n";
        assert_eq!(Service::parse(printed), on);
        assert_eq!(Service::parse(b"ActiveState=failed\n"), Service::default());
        for init in [Init::Systemd, Init::OpenRc] {
            for script in [
                init.look_script(Kind::Docker),
                init.look_script(Kind::Podman),
                init.start_script(Kind::Docker),
                init.start_script(Kind::Podman),
                init.restart_script(),
                init.program_script(Kind::Docker, true),
                init.program_script(Kind::Podman, false),
                init.again_script(Kind::Docker, true),
                init.again_script(Kind::Podman, false),
                rootless_script("it's me"),
                rootless_start_script(),
            ] {
                let read = std::process::Command::new("sh")
                    .args(["-n", "-c", &script])
                    .output();
                assert!(read.unwrap().status.success(), "{script}");
            }
        }
    }
}
