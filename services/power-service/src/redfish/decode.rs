//! Decodes the body of a response. Pure.
//!
//! Sources: RFC 9110 §8.4 (content codings), RFC 8259 §8.1 (a byte order mark may be ignored), and firmware in the field
//! that compresses unasked, pads with NUL, sends Latin-1, or writes line breaks inside of strings.

use std::io::{self, Read};

use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use serde_json::Value;

/// First bytes of a gzip member (RFC 1952 §2.3.1).
const GZIP_MAGIC: &[u8] = &[0x1f, 0x8b];
/// UTF-8 byte order mark.
const BYTE_ORDER_MARK: &[u8] = &[0xef, 0xbb, 0xbf];

/// The body of a response.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum Body {
    /// Nothing but padding.
    #[default]
    Empty,
    /// JSON.
    Json(Value),
    /// JSON that ends too early.
    Cut,
    /// Something else.
    NotJson,
}

/// Why a body cannot be decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum DecodeError {
    /// The decoded body is larger than the limit.
    #[error("the response is larger than {0} bytes")]
    TooLarge(usize),
    /// The compressed data is damaged.
    #[error("the response is not valid {0}")]
    Damaged(&'static str),
}

/// Decodes a body. Its first bytes decide before `encoding`, the `Content-Encoding` header: some services compress
/// without saying so, and some proxies decompress and leave the header.
///
/// # Errors
/// [`DecodeError`] if the data is damaged, or larger than `limit` bytes after decompression.
pub(super) fn decode(encoding: &str, data: Vec<u8>, limit: usize) -> Result<Body, DecodeError> {
    let encoding = encoding.to_ascii_lowercase();
    let plain = if data.starts_with(GZIP_MAGIC) {
        inflate(MultiGzDecoder::new(data.as_slice()), "gzip", limit)?
    } else if encoding.contains("deflate") && !is_text(&data) {
        // RFC 9110 §8.4.1.2: the zlib format. Some services omit its header.
        match inflate(ZlibDecoder::new(data.as_slice()), "deflate", limit) {
            Err(DecodeError::Damaged(_)) => inflate(DeflateDecoder::new(data.as_slice()), "deflate", limit)?,
            decoded => decoded?,
        }
    } else {
        data
    };
    if plain.len() > limit {
        return Err(DecodeError::TooLarge(limit));
    }
    Ok(parse(&plain))
}

/// Returns whether it starts like JSON.
fn is_text(data: &[u8]) -> bool {
    let data = data.strip_prefix(BYTE_ORDER_MARK).unwrap_or(data);
    data.iter().find(|octet| !octet.is_ascii_whitespace()).is_none_or(|octet| matches!(octet, b'{' | b'[' | b'<'))
}

fn inflate(decoder: impl Read, name: &'static str, limit: usize) -> Result<Vec<u8>, DecodeError> {
    let mut plain = Vec::new();
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    let read: io::Result<usize> = decoder.take(most).read_to_end(&mut plain);
    match read {
        Ok(_) if plain.len() > limit => Err(DecodeError::TooLarge(limit)),
        Ok(_) => Ok(plain),
        Err(_) => Err(DecodeError::Damaged(name)),
    }
}

/// Parses JSON, more leniently than RFC 8259 where services in the field need it.
fn parse(data: &[u8]) -> Body {
    let data = data.strip_prefix(BYTE_ORDER_MARK).unwrap_or(data);
    let is_padding = |octet: &u8| *octet == 0 || octet.is_ascii_whitespace();
    let end = data.iter().rposition(|octet| !is_padding(octet)).map_or(0, |last| last + 1);
    let data = data.get(..end).unwrap_or_default();
    if data.is_empty() {
        return Body::Empty;
    }
    let error = match serde_json::from_slice(data) {
        Ok(value) => return Body::Json(value),
        Err(error) => error,
    };
    // Control characters inside of strings, and text that is not UTF-8.
    let text: String =
        String::from_utf8_lossy(data).chars().map(|sign| if sign.is_control() { ' ' } else { sign }).collect();
    match serde_json::from_str(&text) {
        Ok(value) => Body::Json(value),
        Err(_) if error.is_eof() => Body::Cut,
        Err(_) => Body::NotJson,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::{
        Compression,
        write::{DeflateEncoder, GzEncoder, ZlibEncoder},
    };
    use serde_json::json;

    use super::*;

    const LIMIT: usize = 1 << 16;
    const PLAIN: &[u8] = br#"{"a": "b"}"#;

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    fn zlib(data: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    fn raw_deflate(data: &[u8]) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn a_body_is_read_in_every_form_that_services_send_it() {
        let json = Body::Json(json!({"a": "b"}));
        let marked = [BYTE_ORDER_MARK, PLAIN].concat();
        let table: &[(&str, Vec<u8>, Body, &str)] = &[
            ("", PLAIN.to_vec(), json.clone(), "RFC 8259"),
            ("identity", PLAIN.to_vec(), json.clone(), "RFC 9110 §12.5.3"),
            ("gzip", gzip(PLAIN), json.clone(), "sushy: iDRAC compresses unless told not to (accept-encoding note)"),
            ("x-gzip", gzip(PLAIN), json.clone(), "RFC 9110 §8.4.1.3"),
            ("", gzip(PLAIN), json.clone(), "compressed without a header"),
            ("gzip", PLAIN.to_vec(), json.clone(), "a proxy decompressed it and kept the header"),
            ("deflate", zlib(PLAIN), json.clone(), "RFC 9110 §8.4.1.2"),
            ("deflate", raw_deflate(PLAIN), json.clone(), "RFC 9110 §8.4.1.2, note"),
            ("deflate", PLAIN.to_vec(), json.clone(), "a proxy decompressed it and kept the header"),
            ("gzip", [gzip(b"{\"a\": "), gzip(b"\"b\"}")].concat(), json.clone(), "RFC 1952 §2.2: two members"),
            ("", marked.clone(), json.clone(), "RFC 8259 §8.1"),
            ("gzip", gzip(&marked), json.clone(), "both"),
            ("", [PLAIN, b"\0"].concat(), json.clone(), "a C string sent with its end"),
            ("", [PLAIN, b"\r\n\0\0"].concat(), json, "the same behind a line end"),
            (
                "",
                b"{\"a\": \"b\nc\"}".to_vec(),
                Body::Json(json!({"a": "b c"})),
                "RFC 8259 §7 forbids it; seen in SEL texts",
            ),
            ("", b"{\"a\": \"\xb0C\"}".to_vec(), Body::Json(json!({"a": "\u{fffd}C"})), "Latin-1"),
            ("", Vec::new(), Body::Empty, "204"),
            ("", b" \r\n\0".to_vec(), Body::Empty, "200 with padding only"),
            ("gzip", gzip(b""), Body::Empty, "an empty compressed body"),
            ("", b"{\"a\": ".to_vec(), Body::Cut, "cut"),
            ("", b"<html>".to_vec(), Body::NotJson, "a login page"),
        ];
        for (encoding, data, right, source) in table {
            assert_eq!(decode(encoding, data.clone(), LIMIT).as_ref(), Ok(right), "{source}");
        }
    }

    #[test]
    fn a_body_that_is_too_large_or_damaged_is_refused() {
        let bomb = vec![b' '; LIMIT + 1];
        let table = [
            ("", bomb.clone(), DecodeError::TooLarge(LIMIT)),
            ("gzip", gzip(&bomb), DecodeError::TooLarge(LIMIT)),
            ("", gzip(&bomb), DecodeError::TooLarge(LIMIT)),
            ("deflate", zlib(&bomb), DecodeError::TooLarge(LIMIT)),
            ("deflate", raw_deflate(&bomb), DecodeError::TooLarge(LIMIT)),
            ("gzip", gzip(PLAIN)[..12].to_vec(), DecodeError::Damaged("gzip")),
            ("deflate", vec![0xff; 9], DecodeError::Damaged("deflate")),
        ];
        for (encoding, data, right) in table {
            assert!(data.len() <= LIMIT + 1, "small on the wire");
            assert_eq!(decode(encoding, data, LIMIT), Err(right), "{encoding}");
        }
    }
}
