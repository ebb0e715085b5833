//! Reading the values of a query.

use super::{Filter, Reads};
use crate::error::{Class, Error};
use crate::fields::is_uuid;
use crate::python;

/// What a filter compares with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operand {
    /// One text; an address is in lower case.
    Text(String),
    /// A boolean.
    Flag(bool),
    /// Any of these.
    Words(Vec<String>),
}

impl Operand {
    /// As it stands in a query, not yet encoded.
    #[must_use]
    pub fn written(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Flag(true) => "True".to_owned(),
            Self::Flag(false) => "False".to_owned(),
            Self::Words(words) => words.join(","),
        }
    }
}

pub(super) fn read(filter: &Filter, value: &str) -> Result<Operand, Error> {
    let name = filter.name;
    match filter.reads {
        Reads::Flag => boolean(name, value).map(Operand::Flag),
        Reads::Mac => mac(name, value).map(Operand::Text),
        Reads::Uuid if !is_uuid(value) => Err(Class::Invalid.says(format!("Expected UUID for {name}: {value}"))),
        Reads::Words => Ok(Operand::Words(value.split(',').map(|word| word.trim().to_owned()).collect())),
        Reads::Text | Reads::Uuid | Reads::Ident | Reads::State | Reads::Fault | Reads::Type => {
            Ok(Operand::Text(value.to_owned()))
        }
    }
}

/// The words for a boolean, as refusals list them.
pub(crate) const WORDS: [&str; 12] = ["0", "1", "f", "false", "n", "no", "off", "on", "t", "true", "y", "yes"];
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
