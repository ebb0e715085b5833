//! The house rules as code: `cargo xtask arrows|calls|ci|circles|docs|programs|proto|sbom|size|words`.

mod arrows;
mod calls;
mod ci;
mod circles;
mod docs;
mod files;
mod programs;
mod proto;
mod sbom;
mod size;
mod words;

use anyhow::{Result, bail};

const USAGE: &str = "usage: cargo xtask arrows | calls [--approve] | ci [--all] | circles [--known | --shrink] \
                     | docs [--check] | programs | proto [--approve] | sbom | size | words";

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
        ["docs"] => docs::run(docs::Mode::Write),
        ["docs", "--check"] => docs::run(docs::Mode::Check),
        ["programs"] => programs::check(),
        ["sbom"] => sbom::print(),
        ["size"] => size::check(),
        ["words"] => words::check(),
        ["ci"] => ci::run(ci::Extent::Usual),
        ["ci", "--all"] => ci::run(ci::Extent::All),
        _ => bail!("{USAGE}"),
    }
}

/// Prints one line of progress.
#[expect(clippy::print_stdout, reason = "this is the output of a command-line tool")]
fn say(text: &str) {
    println!("{text}");
}
