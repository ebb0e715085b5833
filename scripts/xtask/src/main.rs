//! The house rules as code: `cargo xtask arrows|calls|ci|circles|proto|size`.

mod arrows;
mod calls;
mod ci;
mod circles;
mod proto;
mod size;

use anyhow::{Result, bail};

const USAGE: &str = "usage: cargo xtask arrows | calls [--approve] | circles [--known | --shrink] | proto [--approve] | size | ci [--all]";

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["arrows"] => arrows::check(),
        ["calls"] => calls::check(false),
        ["calls", "--approve"] => calls::check(true),
        ["circles"] => circles::check(),
        ["circles", "--known"] => circles::check_known(),
        ["circles", "--shrink"] => circles::shrink(),
        ["proto"] => proto::check(false),
        ["proto", "--approve"] => proto::check(true),
        ["size"] => size::report(),
        ["ci"] => ci::run(ci::Extent::Usual),
        ["ci", "--all"] => ci::run(ci::Extent::All),
        _ => bail!("{USAGE}"),
    }
}

/// Prints one line of progress.
#[expect(clippy::print_stdout, reason = "a tool for people speaks here")]
fn say(text: &str) {
    println!("{text}");
}
