//! Errors of sealing keys and sealed values.

use std::path::PathBuf;

/// Reason a secret cannot be sealed or opened, or a key cannot be used or changed.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The value names a key that this process does not have.
    #[error(
        "{place} was sealed with the key {key}, which {file} does not hold; bring the file up to date with ironmesh store \
         seal-key export, or put back the keys that belong to this store"
    )]
    UnknownKey {
        /// The record and field.
        place: String,
        /// Id of the key.
        key: String,
        /// Where this process has its keys from.
        file: String,
    },
    /// The value names a key of another purpose or rack.
    #[error(
        "{place} was sealed with the key {key}, which is for {held}, not for {wanted}; the record was moved or altered"
    )]
    OtherKey {
        /// The record and field.
        place: String,
        /// Id of the key.
        key: String,
        /// Purpose and rack of the key.
        held: String,
        /// Purpose and rack that the place requires.
        wanted: String,
    },
    /// The value is damaged, or was sealed for another place.
    #[error("{0} is damaged, or was sealed for another place")]
    Damaged(String),
    /// There is no key to seal with.
    #[error("{file} holds no active key for {wanted}, so {place} cannot be sealed; see ironmesh store seal-key list")]
    NoActiveKey {
        /// The record and field.
        place: String,
        /// Purpose and rack of the missing key.
        wanted: String,
        /// Where this process has its keys from.
        file: String,
    },
    /// The rack of a secret is not known.
    #[error("{place} belongs to rack {rack}, which is not known here")]
    UnknownRack {
        /// The record and field.
        place: String,
        /// Id of the rack.
        rack: String,
    },
    /// Files cannot be packed or unpacked.
    #[error("cannot unpack {place}: {why}")]
    Pack {
        /// The record and field.
        place: String,
        /// The cause.
        why: String,
    },
    /// The operating system provides no randomness.
    #[error("no randomness: {0}")]
    Randomness(String),
    /// A file cannot be read, or holds no sealing keys.
    #[error(
        "{path} has no sealing keys ({why}); copy it from a backup, or write it again with: ironmesh store \
         seal-key export"
    )]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        why: String,
    },
    /// A file with keys can be read by every user of the host.
    #[error("{path} can be read by every user of this host; run: chmod o= {path}")]
    Readable {
        /// The file.
        path: PathBuf,
    },
    /// A file holds the keys of another service or rack.
    #[error(
        "{path} holds the sealing keys of {found}, and this is {wanted}; write the file that it needs with: ironmesh store \
         seal-key export"
    )]
    OtherService {
        /// The file.
        path: PathBuf,
        /// For which service and rack the file is.
        found: String,
        /// Which service and rack wants it.
        wanted: String,
    },
    /// There is no key with this id.
    #[error("there is no sealing key {0}; see ironmesh store seal-key list")]
    NoKey(String),
    /// The secrets of a purpose belong to no rack.
    #[error("the secrets of {0} belong to no rack, so that a rack has no key for them; rotate without --rack")]
    NoRackOf(&'static str),
    /// A rotation has begun already.
    #[error(
        "the key {key} for {wanted} is distributed already; make it the active one with: ironmesh store seal-key activate {key}"
    )]
    HasNext {
        /// The key that is the next one.
        key: String,
        /// Its purpose and rack.
        wanted: String,
    },
    /// A key is in another state than the change requires.
    #[error("the key {key} is {state}, and only a key that is {wanted} can be {verb}")]
    State {
        /// Id of the key.
        key: String,
        /// Its state.
        state: String,
        /// The state that is required.
        wanted: &'static str,
        /// What was asked.
        verb: &'static str,
    },
    /// The keys are those of a leaf service, and only the scheduler-service's can be changed.
    #[error(
        "these are the keys of {0}: keys are changed in the file of the scheduler-service, from which the others are derived"
    )]
    NotRoot(String),
}
