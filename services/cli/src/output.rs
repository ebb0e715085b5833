//! All output of the command line passes here.

use std::{
    io::{IsTerminal as _, Write as _},
    sync::Arc,
};

use domain::time::Timestamp;
use parking_lot::Mutex;
use serde_json::Value;

use crate::{Format, context::environment, error::Error, human::clean, serialize};

/// Width in columns if the output is not a terminal.
const PLAIN_WIDTH: u16 = 120;

/// Where answers and remarks go, and how they are formatted.
#[derive(Debug, Clone)]
pub(crate) struct Screen {
    pub(crate) format: Format,
    /// Width of the terminal in columns; `None` if the output is not a terminal.
    pub(crate) edge: Option<u16>,
    /// Whether answers may be colored.
    pub(crate) is_coloured: bool,
    /// Whether progress bars can be drawn.
    pub(crate) has_bars: bool,
    sink: Sink,
}

#[derive(Debug, Clone)]
enum Sink {
    Process,
    #[cfg_attr(not(test), expect(dead_code, reason = "tests read the output"))]
    Memory(Arc<Mutex<Said>>, Timestamp),
}

/// Recorded output, for tests.
#[derive(Debug, Default)]
pub(crate) struct Said {
    pub(crate) answers: String,
    pub(crate) remarks: String,
}

impl Screen {
    /// Standard output for answers, standard error for remarks.
    pub(crate) fn of_process(format: Format) -> Self {
        let is_terminal = std::io::stdout().is_terminal();
        Self {
            format,
            edge: if is_terminal { comfy_table::Table::new().width() } else { None },
            is_coloured: is_terminal && environment("NO_COLOR").is_none(),
            has_bars: std::io::stderr().is_terminal(),
            sink: Sink::Process,
        }
    }

    /// Width to draw in, in columns.
    pub(crate) fn width(&self) -> usize {
        usize::from(self.edge.unwrap_or(PLAIN_WIDTH))
    }

    /// The time that ages are computed from.
    pub(crate) fn now(&self) -> Timestamp {
        match &self.sink {
            Sink::Process => service_kit::clock::now(),
            Sink::Memory(_, now) => *now,
        }
    }

    /// Writes one answer in the requested format.
    pub(crate) fn show(&self, table: impl FnOnce() -> String, json: impl FnOnce() -> Value) -> Result<(), Error> {
        if self.format != Format::Table {
            return self.raw(serialize::written(self.format, &json()).unwrap_or_default().as_bytes());
        }
        let mut text = table();
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        self.raw(text.as_bytes())
    }

    /// Writes one answer of a stream, for programs.
    pub(crate) fn piece(&self, json: &Value) -> Result<(), Error> {
        self.raw(serialize::piece(self.format, json).unwrap_or_default().as_bytes())
    }

    /// Writes one line of an answer.
    pub(crate) fn line(&self, text: &str) -> Result<(), Error> {
        self.raw(format!("{}\n", clean(text)).as_bytes())
    }

    /// Writes an answer as it is.
    pub(crate) fn raw(&self, text: &[u8]) -> Result<(), Error> {
        match &self.sink {
            Sink::Process => {
                let mut out = std::io::stdout().lock();
                out.write_all(text).and_then(|()| out.flush()).map_err(|_| Error::Closed)
            }
            Sink::Memory(said, _) => {
                let mut said = said.lock();
                said.answers.push_str(&String::from_utf8_lossy(text));
                Ok(())
            }
        }
    }

    /// Writes a remark to standard error; ignores a closed stream.
    pub(crate) fn note(&self, text: &str) {
        match &self.sink {
            Sink::Process => {
                let _ = writeln!(std::io::stderr().lock(), "{text}");
            }
            Sink::Memory(said, _) => {
                let mut said = said.lock();
                said.remarks.push_str(text);
                said.remarks.push('\n');
            }
        }
    }
}

#[cfg(test)]
impl Screen {
    /// A screen that records its output, `width` columns wide, at a fixed time.
    pub(crate) fn in_memory(format: Format, width: u16, now: Timestamp) -> (Self, Arc<Mutex<Said>>) {
        let said = Arc::<Mutex<Said>>::default();
        let sink = Sink::Memory(Arc::clone(&said), now);
        (Self { format, edge: Some(width), is_coloured: false, has_bars: false, sink }, said)
    }
}
