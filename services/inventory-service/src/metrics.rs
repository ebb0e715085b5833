//! Every metric of the inventory-service.

use metrics::{counter, describe_counter};

const HELLOS: &str = "inventory_hellos_total";

pub(crate) fn describe() {
    describe_counter!(HELLOS, "Agents that called, by how that ended");
}

pub(crate) fn hello(ended: &'static str) {
    counter!(HELLOS, "ended" => ended).increment(1);
}
