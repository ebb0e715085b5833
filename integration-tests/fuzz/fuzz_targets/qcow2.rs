//! Any file is read as a QCOW2 image or refused.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|file: &[u8]| storage_service::fuzzing::qcow2(file));
