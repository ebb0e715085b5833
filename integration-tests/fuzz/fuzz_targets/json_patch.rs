//! Any body is refused or parsed within the limits of its shape, and any JSON patch is read or refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wire_ironic::{limits, patch, fields::NODE, version::Version};

fuzz_target!(|body: &[u8]| {
    let Ok(_values) = limits::check_shape(body) else { return };
    let Ok(value) = limits::parse(body) else { return };
    for version in [Version::MIN, Version::MAX] {
        let _ = patch::parse(&NODE, version, &value);
    }
});
