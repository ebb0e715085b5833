//! Any config drive is unpacked within its limit or refused.
#![no_main]

use std::io::Read as _;

use libfuzzer_sys::fuzz_target;
use wire_config_drive::{GzipReader, unpack};

fuzz_target!(|packed: &[u8]| {
    let _ = unpack(packed);
    let mut start = Vec::new();
    let _ = GzipReader::new(packed).take(1 << 20).read_to_end(&mut start);
});
