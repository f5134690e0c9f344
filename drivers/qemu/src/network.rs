//! What stands outside QEMU for a machine's network: the helper passt, and finding a bridged machine's address.

use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use berth_driver_api::{Error, Machine, Place, Result, mac, process};
use command_fds::{CommandFdExt, FdMapping};
use qapi::qga;

use crate::agent::Agent;
use crate::call::CallError;
use crate::names::AGENT_PIPES;

/// Where passt finds its end of the connection.
const PASST_FD: i32 = 10;

/// Starts passt with `port` forwarded to SSH, and returns QEMU's end of the connection to it. passt goes to the
/// background when it serves, and ends when QEMU does.
pub(crate) async fn passt(port: u16) -> Result<OwnedFd> {
    let failed = |error| Error::failed("connecting passt", error);
    let (ours, theirs) = UnixStream::pair().map_err(failed)?;
    let mut command = process::command("passt")?;
    command
        .args(["--quiet", "--fd", &PASST_FD.to_string()])
        .args(["--tcp-ports", &format!("127.0.0.1/{port}:22")])
        .args(["--udp-ports", "none"]);
    command
        .as_std_mut()
        .fd_mappings(vec![mapping(theirs, PASST_FD)])
        .map_err(|error| Error::failed("connecting passt", error))?;
    process::output(command).await?;
    Ok(ours.into())
}

/// Where Linux distributions put the program that joins a QEMU without privileges to a bridge.
pub(crate) fn bridge_helper() -> Option<PathBuf> {
    [
        "/usr/lib/qemu/qemu-bridge-helper",
        "/usr/libexec/qemu-bridge-helper",
        "/usr/lib/qemu-bridge-helper",
    ]
    .map(PathBuf::from)
    .into_iter()
    .find(|file| file.is_file())
}

/// Asks the guest agent for the address of the network card that berth gave the machine.
pub(crate) async fn bridged_address(machine: &Machine) -> Result<Ipv4Addr> {
    let unknown = |error: &dyn std::fmt::Display| {
        Error::failed(
            "finding the machine's address on its bridge",
            format!("only its guest agent knows it: {error}"),
        )
    };
    let socket = machine.socket(AGENT_PIPES);
    let mut agent = Agent::connect(&socket, Duration::from_secs(5))
        .await
        .map_err(|error| unknown(&error))?;
    let interfaces = agent
        .call(qga::guest_network_get_interfaces {})
        .await
        .map_err(|error| unknown(&error))?;
    address_of(&interfaces, &mac(machine.id))
        .ok_or_else(|| unknown(&"it reports no IPv4 address yet"))
}

/// Where a guest is in QEMU's own user-mode network (QEMU's manual, "Using the user mode network stack"): what is not
/// forwarded anywhere else goes to the first address that its DHCP server would give.
pub(crate) fn user_place() -> Place {
    Place {
        address: Ipv4Addr::new(10, 0, 2, 15),
        prefix: 24,
        gateway: Ipv4Addr::new(10, 0, 2, 2),
        name_server: Ipv4Addr::new(10, 0, 2, 3),
    }
}

/// Returns once the guest's card has an address, as it tells by its agent.
pub(crate) async fn has_address(agent: &mut Agent, machine: &Machine) -> Result<(), CallError> {
    let mac = mac(machine.id);
    let mut pause = Duration::from_millis(10);
    loop {
        let interfaces = agent.call(qga::guest_network_get_interfaces {}).await?;
        if address_of(&interfaces, &mac).is_some() {
            return Ok(());
        }
        // The agent has no events.
        tokio::time::sleep(pause).await;
        pause = (pause * 3 / 2).min(Duration::from_millis(100));
    }
}

fn address_of(interfaces: &[qga::GuestNetworkInterface], mac: &str) -> Option<Ipv4Addr> {
    interfaces
        .iter()
        .filter(|interface| {
            interface
                .hardware_address
                .as_deref()
                .is_some_and(|address| address.eq_ignore_ascii_case(mac))
        })
        .flat_map(|interface| interface.ip_addresses.iter().flatten())
        .filter_map(|address| address.ip_address.parse::<Ipv4Addr>().ok())
        .find(|address| !address.is_loopback() && !address.is_link_local())
}

/// A mapping of `fd` to the number at which a program looks for it.
pub(crate) fn mapping(fd: impl Into<OwnedFd>, child_fd: i32) -> FdMapping {
    FdMapping {
        parent_fd: fd.into(),
        child_fd,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_that_of_berths_own_card() {
        let interfaces: Vec<qga::GuestNetworkInterface> = serde_json::from_value(serde_json::json!([
            { "name": "lo", "hardware-address": "00:00:00:00:00:00",
              "ip-addresses": [{ "ip-address": "127.0.0.1", "ip-address-type": "ipv4", "prefix": 8 }] },
            { "name": "docker0", "hardware-address": "02:42:00:00:00:01",
              "ip-addresses": [{ "ip-address": "172.17.0.1", "ip-address-type": "ipv4", "prefix": 16 }] },
            { "name": "enp0s3", "hardware-address": "52:54:AA:00:00:01",
              "ip-addresses": [
                { "ip-address": "fe80::1", "ip-address-type": "ipv6", "prefix": 64 },
                { "ip-address": "192.168.7.9", "ip-address-type": "ipv4", "prefix": 24 }] },
        ])).unwrap();
        let address = address_of(&interfaces, "52:54:aa:00:00:01");
        assert_eq!(address, Some(Ipv4Addr::new(192, 168, 7, 9)));
        assert_eq!(address_of(&interfaces, "52:54:aa:00:00:02"), None);
    }
}
