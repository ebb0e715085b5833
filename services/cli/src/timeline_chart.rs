//! A boot as a picture: when each thing was seen, where the time went, and who saw it. Pure: text in, text out.

use domain::{
    time::Timestamp,
    timeline::{Entry, Mark},
};
use proto::{api::v1::Boot, common::v1::TimelineEntry};

use crate::human::{at, clean, length, second, size};

/// Columns for the time since the first entry, and for the time since the entry before.
const TIMES: usize = 11;
/// The narrowest and the widest bar.
const BAR: std::ops::RangeInclusive<usize> = 10..=32;
/// Columns below which it is not said who saw a thing.
const WIDE: usize = 100;
/// Columns for who saw it.
const BY: usize = 24;
/// The narrowest text; a terminal that is narrower wraps by itself.
const TEXT: usize = 20;
/// Steps that took at least this share of the time, in per cent, are named below the picture.
const NOTABLE: u64 = 10;
/// How many are named.
const NAMED: usize = 3;

/// The boots of one piece of work: from the network to do it, then from the disk.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Story {
    pub(crate) boots: Vec<Boot>,
}

/// Groups boots: one whose agent completed its work, and the boot that followed from it.
pub(crate) fn stories(boots: Vec<Boot>) -> Vec<Story> {
    let mut stories: Vec<Story> = Vec::new();
    for boot in boots.into_iter().filter(|boot| !boot.entries.is_empty()) {
        match stories.last_mut() {
            Some(story) if story.boots.last().is_some_and(has_worked) => story.boots.push(boot),
            _ => stories.push(Story { boots: vec![boot] }),
        }
    }
    stories
}

fn has_worked(boot: &Boot) -> bool {
    let done = [Mark::ImageWritten, Mark::ConfigDriveWritten, Mark::Wiped, Mark::Inspected].map(Mark::word);
    boot.entries.iter().any(|entry| done.contains(&entry.mark.as_str()))
}

/// What was seen, without how far it came.
pub(crate) fn what(entry: &TimelineEntry) -> String {
    sentence(&TimelineEntry { amount: None, ..entry.clone() })
}

/// What was seen. A mark that this program does not know is shown by its word.
pub(crate) fn sentence(entry: &TimelineEntry) -> String {
    let text = match Entry::try_from(entry.clone()) {
        // Octets read better with a unit.
        Ok(Entry { amount: Some(amount), mark, subject, .. }) if amount.total == 0 => {
            let octets = size(amount.done);
            if subject.is_empty() {
                format!("{} ({octets})", mark.words())
            } else {
                format!("{}: {subject} ({octets})", mark.words())
            }
        }
        Ok(entry) => entry.to_string(),
        Err(_) => format!("{} {}", entry.mark, entry.subject).trim_end().to_owned(),
    };
    clean(&text).replace('\n', " ")
}

/// One row: a thing that was seen, perhaps several times in a row.
struct Row {
    before_ms: i64,
    first_ms: i64,
    last_ms: i64,
    text: String,
    by: String,
    times: usize,
}

fn rows<'a>(entries: impl IntoIterator<Item = &'a TimelineEntry>) -> Vec<Row> {
    let mut sorted: Vec<_> = entries.into_iter().collect();
    sorted.sort_by_key(|entry| millis(entry));
    let mut rows: Vec<Row> = Vec::new();
    for entry in sorted {
        // "pxe-service at 10.77.1.2" says as much as "pxe 10.77.1.2".
        let (text, by) = (sentence(entry), clean(&entry.by).replace("-service at ", " "));
        match rows.last_mut() {
            Some(row) if row.text == text && row.by == by => {
                row.last_ms = millis(entry);
                row.times += 1;
            }
            last => {
                let at_ms = millis(entry);
                let before_ms = last.map_or(at_ms, |row| row.last_ms);
                rows.push(Row { before_ms, first_ms: at_ms, last_ms: at_ms, text, by, times: 1 });
            }
        }
    }
    rows
}

/// When it was seen; zero if the answer has no valid time.
fn millis(entry: &TimelineEntry) -> i64 {
    at(entry.observe_time).map_or(0, Timestamp::millis)
}

fn between(from_ms: i64, to_ms: i64) -> std::time::Duration {
    Timestamp::from_millis(to_ms).since(Timestamp::from_millis(from_ms))
}

/// Draws a story in `width` columns.
pub(crate) fn story(width: usize, node: &str, story: &Story) -> String {
    let rows = rows(story.boots.iter().flat_map(|boot| &boot.entries));
    let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return String::new() };
    let (begin, end) = (first.before_ms, last.last_ms);
    let generations: Vec<_> = story.boots.iter().map(|boot| boot.generation.to_string()).collect();
    let mut text = format!(
        "{node}, {} {}, from {}: {}\n\n",
        if generations.len() > 1 { "generations" } else { "generation" },
        generations.join(", "),
        second(Timestamp::from_millis(begin)),
        length(between(begin, end))
    );
    let columns = Columns::of(width);
    for row in &rows {
        columns.draw(&mut text, row, begin, end);
    }
    if let Some(line) = notable(&rows, begin, end) {
        text.push('\n');
        text.push_str(&paragraph(width, "most of it: ", &line));
    }
    text
}

struct Columns {
    bar: usize,
    text: usize,
    by: usize,
}

impl Columns {
    fn of(width: usize) -> Self {
        let bar = (width / 4).clamp(*BAR.start(), *BAR.end());
        let by = if width >= WIDE { BY } else { 0 };
        let rest = width.saturating_sub(2 * TIMES + bar + 2 + if by > 0 { by + 2 } else { 0 });
        Self { bar, text: rest.max(TEXT), by }
    }

    fn draw(&self, text: &mut String, row: &Row, begin: i64, end: i64) {
        let offset = format!("+{}", length(between(begin, row.first_ms)));
        let gap = between(row.before_ms, row.first_ms);
        let gap = if gap.as_millis() < 50 { String::new() } else { length(gap) };
        let bar = {
            let at = |ms: i64| ms.saturating_sub(begin);
            bar(self.bar, at(row.before_ms), at(row.last_ms), at(end))
        };
        let said = if row.times > 1 { format!("{} ({} times)", row.text, row.times) } else { row.text.clone() };
        let mut lines = wrapped(&said, self.text).into_iter();
        let said = lines.next().unwrap_or_default();
        let line = if self.by > 0 {
            let by = shortened(&row.by, self.by);
            format!("{offset:<TIMES$}{gap:<TIMES$}{bar}  {said:<text$}  {by}", text = self.text)
        } else {
            format!("{offset:<TIMES$}{gap:<TIMES$}{bar}  {said}")
        };
        text.push_str(line.trim_end());
        text.push('\n');
        for more in lines {
            let indent = 2 * TIMES + self.bar + 2;
            text.push_str(&format!("{:indent$}{more}\n", ""));
        }
    }
}

/// A bar from one time to another on an axis of `width` cells; what took no time is a thin line.
fn bar(width: usize, from: i64, to: i64, whole: i64) -> String {
    let cell = |at: i64| {
        let at = usize::try_from(at.max(0)).unwrap_or(0);
        let whole = usize::try_from(whole.max(1)).unwrap_or(1);
        // To the nearest cell, so that bars meet.
        (at.saturating_mul(width).saturating_mul(2).saturating_add(whole) / whole.saturating_mul(2)).min(width)
    };
    let (from, to) = (cell(from), cell(to));
    let (from, drawn) =
        if to > from { (from, "█".repeat(to - from)) } else { (from.min(width - 1), "▏".to_owned()) };
    let after = width.saturating_sub(from + drawn.chars().count());
    format!("{}{drawn}{}", " ".repeat(from), " ".repeat(after))
}

/// The steps that took most of the time.
fn notable(rows: &[Row], begin: i64, end: i64) -> Option<String> {
    let whole = between(begin, end).as_millis();
    let share = |row: &&Row| {
        let gap = between(row.before_ms, row.first_ms).as_millis();
        u64::try_from((gap * 100).checked_div(whole).unwrap_or(0)).unwrap_or(0)
    };
    let mut longest: Vec<_> = rows.iter().filter(|row| share(row) >= NOTABLE).collect();
    longest.sort_by_key(|row| std::cmp::Reverse(between(row.before_ms, row.first_ms)));
    let named = longest.into_iter().take(NAMED).map(|row| {
        let gap = length(between(row.before_ms, row.first_ms));
        format!("{gap} ({} %) until \u{201c}{}\u{201d}", share(&row), row.text)
    });
    let named: Vec<_> = named.collect();
    (!named.is_empty()).then(|| named.join("; "))
}

/// Words under a heading, wrapped and indented.
pub(crate) fn paragraph(width: usize, heading: &str, words: &str) -> String {
    let indent = heading.chars().count();
    let lines = wrapped(words, width.saturating_sub(indent).max(TEXT));
    let mut text = String::new();
    for (n, line) in lines.iter().enumerate() {
        let lead = if n == 0 { heading.to_owned() } else { " ".repeat(indent) };
        text.push_str(&format!("{lead}{line}\n"));
    }
    text
}

/// Breaks a text at its spaces, and where a word is too long, within it.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut room = width;
    for word in text.split_whitespace() {
        let mut word: Vec<char> = word.chars().collect();
        let is_first = room == width;
        if word.len() + usize::from(!is_first) > room && !is_first {
            lines.push(String::new());
            room = width;
        }
        while word.len() > width {
            let rest = word.split_off(width);
            push(&mut lines, &word);
            lines.push(String::new());
            (word, room) = (rest, width);
        }
        if room < width {
            push(&mut lines, &[' ']);
            room = room.saturating_sub(1);
        }
        push(&mut lines, &word);
        room = room.saturating_sub(word.len());
    }
    lines
}

fn push(lines: &mut [String], word: &[char]) {
    if let Some(line) = lines.last_mut() {
        line.extend(word);
    }
}

fn shortened(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(width.saturating_sub(1)).collect();
    short.push('…');
    short
}

#[cfg(test)]
mod tests;
