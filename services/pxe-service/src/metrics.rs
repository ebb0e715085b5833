//! Every metric of the pxe-service.

use metrics::{counter, describe_counter};

const DHCP: &str = "pxe_dhcp_messages_total";
const FILES: &str = "pxe_files_total";

pub(crate) fn describe() {
    describe_counter!(DHCP, "DHCP messages, by what became of them");
    describe_counter!(FILES, "Boot files asked for, by how that ended");
}

pub(crate) fn dhcp(outcome: &'static str) {
    counter!(DHCP, "outcome" => outcome).increment(1);
}

pub(crate) fn file(door: &'static str, outcome: &'static str) {
    counter!(FILES, "door" => door, "outcome" => outcome).increment(1);
}
