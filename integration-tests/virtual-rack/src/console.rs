//! Reads the output of a machine's serial port.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use super::wait;

/// A reader of one console log that remembers how far it has read.
#[derive(Debug)]
pub struct Console {
    log: PathBuf,
    /// Octets read so far.
    read: u64,
    /// The last lines read, the newest at the end; the incomplete last line, too.
    text: String,
}

/// Number of earlier lines that an error shows.
const LINES_SHOWN: usize = 25;

impl Console {
    /// Reads `log` from its beginning; it need not exist yet.
    pub fn open(log: &Path) -> Self {
        Self { log: log.to_owned(), read: 0, text: String::new() }
    }

    /// Skips existing output, so that only new lines are awaited.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn skip(&mut self) -> Result<()> {
        self.follow()?;
        self.text.clear();
        Ok(())
    }

    /// Waits until a line contains `text`, and returns that line. The next wait begins after it.
    ///
    /// # Errors
    /// It does not within `timeout`; the error shows the last lines.
    pub fn wait_for(&mut self, text: &str, timeout: Duration) -> Result<String> {
        let thing = format!("{text:?} in {}", self.log.display());
        let found = wait::until(&thing, timeout, || self.look_for(text));
        found.with_context(|| format!("last seen:\n{}", self.last_lines()))
    }

    /// The line that contains `text`, if it exists. The next search begins after it.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn look_for(&mut self, text: &str) -> Result<Option<String>> {
        self.follow()?;
        Ok(self.take(text))
    }

    /// The line that contains `text`, if it exists; removes it and all before it.
    fn take(&mut self, text: &str) -> Option<String> {
        let at = self.text.find(text)?;
        let begin = self.text.get(..at)?.rfind('\n').map_or(0, |feed| feed + 1);
        let end = self.text.get(at..)?.find('\n').map_or(self.text.len(), |feed| at + feed);
        let line = self.text.get(begin..end)?.to_owned();
        self.text.drain(..end);
        Some(line)
    }

    /// Reads the output since the last call.
    fn follow(&mut self) -> Result<()> {
        let mut log = match File::open(&self.log) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            opened => opened.with_context(|| self.log.display().to_string())?,
        };
        log.seek(SeekFrom::Start(self.read))?;
        let mut fresh = Vec::new();
        self.read += u64::try_from(log.read_to_end(&mut fresh)?)?;
        self.text += &plain(&String::from_utf8_lossy(&fresh));
        Ok(())
    }

    /// The last lines that were read, for errors.
    pub fn last_lines(&self) -> String {
        let lines: Vec<&str> = self.text.lines().filter(|line| !line.trim().is_empty()).collect();
        lines.get(lines.len().saturating_sub(LINES_SHOWN)..).unwrap_or_default().join("\n")
    }
}

/// Without carriage returns and terminal control sequences (ECMA-48 §5.4: ESC `[` … a letter).
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\u{1b}' => {
                if letters.next() == Some('[') {
                    letters.by_ref().find(char::is_ascii_alphabetic);
                }
            }
            '\r' | '\0' => {}
            _ => plain.push(letter),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_wait_begins_after_what_the_first_found() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        std::fs::write(&log, "\u{1b}[1;37miPXE\u{1b}[0m begins\r\nbooting\niPXE again").unwrap();
        let mut console = Console::open(&log);
        assert_eq!(console.wait_for("iPXE", Duration::ZERO).unwrap(), "iPXE begins");
        assert_eq!(console.wait_for("iPXE", Duration::ZERO).unwrap(), "iPXE again");
    }

    #[test]
    fn a_wait_in_vain_shows_what_was_seen() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        std::fs::write(&log, "No bootable device.\n").unwrap();
        let error = Console::open(&log).wait_for("iPXE", Duration::ZERO).unwrap_err();
        assert!(format!("{error:#}").contains("No bootable device."), "{error:#}");
    }
}
