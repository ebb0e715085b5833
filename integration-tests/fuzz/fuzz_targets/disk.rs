//! Whatever the partition table of a disk says, nothing is written beyond the disk.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u32, &[u8])| agent::fuzzing::disk(input.1, u64::from(input.0)));
