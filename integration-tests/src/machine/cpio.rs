//! Reading a cpio archive (newc; kernel `Documentation/driver-api/early-userspace/buffer-format.rst`), as the kernel
//! does with a ramdisk.

/// Length of the header before a member's name: a magic number and thirteen fields of eight hexadecimal digits.
const HEADER: usize = 6 + 13 * 8;

/// The content of the member with this name; `None` if there is none, or if the archive is broken before it.
pub fn member<'a>(archive: &'a [u8], wanted: &str) -> Option<&'a [u8]> {
    let mut at = 0;
    loop {
        let header = archive.get(at..at + HEADER)?;
        if !header.starts_with(b"070701") {
            return None;
        }
        let (size, name_size) = (field(header, 6)?, field(header, 11)?);
        let name = archive.get(at + HEADER..at + HEADER + name_size)?;
        let content = (at + HEADER + name_size).next_multiple_of(4);
        let name = name.strip_suffix(&[0])?;
        match name {
            b"TRAILER!!!" => return None,
            _ if name == wanted.as_bytes() => return archive.get(content..content + size),
            _ => at = (content + size).next_multiple_of(4),
        }
    }
}

fn field(header: &[u8], number: usize) -> Option<usize> {
    let digits = header.get(6 + number * 8..)?.get(..8)?;
    usize::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn what_cpio_packed_is_found_and_what_it_did_not_is_not() {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in [("first", "abcde"), ("second", "the one")] {
            std::fs::write(folder.path().join(name), content).unwrap();
        }
        let mut cpio = Command::new("cpio")
            .args(["--create", "--format=newc", "--quiet"])
            .current_dir(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        cpio.stdin.take().unwrap().write_all(b"first\nsecond\n").unwrap();
        let archive = cpio.wait_with_output().unwrap().stdout;
        assert_eq!(member(&archive, "second"), Some(&b"the one"[..]));
        assert_eq!(member(&archive, "third"), None);
        assert_eq!(member(archive.get(..150).unwrap(), "second"), None);
    }
}
