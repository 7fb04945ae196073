//! Addresses by what lies behind them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// How far a permitted host may lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// In the internet.
    Public,
    /// Also in the operator's own networks and on this machine, but nowhere where machines are told who they are.
    Private,
}

impl Reach {
    /// Whether a host within this reach may be connected to at `address`.
    pub fn permits(self, address: IpAddr) -> bool {
        match (self, address) {
            (_, IpAddr::V4(address)) if tells_credentials_v4(address) => false,
            (_, IpAddr::V6(address)) if tells_credentials_v6(address) => false,
            (Self::Public, IpAddr::V4(address)) => is_public_v4(address),
            (Self::Public, IpAddr::V6(address)) => is_public_v6(address),
            (Self::Private, IpAddr::V4(address)) => is_public_v4(address) || is_own_v4(address),
            (Self::Private, IpAddr::V6(address)) => is_public_v6(address) || is_own_v6(address),
        }
    }
}

type V4Block = ([u8; 4], u32);
type V6Block = ([u16; 8], u32);

/// What IANA has set aside of IPv4 (RFC 6890 and its successors), and clouds for their own.
const SPECIAL_V4: [V4Block; 17] = [
    ([0, 0, 0, 0], 8),
    ([10, 0, 0, 0], 8),
    // carrier-grade NAT
    ([100, 64, 0, 0], 10),
    ([127, 0, 0, 0], 8),
    ([169, 254, 0, 0], 16),
    ([172, 16, 0, 0], 12),
    ([192, 0, 0, 0], 24),
    ([192, 0, 2, 0], 24),
    // AS112
    ([192, 31, 196, 0], 24),
    // relays from IPv6
    ([192, 52, 193, 0], 24),
    ([192, 88, 99, 0], 24),
    ([192, 168, 0, 0], 16),
    // benchmarks
    ([198, 18, 0, 0], 15),
    ([198, 51, 100, 0], 24),
    ([203, 0, 113, 0], 24),
    // multicast, and all that is reserved above it
    ([224, 0, 0, 0], 4),
    ([240, 0, 0, 0], 4),
];
const OWN_V4: [V4Block; 5] = [
    ([10, 0, 0, 0], 8),
    ([100, 64, 0, 0], 10),
    ([127, 0, 0, 0], 8),
    ([172, 16, 0, 0], 12),
    ([192, 168, 0, 0], 16),
];
/// Metadata servers of clouds: link-local, Alibaba's, Azure's.
const METADATA_V4: [V4Block; 3] =
    [([169, 254, 0, 0], 16), ([100, 100, 100, 200], 32), ([168, 63, 129, 16], 32)];

/// What IANA has set aside within global unicast, above all what holds an IPv4 address in itself.
const SPECIAL_V6: [V6Block; 4] = [
    // Teredo, ORCHID and other protocols
    ([0x2001, 0, 0, 0, 0, 0, 0, 0], 23),
    ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32),
    // 6to4
    ([0x2002, 0, 0, 0, 0, 0, 0, 0], 16),
    ([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20),
];
/// Of all the rest nothing is public: neither v4-mapped addresses, nor NAT64, nor unique local or link-local ones.
const GLOBAL_UNICAST: V6Block = ([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);
const OWN_V6: [V6Block; 2] = [([0, 0, 0, 0, 0, 0, 0, 1], 128), ([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7)];
/// Link-local, and Amazon's.
const METADATA_V6: [V6Block; 2] =
    [([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10), ([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0], 32)];

fn is_public_v4(address: Ipv4Addr) -> bool {
    !within_v4(address, &SPECIAL_V4)
}

fn is_own_v4(address: Ipv4Addr) -> bool {
    within_v4(address, &OWN_V4)
}

fn tells_credentials_v4(address: Ipv4Addr) -> bool {
    within_v4(address, &METADATA_V4)
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    within_v6(address, &[GLOBAL_UNICAST]) && !within_v6(address, &SPECIAL_V6) && !is_isatap(address)
}

fn is_own_v6(address: Ipv6Addr) -> bool {
    within_v6(address, &OWN_V6)
}

fn tells_credentials_v6(address: Ipv6Addr) -> bool {
    within_v6(address, &METADATA_V6)
}

/// An IPv4 address in the lower half (RFC 5214), whatever the network above it.
fn is_isatap(address: Ipv6Addr) -> bool {
    let [.., high, marker, _, _] = address.segments();
    marker == 0x5efe && matches!(high, 0 | 0x200)
}

fn within_v4(address: Ipv4Addr, blocks: &[V4Block]) -> bool {
    let address = address.to_bits();
    blocks.iter().any(|(block, length)| {
        let mask = u32::MAX.checked_shl(32 - length).unwrap_or_default();
        address & mask == u32::from_be_bytes(*block) & mask
    })
}

fn within_v6(address: Ipv6Addr, blocks: &[V6Block]) -> bool {
    let address = address.to_bits();
    blocks.iter().any(|(block, length)| {
        let mask = u128::MAX.checked_shl(128 - length).unwrap_or_default();
        address & mask == Ipv6Addr::from(*block).to_bits() & mask
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_the_internet_is_public() {
        for public in ["1.1.1.1", "9.255.255.255", "100.128.0.0", "172.32.0.1", "8.8.8.8", "2606:4700::1"] {
            assert!(Reach::Public.permits(public.parse().unwrap()), "{public}");
        }
        for other in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.100.100.200",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.254",
            "168.63.129.16",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "203.0.113.9",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:8.8.8.8",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::1",
            "2606:4700::5efe:127.0.0.1",
            "3fff::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!Reach::Public.permits(other.parse().unwrap()), "{other}");
        }
    }

    #[test]
    fn the_operators_own_networks_do_not_hold_the_metadata_servers() {
        for own in
            ["127.0.0.1", "10.1.2.3", "172.20.0.1", "192.168.0.9", "100.64.0.1", "::1", "fd12::1", "8.8.8.8"]
        {
            assert!(Reach::Private.permits(own.parse().unwrap()), "{own}");
        }
        for other in [
            "0.0.0.0",
            "169.254.169.254",
            "100.100.100.200",
            "168.63.129.16",
            "224.0.0.1",
            "::",
            "::ffff:10.0.0.1",
            "64:ff9b::a00:1",
            "fd00:ec2::254",
            "fe80::1",
        ] {
            assert!(!Reach::Private.permits(other.parse().unwrap()), "{other}");
        }
    }
}
