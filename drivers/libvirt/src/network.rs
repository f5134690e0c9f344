//! libvirt's networks, and where a machine is reached.

use std::net::IpAddr;
use std::time::Duration;

use berth_driver_api::{Address, Error, Machine, Progress, Result, mac};
use virt::domain::Interface;
use virt::error::ErrorNumber;
use virt::network::Network as VirtNetwork;
use virt::sys;

use crate::failure::failed;
use crate::hypervisor::{Hypervisor, blocking};
use crate::options::Network;
use crate::record::Record;

/// The user that berth's images let in.
const USER: &str = "root";

/// Refuses a network that the hypervisor does not have.
///
/// # Errors
/// If so, or if it does not answer.
pub(crate) fn check(hypervisor: &Hypervisor, name: &str) -> Result<()> {
    find(hypervisor, name).map(drop)
}

/// Starts a network that was stopped: a machine on it could not start.
///
/// # Errors
/// If it cannot be started.
pub(crate) fn ensure_active(
    hypervisor: &Hypervisor,
    name: &str,
    progress: &dyn Progress,
) -> Result<()> {
    let network = find(hypervisor, name)?;
    let what = format!("starting the network {name}");
    if blocking(|| network.is_active()).map_err(failed(&what))? {
        return Ok(());
    }
    match blocking(|| network.create()) {
        Ok(_) => {
            progress.note(&format!(
                "libvirt's network {name} was stopped, and is started"
            ));
            Ok(())
        }
        // Another machine's start was faster.
        Err(error) if error.code() == ErrorNumber::OperationInvalid => Ok(()),
        Err(error) => Err(failed(what)(error)),
    }
}

fn find(hypervisor: &Hypervisor, name: &str) -> Result<VirtNetwork> {
    blocking(|| VirtNetwork::lookup_by_name(&hypervisor.connection, name))
        .map_err(failed(format!("libvirt's network {name}")))
}

/// Where the machine's SSH server is reached.
///
/// # Errors
/// If that is not known, as of a machine that is off or has not yet booted.
pub(crate) fn address(
    hypervisor: &Hypervisor,
    machine: &Machine,
    record: &Record,
) -> Result<Address> {
    let of = |host: String, port: u16| Address {
        host,
        port,
        user: USER.into(),
        jump: hypervisor.uri.jump().into_iter().collect(),
        own: None,
    };
    if record.network.is_loopback() {
        let port = record
            .port
            .ok_or_else(|| Error::failed("the machine's address", "its record names no port"))?;
        return Ok(of("127.0.0.1".into(), port));
    }
    let ip = guest_address(hypervisor, machine, &record.network)?.ok_or_else(|| {
        Error::failed(
            "the machine's address",
            "neither a lease, nor the guest agent, nor the neighbours' table tells it (yet)",
        )
    })?;
    Ok(of(ip.to_string(), 22))
}

/// Returns when the machine's address is known.
///
/// # Errors
/// If the hypervisor does not answer.
pub(crate) async fn address_known(
    hypervisor: &Hypervisor,
    machine: &Machine,
    record: &Record,
) -> Result<()> {
    let mut pause = Duration::from_millis(200);
    while !record.network.is_loopback()
        && guest_address(hypervisor, machine, &record.network)?.is_none()
    {
        // libvirt has no event for a lease of one's own machine on another's network.
        tokio::time::sleep(pause).await;
        pause = (pause * 3 / 2).min(Duration::from_secs(2));
    }
    Ok(())
}

fn guest_address(
    hypervisor: &Hypervisor,
    machine: &Machine,
    network: &Network,
) -> Result<Option<IpAddr>> {
    let domain = hypervisor.existing(machine)?;
    let mac = mac(machine.id);
    let sources: &[sys::virDomainInterfaceAddressesSource] = match network {
        // libvirt serves the leases itself.
        Network::Named(_) => &[
            sys::VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_LEASE,
            sys::VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_ARP,
            sys::VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT,
        ],
        _ => &[
            sys::VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT,
            sys::VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_ARP,
        ],
    };
    for source in sources {
        // One that cannot tell, such as an agent that is not there, is no obstacle to the next one.
        match blocking(|| domain.interface_addresses(*source, 0)) {
            Ok(interfaces) => {
                if let Some(address) = address_of(&interfaces, &mac) {
                    return Ok(Some(address));
                }
            }
            Err(error) => tracing::debug!(machine = machine.name, "address: {}", error.message()),
        }
    }
    Ok(None)
}

/// The IPv4 address of the network card that berth gave the machine, else its IPv6 address.
fn address_of(interfaces: &[Interface], mac: &str) -> Option<IpAddr> {
    let addresses: Vec<IpAddr> = interfaces
        .iter()
        .filter(|interface| interface.hwaddr.eq_ignore_ascii_case(mac))
        .flat_map(|interface| &interface.addrs)
        .filter_map(|address| address.addr.parse().ok())
        .filter(|address| match address {
            IpAddr::V4(ip) => !ip.is_loopback() && !ip.is_link_local() && !ip.is_unspecified(),
            IpAddr::V6(ip) => {
                !ip.is_loopback() && !ip.is_unicast_link_local() && !ip.is_unspecified()
            }
        })
        .collect();
    let first = addresses.iter().find(|address| address.is_ipv4());
    first.or_else(|| addresses.first()).copied()
}

#[cfg(test)]
mod tests {
    use virt::domain::IPAddress;

    use super::*;

    fn interface(mac: &str, addresses: &[&str]) -> Interface {
        let address = |text: &&str| IPAddress {
            typed: 0,
            addr: (*text).into(),
            prefix: 24,
        };
        Interface {
            name: "vnet0".into(),
            hwaddr: mac.into(),
            naddrs: addresses.len() as u64,
            addrs: addresses.iter().map(address).collect(),
        }
    }

    #[test]
    fn the_address_is_that_of_berths_own_card() {
        let interfaces = [
            interface("00:00:00:00:00:00", &["127.0.0.1"]),
            interface("02:42:00:00:00:01", &["172.17.0.1"]),
            interface(
                "52:54:AA:00:00:01",
                &["fe80::1", "garbage", "2001:db8::7", "192.168.7.9"],
            ),
            interface("52:54:aa:00:00:02", &["2001:db8::8"]),
        ];
        let of = |mac| address_of(&interfaces, mac).map(|ip| ip.to_string());
        assert_eq!(of("52:54:aa:00:00:01").as_deref(), Some("192.168.7.9"));
        assert_eq!(of("52:54:aa:00:00:02").as_deref(), Some("2001:db8::8"));
        assert_eq!(of("52:54:aa:00:00:03"), None);
    }
}
