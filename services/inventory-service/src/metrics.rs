//! Metrics of the inventory-service.

use metrics::{counter, describe_counter};

const HELLOS: &str = "inventory_hellos_total";

pub(crate) fn describe() {
    describe_counter!(HELLOS, "Agent authentications, by result");
}

pub(crate) fn hello(ended: &'static str) {
    counter!(HELLOS, "ended" => ended).increment(1);
}
