//! Secrets, read from where others on this machine do not see them.

use std::{
    io::{IsTerminal as _, Read as _},
    path::Path,
};

use anyhow::{Context as _, bail};

/// A secret, as people are told of it.
pub(super) struct Source {
    /// Such as "the BMC's password".
    pub(super) what: &'static str,
    /// The option that names its file.
    pub(super) option: &'static str,
    /// Octets that are read.
    pub(super) most: u64,
}

impl Source {
    /// Reads it from a file or, where that is wanted, from standard input; none: it is given by neither. One line feed at
    /// its end does not count.
    pub(super) fn read(&self, file: Option<&Path>, stdin: bool) -> anyhow::Result<Option<String>> {
        let Self { what, option, most } = self;
        let mut text = String::new();
        match file {
            Some(file) => {
                let told = || format!("cannot read {what} from {}", file.display());
                let opened = std::fs::File::open(file).with_context(told)?;
                opened.take(*most).read_to_string(&mut text).with_context(told)?;
            }
            None if !stdin => return Ok(None),
            None if std::io::stdin().is_terminal() => {
                bail!("a terminal would show the password; pipe it in, or write it to a file for {option}")
            }
            None => {
                let read = std::io::stdin().lock().take(*most).read_to_string(&mut text);
                read.with_context(|| format!("cannot read {what} from standard input"))?;
            }
        }
        let text = text.strip_suffix('\n').unwrap_or(&text);
        Ok(Some(text.strip_suffix('\r').unwrap_or(text).to_owned()))
    }
}
