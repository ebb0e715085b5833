//! A rack without etcd: what repeats goes on, what changes is refused and says since when.

use domain::time::Timestamp;

/// etcd is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Island {
    /// Since when.
    pub since: Timestamp,
}
