//! What went wrong in a machine that is entered over SSH.

use berth_provision::Error as ProvisionError;

use super::{FAILED, USAGE, WRONG_STATE, Words, hinted, of_io, plain};

pub(super) fn of_provision(machine: &str, error: &ProvisionError) -> Words {
    match error {
        ProvisionError::Word { .. } | ProvisionError::Unsupported(_) => plain(USAGE),
        ProvisionError::VersionNotOffered { engine, .. } => hinted(
            FAILED,
            &format!(
                "`berth engine versions {machine}` tells all that is offered; \
                 `berth provision {machine} --engine {engine}` takes the version that there is"
            ),
        ),
        ProvisionError::OtherEngine { channel, .. } => hinted(
            FAILED,
            &format!("`berth provision {machine} --channel {channel}` replaces it"),
        ),
        ProvisionError::NoChannel { .. } => hinted(
            FAILED,
            &format!("`berth engine versions {machine}` tells what each channel offers"),
        ),
        ProvisionError::Bundle { .. } | ProvisionError::Fetch { .. } => plain(FAILED),
        ProvisionError::RepositoryKey { .. } => hinted(
            FAILED,
            "nothing was installed; a mirror signed by a key of its own is named by BERTH_DOCKER_REPO and its key's \
             fingerprint by BERTH_DOCKER_REPO_KEY",
        ),
        ProvisionError::NothingToUpgrade { engine, .. } => hinted(
            WRONG_STATE,
            &format!("`berth provision {machine} --engine {engine}` installs one"),
        ),
        ProvisionError::LittleSpace { .. } => hinted(
            FAILED,
            &format!(
                "nothing was changed; make room with `berth ssh {machine}`, such as by `docker system prune`"
            ),
        ),
        ProvisionError::BrokenOff { to, channel, .. } => hinted(
            WRONG_STATE,
            &format!(
                "`berth upgrade {machine} --to {to} --channel {channel}` goes on with it, `berth upgrade {machine} --rollback` takes it back"
            ),
        ),
        ProvisionError::RolledBack { .. } => hinted(FAILED, "nothing has changed in the end"),
        ProvisionError::NotRolledBack { .. } => hinted(
            FAILED,
            &format!(
                "`berth upgrade {machine} --rollback` tries to put it back again; what was there is in \
                 /var/lib/berth/upgrade in the machine"
            ),
        ),
        ProvisionError::HostKeyMismatch { .. } | ProvisionError::HostKeyUnknown { .. } => hinted(
            FAILED,
            &format!(
                "if the machine was made anew, `berth host-key {machine}` shows its key and how to accept it; \
                 otherwise find out who answers there"
            ),
        ),
        ProvisionError::OtherHostKey { .. } => hinted(
            FAILED,
            "nothing was sent there; find out who answers, or say the right fingerprint with -o host-key=SHA256:…",
        ),
        ProvisionError::Sudo { user, .. } => hinted(
            FAILED,
            &format!(
                "as root there: `echo '{user} ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/berth`, then \
                 `berth create --resume {machine}`; or log in as root, or adopt it with --engine none"
            ),
        ),
        ProvisionError::SocketClosed { user, .. } => hinted(
            FAILED,
            &format!(
                "as root there: `usermod -aG docker {user}`, then `berth create --resume {machine}`"
            ),
        ),
        ProvisionError::JumpHost { .. } => hinted(
            FAILED,
            "the way is that of your own ssh: `ssh HOST true` to the last host there must work without a question",
        ),
        ProvisionError::Agent { .. } | ProvisionError::KeyFile { .. } => hinted(
            FAILED,
            &format!(
                "`ssh-add FILE` gives a key to a running agent; then `berth create --resume {machine}`, or `berth rm \
                 {machine}` and adopt it with another -o key="
            ),
        ),
        ProvisionError::KeySealed { path } => {
            let file = path.display();
            hinted(
                FAILED,
                &format!(
                    "`berth passphrase keep {file}` has berth know it, `ssh-add {file}` gives the key to a running agent; \
                     then `berth create --resume {machine}`"
                ),
            )
        }
        ProvisionError::KeyRejected { .. } => hinted(
            FAILED,
            &format!("was authorized_keys changed in the guest? `berth logs {machine}` may tell"),
        ),
        ProvisionError::InvalidConfig { .. } => hinted(
            FAILED,
            &format!("mend that file with `berth ssh {machine}`, then try again"),
        ),
        ProvisionError::Unreachable { .. } | ProvisionError::Lost { .. } => hinted(
            FAILED,
            &format!(
                "`berth status {machine}` tells whether it runs, `berth logs {machine}` what it says"
            ),
        ),
        ProvisionError::Engine {
            what: "does not answer",
            ..
        } => hinted(
            FAILED,
            &format!(
                "`berth ssh {machine}` leads to its log and its service; `berth restart {machine}` starts the machine anew"
            ),
        ),
        ProvisionError::Io { source, .. } => of_io(source),
        _ => hinted(
            FAILED,
            &format!(
                "`berth provision {machine}` tries again, `berth create --resume {machine}` finishes a create"
            ),
        ),
    }
}

/// What goes wrong with a bundle before any machine is asked.
pub(super) fn of_bundle(error: &ProvisionError) -> Words {
    match error {
        ProvisionError::Word { .. } => plain(USAGE),
        ProvisionError::Io { source, .. } => of_io(source),
        _ => plain(FAILED),
    }
}
