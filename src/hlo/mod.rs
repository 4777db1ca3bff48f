//! HLO modules: what traced programs become, and what other programs left in files.
//!
//! A [`Module`] prints as HLO text, as StableHLO, as a protocol buffer and its text, as a graph and
//! as a page; it has figures ([`Stats`]), and can be compiled and run ([`Program`]).
//!
//! ```
//! use onetrace::prelude::*;
//! let power = jit(|x: Tensor| fori_loop(0, 10, |_, x: Tensor| x.matmul(&x), x));
//! let lowered = power.lower(Tensor::ones([4, 4], DType::F32))?;
//! let stats = lowered.stats()?;
//! assert_eq!(stats.while_loops[0].trip_count, Some(10));
//! assert_eq!(stats.flops, 10 * 2 * 4 * 4 * 4);
//! // The module that runs, after XLA's passes.
//! let optimized = lowered.compile()?.optimized()?;
//! assert_eq!(optimized.stats().flops, stats.flops);
//! # Ok::<(), onetrace::Error>(())
//! ```

mod category;
mod check;
mod dot;
mod flops;
mod graph;
mod html;
mod program;
pub(crate) mod proto;
mod read;
mod scan;
mod shape;
mod stats;
mod trip_count;
mod view;

use std::path::Path;
use std::sync::Arc;

use prost::Message;
use prost::bytes::Bytes;

use crate::device::{self, Device};
use crate::error::{Error, ErrorKind, Result};
use crate::xla_ext;

pub use program::Program;
pub use stats::{Stats, WhileLoop};

/// One HLO module.
///
/// It comes from a traced program ([`Lowered::module`](crate::Lowered::module)), from the compiler
/// ([`Compiled::optimized`](crate::Compiled::optimized)), or from what another program wrote: HLO
/// text (JAX's `lower(..).as_text('hlo')`), a `HloModuleProto`, or a `HloProto` as `--xla_dump_to`
/// writes it. Cloning it copies little.
///
/// # Examples
/// ```
/// use onetrace::hlo::{Module, TextOptions};
/// let module = Module::from_text(
///     "HloModule square
///      ENTRY main {
///        x = f32[8] parameter(0)
///        ROOT y = f32[8] multiply(x, x)
///      }",
/// )?;
/// assert_eq!(module.name(), "square");
/// assert_eq!(module.stats().opcodes["multiply"], 1);
/// let again = Module::from_proto(module.proto())?;
/// assert_eq!(again.text(TextOptions::default())?, module.text(TextOptions::default())?);
/// # Ok::<(), onetrace::Error>(())
/// ```
#[derive(Clone)]
pub struct Module {
    /// The serialized `HloModuleProto`.
    bytes: Bytes,
    /// What was decoded of it.
    proto: Arc<proto::HloModuleProto>,
    /// The text it was read from leaves out the values of constants; they are zeros here.
    lacks_constants: bool,
}

/// How [`Module::text`] prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextOptions {
    /// All elements of constants. Without it, constants of more than ten elements are printed as
    /// `{...}`, and the text is not a program that could be run.
    pub full_constants: bool,
    /// Where each instruction comes from: its operation, the user's file and line.
    pub metadata: bool,
}

/// Short constants, with metadata: what XLA prints of itself.
impl Default for TextOptions {
    fn default() -> TextOptions {
        TextOptions { full_constants: false, metadata: true }
    }
}

impl Module {
    /// Parses HLO text with XLA's parser. Constants that the text leaves out (`constant({...})`)
    /// are zeros: see [`lacks_constants`](Module::lacks_constants).
    ///
    /// # Errors
    /// If it is not HLO, of the kind [`Hlo`](ErrorKind::Hlo), with the place; if it is HLO of
    /// another version of XLA that has an operation or an attribute that this one lacks.
    ///
    /// What is wrong in itself is refused before XLA sees it. XLA still ends the process on some
    /// texts that are wrong in other ways: read those that you do not trust in a process of their
    /// own, as the `onetrace` command does.
    pub fn from_text(text: &str) -> Result<Module> {
        device::settle()?;
        Module::parse(text).map_err(|what| malformed("from_text", &what))
    }

    /// Reads a module from bytes: a `HloModuleProto`, or a `HloProto` or `HloSnapshot` with one in
    /// it, serialized or as text. Which one it is is told by the content.
    ///
    /// # Errors
    /// As [`from_text`](Module::from_text).
    pub fn from_proto(bytes: &[u8]) -> Result<Module> {
        device::settle()?;
        let module = match read::form(bytes) {
            Ok(read::Form::Text(_)) => {
                Err("this is HLO text, not a protocol buffer: use `from_text`".to_owned())
            }
            Ok(form) => Module::from_form(form, bytes.to_vec().into()),
            Err(what) => Err(what),
        };
        module.map_err(|what| malformed("from_proto", &what))
    }

    /// Reads a file of any of these forms, told by its content.
    ///
    /// # Errors
    /// As [`from_text`](Module::from_text); if the file cannot be read, or has more than 1 GiB, of
    /// the kind [`Io`](ErrorKind::Io).
    pub fn read(path: impl AsRef<Path>) -> Result<Module> {
        let path = path.as_ref();
        let bytes = read::file(path).map_err(|what| {
            Error::new(ErrorKind::Io, format!("{} cannot be read: {what}", path.display()))
        })?;
        device::settle()?;
        let bytes = Bytes::from(bytes);
        let module = read::form(&bytes).and_then(|form| Module::from_form(form, bytes.clone()));
        module.map_err(|what| malformed(&path.display().to_string(), &what))
    }

    fn parse(text: &str) -> Result<Module, String> {
        match read::form(text.as_bytes())? {
            form @ read::Form::Text(_) => Module::from_form(form, Bytes::new()),
            _ => Err("this is a protocol buffer, not HLO text: use `from_proto`".to_owned()),
        }
    }

    /// `bytes` are those that the form was told by; they are looked at if it is binary.
    fn from_form(form: read::Form<'_>, bytes: Bytes) -> Result<Module, String> {
        let (bytes, lacks_constants) = match form {
            read::Form::Binary => (bytes, false),
            read::Form::Pbtxt { text, is_hlo_proto } => {
                (xla_ext::hlo_from_pbtxt(text, is_hlo_proto)?.into(), false)
            }
            read::Form::Text(text) => {
                let scanned = scan::scan(text)?;
                (xla_ext::hlo_from_text(text)?.into(), scanned.leaves_out_constants)
            }
        };
        let (bytes, proto) = read::unwrap(&bytes)?;
        check::check(&proto)?;
        xla_ext::hlo_check(&bytes, false)?;
        Ok(Module { bytes, proto: Arc::new(proto), lacks_constants })
    }

    /// A module that XLA itself has just serialized.
    pub(crate) fn from_xla(bytes: Vec<u8>) -> Result<Module> {
        let bytes = Bytes::from(bytes);
        let proto = proto::HloModuleProto::of_bytes(bytes.clone())
            .map_err(|error| malformed("XLA's own module", &error.to_string()))?;
        Ok(Module { bytes, proto: Arc::new(proto), lacks_constants: false })
    }

    /// The name of the module.
    pub fn name(&self) -> &str {
        &self.proto.name
    }

    /// Whether this was read from text that leaves out the values of large constants, as HLO text
    /// usually does. They are zeros here: the module can be looked at, but is not what it was.
    pub fn lacks_constants(&self) -> bool {
        self.lacks_constants
    }

    /// The module as HLO text, which [`from_text`](Module::from_text) reads.
    ///
    /// # Errors
    /// If all constants are asked for and the module [lacks](Module::lacks_constants) them;
    /// whatever XLA reports.
    pub fn text(&self, options: TextOptions) -> Result<String> {
        if options.full_constants {
            self.need_constants("text")?;
        }
        device::settle()?;
        let text = xla_ext::hlo_to_text(&self.bytes, options.full_constants, options.metadata);
        printed(text, "text")
    }

    /// The serialized `HloModuleProto`.
    pub fn proto(&self) -> &[u8] {
        &self.bytes
    }

    /// The `HloModuleProto` in the text form of protocol buffers.
    ///
    /// # Errors
    /// If the module [lacks constants](Module::lacks_constants); whatever XLA reports.
    pub fn pbtxt(&self) -> Result<String> {
        self.need_constants("pbtxt")?;
        printed(xla_ext::hlo_to_pbtxt(&self.bytes), "pbtxt")
    }

    /// The module as StableHLO, in MLIR's text form.
    ///
    /// # Errors
    /// If the module [lacks constants](Module::lacks_constants), if its instructions have other
    /// types than their operands give them, or if it has operations that StableHLO has not, as
    /// modules have after XLA's passes.
    pub fn stablehlo(&self) -> Result<String> {
        self.need_constants("stablehlo")?;
        self.verify("stablehlo")?;
        Ok(self.binding()?.to_stablehlo_string()?)
    }

    fn need_constants(&self, operation: &str) -> Result<()> {
        if !self.lacks_constants {
            return Ok(());
        }
        Err(malformed(
            operation,
            "the text that this module was read from leaves out the values of constants, `{...}`; \
             print it with all of them, or take the protocol buffer",
        ))
    }

    /// Checks that each instruction has the type that its operands give it.
    fn verify(&self, operation: &str) -> Result<()> {
        device::settle()?;
        xla_ext::hlo_check(&self.bytes, true).map_err(|what| malformed(operation, &what))
    }

    /// The module as the binding has it.
    fn binding(&self) -> Result<xla::HloModuleProto> {
        // It looks for a snapshot first, and could take a bare module for one.
        let module = proto::HloProto { hlo_module: self.bytes.clone() }.encode_to_vec();
        let snapshot = proto::HloProto { hlo_module: module.into() }.encode_to_vec();
        Ok(xla::HloModuleProto::parse_proto(&snapshot, true)?)
    }

    /// What the module consists of and what it costs to run.
    pub fn stats(&self) -> Stats {
        Stats::of(self)
    }

    /// Compiles the module for a device.
    ///
    /// # Errors
    /// If the module [lacks constants](Module::lacks_constants), if its instructions have other
    /// types than their operands give them, if its parameters or results have types that tensors
    /// cannot have; whatever XLA reports.
    pub fn compile(&self, device: &Device) -> Result<Program> {
        Program::compile(self, device)
    }

    /// What was decoded of the module. It is well formed: see `check`.
    pub(crate) fn decoded(&self) -> &proto::HloModuleProto {
        &self.proto
    }

    /// The computation with this id.
    pub(crate) fn computation(&self, id: i64) -> Option<&proto::HloComputationProto> {
        self.proto.computations.iter().find(|c| c.id == id)
    }

    /// The computation where the program starts.
    pub(crate) fn entry(&self) -> Option<&proto::HloComputationProto> {
        self.computation(self.proto.entry_computation_id)
    }

    /// The user's file and line that an instruction comes from, where the module says so.
    pub(crate) fn source<'a>(
        &'a self,
        instruction: &'a proto::HloInstructionProto,
    ) -> Option<(&'a str, i32)> {
        let metadata = instruction.metadata.as_ref()?;
        if !metadata.source_file.is_empty() {
            return Some((&metadata.source_file, metadata.source_line));
        }
        let stacks = self.proto.stack_frame_index.as_ref()?;
        let frame = numbered(&stacks.stack_frames, metadata.stack_frame_id)?;
        let location = numbered(&stacks.file_locations, frame.file_location_id)?;
        Some((numbered(&stacks.file_names, location.file_name_id)?, location.line))
    }
}

/// The element with a number that counts from 1; 0 stands for none.
fn numbered<T>(list: &[T], number: i32) -> Option<&T> {
    list.get(usize::try_from(number).ok()?.checked_sub(1)?)
}

/// The error of an operation on a module that is not what it should be. `what` is ours or XLA's,
/// which begins with the name of a status and the place in XLA's sources: they say less than the
/// rest.
fn malformed(operation: &str, what: &str) -> Error {
    let mut what = what;
    for status in ["INVALID_ARGUMENT: ", "INTERNAL: "] {
        what = what.strip_prefix(status).unwrap_or(what);
    }
    if let Some((_, rest)) =
        what.strip_prefix("RET_CHECK failure (").and_then(|w| w.split_once(") "))
    {
        what = rest;
    }
    what = what.strip_prefix("during context [Unknown]: ").unwrap_or(what);
    let what = what.trim_end().replace(".\n\t, for instruction", ", for instruction");
    Error::new(ErrorKind::Hlo, format!("{operation}: {what}"))
}

/// What XLA printed. Names in it come from files and may be any bytes.
fn printed(text: Result<Vec<u8>, String>, operation: &str) -> Result<String> {
    let bytes = text.map_err(|what| malformed(operation, &what))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
