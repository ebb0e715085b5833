//! Metrics of the storage-service.

use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};

const DOWNLOADS: &str = "storage_pulls_total";
const SENT: &str = "storage_sent_bytes_total";
const EVICTED: &str = "storage_evicted_files_total";
const DAMAGED: &str = "storage_damaged_files_total";
const USED: &str = "storage_cache_used_bytes";

pub(crate) fn describe() {
    describe_counter!(DOWNLOADS, "Downloads into the cache, by result");
    describe_counter!(SENT, Unit::Bytes, "Bytes served over HTTP");
    describe_counter!(EVICTED, "Files that left the cache because another one needed their room");
    describe_counter!(DAMAGED, "Files that were removed because they did not have their digest any more");
    describe_gauge!(USED, Unit::Bytes, "Space that the cache used when a file was last written");
}

pub(crate) fn downloaded(ended: &'static str) {
    counter!(DOWNLOADS, "ended" => ended).increment(1);
}

pub(crate) fn sent(bytes: u64) {
    counter!(SENT).increment(bytes);
}

pub(crate) fn evicted() {
    counter!(EVICTED).increment(1);
}

pub(crate) fn damaged() {
    counter!(DAMAGED).increment(1);
}

pub(crate) fn used(bytes: u64) {
    #[expect(clippy::cast_precision_loss, reason = "gauges are floating-point numbers")]
    gauge!(USED).set(bytes as f64);
}
