//! What table, page and picture say alike.

use super::document::Document;
use super::format;
use super::measure::{Figures, PASSES, PASSES_TIME, RUNS};
use crate::quantity::count;

pub const TITLE: &str = "Scan against the unrolled loop";

/// A column of the table.
pub struct Column {
    pub name: &'static str,
    value: fn(&Figures) -> String,
}

impl Column {
    /// The value, or a dash for one that was not measured.
    pub fn show(&self, figures: Option<&Figures>) -> String {
        figures.map_or("–".to_owned(), self.value)
    }
}

pub const COLUMNS: [Column; 8] = [
    Column { name: "body traces", value: |f| count(f.body_traces as u64) },
    Column { name: "equations", value: |f| count(f.equations as u64) },
    Column { name: "instructions", value: |f| count(f.instructions as u64) },
    Column { name: "bytes", value: |f| count(f.proto_bytes) },
    Column { name: "trace, ms", value: |f| format::milliseconds(f.trace) },
    Column { name: "lower, ms", value: |f| format::milliseconds(f.lower) },
    Column { name: "compile, ms", value: |f| format::milliseconds(f.compile) },
    Column { name: "run, ms", value: |f| format::milliseconds(f.run) },
];

/// What was measured, in a line.
pub fn subject(document: &Document) -> String {
    let Document { in_features, hidden, fission, device, .. } = document;
    let fission = match fission.as_str() {
        "auto" => String::new(),
        other => format!(", fission {other}"),
    };
    format!("A GRU from D = {in_features} features to H = {hidden}{fission}, on {device}")
}

/// How to read the plots.
pub fn reading(document: &Document) -> String {
    let factor = match document.rows.iter().any(|row| row.unrolled.is_some()) {
        true => " The line above each is for the largest T that both loops were measured for.",
        false => "",
    };
    format!("All axes are logarithmic; the three plots of times have the same ones.{factor}")
}

/// What a picture must say to be understood on its own.
pub fn origin(document: &Document) -> String {
    let Document { machine, onetrace, build, date, .. } = document;
    let day = date.split('T').next().unwrap_or_default();
    format!("{machine}. onetrace {onetrace}, {build} build, {day}. All axes are logarithmic.")
}

/// What is missing, and why.
pub fn notes(document: &Document) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(stop) = &document.unrolled_stopped {
        let steps = count(stop.before_steps as u64);
        let (budget, spent, predicted) = (
            format::seconds(document.budget_s),
            format::seconds(stop.spent_s),
            format::seconds(stop.predicted_s),
        );
        notes.push(match document.budget_s > 0.0 {
            false => "The unrolled loop was not measured: its time budget is 0.".to_owned(),
            true => format!(
                "The unrolled loop stopped before T = {steps}: {spent} of its time budget of \
                 {budget} were spent, and that program was predicted to take {predicted} more."
            ),
        });
    }
    if !document.finished {
        let steps = count(document.max_steps as u64);
        notes.push(format!("The report is not complete: it ended on the way to T = {steps}."));
    }
    notes
}

/// How and where it was measured: names and facts.
pub fn facts(document: &Document) -> Vec<(&'static str, String)> {
    let passes = format!(
        "each was traced, lowered and compiled afresh, up to {PASSES} times as long as that took \
         less than {} s, and run up to {RUNS} times each time, after a first run that does not \
         count; times are medians",
        PASSES_TIME.as_secs(),
    );
    let mut facts = vec![
        ("programs", passes),
        ("body traces", "how often the step closure ran in one trace".to_owned()),
        ("equations", "operations of the IR, with those of the loop's body".to_owned()),
        (
            "instructions",
            "those of the HLO before any pass of XLA, in all its computations".to_owned(),
        ),
        ("bytes", "the serialized HloModuleProto, with the weights as constants".to_owned()),
    ];
    if let Some(difference) = document.largest_difference {
        let largest = match difference {
            0.0 => "none".to_owned(),
            _ => format!("{difference:.1e} at most"),
        };
        let agree = format!("{largest}, over all T that both loops were measured for");
        facts.push(("difference of the final states", agree));
    }
    facts.extend([
        ("device", document.device.clone()),
        ("machine", document.machine.to_string()),
        ("version", format!("onetrace {}, {} build", document.onetrace, document.build)),
        ("date", document.date.clone()),
    ]);
    facts
}
