//! Phrases that the house does not use, and where they occur.

use std::path::Path;

use anyhow::{Result, bail};

use crate::{files, say};

/// The phrases, one per line. Not in this file, which would otherwise contain them.
const PHRASES: &str = "scripts/xtask/words.txt";
/// Quotations of others that contain a phrase: file, colon, the quoted text.
const ALLOWED: &str = "scripts/xtask/words-allowed.txt";

/// Fails if a source or document contains one of the phrases, in upper or lower case.
pub(crate) fn check() -> Result<()> {
    let phrases = lines(&files::read(PHRASES)?);
    let allowed = lines(&files::read(ALLOWED)?);
    let mut found = Vec::new();
    for path in files::below(Path::new("."), &["rs", "md", "proto", "toml"])? {
        let path = path.strip_prefix(".").unwrap_or(&path);
        found.extend(occurrences(&path.display().to_string(), &files::read(path)?, &phrases, &allowed));
    }
    for line in &found {
        say(line);
    }
    if !found.is_empty() {
        bail!("{} lines with phrases of {PHRASES}", found.len());
    }
    say("words: no phrase that the house does not use");
    Ok(())
}

fn lines(text: &str) -> Vec<String> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(str::to_lowercase).collect()
}

fn occurrences(path: &str, text: &str, phrases: &[String], allowed: &[String]) -> Vec<String> {
    let quotations: Vec<&str> =
        allowed.iter().filter_map(|line| line.strip_prefix(&path.to_lowercase())?.strip_prefix(": ")).collect();
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let mut plain = line.to_lowercase();
        for quotation in &quotations {
            plain = plain.replace(quotation, "");
        }
        if phrases.iter().any(|phrase| plain.contains(phrase)) {
            found.push(format!("{path}:{}: {}", number + 1, line.trim()));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phrase_is_found_in_any_case_but_not_in_an_allowed_quotation_of_the_file() {
        let phrases = lines("# head\n\nold words\n");
        let allowed = lines("a.md: \"Old Words\"");
        let found = |path, text| occurrences(path, text, &phrases, &allowed);
        assert_eq!(found("a.md", "fine\n  in OLD words\n"), ["a.md:2: in OLD words"]);
        assert_eq!(found("a.md", "They say \"old words\"."), [] as [String; 0]);
        assert_eq!(found("b.md", "They say \"old words\".").len(), 1);
        assert_eq!(found("a.md", "They say \"old words\", we say old words.").len(), 1);
    }
}
