//! What is set aside for one network card: an address, and what to boot.

use std::net::Ipv4Addr;

/// A boot file's name or URL that cannot be put into a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBootFile {
    /// Nothing at all.
    #[error("boot file name is empty")]
    Empty,
    /// Longer than option 67 carries.
    #[error("boot file name has {0} octets, option 67 carries 255")]
    TooLong(usize),
    /// Blanks or characters that are not printable ASCII; firmware cuts or misreads them.
    #[error("boot file name holds a blank or a character that is not ASCII")]
    InvalidCharacter,
}

/// A file name for TFTP, or a URL: 1 to 255 printable ASCII octets without blanks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootFile(String);

impl BootFile {
    /// Checks a name.
    ///
    /// # Errors
    /// [`InvalidBootFile`]: choose another name; it could not be told to firmware.
    pub fn new(name: impl Into<String>) -> Result<Self, InvalidBootFile> {
        let name = name.into();
        match name.len() {
            0 => Err(InvalidBootFile::Empty),
            1..=255 if name.bytes().all(|octet| octet.is_ascii_graphic()) => Ok(Self(name)),
            1..=255 => Err(InvalidBootFile::InvalidCharacter),
            length => Err(InvalidBootFile::TooLong(length)),
        }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a client is to boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boot {
    /// The TFTP server; `None` is the answering replica itself.
    pub next_server: Option<Ipv4Addr>,
    /// A file name for [`Pxe`](crate::Client::Pxe), a URL for [`Http`](crate::Client::Http), either for [`Ipxe`](crate::Client::Ipxe).
    pub file: BootFile,
}

/// What is set aside for one network card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    /// Its address.
    pub address: Ipv4Addr,
    /// The length of the network's prefix, 0 to 32; more counts as 32.
    pub prefix: u8,
    /// The way out of the network.
    pub router: Option<Ipv4Addr>,
    /// Name servers; the first three are told.
    pub dns: Vec<Ipv4Addr>,
    /// How long the address may be used before it is asked for again.
    pub lease_seconds: u32,
    /// A host name of at most 63 octets; a longer one is not told.
    pub host_name: Option<String>,
    /// What to boot. `None`, and any [`System`](crate::Client::System), gets an address and nothing else.
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
