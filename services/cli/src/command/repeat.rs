//! Lists that are shown again whenever they have changed: drawn anew on a terminal, one after the other elsewhere.

use std::time::Duration;

use serde_json::Value;
use tokio::time::sleep;
use tonic::Status;

use crate::{
    Format,
    error::{Error, interruption, may_continue},
    output::Screen,
};

/// How often the API is asked.
const INTERVAL: Duration = Duration::from_secs(2);
/// Puts the cursor at home and clears the screen (ECMA-48 §8.3.21, §8.3.39).
const CLEAR: &str = "\x1b[H\x1b[2J";

/// Asks again and again, and shows each answer that differs from the one before, until it is interrupted.
pub(super) async fn watch<T>(
    screen: &Screen,
    mut ask: impl AsyncFnMut() -> Result<T, Status>,
    drawn: impl Fn(&T) -> String,
    json: impl Fn(&T) -> Value,
) -> Result<(), Error> {
    let (mut before, mut said) = (None, None);
    loop {
        match ask().await {
            Ok(answer) => {
                said = None;
                let written = json(&answer);
                let is_live = screen.has_bars && screen.edge.is_some();
                match screen.format {
                    // Ages change although nothing else does.
                    Format::Table if is_live => {
                        screen.raw(format!("{CLEAR}{}\n\nends with ^C\n", drawn(&answer)).as_bytes())?;
                    }
                    Format::Table if before.as_ref() != Some(&written) => {
                        screen.raw(format!("{}\n\n", drawn(&answer)).as_bytes())?;
                    }
                    Format::Table => {}
                    Format::Json | Format::Yaml | Format::Name if before.as_ref() != Some(&written) => {
                        screen.piece(&written)?;
                    }
                    Format::Json | Format::Yaml | Format::Name => {}
                }
                before = Some(written);
            }
            Err(status) if may_continue(&status) => {
                let words = interruption(&status);
                if let Some(words) = words.as_ref().filter(|words| said.as_ref() != Some(*words)) {
                    screen.note(words);
                }
                said = words;
            }
            Err(status) => return Err(status.into()),
        }
        sleep(INTERVAL).await;
    }
}
