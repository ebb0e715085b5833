//! Classifies captured frames: what is TLS, what is known to be in clear, and everything else.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Bytes of a stream that may wait for a lost segment.
const MAX_WAITING_BYTES: usize = 4 << 20;
/// Maximum length of a TLS record (RFC 8446 §5.2).
const MAX_RECORD_BYTES: usize = 16_384 + 256;
/// Length of a TLS record's header.
const HEADER_BYTES: usize = 5;
/// Content types with which a connection begins: an alert refuses it, and a handshake begins it (RFC 8446 §5.1).
const FIRST_TYPES: std::ops::RangeInclusive<u8> = 21..=22;
/// All content types, from `change_cipher_spec` to `application_data`.
const CONTENT_TYPES: std::ops::RangeInclusive<u8> = 20..=23;
/// Number of a stream's first bytes that a finding shows.
const SHOWN_BYTES: usize = 16;

/// UDP ports of boot traffic: DHCP and DHCPv6. TFTP is recognized by its requests.
const BOOT_UDP: [u16; 4] = [67, 68, 546, 547];
/// UDP port of TFTP's requests.
const TFTP: u16 = 69;
/// TCP ports of boot traffic in clear on provisioning networks: boot files, images, Ironic's agents.
const BOOT_TCP: [u16; 3] = [8080, 8081, 6386];

/// Kind of the network that a frame was captured on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// Between hosts: everything is TLS.
    Datacenter,
    /// Between hosts and machines: machines that boot speak in clear.
    Provisioning,
}

/// One direction of a TCP connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Way {
    from: SocketAddr,
    to: SocketAddr,
}

/// What is known of one direction of a TCP connection.
#[derive(Debug, Default)]
struct Stream {
    /// Sequence number of the next byte; `None` before the first segment with one.
    next: Option<u32>,
    /// Segments that came early, by their distance in bytes from the initial number.
    waiting: BTreeMap<u32, Vec<u8>>,
    /// The beginning of the present record.
    header: Vec<u8>,
    /// Bytes of the present record that are still to come.
    rest: usize,
    /// Whether a record was complete.
    has_record: bool,
    state: Judgement,
}

/// Judgement of a stream.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Judgement {
    /// All of it was TLS so far.
    #[default]
    Tls,
    /// It is not TLS.
    Clear,
    /// Frames are missing from the capture.
    Incomplete,
}

/// Everything that was captured.
#[derive(Debug, Default)]
pub struct Traffic {
    streams: BTreeMap<Way, Stream>,
    /// Addresses from which TFTP was requested.
    tftp: BTreeSet<SocketAddr>,
    findings: BTreeSet<String>,
    tls: usize,
    incomplete: usize,
    boot: usize,
}

impl Traffic {
    /// Everything that was neither TLS nor expected in clear.
    #[must_use]
    pub const fn findings(&self) -> &BTreeSet<String> {
        &self.findings
    }

    /// Number of streams (directions of TCP connections) that carried complete TLS records.
    #[must_use]
    pub const fn tls_streams(&self) -> usize {
        self.tls
    }

    /// Number of streams of which frames are missing, so that not all of them was read.
    #[must_use]
    pub fn incomplete_streams(&self) -> usize {
        self.incomplete + self.streams.values().filter(|stream| !stream.waiting.is_empty()).count()
    }

    /// Number of frames of boot traffic on provisioning networks.
    #[must_use]
    pub const fn boot_frames(&self) -> usize {
        self.boot
    }

    /// Reads one Ethernet frame. A frame that is cut short is a finding.
    pub fn frame(&mut self, network: Network, frame: &[u8]) {
        if self.read(network, frame).is_none() {
            self.find(format!("{network:?}: a malformed frame: {}", hex(frame)));
        }
    }

    fn read(&mut self, network: Network, frame: &[u8]) -> Option<()> {
        let kind = be16(frame, 12)?;
        let packet = frame.get(14..)?;
        match kind {
            // ARP.
            0x0806 => Some(()),
            0x0800 => {
                let header = usize::from(packet.first()? & 0x0f) * 4;
                let length = usize::from(be16(packet, 2)?);
                // Fragments have no ports; nothing here sends packets that need any.
                let is_fragment = be16(packet, 6)? & 0x3fff != 0;
                let from = Ipv4Addr::from(<[u8; 4]>::try_from(packet.get(12..16)?).ok()?);
                let to = Ipv4Addr::from(<[u8; 4]>::try_from(packet.get(16..20)?).ok()?);
                let protocol = if is_fragment { 0xff } else { *packet.get(9)? };
                self.transport(network, [from.into(), to.into()], protocol, packet.get(header..length)?)
            }
            0x86dd => {
                let length = 40 + usize::from(be16(packet, 4)?);
                let from = Ipv6Addr::from(<[u8; 16]>::try_from(packet.get(8..24)?).ok()?);
                let to = Ipv6Addr::from(<[u8; 16]>::try_from(packet.get(24..40)?).ok()?);
                let (mut protocol, mut payload) = (*packet.get(6)?, packet.get(40..length)?);
                // Hop-by-hop options come before reports of multicast listeners (RFC 3810 §5).
                if protocol == 0 {
                    let options = (usize::from(*payload.get(1)?) + 1) * 8;
                    (protocol, payload) = (*payload.first()?, payload.get(options..)?);
                }
                self.transport(network, [from.into(), to.into()], protocol, payload)
            }
            other => {
                self.find(format!("{network:?}: a frame of EtherType {other:#06x}"));
                Some(())
            }
        }
    }

    fn transport(&mut self, network: Network, ends: [IpAddr; 2], protocol: u8, payload: &[u8]) -> Option<()> {
        let [from, to] = ends;
        let way = || Some(Way { from: (from, be16(payload, 0)?).into(), to: (to, be16(payload, 2)?).into() });
        match protocol {
            // ICMP, ICMPv6.
            1 | 58 => {}
            6 => {
                let way = way()?;
                let boot = |port| network == Network::Provisioning && BOOT_TCP.contains(&port);
                if boot(way.from.port()) || boot(way.to.port()) {
                    self.boot += 1;
                } else {
                    self.tcp(way, payload)?;
                }
            }
            17 => {
                let way = way()?;
                if !(network == Network::Provisioning && self.is_boot(way)) {
                    self.find(format!("{network:?}: UDP {} > {}", way.from, shown(way.to)));
                } else {
                    self.boot += 1;
                }
            }
            other => self.find(format!("{network:?}: IP protocol {other} {from} > {to}")),
        }
        Some(())
    }

    fn is_boot(&mut self, way: Way) -> bool {
        if way.to.port() == TFTP {
            self.tftp.insert(way.from);
        }
        let ends = [way.from, way.to];
        // A transfer has ports of its own (RFC 1350 §4).
        ends.iter().any(|end| BOOT_UDP.contains(&end.port()) || self.tftp.contains(end))
    }

    fn tcp(&mut self, way: Way, segment: &[u8]) -> Option<()> {
        let number = u32::from_be_bytes(segment.get(4..8)?.try_into().ok()?);
        let header = usize::from(segment.get(12)? >> 4) * 4;
        let is_syn = segment.get(13)? & 0x02 != 0;
        let payload = segment.get(header..)?;
        if is_syn {
            let next = Some(number.wrapping_add(1));
            // A repeated SYN is of the same connection.
            if self.streams.get(&way).is_none_or(|stream| stream.next != next) {
                self.streams.insert(way, Stream { next, ..Stream::default() });
            }
            return Some(());
        }
        if payload.is_empty() {
            return Some(());
        }
        let stream = self.streams.entry(way).or_default();
        let before = (stream.state, stream.has_record);
        let shown_bytes = stream.segment(number, payload);
        let after = (stream.state, stream.has_record);
        self.tls += usize::from(after.1 && !before.1);
        if after.0 != before.0 {
            match after.0 {
                Judgement::Tls => {}
                Judgement::Incomplete => self.incomplete += 1,
                Judgement::Clear => {
                    let bytes = hex(&shown_bytes.unwrap_or_default());
                    self.find(format!("TCP {} > {}: not TLS: {bytes}", shown(way.from), shown(way.to)));
                }
            }
        }
        Some(())
    }

    fn find(&mut self, finding: String) {
        self.findings.insert(finding);
    }
}

impl Stream {
    /// Reads a segment. Returns the bytes that are not TLS.
    fn segment(&mut self, number: u32, payload: &[u8]) -> Option<Vec<u8>> {
        if self.state != Judgement::Tls {
            return None;
        }
        let Some(next) = self.next else {
            // The connection is older than the capture: where its records begin is not known.
            self.state = Judgement::Incomplete;
            return None;
        };
        // Half of the numbers are before the next one (RFC 9293 §3.4).
        let ahead = number.wrapping_sub(next);
        if ahead > u32::MAX / 2 {
            let known = usize::try_from(next.wrapping_sub(number)).unwrap_or(usize::MAX);
            return payload.get(known..).filter(|new| !new.is_empty()).and_then(|new| self.segment(next, new));
        }
        if ahead > 0 {
            self.waiting.insert(number, payload.to_vec());
            if self.waiting.values().map(Vec::len).sum::<usize>() > MAX_WAITING_BYTES {
                self.state = Judgement::Incomplete;
                self.waiting.clear();
            }
            return None;
        }
        self.next = Some(next.wrapping_add(u32::try_from(payload.len()).unwrap_or(u32::MAX)));
        let odd = self.records(payload);
        if odd.is_some() {
            return odd;
        }
        let next = self.next?;
        let due = self.waiting.iter().find(|(number, _)| next.wrapping_sub(**number) <= u32::MAX / 2);
        let number = *due?.0;
        let waited = self.waiting.remove(&number)?;
        self.segment(number, &waited)
    }

    /// Reads bytes in their order. Returns those that are not TLS.
    fn records(&mut self, mut bytes: &[u8]) -> Option<Vec<u8>> {
        while !bytes.is_empty() {
            if self.rest > 0 {
                let taken = self.rest.min(bytes.len());
                self.rest -= taken;
                bytes = bytes.get(taken..).unwrap_or_default();
                self.has_record |= self.rest == 0;
                continue;
            }
            let taken = (HEADER_BYTES - self.header.len()).min(bytes.len());
            self.header.extend(bytes.iter().take(taken));
            bytes = bytes.get(taken..).unwrap_or_default();
            if !self.is_record() {
                self.state = Judgement::Clear;
                let all = self.header.iter().chain(bytes).take(SHOWN_BYTES).copied();
                return Some(all.collect());
            }
            if let [_, _, _, high, low] = self.header[..] {
                self.rest = usize::from(u16::from_be_bytes([high, low]));
                self.header.clear();
            }
        }
        None
    }

    /// Whether the header, as far as it is there, is that of a TLS record: type, version 3.x, length.
    fn is_record(&self) -> bool {
        let kind = |kind: &u8| if self.has_record { CONTENT_TYPES.contains(kind) } else { FIRST_TYPES.contains(kind) };
        let lengths = self.header.get(3..5).and_then(|length| <[u8; 2]>::try_from(length).ok());
        let length = lengths.map(|length| usize::from(u16::from_be_bytes(length)));
        self.header.first().is_none_or(kind)
            && self.header.get(1).is_none_or(|major| *major == 3)
            && self.header.get(2).is_none_or(|minor| *minor <= 4)
            && length.is_none_or(|length| (1..=MAX_RECORD_BYTES).contains(&length))
    }
}

/// An address without a port of the kind that a client gets by chance, so that equal findings are one.
fn shown(end: SocketAddr) -> String {
    if end.port() >= 32_768 { end.ip().to_string() } else { end.to_string() }
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2).and_then(|pair| pair.try_into().ok()).map(u16::from_be_bytes)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().take(SHOWN_BYTES).fold(String::new(), |mut text, byte| {
        // Writing to memory does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests;
