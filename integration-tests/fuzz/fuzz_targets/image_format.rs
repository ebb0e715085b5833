//! The first octets of any file say what it is, or nothing.
#![no_main]

use domain::image::format::{check_boot_file, check_unpacked};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|head: &[u8]| {
    let _ = (check_unpacked(head), check_boot_file(head));
});
