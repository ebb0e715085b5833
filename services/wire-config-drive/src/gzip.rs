//! Reads gzip files as gzip(1) does: of several members, and with padding behind them.

use std::io::{self, BufRead, Read};

use flate2::bufread::GzDecoder;

/// Reads the content of all members (RFC 1952 §2.2). Zeros behind the last member are padding, as of a tape or a disk;
/// other bytes there are an error, and so is a member that ends early.
#[derive(Debug)]
pub struct GzipReader<R> {
    state: State<R>,
}

#[derive(Debug)]
enum State<R> {
    /// In a member.
    Member(GzDecoder<R>),
    /// Behind a member.
    Between(R),
    /// At the end, or behind an error.
    Ended,
}

impl<R: BufRead> GzipReader<R> {
    /// Reads a stream that starts with a member.
    pub fn new(packed: R) -> Self {
        Self { state: State::Member(GzDecoder::new(packed)) }
    }
}

/// Returns whether another member follows.
fn has_next(packed: &mut impl BufRead) -> io::Result<bool> {
    let mut is_padded = false;
    loop {
        let bytes = packed.fill_buf()?;
        let (Some(first), count) = (bytes.first().copied(), bytes.len()) else { return Ok(false) };
        let zeros = bytes.iter().take_while(|octet| **octet == 0).count();
        match zeros {
            0 if first == 0x1f && !is_padded => return Ok(true),
            zeros if zeros == count => is_padded = true,
            _ => return Err(io::Error::new(io::ErrorKind::InvalidData, "there is other data behind its end")),
        }
        packed.consume(count);
    }
}

impl<R: BufRead> Read for GzipReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            // An error ends the stream, unless the read is to be repeated.
            match std::mem::replace(&mut self.state, State::Ended) {
                State::Member(mut member) => match member.read(buffer) {
                    Ok(0) => self.state = State::Between(member.into_inner()),
                    Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                    outcome => {
                        self.state = State::Member(member);
                        return outcome;
                    }
                },
                State::Between(mut packed) => match has_next(&mut packed) {
                    Ok(true) => self.state = State::Member(GzDecoder::new(packed)),
                    Ok(false) => return Ok(0),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                        self.state = State::Between(packed);
                        return Err(error);
                    }
                    Err(error) => return Err(error),
                },
                State::Ended => return Ok(0),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Write as _};

    use flate2::{Compression, GzBuilder};

    use super::*;

    fn member(content: &[u8]) -> Vec<u8> {
        let mut packed = GzBuilder::new().filename("x").write(Vec::new(), Compression::fast());
        packed.write_all(content).unwrap();
        packed.finish().unwrap()
    }

    #[test]
    fn members_and_padding_are_read_as_gzip_does() {
        let (one, two, none) = (member(b"one"), member(b"two"), member(b""));
        let large = member(&[7; 300_000]);
        for (packed, source, right) in [
            (one.clone(), "RFC 1952 §2.2, one member", Ok(b"one".to_vec())),
            ([&one[..], &two].concat(), "RFC 1952 §2.2, two members", Ok(b"onetwo".to_vec())),
            ([&one[..], &none, &two].concat(), "an empty member between", Ok(b"onetwo".to_vec())),
            (none.clone(), "an empty member", Ok(Vec::new())),
            ([&large[..], &one].concat(), "a large member first", Ok([&[7; 300_000][..], b"one"].concat())),
            ([&one[..], &[0; 512]].concat(), "gzip -t: zeros", Ok(b"one".to_vec())),
            ([&one[..], &two, &[0; 70_000]].concat(), "gzip -t: many zeros", Ok(b"onetwo".to_vec())),
            ([&one[..], &[0]].concat(), "gzip -t: a zero", Ok(b"one".to_vec())),
            ([&one[..], b"garbage"].concat(), "gzip -t: trailing garbage", Err("other data")),
            ([&one[..], &[0; 512], b"x"].concat(), "garbage behind zeros", Err("other data")),
            ([&one[..], &[0x1f, 0x9d, 1, 2]].concat(), "compress behind gzip", Err("")),
            (one[..one.len() - 1].to_vec(), "cut in the trailer", Err("")),
            (large[..large.len() / 2].to_vec(), "cut in the data", Err("")),
            ([&one[..], &two[..5]].concat(), "cut in the second header", Err("")),
            (Vec::new(), "nothing", Err("")),
        ] {
            for capacity in [1, 7, 1 << 16] {
                let mut content = Vec::new();
                let read = GzipReader::new(BufReader::with_capacity(capacity, &packed[..])).read_to_end(&mut content);
                match (read, &right) {
                    (Ok(_), Ok(right)) => assert!(content == *right, "{source}, {capacity}"),
                    (Err(error), Err(right)) => assert!(error.to_string().contains(right), "{source}: {error}"),
                    (read, _) => panic!("{source}, {capacity}: {read:?}"),
                }
            }
        }
    }
}
