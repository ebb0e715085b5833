//! Messages and keys of the handshake (IPMI 2.0 §13.17 to §13.24, §13.31).

#![deny(clippy::arithmetic_side_effects)]

use crate::Malformed;
use crate::cipher::{self, Digest, Suite};
use crate::read::Reader;
use crate::secret::Secret;

/// Maximum length of a user name, in octets (IPMI 2.0 §22.28).
pub const MAX_NAME: usize = 16;
/// Nonce of the handshake.
pub(crate) type Nonce = [u8; 16];

/// Status code of RMCP+ and RAKP (IPMI 2.0 Table 13-15).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status(pub u8);

impl Status {
    pub(crate) const OK: Self = Self(0x00);
    /// Insufficient resources to create a session.
    pub const NO_RESOURCES: Self = Self(0x01);
    /// Invalid session id.
    pub const INVALID_SESSION: Self = Self(0x02);
    /// Invalid role.
    pub const INVALID_ROLE: Self = Self(0x09);
    /// Unauthorized role or privilege level requested.
    pub const UNAUTHORIZED_ROLE: Self = Self(0x0a);
    /// Insufficient resources to create a session at the requested role.
    pub const NO_RESOURCES_AT_ROLE: Self = Self(0x0b);
    /// Invalid name length.
    pub const INVALID_NAME_LENGTH: Self = Self(0x0c);
    /// Unauthorized name.
    pub const UNAUTHORIZED_NAME: Self = Self(0x0d);
    /// Invalid integrity check value.
    pub const INVALID_CHECK: Self = Self(0x0f);
    /// No cipher suite match with proposed security algorithms.
    pub const NO_SUITE: Self = Self(0x11);
    /// Illegal or unrecognized parameter.
    pub const ILLEGAL_PARAMETER: Self = Self(0x12);

    /// Returns whether the BMC does not support the proposed algorithms: invalid authentication (4) or integrity (5)
    /// algorithm, no matching payload of these (6, 7), invalid confidentiality algorithm (0x10), no suite (0x11).
    pub(crate) const fn refuses_suite(self) -> bool {
        matches!(self.0, 0x04..=0x07 | 0x10 | 0x11)
    }
}

/// Privilege level of a session (IPMI 2.0 Table 13-9, "Requested maximum privilege level").
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Privilege {
    /// May request a callback.
    Callback = 1,
    /// May read.
    User = 2,
    /// May also change power and boot device.
    Operator = 3,
    /// May also close sessions of other users.
    Administrator = 4,
}

impl Privilege {
    /// Returns the number on the wire.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    pub(crate) fn of(number: u8) -> Option<Self> {
        [Self::Callback, Self::User, Self::Operator, Self::Administrator].into_iter().find(|p| p.number() == number)
    }
}

/// RMCP+ Open Session Request (Table 13-9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OpenRequest {
    pub(crate) tag: u8,
    pub(crate) privilege: u8,
    pub(crate) console: u32,
    pub(crate) algorithms: [u8; 3],
}

impl OpenRequest {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![self.tag, self.privilege, 0, 0];
        bytes.extend(self.console.to_le_bytes());
        bytes.extend(proposal(self.algorithms));
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut fields = Reader::new(bytes);
        let ([tag, privilege, _, _], console) = (fields.array()?, fields.long()?);
        Ok(Self { tag, privilege, console, algorithms: read_proposal(fields)? })
    }
}

/// Encodes the three algorithm payloads of eight octets.
fn proposal([authentication, integrity, confidentiality]: [u8; 3]) -> [u8; 24] {
    let mut bytes = [0; 24];
    let algorithms = [(0, authentication), (1, integrity), (2, confidentiality)];
    for (payload, (kind, algorithm)) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(algorithms) {
        *payload = [kind, 0, 0, 8, algorithm, 0, 0, 0];
    }
    bytes
}

fn read_proposal(mut fields: Reader<'_>) -> Result<[u8; 3], Malformed> {
    let mut algorithms = [0; 3];
    for (kind, algorithm) in (0..).zip(&mut algorithms) {
        let [named, _, _, _, number, _, _, _] = fields.array()?;
        if named != kind {
            return Err(Malformed::Inconsistent);
        }
        *algorithm = number & 0x3f;
    }
    Ok(algorithms)
}

/// Decodes the start of a reply: tag, status, two octets, and the console's session id. The id may be missing in a refusal,
/// as in those of `ipmi_sim` 2.0.33.
fn head<'a>(fields: &mut Reader<'a>) -> Result<(u8, Status, u8, Option<u32>), Malformed> {
    let [tag, status] = fields.array()?;
    let rest: Result<([u8; 2], u32), Malformed> = fields.array().and_then(|octets| Ok((octets, fields.long()?)));
    match (Status(status), rest) {
        (Status::OK, Err(malformed)) => Err(malformed),
        (status, Err(_)) => Ok((tag, status, 0, None)),
        (status, Ok(([third, _], console))) => Ok((tag, status, third, Some(console))),
    }
}

/// RMCP+ Open Session Response (Table 13-10). With a status other than 0 it ends after the console's session id, or before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OpenResponse {
    pub(crate) tag: u8,
    pub(crate) console: Option<u32>,
    pub(crate) granted: Result<Grant, Status>,
}

/// Session id of the BMC, and the algorithms that it chose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Grant {
    pub(crate) bmc: u32,
    pub(crate) privilege: u8,
    pub(crate) algorithms: [u8; 3],
}

impl OpenResponse {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let (status, privilege) = match self.granted {
            Ok(grant) => (Status::OK, grant.privilege),
            Err(status) => (status, 0),
        };
        let mut bytes = vec![self.tag, status.0, privilege, 0];
        bytes.extend(self.console.map(u32::to_le_bytes).into_iter().flatten());
        if let Ok(grant) = self.granted {
            bytes.extend(grant.bmc.to_le_bytes());
            bytes.extend(proposal(grant.algorithms));
        }
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut fields = Reader::new(bytes);
        let (tag, status, privilege, console) = head(&mut fields)?;
        let granted = match status {
            Status::OK => Ok(Grant { bmc: fields.long()?, privilege, algorithms: read_proposal(fields)? }),
            status => Err(status),
        };
        Ok(Self { tag, console, granted })
    }
}

/// RAKP Message 1 (Table 13-11): the user and the console's nonce.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rakp1 {
    pub(crate) tag: u8,
    pub(crate) bmc: u32,
    pub(crate) nonce: Nonce,
    /// Privilege, and [`NAME_ONLY`].
    pub(crate) role: u8,
    pub(crate) name: Vec<u8>,
}

/// Bit of the role: the BMC looks the user up by name only, not by name and privilege (Table 13-11, bit 4).
pub(crate) const NAME_ONLY: u8 = 0x10;

impl Rakp1 {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![self.tag, 0, 0, 0];
        bytes.extend(self.bmc.to_le_bytes());
        bytes.extend(self.nonce);
        bytes.extend([self.role, 0, 0, length(&self.name)]);
        bytes.extend(&self.name);
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut fields = Reader::new(bytes);
        let ([tag, _, _, _], bmc, nonce) = (fields.array()?, fields.long()?, fields.array()?);
        let [role, _, _, length] = fields.array()?;
        let name = fields.take(usize::from(length))?.to_vec();
        Ok(Self { tag, bmc, nonce, role, name })
    }
}

/// RAKP Message 2 (Table 13-12) or, without nonce and GUID, Message 4 (Table 13-14).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply<B> {
    pub(crate) tag: u8,
    pub(crate) console: Option<u32>,
    pub(crate) body: Result<B, Status>,
}

/// Content of RAKP Message 2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rakp2 {
    pub(crate) nonce: Nonce,
    pub(crate) guid: [u8; 16],
    pub(crate) code: Vec<u8>,
}

/// Content of RAKP Message 4.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rakp4 {
    pub(crate) check: Vec<u8>,
}

/// Part of a reply that differs between messages 2 and 4.
pub(crate) trait Body: Sized {
    fn write(&self, bytes: &mut Vec<u8>);
    fn read(fields: Reader<'_>) -> Result<Self, Malformed>;
}

impl Body for Rakp2 {
    fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.nonce);
        bytes.extend(self.guid);
        bytes.extend(&self.code);
    }

    fn read(mut fields: Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self { nonce: fields.array()?, guid: fields.array()?, code: fields.rest().to_vec() })
    }
}

impl Body for Rakp4 {
    fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend(&self.check);
    }

    fn read(fields: Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self { check: fields.rest().to_vec() })
    }
}

impl<B: Body> Reply<B> {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let status = self.body.as_ref().err().copied().unwrap_or(Status::OK);
        let mut bytes = vec![self.tag, status.0, 0, 0];
        bytes.extend(self.console.map(u32::to_le_bytes).into_iter().flatten());
        if let Ok(body) = &self.body {
            body.write(&mut bytes);
        }
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut fields = Reader::new(bytes);
        let (tag, status, _, console) = head(&mut fields)?;
        let body = match status {
            Status::OK => Ok(B::read(fields)?),
            status => Err(status),
        };
        Ok(Self { tag, console, body })
    }
}

/// RAKP Message 3 (Table 13-13): the console's proof, or the status with which it aborts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rakp3 {
    pub(crate) tag: u8,
    pub(crate) bmc: u32,
    pub(crate) code: Result<Vec<u8>, Status>,
}

impl Rakp3 {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let status = self.code.as_ref().err().copied().unwrap_or(Status::OK);
        let mut bytes = vec![self.tag, status.0, 0, 0];
        bytes.extend(self.bmc.to_le_bytes());
        bytes.extend(self.code.as_deref().unwrap_or_default());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut fields = Reader::new(bytes);
        let ([tag, status, _, _], bmc) = (fields.array()?, fields.long()?);
        let code = match Status(status) {
            Status::OK => Ok(fields.rest().to_vec()),
            status => Err(status),
        };
        Ok(Self { tag, bmc, code })
    }
}

/// Values of the handshake from which both sides compute the same codes and keys.
#[derive(Debug, Clone)]
pub(crate) struct Transcript {
    pub(crate) suite: Suite,
    pub(crate) console: u32,
    pub(crate) bmc: u32,
    pub(crate) console_nonce: Nonce,
    pub(crate) bmc_nonce: Nonce,
    pub(crate) guid: [u8; 16],
    pub(crate) role: u8,
    pub(crate) name: Vec<u8>,
}

impl Transcript {
    /// Computes the BMC's proof that it knows the password (§13.31, RAKP Message 2).
    pub(crate) fn bmc_proof(&self, password: &Secret) -> Digest {
        let (console, bmc) = (self.console.to_le_bytes(), self.bmc.to_le_bytes());
        let who = [self.role, length(&self.name)];
        let parts = [&console[..], &bmc, &self.console_nonce, &self.bmc_nonce, &self.guid, &who, &self.name];
        cipher::hmac(self.suite, password.expose(), &parts)
    }

    /// Computes the console's proof that it knows the password (RAKP Message 3).
    pub(crate) fn console_proof(&self, password: &Secret) -> Digest {
        let who = [self.role, length(&self.name)];
        let parts = [&self.bmc_nonce[..], &self.console.to_le_bytes(), &who, &self.name];
        cipher::hmac(self.suite, password.expose(), &parts)
    }

    /// Computes the session integrity key from K_G, or from the password if the BMC has no K_G.
    pub(crate) fn key(&self, key: &Secret) -> Digest {
        let who = [self.role, length(&self.name)];
        cipher::hmac(self.suite, key.expose(), &[&self.console_nonce, &self.bmc_nonce, &who, &self.name])
    }

    /// Computes the BMC's proof that it has the same session integrity key (RAKP Message 4). It is truncated on the wire.
    pub(crate) fn key_proof(&self, key: &Digest) -> Digest {
        let parts = [&self.console_nonce[..], &self.bmc.to_le_bytes(), &self.guid];
        cipher::hmac(self.suite, key.octets(), &parts)
    }
}

fn length(name: &[u8]) -> u8 {
    u8::try_from(name.len()).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests;
