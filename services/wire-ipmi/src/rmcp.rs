//! Headers of a datagram: RMCP, the presence ping, and the two session headers (IPMI 2.0 §13.1 to §13.6).

#![deny(clippy::arithmetic_side_effects)]

use crate::Malformed;
use crate::read::Reader;

/// Size of the RMCP header, in octets: version, reserved, sequence number, class.
pub(crate) const HEADER: usize = 4;
/// Maximum size of a datagram, in octets. IPMI messages over LAN have payloads below 256 octets.
pub const MAX_DATAGRAM: usize = 1_024;

const VERSION: u8 = 0x06;
/// Sequence number for "no acknowledgement" (ASF 2.0 §3.2.2.2), the only one that IPMI uses.
const UNACKNOWLEDGED: u8 = 0xff;
const CLASS_ASF: u8 = 0x06;
const CLASS_IPMI: u8 = 0x07;
const ASF_ENTERPRISE: [u8; 4] = [0, 0, 0x11, 0xbe];
const ASF_PING: u8 = 0x80;
const ASF_PONG: u8 = 0x40;
const AUTHENTICATION_NONE: u8 = 0x00;
const AUTHENTICATION_PLUS: u8 = 0x06;
const ENCRYPTED: u8 = 0x80;
const AUTHENTICATED: u8 = 0x40;
/// Size of an IPMI 2.0 session header, in octets: authentication type, payload type, session, sequence, length.
const SESSION_HEADER: usize = 12;
/// Size of the pad length and the next header, in octets.
const TRAILER: usize = 2;
const NEXT_HEADER: u8 = 0x07;

/// Payload types (IPMI 2.0 Table 13-16).
pub(crate) mod payload {
    pub(crate) const MESSAGE: u8 = 0x00;
    pub(crate) const OPEN_REQUEST: u8 = 0x10;
    pub(crate) const OPEN_RESPONSE: u8 = 0x11;
    pub(crate) const RAKP_1: u8 = 0x12;
    pub(crate) const RAKP_2: u8 = 0x13;
    pub(crate) const RAKP_3: u8 = 0x14;
    pub(crate) const RAKP_4: u8 = 0x15;
}

/// Content of a datagram.
#[derive(Debug)]
pub(crate) enum Datagram<'a> {
    /// Presence ping, with the tag that the pong repeats.
    Ping { tag: u8 },
    /// Message outside any session, with an IPMI 1.5 header.
    Sessionless(&'a [u8]),
    /// Payload with an IPMI 2.0 header.
    Plus(Packet<'a>),
}

/// A payload with its IPMI 2.0 session header.
#[derive(Debug)]
pub(crate) struct Packet<'a> {
    pub(crate) kind: u8,
    pub(crate) session: u32,
    pub(crate) sequence: u32,
    pub(crate) payload: &'a [u8],
    pub(crate) protection: Protection<'a>,
}

/// Protection of a payload, by the two highest bits of its type.
#[derive(Debug)]
pub(crate) enum Protection<'a> {
    /// Neither encrypted nor signed: the handshake.
    Plain,
    /// Encrypted and signed. `signed` goes from the authentication type to the next header octet; `trailer` is the rest.
    Sealed { signed: &'a [u8], trailer: &'a [u8] },
    /// Only one of both, which no supported suite uses.
    Partial,
}

impl<'a> Datagram<'a> {
    pub(crate) fn decode(bytes: &'a [u8]) -> Result<Self, Malformed> {
        if bytes.len() > MAX_DATAGRAM {
            return Err(Malformed::Foreign);
        }
        let mut header = Reader::new(bytes);
        let [version, _, _, class] = header.array()?;
        match (version, class) {
            (VERSION, CLASS_ASF) => ping(header),
            (VERSION, CLASS_IPMI) => session(header.rest()),
            _ => Err(Malformed::Foreign),
        }
    }
}

fn ping(mut body: Reader<'_>) -> Result<Datagram<'_>, Malformed> {
    let enterprise: [u8; 4] = body.array()?;
    let [kind, tag, _, _] = body.array()?;
    match (enterprise, kind) {
        (ASF_ENTERPRISE, ASF_PING) => Ok(Datagram::Ping { tag }),
        _ => Err(Malformed::Foreign),
    }
}

fn session(bytes: &[u8]) -> Result<Datagram<'_>, Malformed> {
    let mut header = Reader::new(bytes);
    match header.octet()? {
        AUTHENTICATION_NONE => {
            let (_sequence, session, length) = (header.long()?, header.long()?, header.octet()?);
            if session != 0 {
                // Sessions of IPMI 1.5 are not supported.
                return Err(Malformed::Foreign);
            }
            Ok(Datagram::Sessionless(header.take(usize::from(length))?))
        }
        AUTHENTICATION_PLUS => packet(bytes, header).map(Datagram::Plus),
        _ => Err(Malformed::Foreign),
    }
}

fn packet<'a>(bytes: &'a [u8], mut header: Reader<'a>) -> Result<Packet<'a>, Malformed> {
    let (kind, session, sequence) = (header.octet()?, header.long()?, header.long()?);
    let length = usize::from(header.short()?);
    let payload = header.take(length)?;
    let protection = match (kind & ENCRYPTED != 0, kind & AUTHENTICATED != 0) {
        (false, false) => Protection::Plain,
        (true, true) => {
            let end = SESSION_HEADER.saturating_add(length).saturating_add(padding(length)).saturating_add(TRAILER);
            let (signed, trailer) = bytes.split_at_checked(end).ok_or(Malformed::Truncated)?;
            Protection::Sealed { signed, trailer }
        }
        _ => Protection::Partial,
    };
    Ok(Packet { kind: kind & !(ENCRYPTED | AUTHENTICATED), session, sequence, payload, protection })
}

/// Returns the number of octets 0xff that pad the signed part to a multiple of four (IPMI 2.0 Table 13-8, "Integrity PAD").
const fn padding(length: usize) -> usize {
    let unpadded = SESSION_HEADER.saturating_add(length).saturating_add(TRAILER);
    unpadded.next_multiple_of(4).saturating_sub(unpadded)
}

/// Encodes an unprotected payload of the handshake.
pub(crate) fn plain(kind: u8, payload: &[u8]) -> Vec<u8> {
    plus(kind, 0, 0, payload)
}

/// Encodes an encrypted message up to its next header octet, without the integrity check value.
pub(crate) fn sealed(session: u32, sequence: u32, payload: &[u8]) -> Vec<u8> {
    let mut datagram = plus(payload::MESSAGE | ENCRYPTED | AUTHENTICATED, session, sequence, payload);
    let pad = padding(payload.len());
    datagram.extend(std::iter::repeat_n(0xff, pad));
    datagram.extend([u8::try_from(pad).unwrap_or(0), NEXT_HEADER]);
    datagram
}

fn plus(kind: u8, session: u32, sequence: u32, payload: &[u8]) -> Vec<u8> {
    let mut datagram = vec![VERSION, 0, UNACKNOWLEDGED, CLASS_IPMI, AUTHENTICATION_PLUS, kind];
    datagram.extend(session.to_le_bytes());
    datagram.extend(sequence.to_le_bytes());
    datagram.extend(u16::try_from(payload.len()).unwrap_or(u16::MAX).to_le_bytes());
    datagram.extend_from_slice(payload);
    datagram
}

/// Encodes a message outside any session, with an IPMI 1.5 header.
pub(crate) fn sessionless(message: &[u8]) -> Vec<u8> {
    let length = u8::try_from(message.len()).unwrap_or(u8::MAX);
    let mut datagram =
        vec![VERSION, 0, UNACKNOWLEDGED, CLASS_IPMI, AUTHENTICATION_NONE, 0, 0, 0, 0, 0, 0, 0, 0, length];
    datagram.extend_from_slice(message);
    datagram
}

/// Encodes a presence pong (IPMI 2.0 Table 13-7).
pub(crate) fn pong(tag: u8) -> Vec<u8> {
    const IPMI_SUPPORTED: u8 = 0x81;
    let mut datagram = vec![VERSION, 0, UNACKNOWLEDGED, CLASS_ASF];
    datagram.extend(ASF_ENTERPRISE);
    datagram.extend([ASF_PONG, tag, 0, 16]);
    datagram.extend(ASF_ENTERPRISE);
    datagram.extend([0, 0, 0, 0, IPMI_SUPPORTED, 0, 0, 0, 0, 0, 0, 0]);
    datagram
}

/// Encodes a presence ping, which checks without a login whether a BMC responds. The pong repeats the tag.
#[must_use]
pub fn presence_ping(tag: u8) -> Vec<u8> {
    let mut datagram = vec![VERSION, 0, UNACKNOWLEDGED, CLASS_ASF];
    datagram.extend(ASF_ENTERPRISE);
    datagram.extend([ASF_PING, tag, 0, 0]);
    datagram
}

/// Returns the remote console's session id in a datagram from a BMC, for a socket that several sessions share.
///
/// A response of the handshake has the id in its payload, a response of an open session in its header. Returns `None` if
/// there is no id: some BMCs refuse a handshake in two octets (as `ipmi_sim` 2.0.33). Pass such a datagram to all sessions with
/// that BMC that are not open yet; each drops datagrams that are not its own.
#[must_use]
pub fn console_session_id(datagram: &[u8]) -> Option<u32> {
    let Ok(Datagram::Plus(packet)) = Datagram::decode(datagram) else {
        return None;
    };
    match packet.kind {
        payload::OPEN_RESPONSE | payload::RAKP_2 | payload::RAKP_4 => {
            // Tag, status, two octets, the id (IPMI 2.0 Tables 13-10, 13-12 and 13-14 agree in this).
            packet.payload.get(4..8)?.try_into().ok().map(u32::from_le_bytes)
        }
        _ => Some(packet.session).filter(|session| *session != 0),
    }
}

#[cfg(test)]
mod tests;
