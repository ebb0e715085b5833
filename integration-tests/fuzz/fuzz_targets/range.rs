//! Any `Range` header names a part of the file or none.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, u64)| storage_service::fuzzing::range(input.0, input.1));
