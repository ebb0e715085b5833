//! Reservations: the address and the boot file of a NIC.

use std::net::Ipv4Addr;

/// Reason why a boot file cannot be put into a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBootFile {
    /// It is empty.
    #[error("boot file name is empty")]
    Empty,
    /// It is longer than option 67.
    #[error("boot file name has {0} octets, option 67 carries 255")]
    TooLong(usize),
    /// It contains blanks or characters other than printable ASCII, which firmware truncates or misreads.
    #[error("boot file name holds a blank or a character that is not ASCII")]
    InvalidCharacter,
}

/// File name for TFTP, or URL: 1 to 255 printable ASCII characters without blanks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootFile(String);

impl BootFile {
    /// Checks a file name or URL.
    ///
    /// # Errors
    /// [`InvalidBootFile`] if it is empty, too long or contains an invalid character.
    pub fn new(name: impl Into<String>) -> Result<Self, InvalidBootFile> {
        let name = name.into();
        match name.len() {
            0 => Err(InvalidBootFile::Empty),
            1..=255 if name.bytes().all(|octet| octet.is_ascii_graphic()) => Ok(Self(name)),
            1..=255 => Err(InvalidBootFile::InvalidCharacter),
            length => Err(InvalidBootFile::TooLong(length)),
        }
    }

    /// Returns the name or URL.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Boot file of a client, and its server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boot {
    /// TFTP server; `None` for the replica that replies.
    pub next_server: Option<Ipv4Addr>,
    /// File name for [`Pxe`](crate::Client::Pxe), a URL for [`Http`](crate::Client::Http), either for [`Ipxe`](crate::Client::Ipxe).
    pub file: BootFile,
}

/// Reservation for a NIC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    /// Address.
    pub address: Ipv4Addr,
    /// Prefix length of the network, 0 to 32. Larger values count as 32.
    pub prefix: u8,
    /// Default router.
    pub router: Option<Ipv4Addr>,
    /// Name servers; replies have the first three.
    pub dns: Vec<Ipv4Addr>,
    /// Lease time, in seconds.
    pub lease_seconds: u32,
    /// Host name of at most 63 octets; a longer one is left out.
    pub host_name: Option<String>,
    /// Boot file. A [`System`](crate::Client::System) gets none.
    pub boot: Option<Boot>,
}

impl Reservation {
    pub(crate) fn netmask(&self) -> Ipv4Addr {
        let host_bits = 32u32.saturating_sub(self.prefix.into());
        Ipv4Addr::from(u32::MAX.checked_shl(host_bits).unwrap_or(0))
    }

    pub(crate) fn contains(&self, address: Ipv4Addr) -> bool {
        let mask = u32::from(self.netmask());
        u32::from(address) & mask == u32::from(self.address) & mask
    }

    pub(crate) fn broadcast_address(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.address) | !u32::from(self.netmask()))
    }
}
