//! What passes between a frozen guest that goes on as another machine, and whoever has it do so.

use std::any::Any;
use std::net::Ipv4Addr;

/// The virtio port at which a program in a frozen guest waits for lines. It answers them with one line, which is
/// [`DONE`] or what went wrong.
pub const PORT: &str = "dev.berth.renew.0";

/// The guest is another machine now.
pub const DONE: &str = "done";

/// What the guest's program is told, of a guest whose place in its network is known before it is there.
pub type Words<'a> = dyn Fn(Option<&Place>) -> String + Sync + 'a;

/// A guest's place in a network whose only guest it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The guest's address.
    pub address: Ipv4Addr,
    /// The length of the network's prefix, in bits (0 to 32).
    pub prefix: u8,
    /// Where everything else is reached.
    pub gateway: Ipv4Addr,
    /// Who knows names.
    pub name_server: Ipv4Addr,
}

impl Place {
    /// The network's prefix as a mask.
    pub fn netmask(&self) -> Ipv4Addr {
        let zeros = 32_u32.saturating_sub(self.prefix.into());
        Ipv4Addr::from_bits(u32::MAX.checked_shl(zeros).unwrap_or_default())
    }
}

/// What a guest leaves for later when it has become another machine: it is done when this is dropped, when nobody waits
/// for the guest any more, or the process ends.
pub struct Rest(#[expect(dead_code, reason = "only its end counts")] Box<dyn Any + Send + Sync>);

impl Rest {
    /// The guest does it when `held` is dropped.
    pub fn until_dropped(held: impl Any + Send + Sync) -> Self {
        Rest(Box::new(held))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_a_mask() {
        let mask = |prefix| {
            let any = Ipv4Addr::UNSPECIFIED;
            let place = Place {
                address: any,
                prefix,
                gateway: any,
                name_server: any,
            };
            place.netmask().to_string()
        };
        assert_eq!(mask(24), "255.255.255.0");
        assert_eq!(mask(32), "255.255.255.255");
        assert_eq!(mask(0), "0.0.0.0");
    }
}
