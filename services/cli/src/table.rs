//! Tables that fit the terminal.

use comfy_table::{Cell, Color, ContentArrangement, Table, presets};

use crate::{
    human::{clean, or_dash},
    output::Screen,
};

/// Rows under a heading.
pub(crate) fn list(screen: &Screen, heading: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = empty(screen);
    table.set_header(heading.to_vec());
    for row in rows {
        table.add_row(row.iter().map(|text| cell(text)));
    }
    drawn(table)
}

/// What is known of one thing: a name and a value per line; empty values are left out.
pub(crate) fn facts(screen: &Screen, facts: impl IntoIterator<Item = (&'static str, String)>) -> String {
    let mut table = empty(screen);
    for (name, value) in facts {
        if !value.is_empty() {
            table.add_row([Cell::new(name), cell(&value)]);
        }
    }
    drawn(table)
}

fn drawn(mut table: Table) -> String {
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt()
}

fn empty(screen: &Screen) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).force_no_tty();
    if screen.is_coloured {
        table.enforce_styling();
    }
    match screen.edge {
        Some(width) => table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width),
        None => table.set_content_arrangement(ContentArrangement::Disabled),
    };
    table
}

/// A cell; the words that people look for have a colour.
fn cell(text: &str) -> Cell {
    let cell = Cell::new(clean(&or_dash(text)));
    let colour = match text {
        "active" | "available" | "yes" | "done" => Some(Color::Green),
        "error" | "stopping" | "failed" => Some(Color::Red),
        failed if failed.ends_with(" failed") => Some(Color::Red),
        busy if busy.ends_with("ing") || busy.ends_with(" wait") || busy == "wait call-back" => Some(Color::Yellow),
        _ => None,
    };
    match colour {
        Some(colour) => cell.fg(colour),
        None => cell,
    }
}
