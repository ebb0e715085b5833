//! The files with sealing keys: one for each service.
//!
//! The file of the scheduler-service has the root keys. A root key never encrypts: the key of a rack is derived from it with
//! HMAC-SHA-256 (NIST SP 800-108, counter mode of one block), so a new rack needs no new keys, and a rack's key tells
//! nothing about another rack's. The file of a leaf service has the derived keys of its own rack and purposes.

use std::{collections::BTreeMap, fmt, fs, io, os::unix::fs::PermissionsExt as _, path::Path};

use domain::{service::Service, time::Timestamp};
use durable_file::Access;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::purpose::{Permission, Purpose, permission};
use crate::{Error, SealError, value::KeyState};

/// Size of a key, in bytes.
pub(super) const KEY: usize = 32;
/// Size of a key's id, in bytes; it is random, and only has to differ from the ids of the few other keys.
const ID: usize = 6;

/// The 32 bytes of a key.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct KeyBytes(Zeroizing<[u8; KEY]>);

impl KeyBytes {
    /// Draws a key.
    ///
    /// # Errors
    /// [`SealError::Randomness`]
    fn random() -> Result<Self, SealError> {
        let mut bytes = Zeroizing::new([0; KEY]);
        getrandom::fill(&mut *bytes).map_err(|error| SealError::Randomness(error.to_string()))?;
        Ok(Self(bytes))
    }

    pub(super) fn expose(&self) -> &[u8; KEY] {
        &self.0
    }

    /// Derives the key of a purpose and scope.
    fn derive(&self, id: &str, purpose: Purpose, scope: &str) -> Self {
        let mut bytes = Zeroizing::new([0; KEY]);
        // A key of HMAC may have any size, so that this cannot fail.
        if let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&*self.0) {
            for part in ["ironmesh sealing key 1", id, purpose.name(), scope] {
                mac.update(part.as_bytes());
                mac.update(&[0]);
            }
            bytes.copy_from_slice(&mac.finalize().into_bytes());
        }
        Self(bytes)
    }
}

impl fmt::Debug for KeyBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyBytes(…)")
    }
}

impl Serialize for KeyBytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&Zeroizing::new(hex::encode(*self.0)))
    }
}

impl<'de> Deserialize<'de> for KeyBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        let mut bytes = Zeroizing::new([0; KEY]);
        // Neither message has any part of the text.
        hex::decode_to_slice(&*text, &mut *bytes)
            .map_err(|_| D::Error::custom(format!("a secret must have {} hexadecimal digits", KEY * 2)))?;
        Ok(Self(bytes))
    }
}

/// A key in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealingKey {
    /// Its id, which every value names that is sealed with it.
    pub id: String,
    /// What it is for.
    pub purpose: Purpose,
    /// The only rack that it is for. `None` for all racks and what belongs to none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rack: Option<String>,
    /// Its state.
    pub state: KeyState,
    /// When it was created.
    pub created: Timestamp,
    /// Its bytes.
    secret: KeyBytes,
}

impl SealingKey {
    fn new(purpose: Purpose, rack: Option<String>, state: KeyState, now: Timestamp) -> Result<Self, SealError> {
        let mut id = [0; ID];
        getrandom::fill(&mut id).map_err(|error| SealError::Randomness(error.to_string()))?;
        Ok(Self { id: hex::encode(id), purpose, rack, state, created: now, secret: KeyBytes::random()? })
    }

    /// Whether it is for the rack of this name, or with `None` for what belongs to no rack.
    #[must_use]
    pub fn is_for(&self, purpose: Purpose, rack: Option<&str>) -> bool {
        self.purpose == purpose && (self.rack.is_none() || self.rack.as_deref() == rack)
    }

    /// What it is for, in words.
    #[must_use]
    pub fn about(&self) -> String {
        match &self.rack {
            None => format!("{} of all racks", self.purpose),
            Some(rack) => format!("{} of rack {rack:?}", self.purpose),
        }
    }
}

/// The keys of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyFile {
    /// The service.
    pub service: Service,
    /// Name of its rack. `None` for the scheduler-service, which serves all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rack: Option<String>,
    /// Its keys.
    pub keys: Vec<SealingKey>,
}

impl KeyFile {
    /// Creates root keys: an active one for each purpose.
    ///
    /// # Errors
    /// [`SealError::Randomness`]
    pub fn create(now: Timestamp) -> Result<Self, SealError> {
        let key = |purpose| SealingKey::new(purpose, None, KeyState::Active, now);
        let keys = Purpose::ALL.into_iter().map(key).collect::<Result<_, _>>()?;
        Ok(Self { service: Service::Scheduler, rack: None, keys })
    }

    /// Root keys that are the same in every test.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn for_tests() -> Self {
        let key = |(at, purpose): (u8, Purpose)| SealingKey {
            id: format!("test-{purpose}"),
            purpose,
            rack: None,
            state: KeyState::Active,
            created: Timestamp::default(),
            secret: KeyBytes(Zeroizing::new([at; KEY])),
        };
        let keys = (1..).zip(Purpose::ALL).map(key).collect();
        Self { service: Service::Scheduler, rack: None, keys }
    }

    /// The keys of a service that has none.
    pub(super) const fn empty(service: Service) -> Self {
        Self { service, rack: None, keys: Vec::new() }
    }

    /// Derives the keys that a service of a rack is given by [`permission`].
    ///
    /// # Errors
    /// [`SealError::NotRoot`]
    pub fn for_service(&self, service: Service, rack: &str) -> Result<Self, SealError> {
        self.check_root()?;
        if service == Service::Scheduler {
            return Ok(self.clone());
        }
        let given = |key: &&SealingKey| {
            permission(service, key.purpose) != Permission::Nothing && key.is_for(key.purpose, Some(rack))
        };
        let derived = |key: &SealingKey| SealingKey {
            secret: key.secret.derive(&key.id, key.purpose, &scope(Some(rack))),
            rack: Some(rack.to_owned()),
            ..key.clone()
        };
        let keys = self.keys.iter().filter(given).map(derived).collect();
        Ok(Self { service, rack: Some(rack.to_owned()), keys })
    }

    /// The key with an id.
    #[must_use]
    pub fn key(&self, id: &str) -> Option<&SealingKey> {
        self.keys.iter().find(|key| key.id == id)
    }

    /// The key to seal with. A key of the rack goes before one of all racks.
    pub(super) fn active(&self, purpose: Purpose, rack: Option<&str>) -> Option<&SealingKey> {
        let active = |key: &&SealingKey| key.state == KeyState::Active && key.is_for(purpose, rack);
        self.keys.iter().filter(active).max_by_key(|key| key.rack.is_some())
    }

    /// The bytes with which a key encrypts in a rack.
    pub(super) fn bytes(&self, key: &SealingKey, rack: Option<&str>) -> KeyBytes {
        match self.service {
            Service::Scheduler => key.secret.derive(&key.id, key.purpose, &scope(rack)),
            Service::Power | Service::Pxe | Service::Storage | Service::Inventory => key.secret.clone(),
        }
    }

    /// The states of the keys by their ids.
    #[must_use]
    pub fn states(&self) -> BTreeMap<String, KeyState> {
        self.keys.iter().map(|key| (key.id.clone(), key.state)).collect()
    }

    /// Begins a rotation: adds a key that will be the active one. Returns its id.
    ///
    /// # Errors
    /// [`SealError::NoRackOf`] if the purpose's secrets belong to no rack, [`SealError::HasNext`],
    /// [`SealError::NotRoot`], [`SealError::Randomness`]
    pub fn add_next(&mut self, purpose: Purpose, rack: Option<&str>, now: Timestamp) -> Result<String, SealError> {
        self.check_root()?;
        if rack.is_some() && !purpose.is_of_racks() {
            return Err(SealError::NoRackOf(purpose.name()));
        }
        let is_next =
            |key: &&SealingKey| key.purpose == purpose && key.rack.as_deref() == rack && key.state == KeyState::Next;
        if let Some(next) = self.keys.iter().find(is_next) {
            return Err(SealError::HasNext { key: next.id.clone(), wanted: next.about() });
        }
        let key = SealingKey::new(purpose, rack.map(str::to_owned), KeyState::Next, now)?;
        let id = key.id.clone();
        self.keys.push(key);
        Ok(id)
    }

    /// Makes the next key the active one, and the active one of the same purpose and rack an old one. A key for all racks
    /// takes the place of the keys of single racks, too.
    ///
    /// # Errors
    /// [`SealError::NoKey`], [`SealError::State`], [`SealError::NotRoot`]
    pub fn activate(&mut self, id: &str) -> Result<(), SealError> {
        self.check_root()?;
        let next = self.require(id, &[KeyState::Next], "next", "activated")?;
        let (purpose, rack) = (next.purpose, next.rack.clone());
        let is_replaced = |key: &SealingKey| key.purpose == purpose && (rack.is_none() || key.rack == rack);
        for key in self.keys.iter_mut().filter(|key| is_replaced(key)) {
            if key.id == id {
                key.state = KeyState::Active;
            } else if key.state == KeyState::Active {
                key.state = KeyState::Old;
            }
        }
        Ok(())
    }

    /// Removes a key with which nothing is sealed any more.
    ///
    /// # Errors
    /// [`SealError::NoKey`], [`SealError::State`], [`SealError::NotRoot`]
    pub fn retire(&mut self, id: &str) -> Result<(), SealError> {
        self.check_retire(id)?;
        self.keys.retain(|key| key.id != id);
        Ok(())
    }

    /// Checks that a key is not in use by its state.
    ///
    /// # Errors
    /// As [`Self::retire`].
    pub fn check_retire(&self, id: &str) -> Result<&SealingKey, SealError> {
        self.check_root()?;
        self.require(id, &[KeyState::Old, KeyState::Next], "old or next", "retired")
    }

    /// Checks that a key can be activated.
    ///
    /// # Errors
    /// As [`Self::activate`].
    pub fn check_activate(&self, id: &str) -> Result<&SealingKey, SealError> {
        self.check_root()?;
        self.require(id, &[KeyState::Next], "next", "activated")
    }

    fn require(
        &self,
        id: &str,
        states: &[KeyState],
        wanted: &'static str,
        verb: &'static str,
    ) -> Result<&SealingKey, SealError> {
        let key = self.key(id).ok_or_else(|| SealError::NoKey(id.to_owned()))?;
        if states.contains(&key.state) {
            return Ok(key);
        }
        Err(SealError::State { key: id.to_owned(), state: key.state.to_string(), wanted, verb })
    }

    fn check_root(&self) -> Result<(), SealError> {
        if self.service == Service::Scheduler { Ok(()) } else { Err(SealError::NotRoot(self.about())) }
    }

    /// Whose keys they are, in words.
    #[must_use]
    pub fn about(&self) -> String {
        about(self.service, self.rack.as_deref())
    }

    /// Reads the keys of a service of a rack. One that has none reads no file.
    ///
    /// # Errors
    /// [`Error::Seal`] if the file cannot be read, or does not hold the keys of this service.
    pub fn of_service(path: &Path, service: Service, rack: &str) -> Result<Self, Error> {
        if !super::purpose::has_keys(service) {
            return Ok(Self::empty(service));
        }
        let file = Self::load(path)?;
        let rack = if service == Service::Scheduler { None } else { Some(rack) };
        if file.service != service || file.rack.as_deref() != rack {
            let (found, wanted) = (file.about(), about(service, rack));
            return Err(SealError::OtherService { path: path.to_owned(), found, wanted }.into());
        }
        Ok(file)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`Error::Seal`] if the file cannot be read or holds no keys, or if every user can read it.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let wrong = |why: String| SealError::File { path: path.to_owned(), why };
        let failed = |error: io::Error| wrong(error.to_string());
        if fs::metadata(path).map_err(failed)?.permissions().mode() & 0o007 != 0 {
            return Err(SealError::Readable { path: path.to_owned() }.into());
        }
        let text = Zeroizing::new(fs::read(path).map_err(failed)?);
        let file: Self = serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
        let ids: std::collections::BTreeSet<_> = file.keys.iter().map(|key| &key.id).collect();
        if ids.len() != file.keys.len() {
            return Err(wrong("two keys have the same id".to_owned()).into());
        }
        Ok(file)
    }

    /// Encodes the file's content, which is secret.
    ///
    /// # Errors
    /// It cannot be encoded.
    pub fn to_text(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        Ok(text)
    }

    /// Writes a file that only its owner can read. A file that is replaced keeps its owner, and a group that may read it.
    ///
    /// # Errors
    /// [`Error::File`]
    pub fn save(&self, path: &Path) -> Result<(), Error> {
        let failed = |source| Error::File { path: path.to_owned(), source };
        let text = Zeroizing::new(self.to_text().map_err(|error| failed(error.into()))?);
        durable_file::replace(path, &text, Access::Owner).map_err(|error| failed(error.into()))
    }
}

/// What a key encrypts in: a rack, or what belongs to none.
pub(super) fn scope(rack: Option<&str>) -> String {
    rack.map_or_else(|| "datacenter".to_owned(), |name| format!("rack {name:?}"))
}

fn about(service: Service, rack: Option<&str>) -> String {
    match rack {
        Some(rack) => format!("the {service} of rack {rack:?}"),
        None => format!("the {service}"),
    }
}
