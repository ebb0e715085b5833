//! What may stand behind the question mark: filters, and how their values are read.

use crate::error::{Class, Error};
use crate::python;

/// The words for a boolean, as refusals list them.
const WORDS: [&str; 12] = ["0", "1", "f", "false", "n", "no", "off", "on", "t", "true", "y", "yes"];
const TRUE: [&str; 6] = ["1", "on", "t", "true", "y", "yes"];

/// Reads a word for a boolean, in any case.
///
/// # Errors
/// 400 with all the words that would do.
pub fn boolean(name: &str, word: &str) -> Result<bool, Error> {
    let lower = word.trim().to_ascii_lowercase();
    if !WORDS.contains(&lower.as_str()) {
        let words = python::listed(&WORDS);
        return Err(Class::Invalid.says(format!(
            "Invalid {name}: Unrecognized value {}, acceptable values are: {words}",
            python::quoted_text(word)
        )));
    }
    Ok(TRUE.contains(&lower.as_str()))
}

/// Reads a MAC address, and writes it as the protocol stores it: in lower case. Colons only.
///
/// # Errors
/// 400.
pub fn mac(name: &str, text: &str) -> Result<String, Error> {
    let octets: Vec<&str> = text.split(':').collect();
    let plain = |octet: &&str| octet.len() == 2 && octet.bytes().all(|byte| byte.is_ascii_hexdigit());
    if octets.len() == 6 && octets.iter().all(plain) {
        return Ok(text.to_ascii_lowercase());
    }
    Err(Class::Invalid.says(format!("Expected valid MAC address for {name}: {text}")))
}
