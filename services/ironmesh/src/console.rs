//! Output of the commands that are not part of the API's command line.

use std::process::ExitCode;

/// Prints an error to standard error and returns the exit code for a failure.
pub(crate) fn fail(error: &anyhow::Error) -> ExitCode {
    say(&format!("error: {error:#}"));
    ExitCode::FAILURE
}

/// Prints a message about the progress of a command to standard error.
#[expect(clippy::print_stderr, reason = "this is for the user who runs the command")]
pub(crate) fn say(text: &str) {
    eprintln!("{text}");
}

/// The failures of something that is tried again and again, each of which is printed once.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    last: Option<String>,
}

impl Failures {
    /// Prints how the latest attempt failed, unless the one before failed in the same way.
    pub(crate) fn report(&mut self, failure: Option<String>) {
        if let Some(text) = self.news(failure) {
            say(&text);
        }
    }

    fn news(&mut self, failure: Option<String>) -> Option<String> {
        let is_same = self.last == failure;
        self.last.clone_from(&failure);
        failure.filter(|_| !is_same)
    }
}

/// Prints the result of a command to standard output.
#[expect(clippy::print_stdout, reason = "this is the requested output")]
pub(crate) fn answer(text: &str) {
    println!("{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_printed_when_it_begins_or_changes() {
        let mut failures = Failures::default();
        for (failure, is_printed) in
            [(None, false), (Some("a"), true), (Some("a"), false), (Some("b"), true), (None, false), (Some("b"), true)]
        {
            assert_eq!(failures.news(failure.map(str::to_owned)).is_some(), is_printed, "{failure:?}");
        }
    }
}
