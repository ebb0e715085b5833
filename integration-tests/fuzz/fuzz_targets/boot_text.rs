//! Text that ends up in boot scripts and kernel command lines cannot leave its place in them.
#![no_main]

use domain::kernel_arguments::{KernelArguments, MAX_BYTES};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    pxe_service::fuzzing::text(text);
    if let Ok(arguments) = text.parse::<KernelArguments>() {
        let arguments = arguments.as_str();
        assert!(arguments.len() <= MAX_BYTES && !arguments.contains(['\n', '\r', '\0']));
        let ends_command = |word: &str| matches!(word, "||" | "&&");
        assert!(!arguments.contains("${") && !arguments.split_whitespace().any(ends_command));
    }
});
