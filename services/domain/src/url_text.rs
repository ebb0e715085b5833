//! Text of URLs that clients name.

/// A character that a URL cannot have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UrlTextError {
    /// A control character. The URL Standard removes tabs and line breaks (§4.4), so that another URL would be requested than
    /// is stored and shown, and a program that does not remove them would write them into a request or a boot script.
    #[error("a URL cannot have the control character U+{:04X}, which it has at position {position}; remove it", *.character as u32)]
    Control {
        /// The character.
        character: char,
        /// Its position, in characters, from 1.
        position: usize,
    },
    /// White space (RFC 3986 §2: it is encoded by its octets).
    #[error("a URL cannot have white space, which it has at position {position}; write a space as %20")]
    Space {
        /// Its position, in characters, from 1.
        position: usize,
    },
    /// A character that changes the direction of text, so that the URL reads like another one (CVE-2021-42574).
    #[error("a URL cannot have the invisible character U+{:04X}, which it has at position {position}; remove it", *.character as u32)]
    Invisible {
        /// The character.
        character: char,
        /// Its position, in characters, from 1.
        position: usize,
    },
}

/// Checks that a URL is requested as it is written. Its scheme and host are the business of its parser.
///
/// # Errors
/// [`UrlTextError`] with the first character that a URL cannot have.
pub fn check(url: &str) -> Result<(), UrlTextError> {
    for (position, character) in (1..).zip(url.chars()) {
        if character.is_control() {
            return Err(UrlTextError::Control { character, position });
        }
        if character.is_whitespace() {
            return Err(UrlTextError::Space { position });
        }
        if matches!(character, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
        {
            return Err(UrlTextError::Invisible { character, position });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_requested_as_it_is_written() {
        let control = |character, position| Err(UrlTextError::Control { character, position });
        let invisible = |character, position| Err(UrlTextError::Invisible { character, position });
        for (url, source, right) in [
            ("https://h/a?b=c#d", "RFC 3986", Ok(())),
            ("https://bücher.example/ä", "URL Standard §3.3", Ok(())),
            ("https://[fd00::1]:8443/", "RFC 3986 §3.2.2", Ok(())),
            ("http://h/a%20b", "RFC 3986 §2.1", Ok(())),
            ("http://h/a b", "RFC 3986 §2", Err(UrlTextError::Space { position: 11 })),
            (" http://h/", "URL Standard §4.4: removed", Err(UrlTextError::Space { position: 1 })),
            ("http://h/\u{a0}", "a space of a text processor", Err(UrlTextError::Space { position: 10 })),
            ("http://h/\r\nX-Admin: 1", "CWE-93", control('\r', 10)),
            ("http://h/\nchain http://evil", "CWE-93, a boot script", control('\n', 10)),
            ("ht\ttp://h/", "URL Standard §4.4: removed", control('\t', 3)),
            ("http://h\0.evil/", "CWE-158", control('\0', 9)),
            ("http://h/\u{1b}[2J", "CWE-150, terminals", control('\u{1b}', 10)),
            ("http://h/\u{7f}", "RFC 20 §5.2", control('\u{7f}', 10)),
            ("http://h/\u{85}", "Unicode, next line", control('\u{85}', 10)),
            ("http://h/\u{202e}gpj.exe", "CVE-2021-42574", invisible('\u{202e}', 10)),
            ("http://h\u{200b}/", "zero width", invisible('\u{200b}', 9)),
        ] {
            assert_eq!(check(url), right, "{url:?}: {source}");
        }
    }
}
