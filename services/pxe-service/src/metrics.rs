//! Metrics of the pxe-service.

use metrics::{counter, describe_counter, describe_gauge, gauge};

const DHCP: &str = "pxe_dhcp_messages_total";
const FILES: &str = "pxe_files_total";
const UNKNOWN: &str = "pxe_unknown_macs_total";
const IDENTIFIER: &str = "pxe_server_identifier_held";

pub(crate) fn describe() {
    describe_counter!(DHCP, "DHCP messages, by outcome");
    describe_counter!(FILES, "Requests for boot files, by protocol and outcome");
    describe_counter!(UNKNOWN, "MAC addresses that asked to boot and belong to no node");
    describe_gauge!(IDENTIFIER, "1 if this replica holds the DHCP server identifier, else 0");
}

pub(crate) fn dhcp(outcome: &'static str) {
    tracing::trace!(outcome, "DHCP message handled");
    counter!(DHCP, "outcome" => outcome).increment(1);
}

pub(crate) fn file(protocol: &'static str, outcome: &'static str) {
    counter!(FILES, "protocol" => protocol, "outcome" => outcome).increment(1);
}

pub(crate) fn unknown_mac() {
    counter!(UNKNOWN).increment(1);
}

pub(crate) fn holds_identifier(holds: bool) {
    gauge!(IDENTIFIER).set(f64::from(u8::from(holds)));
}
