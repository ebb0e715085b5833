//! What the stock `baremetal` command prints of our errors.

use std::{
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use wire_ironic::error::Class;

/// Returns what the command prints of each error. An error has a status, headers and a body.
fn printed(errors: &[Value]) -> Result<Vec<String>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let clients = root.join("../target/clients/bin");
    let mut command = Command::new(clients.join("python"));
    command.arg(root.join("ironic/errors.py")).arg(clients.join("baremetal"));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    child.stdin.take().context("no stdin")?.write_all(json!(errors).to_string().as_bytes())?;
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "{}", output.status);
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// `ironic-api` has a test that its errors have no other headers of this kind.
#[test]
fn the_stock_command_prints_the_words_of_every_error() -> Result<()> {
    // On 406 the command asks for another version, and reports its own words if there is none.
    let classes: Vec<Class> = Class::ALL.into_iter().filter(|class| *class != Class::NotAcceptable).collect();
    let words = |class: &Class| format!("the reason of a {}", class.status());
    let error = |class: &Class| {
        let error = class.error(words(class));
        json!({"status": error.status, "headers": {}, "body": error.body()})
    };
    let texts = printed(&classes.iter().map(error).collect::<Vec<_>>())?;
    ensure!(texts.len() == classes.len(), "{texts:?}");
    for (class, printed) in classes.iter().zip(texts) {
        ensure!(printed.contains(&words(class)), "{class:?}: {printed}");
    }
    Ok(())
}

#[test]
fn a_retry_after_is_understood_with_413_alone() -> Result<()> {
    let error = |class: Class| {
        let body = class.error("our words").body();
        json!({"status": class.status(), "headers": {"Retry-After": "3"}, "body": body})
    };
    let texts = printed(&[error(Class::TooLarge), error(Class::Unavailable)])?;
    let [large, unavailable] = texts.as_slice() else { bail!("{texts:?}") };
    ensure!(large.contains("our words"), "{large}");
    ensure!(!unavailable.contains("(HTTP 503)\n") && unavailable.contains("retry_after"), "{unavailable}");
    Ok(())
}
