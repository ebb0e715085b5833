//! Values of filters.

/// Value that a filter compares with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operand {
    /// A text; a MAC address is in lower case.
    Text(String),
    /// A boolean.
    Flag(bool),
    /// Any of these texts.
    Words(Vec<String>),
}

impl Operand {
    /// Formats the value as in a query, without percent-encoding.
    #[must_use]
    pub fn to_text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Flag(true) => "True".to_owned(),
            Self::Flag(false) => "False".to_owned(),
            Self::Words(words) => words.join(","),
        }
    }
}
