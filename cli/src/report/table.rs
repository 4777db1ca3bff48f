//! The table in the terminal.

use std::io::{self, Write};

use super::document::Document;
use super::measure::Variant;
use super::words::{self, COLUMNS};
use crate::quantity::count;

/// Writes the table, and under it what is missing and why.
pub fn write(document: &Document, out: &mut dyn Write) -> io::Result<()> {
    let row = |steps: String, name: &str, cells: [String; COLUMNS.len()]| {
        let mut line = vec![steps, name.to_owned()];
        line.extend(cells);
        line
    };
    let mut lines = vec![row("T".into(), "loop", COLUMNS.each_ref().map(|c| c.name.to_owned()))];
    for measured in &document.rows {
        for variant in Variant::ALL {
            let figures = measured.figures(variant);
            let cells = COLUMNS.each_ref().map(|column| column.show(figures));
            lines.push(row(count(measured.steps as u64), variant.name(), cells));
        }
    }
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max();
    let widths: Vec<usize> = (0..COLUMNS.len() + 2).filter_map(width).collect();

    let machine = &document.machine;
    writeln!(out, "{}: {machine}", words::subject(document))?;
    for line in &lines {
        let cells = line.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| {
            // The name of the loop is text; all else are numbers.
            if column == 1 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        writeln!(out, "{}", cells.collect::<Vec<_>>().join("  "))?;
    }
    words::notes(document).iter().try_for_each(|note| writeln!(out, "{note}"))
}
