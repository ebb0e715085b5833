//! What the stock `baremetal` command prints of our errors.

use std::{
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use serde_json::{Value, json};
use wire_ironic::error::Class;

/// Returns what the command prints of each error. An error has a status, headers and a body.
fn printed(errors: &[Value]) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let clients = root.join("../target/clients/bin");
    let mut command = Command::new(clients.join("python"));
    command.arg(root.join("ironic/errors.py")).arg(clients.join("baremetal"));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(json!(errors).to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

/// `ironic-api` has a test that its errors have no other headers of this kind.
#[test]
fn the_stock_command_prints_the_words_of_every_error() {
    // On 406 the command asks for another version, and reports its own words if there is none.
    let classes: Vec<Class> = Class::ALL.into_iter().filter(|class| *class != Class::NotAcceptable).collect();
    let words = |class: &Class| format!("the reason of a {}", class.status());
    let error = |class: &Class| {
        let error = class.error(words(class));
        json!({"status": error.status, "headers": {}, "body": error.body()})
    };
    for (class, printed) in classes.iter().zip(printed(&classes.iter().map(error).collect::<Vec<_>>())) {
        assert!(printed.contains(&words(class)), "{class:?}: {printed}");
    }
}

#[test]
fn a_retry_after_is_understood_with_413_alone() {
    let error = |class: Class| json!({"status": class.status(), "headers": {"Retry-After": "3"}, "body": class.error("our words").body()});
    let printed = printed(&[error(Class::TooLarge), error(Class::Unavailable)]);
    assert!(printed[0].contains("our words"), "{}", printed[0]);
    assert!(!printed[1].contains("(HTTP 503)\n") && printed[1].contains("retry_after"), "{}", printed[1]);
}
