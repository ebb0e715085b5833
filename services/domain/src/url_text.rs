//! Text of URLs that clients name.

use std::ops::Range;

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
    /// A character of the host that is not seen, and that the URL Standard (§3.3, UTS #46) may remove before the host is
    /// requested.
    #[error(
        "the host of a URL cannot have the invisible character U+{:04X}, which it has at position {position}; remove it",
        *.character as u32
    )]
    InvisibleInHost {
        /// The character.
        character: char,
        /// Its position, in characters, from 1.
        position: usize,
    },
}

/// Checks that a URL is requested as it is written. Its scheme and host are else the business of its parser.
///
/// The rest of a `file://` URL is opened as the path of a file, not decoded: white space is a part of it.
///
/// # Errors
/// [`UrlTextError`] with the first character that a URL cannot have.
pub fn check(url: &str) -> Result<(), UrlTextError> {
    let is_file = url.starts_with("file://");
    let authority = if is_file { 0..0 } else { authority(url) };
    for (position, (at, character)) in (1..).zip(url.char_indices()) {
        if character.is_control() {
            return Err(UrlTextError::Control { character, position });
        }
        if character.is_whitespace() && !is_file {
            return Err(UrlTextError::Space { position });
        }
        if is_misleading(character) {
            return Err(UrlTextError::Invisible { character, position });
        }
        if authority.contains(&at) && is_ignorable(character) {
            return Err(UrlTextError::InvisibleInHost { character, position });
        }
    }
    Ok(())
}

/// Returns the place of user, host and port. The URL Standard (§4.4) accepts any number of slashes before them, and
/// backslashes, too.
fn authority(url: &str) -> Range<usize> {
    let start = url.find(':').map_or(0, |colon| colon + 1);
    let rest = url.get(start..).unwrap_or_default();
    let from = start + (rest.len() - rest.trim_start_matches(['/', '\\']).len());
    let length = url.get(from..).and_then(|rest| rest.find(['/', '\\', '?', '#']));
    from..length.map_or(url.len(), |length| from + length)
}

/// Whether a character ends a line, changes the direction of text, or is not seen anywhere. The joiners U+200C and U+200D are
/// letters' business: names of files have them in Persian and in Indian scripts (RFC 3987 §2.2).
const fn is_misleading(character: char) -> bool {
    matches!(
        character,
        '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}'
    )
}

/// Whether a character is not seen where it is not supported (`Default_Ignorable_Code_Point` of Unicode). All that UTS #46
/// removes are among them.
const fn is_ignorable(character: char) -> bool {
    matches!(
        character,
        '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fff8}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_requested_as_it_is_written() {
        let control = |character, position| Err(UrlTextError::Control { character, position });
        let invisible = |character, position| Err(UrlTextError::Invisible { character, position });
        let in_host = |character, position| Err(UrlTextError::InvisibleInHost { character, position });
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
            ("http://h/می\u{200c}خواهم", "RFC 3987 §2.2, Persian", Ok(())),
            ("http://h/क\u{94d}\u{200d}ष", "RFC 3987 §2.2, Hindi", Ok(())),
            ("http://h/\u{2764}\u{fe0f}.raw", "a variation selector in a name", Ok(())),
            ("http://go\u{ad}od.example/", "UTS #46, ignored", in_host('\u{ad}', 10)),
            ("http:good\u{fe0f}.example", "URL Standard §4.4, no slashes", in_host('\u{fe0f}', 10)),
            ("http:/\\h\u{e0100}\\", "URL Standard §4.4, backslashes", in_host('\u{e0100}', 9)),
            ("http://u@h\u{34f}?q", "UTS #46, ignored", in_host('\u{34f}', 11)),
            ("http://h\u{200d}#f", "RFC 5892 appendix A", in_host('\u{200d}', 9)),
            ("file:///srv/images/Rocky 9.raw", "a path, which is opened as it is", Ok(())),
            ("file:///srv/\u{a0}/\u{ad}/i.raw", "a path, which is opened as it is", Ok(())),
            ("file:///srv/a\nb", "CWE-93", control('\n', 14)),
            ("file:///srv/a\u{2028}b", "Unicode, line separator", invisible('\u{2028}', 14)),
            ("file:///srv/\u{202e}war.i", "CVE-2021-42574", invisible('\u{202e}', 13)),
            (" file:///srv/a", "URL Standard §4.4: removed", Err(UrlTextError::Space { position: 1 })),
        ] {
            assert_eq!(check(url), right, "{url:?}: {source}");
        }
    }
}
