//! libvirt's errors as the driver's, with what to do next where that is known.

use berth_driver_api::Error;
use virt::error::ErrorNumber;

/// A closure for `map_err` that says what was attempted.
pub(crate) fn failed(what: impl Into<String>) -> impl FnOnce(virt::error::Error) -> Error {
    move |error| {
        let words = clean(error.message());
        let code = error.code();
        Error::failed(
            what,
            match hint(code, &words) {
                Some(hint) => format!("{words} (libvirt's {code:?}): {hint}"),
                None => format!("{words} (libvirt's {code:?})"),
            },
        )
    }
}

/// libvirt passes on what programs said, whatever that was.
pub(crate) fn clean(words: &str) -> String {
    words
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(1000)
        .collect()
}

fn hint(code: ErrorNumber, words: &str) -> Option<&'static str> {
    let says = |part: &str| words.contains(part);
    if says("Host key verification failed") || says("Permission denied (publickey") {
        return Some("connect once by `ssh` as the user and to the host that the URI names");
    }
    if says("libvirt-sock") || says("virtqemud-sock") {
        return Some(match says("Permission denied") {
            true => {
                "join the group libvirt and log in again, or use -o uri=qemu:///session, which needs no rights"
            }
            false => {
                "is libvirt's daemon installed and running? (`systemctl start libvirtd` or `virtqemud.socket`; \
                 Debian's package: libvirt-daemon-system)"
            }
        });
    }
    match code {
        ErrorNumber::AuthFailed | ErrorNumber::AuthCancelled | ErrorNumber::AuthUnavailable => {
            Some(
                "join the group libvirt and log in again, or use -o uri=qemu:///session, which needs no rights",
            )
        }
        ErrorNumber::NoStoragePool => {
            Some("`virsh pool-list --all` tells the pools; choose one by -o pool=NAME")
        }
        ErrorNumber::NoNetwork => Some(
            "`virsh net-list --all` tells the networks; choose one by -o network=network:NAME, or -o network=user \
             (Debian's package of the network `default`: libvirt-daemon-config-network)",
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_done_is_said() {
        let socket = "Failed to connect socket to '/var/run/libvirt/libvirt-sock': ";
        let hint_of = |end: &str| hint(ErrorNumber::SystemError, &format!("{socket}{end}"));
        assert!(
            hint_of("No such file or directory").is_some_and(|h| h.contains("systemctl start"))
        );
        assert!(hint_of("Permission denied").is_some_and(|h| h.contains("group libvirt")));
        assert!(hint(ErrorNumber::NoNetwork, "").is_some_and(|h| h.contains("net-list")));
        assert_eq!(hint(ErrorNumber::InternalError, "something"), None);
        assert_eq!(clean("a\n\u{1b}[2Jb"), "a  [2Jb");
    }
}
