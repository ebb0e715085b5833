//! Every metric of the pxe-service.

use metrics::{counter, describe_counter, describe_gauge, gauge};

const DHCP: &str = "pxe_dhcp_messages_total";
const FILES: &str = "pxe_files_total";
const IDENTIFIER: &str = "pxe_server_identifier_held";

pub(crate) fn describe() {
    describe_counter!(DHCP, "DHCP messages, by what became of them");
    describe_counter!(FILES, "Boot files asked for, by how that ended");
    describe_gauge!(IDENTIFIER, "Whether renewals of leases come to this replica: 1 or 0");
}

pub(crate) fn dhcp(outcome: &'static str) {
    tracing::trace!(outcome, "a DHCP message");
    counter!(DHCP, "outcome" => outcome).increment(1);
}

pub(crate) fn file(door: &'static str, outcome: &'static str) {
    counter!(FILES, "door" => door, "outcome" => outcome).increment(1);
}

pub(crate) fn holds_identifier(holds: bool) {
    gauge!(IDENTIFIER).set(f64::from(u8::from(holds)));
}
