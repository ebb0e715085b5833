//! Entry point for fuzzers and for the test below: text that ends up in boot scripts, and what must hold for it.

use crate::boot::{BootPath, Endpoint, parse_path};

/// Any path names a known loader, a file of a node, or nothing; any endpoint that is taken cannot end a word, a line or a
/// URL of an iPXE script.
///
/// # Panics
/// If that does not hold.
pub fn text(text: &str) {
    if let Some(BootPath::Loader(name)) = parse_path(text) {
        assert!(!name.contains('/'), "{name:?}");
    }
    if let Ok(endpoint) = text.parse::<Endpoint>() {
        let is_safe = |c: char| c.is_ascii_alphanumeric() || ".-:[]".contains(c);
        assert!(endpoint.to_string().chars().all(is_safe) && !endpoint.host().is_empty(), "{text:?}");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn text_of_others_is_a_path_or_an_endpoint_or_refused(
            any in any::<String>(),
            near in r"(/{0,2}boot/)?[0-9a-f:]{0,17}/?[a-z.\[\]:0-9${}\n ]{0,30}",
        ) {
            super::text(&any);
            super::text(&near);
        }
    }
}
