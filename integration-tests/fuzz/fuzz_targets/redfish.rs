//! Any response of a Redfish service is decoded or refused, and no link leaves the service.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, u16, &[u8])| power_service::fuzzing::response(input.0, input.1, input.2));
