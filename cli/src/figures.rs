//! The figures of a program, as a table and as JSON.

use std::cmp::Reverse;

use onetrace::LoopWork;
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
    /// What the loops do; of models only.
    pub loop_work: Option<LoopWork>,
    /// What they would do without fission; of models only.
    pub loop_work_before_fission: Option<LoopWork>,
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
            loop_work: None,
            loop_work_before_fission: None,
        }
    }

    /// The figures of a model or a file. Without `compile`, those of the memory are left out.
    ///
    /// # Errors
    /// If the stage is one of the IR; what else can be wrong with the program.
    pub fn of_program(
        program: &Program,
        device: &DeviceArgs,
        compile: bool,
    ) -> Result<Figures, Failure> {
        let (stage, task) = (program.stage(), Task::Measure);
        if stage.is_of_ir() {
            let why = "the figures are those of HLO, and this stage is one of the IR; take traced, \
                       whose HLO is made of the fissioned IR, or optimized";
            return Err(Failure::input("--stage", why));
        }
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
                let loop_work = Some(built.lowered.fissioned().loop_work());
                let loop_work_before_fission = Some(built.lowered.simplified().loop_work());
                let figures = Figures::of_view(&request.view_of_model(built.lowered, &device)?);
                let body_traces = Some(built.step_calls as u64);
                Ok(Figures { body_traces, loop_work, loop_work_before_fission, ..figures })
            }
        }
    }

    /// All figures that are one number, in the order of the table.
    pub fn numbers(&self) -> Vec<Figure> {
        let Stats { computations, instructions, fusions, dots, parameters, .. } = self.stats;
        let Stats { flops, constant_bytes, parameter_bytes, text_bytes, proto_bytes, .. } =
            self.stats;
        let numbers = [
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
        ];
        let loops = ("while_loops", Some(self.stats.while_loops.len() as u64));
        numbers.into_iter().chain(in_loops(self.loop_work)).chain([loops]).collect()
    }

    /// A figure of the loops without fission, if it is another one with it.
    fn before_fission(&self, key: &str) -> Option<u64> {
        let find = |work| in_loops(work).into_iter().find(|(name, _)| *name == key)?.1;
        let before = find(self.loop_work_before_fission);
        before.filter(|_| before != find(self.loop_work))
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
                _ => match self.before_fission(key) {
                    Some(before) => format!("{} before fission", count(before)),
                    None => String::new(),
                },
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

/// What is done in loops, as figures.
fn in_loops(work: Option<LoopWork>) -> [Figure; 4] {
    let figure = |of: fn(LoopWork) -> u64| work.map(of);
    [
        ("loop_products", figure(|work| work.products)),
        ("loop_multiplications", figure(|work| work.multiplications)),
        ("loop_carried", figure(|work| work.carried)),
        ("loop_stacked", figure(|work| work.stacked)),
    ]
}

/// The name of a figure for people.
pub fn label(key: &str) -> String {
    key.replace('_', " ")
}
