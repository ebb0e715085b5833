//! Checksums as clients write them, and lists of checksums as `sha256sum`, `shasum --tag` and `openssl dgst` write them.

use super::{Algorithm, Digest};

/// Maximum size of a list, in bytes. Those of large archives have some 100 KiB.
pub const MAX_LIST_BYTES: usize = 1 << 20;

/// Reason that a checksum cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChecksumError {
    /// The text is no checksum.
    #[error("{0:?} is no checksum; write the hexadecimal digits of a SHA-256 or SHA-512, or the URL of a list of them")]
    NotHex(String),
    /// The algorithm is broken or not supported.
    #[error("a checksum by {0} is not accepted; use SHA-256 or SHA-512, because MD5 and SHA-1 can be forged")]
    Algorithm(String),
    /// The digits are too few or too many.
    #[error("the checksum has {found} hexadecimal digits, but {algorithm} has {wanted}")]
    Length {
        /// Name of the algorithm.
        algorithm: &'static str,
        /// Its number of digits.
        wanted: usize,
        /// The number of digits given.
        found: usize,
    },
    /// The checksum has the prefix of another algorithm than the one named.
    #[error("the checksum is by {prefix}, but image_os_hash_algo names {named}")]
    OtherAlgorithm {
        /// Prefix of the checksum.
        prefix: &'static str,
        /// The named algorithm.
        named: &'static str,
    },
    /// The list has no checksums.
    #[error("the list has no line with a checksum")]
    NoEntries,
    /// The list has no checksum of the file.
    #[error("the list has no checksum of {0:?}; give the checksum itself")]
    NotListed(String),
    /// The list has different checksums of the file.
    #[error("the list has different checksums of {0:?}; give the checksum itself")]
    Ambiguous(String),
}

/// Returns whether a checksum is the URL of a list.
#[must_use]
pub fn is_url(checksum: &str) -> bool {
    checksum.trim_start().split_once("://").is_some_and(|(scheme, _)| {
        !scheme.is_empty() && scheme.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"+-.".contains(&octet))
    })
}

/// Parses a checksum: hexadecimal digits, with or without the prefix of an algorithm, such as `sha256:`. Without a
/// prefix and without a named algorithm, the number of digits tells the algorithm.
///
/// # Errors
/// [`ChecksumError`]
pub fn parse(algorithm: Option<&str>, text: &str) -> Result<Digest, ChecksumError> {
    let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}' || c == '\0');
    let named = algorithm.map(str::trim).filter(|name| !name.is_empty()).map(self::algorithm).transpose()?;
    let (prefix, hex) = match text.split_once(':') {
        Some((prefix, hex)) => (Some(self::algorithm(prefix.trim())?), hex.trim()),
        None => (None, text),
    };
    if hex.is_empty() || !hex.bytes().all(|octet| octet.is_ascii_hexdigit()) {
        return Err(ChecksumError::NotHex(text.chars().take(160).collect()));
    }
    if let Some((prefix, named)) = prefix.zip(named).filter(|(prefix, named)| prefix != named) {
        return Err(ChecksumError::OtherAlgorithm { prefix: prefix.word(), named: named.word() });
    }
    let algorithm = match prefix.or(named) {
        Some(algorithm) => algorithm,
        None => by_length(hex)?,
    };
    let (wanted, found) = (algorithm.size() * 2, hex.len());
    if wanted != found {
        return Err(ChecksumError::Length { algorithm: algorithm.word(), wanted, found });
    }
    Ok(Digest { algorithm, hex: hex.to_ascii_lowercase() })
}

/// Parses the name of an algorithm: `sha256`, `SHA-256`, `SHA2-256`.
fn algorithm(name: &str) -> Result<Algorithm, ChecksumError> {
    let plain: String = name.chars().filter(|c| !matches!(c, '-' | '_' | ' ')).collect();
    match plain.to_ascii_lowercase().as_str() {
        "sha256" | "sha2256" => Ok(Algorithm::Sha256),
        "sha512" | "sha2512" => Ok(Algorithm::Sha512),
        _ => Err(ChecksumError::Algorithm(name.chars().take(40).collect())),
    }
}

fn by_length(hex: &str) -> Result<Algorithm, ChecksumError> {
    let other = |name: &str| Err(ChecksumError::Algorithm(name.to_owned()));
    match hex.len() {
        64 => Ok(Algorithm::Sha256),
        128 => Ok(Algorithm::Sha512),
        32 => other("MD5"),
        40 => other("SHA-1"),
        56 => other("SHA-224"),
        96 => other("SHA-384"),
        _ => Err(ChecksumError::NotHex(hex.chars().take(160).collect())),
    }
}

/// A line of a list.
struct Entry<'l> {
    algorithm: Option<&'l str>,
    hex: &'l str,
    /// Name of the file. `None` for a checksum alone.
    name: Option<String>,
}

/// Finds the checksum of a file in a list: `HEX  NAME` and `HEX *NAME` of GNU, `SHA256 (NAME) = HEX` of BSD, or a
/// checksum alone. Comments, signatures and other lines are skipped. A single entry counts for any file: mirrors rename
/// files. If there are several of the file, SHA-512 is preferred.
///
/// # Errors
/// [`ChecksumError`]
pub fn find(list: &str, file: &str, algorithm: Option<&str>) -> Result<Digest, ChecksumError> {
    let list = list.strip_prefix('\u{feff}').unwrap_or(list);
    let entries: Vec<Entry<'_>> = list.lines().filter_map(|line| entry(line.trim())).collect();
    let of_file = |entry: &&Entry<'_>| entry.name.as_deref().is_some_and(|name| base_name(name) == file);
    let mut fitting: Vec<&Entry<'_>> = entries.iter().filter(of_file).collect();
    if fitting.is_empty() {
        fitting = match entries.as_slice() {
            [] => return Err(ChecksumError::NoEntries),
            [only] => vec![only],
            _ => return Err(ChecksumError::NotListed(file.to_owned())),
        };
    }
    let wanted = algorithm.map(self::algorithm).transpose()?;
    let (mut found, mut refused): (Vec<Digest>, _) = (Vec::new(), None);
    for entry in fitting {
        match parse(entry.algorithm, entry.hex) {
            Ok(digest) if wanted.is_none_or(|wanted| wanted == digest.algorithm) => found.push(digest),
            Ok(_) => {}
            Err(error) => refused = refused.or(Some(error)),
        }
    }
    let best = found.iter().max_by_key(|digest| digest.algorithm.size());
    let Some(best) = best else { return Err(refused.unwrap_or_else(|| ChecksumError::NotListed(file.to_owned()))) };
    if found.iter().any(|digest| digest.algorithm == best.algorithm && digest != best) {
        return Err(ChecksumError::Ambiguous(file.to_owned()));
    }
    Ok(best.clone())
}

fn entry(line: &str) -> Option<Entry<'_>> {
    if line.starts_with('#') {
        return None;
    }
    tagged(line).or_else(|| {
        // GNU escapes a name with a backslash or a line break, and says so at the start of the line.
        let (line, is_escaped) = line.strip_prefix('\\').map_or((line, false), |line| (line, true));
        let (hex, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
        let digits = hex.split_once(':').map_or(hex, |(_, digits)| digits);
        if digits.len() < 32 || !digits.bytes().all(|octet| octet.is_ascii_hexdigit()) {
            return None;
        }
        let name = rest.trim_start();
        let name = name.strip_prefix('*').unwrap_or(name);
        let name = if is_escaped { name.replace("\\n", "\n").replace("\\\\", "\\") } else { name.to_owned() };
        Some(Entry { algorithm: None, hex, name: (!name.is_empty()).then_some(name) })
    })
}

/// Parses `SHA256 (NAME) = HEX` of BSD, and `SHA2-256(NAME)= HEX` of OpenSSL.
fn tagged(line: &str) -> Option<Entry<'_>> {
    let (algorithm, rest) = line.split_once('(')?;
    let (name, hex) = rest.rsplit_once(')')?;
    let hex = hex.trim_start().strip_prefix('=')?.trim();
    let algorithm = algorithm.trim();
    let named = !algorithm.is_empty() && algorithm.bytes().all(|c| c.is_ascii_alphanumeric() || b"-/_".contains(&c));
    named.then(|| Entry { algorithm: Some(algorithm), hex, name: Some(name.to_owned()) })
}

fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn a(digits: usize) -> String {
        "aB".repeat(digits / 2)
    }

    #[test]
    fn a_checksum_is_taken_in_each_form_that_clients_write() {
        let (sha256, sha512) = (format!("sha256:{}", "ab".repeat(32)), format!("sha512:{}", "ab".repeat(64)));
        for (named, text, source, right) in [
            (None, a(64), "Ironic: image_checksum", Ok(&sha256)),
            (None, a(128), "Ironic: image_checksum, by its length", Ok(&sha512)),
            (None, format!("{}\n", a(64)), "Metal3: $(cat x.sha256sum)", Ok(&sha256)),
            (None, format!("  {}\r\n", a(64)), "a file of Windows", Ok(&sha256)),
            (None, format!("sha256:{}", a(64)), "OCI image-spec, descriptor.md", Ok(&sha256)),
            (None, format!("SHA-512:{}", a(128)), "FIPS 180-4", Ok(&sha512)),
            (Some("SHA256"), a(64), "Glance: os_hash_algo", Ok(&sha256)),
            (Some("SHA-256"), a(64), "FIPS 180-4", Ok(&sha256)),
            (Some(" sha512 "), a(128), "bifrost", Ok(&sha512)),
            (Some("sha256"), format!("sha256:{}", a(64)), "prefix and algorithm", Ok(&sha256)),
            (Some("sha512"), format!("sha256:{}", a(64)), "they differ", Err("names sha512")),
            (Some("sha512"), a(64), "too short", Err("has 64 hexadecimal digits, but sha512 has 128")),
            (None, a(32), "Ironic 39 without agent.allow_md5_checksum", Err("MD5")),
            (Some("md5"), a(32), "the same", Err("md5")),
            (Some("sha1"), a(40), "SHAttered", Err("sha1")),
            (None, a(40), "SHAttered", Err("SHA-1")),
            (None, a(96), "SHA-384", Err("SHA-384")),
            (None, "xyz".to_owned(), "no digits", Err("no checksum")),
            (None, "  ".to_owned(), "nothing", Err("no checksum")),
        ] {
            match (parse(named, &text), right) {
                (Ok(digest), Ok(right)) => assert_eq!(&digest.to_string(), right, "{source}"),
                (Err(error), Err(right)) => assert!(error.to_string().contains(right), "{source}: {error}"),
                (got, right) => panic!("{source}: {got:?} is not {right:?}"),
            }
        }
    }

    #[test]
    fn the_checksum_of_a_file_is_found_in_each_form_of_list() {
        let (one, two, long) = ("1".repeat(64), "2".repeat(64), "3".repeat(128));
        let weak = "4".repeat(32);
        for (list, source, right) in [
            (format!("{one}  other.raw\n{two}  x.raw\n"), "GNU coreutils, text", Ok(&two)),
            (format!("{one} *other.raw\n{two} *x.raw\n"), "GNU coreutils, binary; Ubuntu SHA256SUMS", Ok(&two)),
            (format!("{one}  ./other.raw\r\n{two}  ./x.raw\r\n"), "line ends of Windows, paths", Ok(&two)),
            (format!("SHA256 (other.raw) = {one}\nSHA256 (x.raw) = {two}\n"), "BSD", Ok(&two)),
            (format!("SHA2-256(other.raw)= {one}\nSHA2-256(x.raw)= {two}"), "OpenSSL 3", Ok(&two)),
            (format!("# x.raw: 5 bytes\nSHA256 (x.raw) = {two}\n"), "Fedora CHECKSUM", Ok(&two)),
            (two.clone(), "bare, without a line end", Ok(&two)),
            (format!("\u{feff}{two}\r\n\r\n"), "bare, with a byte order mark", Ok(&two)),
            (format!("{}\n", two.to_uppercase()), "bare, upper case", Ok(&two)),
            (format!("{two}  renamed.raw\n"), "a single entry", Ok(&two)),
            (format!("{two}  x.raw\n{long}  x.raw\n"), "two algorithms", Ok(&long)),
            (format!("MD5 (x.raw) = {weak}\nSHA256 (x.raw) = {two}\n"), "OpenBSD, with MD5", Ok(&two)),
            (format!("\\{one}  a\\\\b\n{two}  x.raw\n"), "GNU coreutils, escaped", Ok(&two)),
            (
                format!("-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n{two} *x.raw\n{one} *y\n-----BEGIN PGP"),
                "clear-signed (RFC 9580 §7)",
                Ok(&two),
            ),
            (format!("{one}  a\n{two}  b\n"), "not listed", Err("no checksum of \"x.raw\"")),
            (format!("{one}  x.raw\n{two}  x.raw\n"), "listed twice", Err("different checksums")),
            (format!("{weak}  x.raw\n"), "MD5SUMS", Err("MD5")),
            ("<html>404</html>".to_owned(), "an error page", Err("no line with a checksum")),
            (String::new(), "empty", Err("no line with a checksum")),
        ] {
            match (find(&list, "x.raw", None), right) {
                (Ok(digest), Ok(right)) => assert_eq!(digest.hex(), right, "{source}"),
                (Err(error), Err(right)) => assert!(error.to_string().contains(right), "{source}: {error}"),
                (got, right) => panic!("{source}: {got:?} is not {right:?}"),
            }
        }
        let both = format!("{two}  x.raw\n{long}  x.raw\n");
        assert_eq!(find(&both, "x.raw", Some("SHA-256")).unwrap().hex(), two);
        assert!(find(&format!("{two} x.raw"), "x.raw", Some("sha512")).is_err());
    }

    #[test]
    fn a_url_is_told_from_a_checksum() {
        for url in ["http://h/SHA256SUMS", "HTTPS://h/x", " file:///x"] {
            assert!(is_url(url), "{url}");
        }
        assert!(!is_url(&format!("sha256:{}", a(64))) && !is_url(&a(64)) && !is_url("://x"));
    }
}
