//! Every metric of the storage-service.

use metrics::{Unit, counter, describe_counter};

const PULLS: &str = "storage_pulls_total";
const SENT: &str = "storage_sent_bytes_total";

pub(crate) fn describe() {
    describe_counter!(PULLS, "Files pulled into the cache, by how that ended");
    describe_counter!(SENT, Unit::Bytes, "Octets handed out over HTTP");
}

pub(crate) fn pulled(ended: &'static str) {
    counter!(PULLS, "ended" => ended).increment(1);
}

pub(crate) fn sent(octets: u64) {
    counter!(SENT).increment(octets);
}
