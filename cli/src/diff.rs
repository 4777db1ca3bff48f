//! `onetrace diff`: two programs side by side.

use std::collections::BTreeMap;
use std::ffi::OsString;

use clap::Args;
use onetrace::hlo::WhileLoop;
use serde::Serialize;

use crate::columns::{self, Align};
use crate::device::DeviceArgs;
use crate::failure::Failure;
use crate::figures::{Figures, label};
use crate::output;
use crate::program::{Program, Settings};
use crate::quantity::{count, difference};
use crate::stats::Report;

/// Compare the figures of two programs
///
/// A and B are models or files, as for `onetrace dump`. The options hold for both. What holds for
/// one only follows its name: gru:hidden=128,steps=1000,unrolled has the options of `onetrace dump
/// gru` without their dashes, and module.hlo:stage=optimized has the one that files take.
///
/// The figures are those of `onetrace stats`. The exit status is 0 whether the programs differ or
/// not.
#[derive(Args)]
#[command(override_usage = USAGE, after_long_help = EXAMPLES, args_override_self = true)]
pub struct Diff {
    /// A model or a file, with settings of its own
    #[arg(value_name = "A")]
    a: OsString,

    /// What it is compared with
    #[arg(value_name = "B")]
    b: OsString,

    #[command(flatten)]
    settings: Settings,

    /// Do not compile the programs; the figures of their memory are not known then
    #[arg(long)]
    no_compile: bool,

    /// Print one JSON object instead
    ///
    /// Its members are a and b, the objects of `onetrace stats --json`, and difference, what b has
    /// more than a.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    device: DeviceArgs,
}

const USAGE: &str = "onetrace diff <A> <B> [OPTIONS]";

const EXAMPLES: &str = "\
Examples:
  onetrace diff gru gru:unrolled --steps 64
  onetrace diff gru:fission=off gru --hidden 256
  onetrace diff gru lstm --hidden 128
  onetrace diff gru gru:stage=optimized
  onetrace diff before.hlo after.hlo --json | jq .difference.opcodes";

/// What `--json` prints.
#[derive(Serialize)]
struct Comparison<'a> {
    a: Report<'a>,
    b: Report<'a>,
    difference: Differences<'a>,
}

#[derive(Serialize)]
struct Differences<'a> {
    /// Null where a figure is not known of one of the two.
    #[serde(flatten)]
    numbers: BTreeMap<&'a str, Option<i128>>,
    opcodes: BTreeMap<&'a str, i128>,
}

impl Diff {
    pub fn execute(&self) -> Result<(), Failure> {
        self.device.set_options()?;
        let [a, b] = [&self.a, &self.b].map(|o| Program::with_settings(o, &self.settings));
        let (a, b) = (a?, b?);
        let measure = |program| Figures::of_program(program, &self.device, !self.no_compile);
        let figures = [measure(&a)?, measure(&b)?];
        output::print(|out| {
            if self.json {
                let comparison = Comparison {
                    a: Report::new(&a, &figures[0]),
                    b: Report::new(&b, &figures[1]),
                    difference: differences(&figures),
                };
                serde_json::to_writer(&mut *out, &comparison)?;
                return writeln!(out);
            }
            writeln!(out, "A  {a}\nB  {b}\n")?;
            out.write_all(table(&figures).as_bytes())
        })
    }
}

/// The opcodes of the two, with how often each has them; those that are frequent first.
fn opcodes([a, b]: &[Figures; 2]) -> Vec<(&str, [u64; 2])> {
    let mut opcodes: BTreeMap<&str, [u64; 2]> = BTreeMap::new();
    for (i, figures) in [a, b].into_iter().enumerate() {
        for (opcode, number) in &figures.stats.opcodes {
            opcodes.entry(opcode).or_default()[i] = *number as u64;
        }
    }
    let mut opcodes: Vec<_> = opcodes.into_iter().collect();
    opcodes.sort_by_key(|(_, numbers)| std::cmp::Reverse(numbers[0].max(numbers[1])));
    opcodes
}

fn differences(figures: &[Figures; 2]) -> Differences<'_> {
    let more = |a: u64, b: u64| i128::from(b) - i128::from(a);
    let [a, b] = figures.each_ref().map(Figures::numbers);
    let numbers = a.into_iter().zip(b).map(|((key, a), (_, b))| (key, a.zip(b)));
    Differences {
        numbers: numbers.map(|(key, pair)| (key, pair.map(|(a, b)| more(a, b)))).collect(),
        opcodes: opcodes(figures).into_iter().map(|(o, [a, b])| (o, more(a, b))).collect(),
    }
}

fn table(figures: &[Figures; 2]) -> String {
    let mut rows = vec![["", "A", "B", "B - A", "B / A"].map(str::to_owned)];
    let [a, b] = figures.each_ref().map(Figures::numbers);
    for ((key, a), (_, b)) in a.into_iter().zip(b) {
        if key == "while_loops" {
            rows.push(Default::default());
        }
        if a.is_some() || b.is_some() {
            rows.push(row(label(key), [a, b]));
        }
    }
    let loops = figures.each_ref().map(|figures| &figures.stats.while_loops);
    for i in 0..loops[0].len().max(loops[1].len()) {
        let of = |figure: fn(&WhileLoop) -> Option<u64>| {
            loops.map(|loops| loops.get(i).and_then(figure))
        };
        rows.push(row(format!("  iterations of loop {}", i + 1), of(|l| l.trip_count)));
        let instructions = of(|l| Some(l.body_instructions as u64));
        rows.push(row("  instructions of its body".to_owned(), instructions));
    }
    rows.push(Default::default());
    rows.push(["opcodes", "", "", "", ""].map(str::to_owned));
    for (opcode, numbers) in opcodes(figures) {
        rows.push(row(format!("  {opcode}"), numbers.map(Some)));
    }
    let right = Align::Right;
    columns::table(&rows, [Align::Left, right, right, right, right], 3)
}

/// A figure of both programs. What is the same has no difference.
fn row(name: String, numbers: [Option<u64>; 2]) -> [String; 5] {
    let (more, ratio) = match numbers {
        [Some(0), Some(b)] if b > 0 => (difference(0, b), String::new()),
        [Some(a), Some(b)] if a != b => (difference(a, b), format!("{:.2}", b as f64 / a as f64)),
        _ => Default::default(),
    };
    let [a, b] = numbers.map(|number| number.map_or(String::new(), count));
    [name, a, b, more, ratio]
}
