//! Metrics of the storage-service.

use metrics::{Unit, counter, describe_counter};

const DOWNLOADS: &str = "storage_pulls_total";
const SENT: &str = "storage_sent_bytes_total";

pub(crate) fn describe() {
    describe_counter!(DOWNLOADS, "Downloads into the cache, by result");
    describe_counter!(SENT, Unit::Bytes, "Bytes served over HTTP");
}

pub(crate) fn downloaded(ended: &'static str) {
    counter!(DOWNLOADS, "ended" => ended).increment(1);
}

pub(crate) fn sent(bytes: u64) {
    counter!(SENT).increment(bytes);
}
