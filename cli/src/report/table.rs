//! The table in the terminal.

use std::io::{self, Write};

use super::document::Document;
use super::measure::Variant;
use super::words::{self, COLUMNS};
use crate::columns::{self, Align};
use crate::quantity::count;

/// The number of steps, the name of the loop, and the figures.
const CELLS: usize = 2 + COLUMNS.len();

/// Writes the table, and under it what is missing and why.
pub fn write(document: &Document, out: &mut dyn Write) -> io::Result<()> {
    let row = |steps: String, name: &str, cell: &dyn Fn(&words::Column) -> String| {
        std::array::from_fn(|i| match i {
            0 => steps.clone(),
            1 => name.to_owned(),
            _ => cell(&COLUMNS[i - 2]),
        })
    };
    let mut rows: Vec<[String; CELLS]> = vec![row("T".into(), "loop", &|c| c.name.to_owned())];
    for measured in &document.rows {
        for variant in Variant::ALL {
            let figures = measured.figures(variant);
            let steps = count(measured.steps as u64);
            rows.push(row(steps, variant.name(), &|column| column.show(figures)));
        }
    }
    let mut align = [Align::Right; CELLS];
    align[1] = Align::Left;

    writeln!(out, "{}: {}", words::subject(document), document.machine)?;
    out.write_all(columns::table(&rows, align, 2).as_bytes())?;
    words::notes(document).iter().try_for_each(|note| writeln!(out, "{note}"))
}
