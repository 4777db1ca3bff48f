//! The figures of a program, as a table and as JSON.

use std::cmp::Reverse;

use onetrace::hlo::{Stats, WhileLoop};
use serde::{Deserialize, Serialize};

use crate::columns::{self, Align};
use crate::device::DeviceArgs;
use crate::failure::Failure;
use crate::program::Program;
use crate::quantity::{binary, count};
use crate::view::{Request, Task, View};
use crate::worker;

/// What `onetrace stats --json` prints of a program.
#[derive(Serialize, Deserialize)]
pub struct Figures {
    #[serde(flatten)]
    pub stats: Stats,
    /// Bytes that are needed while the program runs and not afterwards.
    pub temp_bytes: Option<u64>,
    /// The most bytes that are in use at one time.
    pub peak_bytes: Option<u64>,
    /// How often the step was called by the trace; of models only.
    pub body_traces: Option<u64>,
}

/// A figure: its key in the JSON, and the number, where it is known.
pub type Figure = (&'static str, Option<u64>);

impl Figures {
    pub fn of_view(view: &View) -> Figures {
        Figures {
            stats: view.module.stats(),
            temp_bytes: view.memory.map(|memory| memory.temp_bytes),
            peak_bytes: view.memory.map(|memory| memory.peak_bytes),
            body_traces: None,
        }
    }

    /// The figures of a model or a file. Without `compile`, those of the memory are left out.
    pub fn of_program(
        program: &Program,
        device: &DeviceArgs,
        compile: bool,
    ) -> Result<Figures, Failure> {
        let (stage, task) = (program.stage(), Task::Measure);
        let request = Request { stage, compile, device: device.clone(), task };
        match program {
            Program::File(path, _) => {
                let answer = worker::answer(path, &request)?;
                let unread = |error| Failure::run(format_args!("the figures of a file: {error}"));
                serde_json::from_slice(&answer).map_err(unread)
            }
            Program::Model(model, settings) => {
                let device = device.open()?;
                let built = model.build(settings)?;
                let figures = Figures::of_view(&request.view_of_model(built.lowered, &device)?);
                Ok(Figures { body_traces: Some(built.step_calls as u64), ..figures })
            }
        }
    }

    /// All figures that are one number, in the order of the table.
    pub fn numbers(&self) -> [Figure; 14] {
        let Stats { computations, instructions, fusions, dots, parameters, .. } = self.stats;
        let Stats { flops, constant_bytes, parameter_bytes, text_bytes, proto_bytes, .. } =
            self.stats;
        [
            ("computations", Some(computations as u64)),
            ("instructions", Some(instructions as u64)),
            ("fusions", Some(fusions as u64)),
            ("dots", Some(dots as u64)),
            ("flops", Some(flops)),
            ("parameters", Some(parameters as u64)),
            ("parameter_bytes", Some(parameter_bytes)),
            ("constant_bytes", Some(constant_bytes)),
            ("temp_bytes", self.temp_bytes),
            ("peak_bytes", self.peak_bytes),
            ("text_bytes", Some(text_bytes)),
            ("proto_bytes", Some(proto_bytes)),
            ("body_traces", self.body_traces),
            ("while_loops", Some(self.stats.while_loops.len() as u64)),
        ]
    }

    /// A table of all figures.
    pub fn table(&self) -> String {
        let row = |name: String, number: String, note: String| [name, number, note];
        let mut rows = Vec::new();
        for (key, number) in self.numbers() {
            // A figure that is not known is left out; the JSON has a null.
            let Some(number) = number else { continue };
            let note = match key {
                "flops" if self.stats.flops_are_lower_bound => {
                    "or more: a loop has no known trip count".to_owned()
                }
                _ if key.ends_with("_bytes") => binary(number),
                _ => String::new(),
            };
            if key == "while_loops" {
                rows.push(Default::default());
            }
            rows.push(row(label(key), count(number), note));
        }
        for WhileLoop { name, depth, trip_count, body_instructions } in &self.stats.while_loops {
            let trips = trip_count.map_or("?".to_owned(), count);
            let body = count(*body_instructions as u64);
            let name = format!("{}{name}", "  ".repeat(depth + 1));
            rows.push(row(name, trips, format!("iterations of {body} instructions")));
        }
        rows.push(Default::default());
        rows.push(row("opcodes".to_owned(), String::new(), String::new()));
        let mut opcodes: Vec<(&String, &usize)> = self.stats.opcodes.iter().collect();
        // Equal counts stay in the order of the alphabet.
        opcodes.sort_by_key(|(_, number)| Reverse(**number));
        for (opcode, number) in opcodes {
            rows.push(row(format!("  {opcode}"), count(*number as u64), String::new()));
        }
        columns::table(&rows, [Align::Left, Align::Right, Align::Left], 3)
    }
}

/// The name of a figure for people.
pub fn label(key: &str) -> String {
    key.replace('_', " ")
}
