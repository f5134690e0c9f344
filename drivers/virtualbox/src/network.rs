//! The network that a machine is on besides VirtualBox's own: by a second card, since the first one leads to its SSH
//! server whatever becomes of the other.

use berth_driver_api::{Error, Machine, Result, mac, nearest};
use uuid::Uuid;

use crate::arguments::{Version, named, words};
use crate::vboxmanage::VBoxManage;

/// The name of the option, and of its value for no other network.
pub(crate) const OPTION: &str = "network";
pub(crate) const NAT: &str = "nat";

/// What comes before an interface's name in the others.
pub(crate) const HOST_ONLY: &str = "host-only:";
pub(crate) const BRIDGED: &str = "bridged:";

/// A network, by the interface of the host's that leads to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Network<'a> {
    /// Between this computer and its VMs.
    HostOnly(&'a str),
    /// That of one of the host's cards.
    Bridged(&'a str),
}

impl<'a> Network<'a> {
    /// The one that was asked for.
    pub(crate) fn of(machine: &'a Machine) -> Option<Network<'a>> {
        let value = machine.spec.option(OPTION, NAT);
        let host_only = value.strip_prefix(HOST_ONLY).map(Network::HostOnly);
        host_only.or_else(|| value.strip_prefix(BRIDGED).map(Network::Bridged))
    }

    fn interface(self) -> &'a str {
        match self {
            Network::HostOnly(name) | Network::Bridged(name) => name,
        }
    }

    /// `modifyvm`'s options for the second card, which is one of the kind `card` too.
    pub(crate) fn arguments(self, id: Uuid, card: &str, version: Version) -> Vec<String> {
        let named = |new, old| named(version, new, old);
        let (kind, adapter) = match self {
            Network::HostOnly(_) => (
                "hostonly",
                named("--host-only-adapter2", "--hostonlyadapter2"),
            ),
            Network::Bridged(_) => ("bridged", named("--bridge-adapter2", "--bridgeadapter2")),
        };
        words(&[
            "--nic2",
            kind,
            named("--nic-type2", "--nictype2"),
            card,
            named("--mac-address2", "--macaddress2"),
            &second_mac(id).replace(':', ""),
            adapter,
            self.interface(),
        ])
    }

    /// Refuses an interface that VirtualBox does not know: it would make the VM all the same, and not start it.
    ///
    /// # Errors
    /// If there is none of this name, or cloud-init might ask on it for the address that SSH is to answer at.
    pub(crate) async fn check(self, tool: &VBoxManage, machine: &Machine) -> Result<()> {
        let refuse = |reason: String| Error::InvalidOption {
            option: OPTION.into(),
            value: machine.spec.option(OPTION, NAT).into(),
            reason,
        };
        if machine.seed.is_some() {
            let reason =
                "is for images of berth's: cloud-init sets up one card, and that might be this one";
            return Err(refuse(reason.into()));
        }
        let list = match self {
            Network::HostOnly(_) => "hostonlyifs",
            Network::Bridged(_) => "bridgedifs",
        };
        let listed = tool.run(&words(&["list", list])).await?;
        let known: Vec<&str> = values(&listed, "Name").collect();
        if known.contains(&self.interface()) {
            return Ok(());
        }
        Err(refuse(self.unknown(&known)))
    }

    fn unknown(self, known: &[&str]) -> String {
        let told = match (nearest(self.interface(), known), self) {
            (Some(name), _) => format!("did you mean {name}?"),
            (None, Network::HostOnly(_)) if known.is_empty() => {
                "there is none: `VBoxManage hostonlyif create` makes one".into()
            }
            (None, _) => format!("there are: {}", known.join(", ")),
        };
        format!("names no such interface of VirtualBox's: {told}")
    }

    /// The address that the guest was given there, where VirtualBox gave it.
    pub(crate) async fn address(self, machine: &Machine) -> Option<String> {
        let Network::HostOnly(interface) = self else {
            // Only the guest knows, and berth's have no Guest Additions.
            return None;
        };
        let mac = second_mac(machine.id);
        let find = words(&[
            "dhcpserver",
            "findlease",
            &format!("--interface={interface}"),
            &format!("--mac-address={mac}"),
        ]);
        let asked = async { VBoxManage::find().await?.run(&find).await };
        match asked.await {
            Ok(told) => values(&told, "IP Address").next().map(str::to_owned),
            // None is no more than that: it was never up.
            Err(error) => {
                tracing::debug!(machine = machine.name, "no lease: {error}");
                None
            }
        }
    }
}

/// The second card's address, as the first one's the machine's from start to start.
fn second_mac(id: Uuid) -> String {
    mac(id).replacen("52:", "56:", 1)
}

/// What lines of this name say.
fn values<'a>(told: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    told.lines()
        .filter_map(move |line| line.strip_prefix(name)?.strip_prefix(':'))
        .map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of VirtualBox 7.2.22, shortened; the second one's name as macOS has them.
    const LISTED: &str = "\
Name:            eth0
GUID:            effffff9-7b97-44b7-8000-02fc00000001
IPAddress:       192.0.2.2
VBoxNetworkName: HostInterfaceNetworking-eth0

Name:            en0: Wi-Fi (AirPort)
Status:          Up
";

    #[test]
    fn the_second_card_is_asked_for_in_each_versions_words() {
        let told = |network: Network, version| {
            let arguments = network.arguments(Uuid::from_u128(7), "virtio", version);
            arguments.join(" ")
        };
        assert_eq!(
            told(Network::HostOnly("vboxnet0"), (7, 2)),
            "--nic2 hostonly --nic-type2 virtio --mac-address2 565400000007 --host-only-adapter2 vboxnet0"
        );
        assert_eq!(
            told(Network::HostOnly("vboxnet0"), (6, 1)),
            "--nic2 hostonly --nictype2 virtio --macaddress2 565400000007 --hostonlyadapter2 vboxnet0"
        );
        assert!(
            told(Network::Bridged("en0: Wi-Fi"), (7, 0)).ends_with("--bridge-adapter2 en0: Wi-Fi")
        );
        assert!(told(Network::Bridged("eth0"), (6, 1)).ends_with("--bridgeadapter2 eth0"));
    }

    #[test]
    fn interfaces_and_leases_are_read() {
        let names: Vec<&str> = values(LISTED, "Name").collect();
        assert_eq!(names, ["eth0", "en0: Wi-Fi (AirPort)"]);
        let lease =
            "IP Address:  192.168.56.101\nMAC Address: 56:54:00:00:00:07\nState:       acked\n";
        assert_eq!(values(lease, "IP Address").next(), Some("192.168.56.101"));
    }

    #[test]
    fn who_names_none_is_told_of_those_that_there_are() {
        let told = |network: Network, known: &[&str]| network.unknown(known);
        assert!(told(Network::Bridged("eth1"), &["eth0", "wlan0"]).ends_with("did you mean eth0?"));
        assert!(told(Network::Bridged("xyz"), &["eth0", "wlan0"]).ends_with("are: eth0, wlan0"));
        let none = told(Network::HostOnly("vboxnet0"), &[]);
        assert!(none.contains("hostonlyif create"), "{none}");
    }
}
