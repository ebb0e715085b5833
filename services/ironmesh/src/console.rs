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

/// Prints the result of a command to standard output.
#[expect(clippy::print_stdout, reason = "this is the requested output")]
pub(crate) fn answer(text: &str) {
    println!("{text}");
}
