//! A small client of QEMU's monitor (the QMP specification in QEMU's documentation, `docs/interop/qmp-spec`).

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// QEMU answers at once, unless another client has the monitor: it serves one at a time.
const WAIT_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection to a monitor that has sent its greeting.
#[derive(Debug)]
pub struct Qmp {
    stream: BufReader<UnixStream>,
    /// The incomplete next line.
    line: Vec<u8>,
    /// Names of events that were received while something else was awaited.
    events: Vec<String>,
}

impl Qmp {
    /// Connects to the monitor at `socket`.
    ///
    /// # Errors
    /// No process listens there, or another client keeps the monitor for too long.
    pub fn connect(socket: &Path) -> Result<Self> {
        let stream = UnixStream::connect(socket).with_context(|| socket.display().to_string())?;
        stream.set_write_timeout(Some(WAIT_TIMEOUT))?;
        let mut qmp = Self { stream: BufReader::new(stream), line: Vec::new(), events: Vec::new() };
        let greeting = qmp.read(WAIT_TIMEOUT)?.context("the monitor did not greet")?;
        if greeting.get("QMP").is_none() {
            bail!("not a monitor: {greeting}");
        }
        qmp.execute("qmp_capabilities", json!({}))?;
        Ok(qmp)
    }

    /// Runs one command and returns its answer.
    ///
    /// # Errors
    /// QEMU refused it, or did not answer.
    pub fn execute(&mut self, command: &str, arguments: Value) -> Result<Value> {
        let request = json!({ "execute": command, "arguments": arguments });
        self.stream.get_mut().write_all(format!("{request}\n").as_bytes())?;
        loop {
            let message = self.read(WAIT_TIMEOUT)?.with_context(|| format!("no answer to {command}"))?;
            if let Some(event) = message.get("event").and_then(Value::as_str) {
                self.events.push(event.to_owned());
            } else if let Some(error) = message.get("error") {
                bail!("{command}: {error}");
            } else {
                return Ok(message.get("return").cloned().unwrap_or_default());
            }
        }
    }

    /// Waits until `event` was received, and then until it was not received again for `quiet`.
    ///
    /// # Errors
    /// It was not received within `timeout`, or the monitor closed.
    pub fn settle(&mut self, event: &str, timeout: Duration, quiet: Duration) -> Result<()> {
        while !self.events.iter().any(|seen| seen == event) {
            self.next(timeout)?.with_context(|| format!("no {event} within {timeout:?}"))?;
        }
        while self.next(quiet)?.is_some() {}
        self.events.clear();
        Ok(())
    }

    /// Records the next event; `None` if there was none in time.
    fn next(&mut self, timeout: Duration) -> Result<Option<()>> {
        let Some(message) = self.read(timeout)? else { return Ok(None) };
        self.events.extend(message.get("event").and_then(Value::as_str).map(str::to_owned));
        Ok(Some(()))
    }

    /// One message; `None` if it was not complete in time. An incomplete one is kept.
    fn read(&mut self, timeout: Duration) -> Result<Option<Value>> {
        self.stream.get_ref().set_read_timeout(Some(timeout))?;
        match self.stream.read_until(b'\n', &mut self.line) {
            Ok(_) if self.line.ends_with(b"\n") => {
                let message = serde_json::from_slice(&self.line).context("what the monitor said")?;
                self.line.clear();
                Ok(Some(message))
            }
            Ok(_) => bail!("the monitor closed"),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(None),
            Err(error) => Err(error).context("reading from the monitor"),
        }
    }
}
