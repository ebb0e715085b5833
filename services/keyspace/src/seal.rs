//! Encrypts secrets for the store, with XChaCha20-Poly1305 under keys that the store never sees.
//!
//! Each purpose and rack has keys of its own, and a service has those that [`permission`] gives it. A sealed value names its
//! key, and is bound to its place (purpose, rack, record and field), so that it cannot be passed off as another secret.

mod fields;
mod key_file;
mod purpose;
mod raw_data;
mod reseal;
mod reseal_pass;

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::ArcSwap;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use chacha20poly1305::{
    KeyInit as _, XChaCha20Poly1305, XNonce,
    aead::{Aead as _, Payload},
};
use domain::{id::RackId, secret::Secret, service::Service};
use zeroize::Zeroizing;

pub use crate::value::{KeyState, Sealed};
use crate::{Error, SealError, View, key, value::ConfigDrive};

pub use self::{
    fields::{IsSecret, has_sealed, mask, open_driver_info, open_text, open_value, seal_record},
    key_file::{KeyFile, SealingKey},
    purpose::{Permission, Place, Purpose, UnknownPurpose, has_keys, permission},
    raw_data::{open_raw_data, seal_raw_data},
    reseal::{reseal_intent, reseal_spec},
    reseal_pass::{Resealed, Usage, reseal, usage},
};

/// Size of a nonce, in bytes; random ones of this size do not repeat (draft-irtf-cfrg-xchacha).
const NONCE: usize = 24;

/// The names of racks, from which their keys are derived.
#[derive(Debug, Clone)]
pub enum RackNames {
    /// Those that a view knows.
    View(View),
    /// These.
    Known(BTreeMap<RackId, String>),
}

impl RackNames {
    fn name(&self, rack: RackId) -> Option<String> {
        match self {
            Self::View(view) => view.get(&key::rack(rack)).map(|read| read.value.name),
            Self::Known(names) => names.get(&rack).cloned(),
        }
    }
}

/// Seals and opens secrets with the keys of a service. Clones share them.
#[derive(Clone)]
pub struct Sealer {
    file: Arc<PathBuf>,
    service: Service,
    rack: Arc<str>,
    keys: Arc<ArcSwap<KeyFile>>,
    racks: RackNames,
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer").field("service", &self.service).field("keys", &self.states()).finish_non_exhaustive()
    }
}

impl Sealer {
    /// Uses the keys of this file, which belongs to a service of the rack with this name.
    ///
    /// # Errors
    /// [`Error::Seal`] if the file cannot be read, or does not hold the keys of this service.
    pub fn from_file(path: &Path, service: Service, rack: &str, racks: RackNames) -> Result<Self, Error> {
        let keys = KeyFile::of_service(path, service, rack)?;
        Ok(Self {
            file: Arc::new(path.to_owned()),
            service,
            rack: rack.into(),
            racks,
            ..Self::new(keys, RackNames::Known(BTreeMap::new()))
        })
    }

    /// Uses these keys.
    #[must_use]
    pub fn new(keys: KeyFile, racks: RackNames) -> Self {
        let (service, rack) = (keys.service, keys.rack.clone().unwrap_or_default().into());
        Self { file: Arc::default(), service, rack, keys: Arc::new(ArcSwap::from_pointee(keys)), racks }
    }

    /// Reads the file again. Returns whether the keys have changed.
    ///
    /// # Errors
    /// As [`Self::from_file`]; the previous keys stay in use then.
    pub fn reload(&self) -> Result<bool, Error> {
        let keys = KeyFile::of_service(&self.file, self.service, &self.rack)?;
        let has_changed = **self.keys.load() != keys;
        if has_changed {
            self.keys.store(Arc::new(keys));
        }
        Ok(has_changed)
    }

    /// The states of the keys by their ids.
    #[must_use]
    pub fn states(&self) -> BTreeMap<String, KeyState> {
        self.keys.load().states()
    }

    /// The purpose of the key with which a value was sealed. `None` if this process does not have the key.
    #[must_use]
    pub fn purpose(&self, sealed: &Sealed) -> Option<Purpose> {
        self.keys.load().key(&sealed.key).map(|key| key.purpose)
    }

    /// Whether a value was sealed with the key with which values of its place are sealed now.
    #[must_use]
    pub fn is_current(&self, place: &Place, sealed: &Sealed) -> bool {
        let rack = self.rack_name(place).unwrap_or_default();
        self.keys.load().active(place.purpose, rack.as_deref()).is_some_and(|key| key.id == sealed.key)
    }

    /// Seals a secret for a place.
    ///
    /// # Errors
    /// [`Error::Seal`] if there is no key for it, or the operating system provides no randomness.
    pub fn seal(&self, place: &Place, secret: &[u8]) -> Result<Sealed, Error> {
        let (keys, rack) = (self.keys.load(), self.rack_name(place)?);
        let may_seal = permission(self.service, place.purpose) == Permission::SealAndOpen;
        let active = keys.active(place.purpose, rack.as_deref()).filter(|_| may_seal);
        let key = active.ok_or_else(|| SealError::NoActiveKey {
            place: place.to_string(),
            wanted: wanted(place, rack.as_deref()),
            file: self.origin(),
        })?;
        let mut nonce = [0_u8; NONCE];
        getrandom::fill(&mut nonce).map_err(|error| SealError::Randomness(error.to_string()))?;
        let bound = bound(place, rack.as_deref(), &key.id);
        let payload = Payload { msg: secret, aad: bound.as_bytes() };
        let sealed = cipher(&keys, key, rack.as_deref()).encrypt(&XNonce::from(nonce), payload);
        let mut all = nonce.to_vec();
        all.extend(sealed.map_err(|_| SealError::Damaged(place.to_string()))?);
        Ok(Sealed { key: key.id.clone(), sealed: STANDARD.encode(all) })
    }

    /// Opens a secret that was sealed for this place.
    ///
    /// # Errors
    /// [`Error::Seal`] if it was sealed with a key that this process does not have, or for another place, or is damaged.
    pub fn open(&self, place: &Place, sealed: &Sealed) -> Result<Secret, Error> {
        let (keys, rack) = (self.keys.load(), self.rack_name(place)?);
        let rack = rack.as_deref();
        let key = keys.key(&sealed.key).ok_or_else(|| SealError::UnknownKey {
            place: place.to_string(),
            key: sealed.key.clone(),
            file: self.origin(),
        })?;
        if !key.is_for(place.purpose, rack) {
            let (held, wanted) = (key.about(), wanted(place, rack));
            return Err(SealError::OtherKey { place: place.to_string(), key: key.id.clone(), held, wanted }.into());
        }
        let damaged = || SealError::Damaged(place.to_string());
        let all = STANDARD.decode(&sealed.sealed).map_err(|_| damaged())?;
        let (nonce, text) = all.split_first_chunk::<NONCE>().ok_or_else(damaged)?;
        let bound = bound(place, rack, &key.id);
        let payload = Payload { msg: text, aad: bound.as_bytes() };
        let opened = cipher(&keys, key, rack).decrypt(&XNonce::from(*nonce), payload);
        Ok(opened.map(Secret::new).map_err(|_| damaged())?)
    }

    /// The name of the rack of a place.
    fn rack_name(&self, place: &Place) -> Result<Option<String>, SealError> {
        let Some(rack) = place.rack else { return Ok(None) };
        let unknown = || SealError::UnknownRack { place: place.to_string(), rack: rack.to_string() };
        self.racks.name(rack).ok_or_else(unknown).map(Some)
    }

    /// Where the keys come from, for messages.
    fn origin(&self) -> String {
        if self.file.as_os_str().is_empty() {
            return format!("{}'s key file", self.service);
        }
        self.file.display().to_string()
    }

    /// Seals files for a place. They are compressed first, because etcd's requests are small.
    ///
    /// # Errors
    /// [`Error::Seal`] as for [`Self::seal`], or if they cannot be compressed.
    pub fn seal_files(&self, place: &Place, files: &ConfigDrive) -> Result<Sealed, Error> {
        let wrong = |error: &dyn fmt::Display| pack(place, error);
        let texts = files.iter().map(|(path, content)| (path, STANDARD.encode(content)));
        let json = serde_json::to_vec(&texts.collect::<BTreeMap<_, _>>()).map_err(|error| wrong(&error))?;
        let packed = zstd::bulk::compress(&Zeroizing::new(json), 0).map_err(|error| wrong(&error))?;
        self.seal(place, &Zeroizing::new(packed))
    }

    /// Opens files that were sealed for this place.
    ///
    /// # Errors
    /// [`Error::Seal`] as for [`Self::open`], or if it holds something else than files.
    pub fn open_files(&self, place: &Place, sealed: &Sealed) -> Result<ConfigDrive, Error> {
        let wrong = |error: &dyn fmt::Display| pack(place, error);
        let packed = self.open(place, sealed)?;
        let json = Zeroizing::new(zstd::decode_all(packed.expose()).map_err(|error| wrong(&error))?);
        let texts: BTreeMap<String, String> = serde_json::from_slice(&json).map_err(|error| wrong(&error))?;
        let files = texts.into_iter().map(|(path, text)| Ok((path, STANDARD.decode(text)?)));
        files.collect::<Result<_, base64::DecodeError>>().map_err(|error| wrong(&error))
    }
}

fn pack(place: &Place, error: &dyn fmt::Display) -> Error {
    SealError::Pack { place: place.to_string(), why: error.to_string() }.into()
}

fn cipher(keys: &KeyFile, key: &SealingKey, rack: Option<&str>) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(keys.bytes(key, rack).expose().into())
}

/// What a sealed value is bound to, besides its key.
fn bound(place: &Place, rack: Option<&str>, key: &str) -> String {
    format!("ironmesh 1\n{}\n{}\n{key}\n{place}", place.purpose, key_file::scope(rack))
}

/// Purpose and rack of a place, for messages.
fn wanted(place: &Place, rack: Option<&str>) -> String {
    match rack {
        Some(rack) => format!("{} of rack {rack:?}", place.purpose),
        None => format!("{} of no rack", place.purpose),
    }
}

#[cfg(test)]
mod tests;
