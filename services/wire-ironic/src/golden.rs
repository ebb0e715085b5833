//! Golden files of the tables; `UPDATE=1` rewrites them.

use std::path::Path;

/// Compares a text with its golden file, or rewrites the file.
pub(crate) fn check(name: &str, printed: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/golden").join(name);
    if option_env!("UPDATE").is_some() {
        std::fs::write(&path, printed).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(printed, golden, "{name} differs; look at it, then UPDATE=1");
}
