//! `onetrace dump`: what a program is at a stage, in one of many formats.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use onetrace::hlo::{Module, TextOptions};
use onetrace::io;
use onetrace::ir::print;
use serde::{Deserialize, Serialize};

use crate::device::DeviceArgs;
use crate::failure::{Failure, reason};
use crate::program::{Program, Settings, Stage};
use crate::view::{Request, Task};
use crate::{output, stablehlo, worker};

/// Print a program: the IR, the HLO before or after XLA's passes, StableHLO, a graph
///
/// MODEL is a recurrent cell that goes over a sequence of T steps from a state of zeros, with the
/// parameters that nnx.Rngs(S) of Flax gives: gru, lstm, optimized-lstm or simple. The program
/// takes the sequence, f32[T,D] or f32[T,B,D], and returns the final carry.
///
/// FILE is an HLO module from elsewhere: HLO text, as `lower(..).as_text('hlo')` of JAX gives it,
/// or a protocol buffer, HloModuleProto or HloProto, binary or text, as --xla_dump_to leaves it.
/// What it is is told by its content. A name that is also that of a model is written ./gru, and -
/// is standard input. XLA reads it in a process of its own: what it cannot cope with is an error
/// like others.
#[derive(Args)]
#[command(override_usage = USAGE, after_long_help = EXAMPLES, args_override_self = true)]
pub struct Dump {
    /// A model or a file
    #[arg(value_name = "MODEL|FILE")]
    operand: OsString,

    /// The format [default: hlo, and ir at the stages simplified and fissioned]
    #[arg(long, value_enum)]
    format: Option<Format>,

    #[command(flatten)]
    settings: Settings,

    /// Write to a file instead of standard output
    ///
    /// The file appears whole or not at all; that it can be written is checked before the work.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Print every element of large constants, so that the text can be read back and run
    #[arg(long)]
    full_constants: bool,

    /// Print the user's file and line behind each equation of the IR
    #[arg(long)]
    locations: bool,

    /// Leave out of HLO and StableHLO where each instruction comes from
    #[arg(long)]
    no_metadata: bool,

    #[command(flatten)]
    device: DeviceArgs,
}

const USAGE: &str = "onetrace dump <MODEL|FILE> [OPTIONS]";

const EXAMPLES: &str = "\
Examples:
  onetrace dump gru | less -S
  onetrace dump gru --hidden 128 --steps 1000 --format ir --locations
  onetrace dump gru --hidden 256 --stage fissioned
  onetrace dump lstm --stage optimized --no-metadata
  onetrace dump simple --format dot | dot -Tsvg > simple.svg
  onetrace dump gru --stage optimized --format html --output gru.html
  onetrace dump module_0000.jit_step.before_optimizations.hlo.pb --format stablehlo
  diff <(onetrace dump gru) <(onetrace dump gru --unroll 2)";

/// What a program is printed as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub enum Format {
    /// The IR; of models only
    Ir,
    /// HLO text
    Hlo,
    /// StableHLO in the text form of MLIR
    Stablehlo,
    /// A serialized HloModuleProto
    Proto,
    /// The HloModuleProto in the text form of protocol buffers
    Pbtxt,
    /// A graph for Graphviz
    Dot,
    /// A page for a browser that needs no network
    Html,
}

/// A format of HLO, and how much of the module is printed.
#[derive(Clone, Serialize, Deserialize)]
pub struct Printing {
    pub format: Format,
    pub full_constants: bool,
    pub metadata: bool,
}

impl Printing {
    pub fn print(&self, module: &Module) -> onetrace::Result<Vec<u8>> {
        let Printing { format, full_constants, metadata } = *self;
        Ok(match format {
            Format::Proto => module.proto().to_vec(),
            Format::Stablehlo => {
                let text = module.stablehlo()?;
                let text = match full_constants {
                    true => text,
                    false => stablehlo::without_large_constants(&text),
                };
                let text = if metadata { text } else { stablehlo::without_locations(&text) };
                text.into_bytes()
            }
            Format::Pbtxt => module.pbtxt()?.into_bytes(),
            Format::Dot => module.dot().into_bytes(),
            Format::Html => module.html().into_bytes(),
            // The IR is no form of a module; a command does not ask for it here.
            Format::Hlo | Format::Ir => {
                module.text(TextOptions { full_constants, metadata })?.into_bytes()
            }
        })
    }
}

impl Dump {
    pub fn execute(&self) -> Result<(), Failure> {
        let program = Program::new(&self.operand, &self.settings)?;
        self.check(&program)?;
        if let Some(path) = &self.output {
            let refused = |error| Failure::input("--output", reason(&error));
            io::check_writable(path).map_err(refused)?;
        }
        self.device.set_options()?;
        let dump = self.dump(&program)?;
        match &self.output {
            Some(path) => io::write_atomically(path, |file| file.write_all(&dump))
                .map_err(|error| Failure::run(format_args!("--output: {}", reason(&error)))),
            None => output::print(|out| out.write_all(&dump)),
        }
    }

    /// Refuses options that make no sense together.
    fn check(&self, program: &Program) -> Result<(), Failure> {
        let refused = |option: &str, why: &str| Err(Failure::input(option, why));
        let (format, stage) = (self.format(), self.settings.stage());
        if format != Format::Ir && stage.is_of_ir() {
            return refused(
                "--format",
                "at the stages simplified and fissioned there is the IR, and HLO is made of the \
                 latter; take ir, or leave --stage out",
            );
        }
        if format == Format::Ir {
            if let Program::File(..) = program {
                return refused(
                    "--format",
                    "the IR is what this library traces, and a file has HLO; take hlo or stablehlo",
                );
            }
            if stage == Stage::Optimized {
                return refused(
                    "--format",
                    "the IR is what was traced, and XLA's passes work on HLO; take hlo, or leave \
                     --stage out",
                );
            }
        }
        if self.locations && format != Format::Ir {
            return refused("--locations", "they are printed in the IR; add --format ir");
        }
        if self.no_metadata && !matches!(format, Format::Hlo | Format::Stablehlo) {
            return refused("--no-metadata", "take --format hlo or stablehlo, whose text has them");
        }
        let shortened = matches!(format, Format::Ir | Format::Hlo | Format::Stablehlo);
        if self.full_constants && !shortened {
            return refused(
                "--full-constants",
                "constants are shortened in --format ir, hlo and stablehlo only",
            );
        }
        let to_terminal = self.output.is_none() && std::io::stdout().is_terminal();
        if format == Format::Proto && to_terminal {
            return refused(
                "--format",
                "proto is binary, and standard output is a terminal; name a file with --output, or \
                 pipe it",
            );
        }
        Ok(())
    }

    fn format(&self) -> Format {
        let is_of_ir = self.settings.stage().is_of_ir();
        self.format.unwrap_or(if is_of_ir { Format::Ir } else { Format::Hlo })
    }

    fn dump(&self, program: &Program) -> Result<Vec<u8>, Failure> {
        let printing = Printing {
            format: self.format(),
            full_constants: self.full_constants,
            metadata: !self.no_metadata,
        };
        let request = |stage| Request {
            stage,
            compile: false,
            device: self.device.clone(),
            task: Task::Print(printing.clone()),
        };
        match program {
            Program::File(path, stage) => worker::answer(path, &request(*stage)),
            Program::Model(model, settings) => {
                let device = self.device.open()?;
                let lowered = model.build(settings)?.lowered;
                if printing.format == Format::Ir {
                    let Dump { full_constants, locations, .. } = *self;
                    let func = match settings.stage() {
                        Stage::Simplified => lowered.simplified(),
                        Stage::Fissioned => lowered.fissioned(),
                        _ => lowered.func(),
                    };
                    let text = print::print(func, print::Options { full_constants, locations });
                    return Ok(text.into_bytes());
                }
                let view = request(settings.stage()).view_of_model(lowered, &device)?;
                Ok(printing.print(&view.module)?)
            }
        }
    }
}
