//! The stages that a [`jit`](crate::jit()) function goes through before it runs: traced, lowered
//! to HLO and compiled.

use std::borrow::Borrow;
use std::marker::PhantomData;

use xla::XlaComputation;

use crate::aval::Aval;
use crate::device::{Device, XlaOptions};
use crate::error::{Error, Location, Result};
use crate::execute::Executable;
use crate::hlo;
use crate::ir::Func;
use crate::ir::print;
use crate::lower;
use crate::memory::Memory;
use crate::ops::control::prefixed;
use crate::tensor::Tensor;
use crate::trace;
use crate::tree::{self, Structure, Tree};
use crate::tuning::{Kernels, Search, Tuning};

/// A function that was traced: the IR, before any HLO.
pub struct Traced<A, R> {
    pub(crate) func: Func,
    pub(crate) captures: Vec<Tensor>,
    pub(crate) output: R,
    /// Positions of donated leaves among the arguments.
    pub(crate) donated: Vec<usize>,
    /// The types and names of the arguments.
    pub(crate) params: Vec<(Aval, String)>,
    pub(crate) structure: Structure,
    pub(crate) kernels: Kernels,
    pub(crate) arguments: PhantomData<fn(A) -> R>,
}

impl<A: Tree, R: Tree> Traced<A, R> {
    /// What was recorded.
    pub fn func(&self) -> &Func {
        &self.func
    }

    /// Lowers the function to HLO with `XlaBuilder`.
    ///
    /// # Errors
    /// Whatever the builder reports.
    pub fn lower(self) -> Result<Lowered<A, R>> {
        let captured = self.captures.len();
        let donated: Vec<usize> = self.donated.iter().map(|i| i + captured).collect();
        let aliases = aliases(&self.func, &donated);
        let simplified = self.func.simplified();
        let fissioned = simplified.fissioned();
        let computation = lower::lower(&fissioned, &aliases)?;
        Ok(Lowered { traced: self, simplified, fissioned, computation, aliases })
    }
}

/// Gives each donated parameter a result of the same type that takes over its memory.
fn aliases(func: &Func, donated: &[usize]) -> Vec<(usize, usize)> {
    let params = func.param_avals();
    let mut free: Vec<Option<Aval>> = func.result_avals().into_iter().map(Some).collect();
    let mut aliases = Vec::new();
    for &param in donated {
        let fits = |result: &Option<Aval>| result.as_ref() == Some(params[param]);
        if let Some(result) = free.iter().position(fits) {
            free[result] = None;
            aliases.push((result, param));
        }
    }
    aliases
}

/// A function that was lowered to HLO and can be looked at or compiled.
pub struct Lowered<A, R> {
    traced: Traced<A, R>,
    simplified: Func,
    fissioned: Func,
    computation: XlaComputation,
    /// Positions of results, and of the parameters whose memory they take over.
    aliases: Vec<(usize, usize)>,
}

impl<A: Tree, R: Tree> Lowered<A, R> {
    /// What was recorded.
    pub fn func(&self) -> &Func {
        &self.traced.func
    }

    /// What was recorded, [simplified](Func::simplified).
    pub fn simplified(&self) -> &Func {
        &self.simplified
    }

    /// What was recorded, simplified and [fissioned](Func::fissioned): the HLO is made of this.
    pub fn fissioned(&self) -> &Func {
        &self.fissioned
    }

    /// The IR as text; large constants are left out.
    pub fn ir(&self) -> String {
        self.ir_with(print::Options::default())
    }

    /// The IR as text, with large constants or with the user's file and line at each equation.
    pub fn ir_with(&self, options: print::Options) -> String {
        print::print(&self.traced.func, options)
    }

    /// The HLO as text, before any pass of XLA.
    ///
    /// # Errors
    /// If XLA cannot print the module.
    pub fn hlo(&self) -> Result<String> {
        self.module()?.text(hlo::TextOptions::default())
    }

    /// The program as StableHLO in MLIR's text form.
    ///
    /// # Errors
    /// If XLA cannot translate the module.
    pub fn stablehlo(&self) -> Result<String> {
        self.module()?.stablehlo()
    }

    /// The `HloModuleProto`, serialized.
    ///
    /// # Errors
    /// If the module is too large for a protocol buffer (2 GiB).
    pub fn hlo_proto(&self) -> Result<Vec<u8>> {
        Ok(self.module()?.proto().to_vec())
    }

    /// The HLO module, before any pass of XLA: to be printed in other forms and looked at.
    ///
    /// # Errors
    /// If the module is too large for a protocol buffer (2 GiB).
    pub fn module(&self) -> Result<hlo::Module> {
        hlo::Module::from_xla(self.computation.proto().to_bytes()?)
    }

    /// What the HLO module consists of and what it costs to run, before any pass of XLA.
    ///
    /// # Errors
    /// As [`module`](Lowered::module).
    pub fn stats(&self) -> Result<hlo::Stats> {
        Ok(self.module()?.stats())
    }

    /// Compiles the program for the [default device](Device::default_device).
    ///
    /// # Errors
    /// If there is no such device; whatever XLA reports.
    pub fn compile(self) -> Result<Compiled<A, R>> {
        self.compile_for(&Device::default_device()?)
    }

    /// Compiles the program for a device. Tensors that were captured are copied there.
    ///
    /// # Errors
    /// Whatever XLA reports.
    pub fn compile_for(self, device: &Device) -> Result<Compiled<A, R>> {
        self.compile_with(device, &XlaOptions::new())
    }

    /// Compiles the program for a device, with options of XLA for this compilation alone. They are
    /// stronger than those of the process.
    ///
    /// # Errors
    /// If XLA does not know an option, does not take its value or reads it for the process only;
    /// whatever else it reports.
    pub fn compile_with(self, device: &Device, options: &XlaOptions) -> Result<Compiled<A, R>> {
        options.check()?;
        let kernels = self.traced.kernels;
        let tuning = Tuning::by_model(&self.simplified, &self.fissioned, device, kernels);
        self.compile_as(device, tuning.beside(options), options)
    }

    /// Compiles the program in the way that is fastest for these arguments.
    pub(crate) fn compile_fastest(
        self,
        device: &Device,
        leaves: &[Tensor],
        location: Location,
    ) -> Result<Compiled<A, R>> {
        let none = XlaOptions::new();
        let arguments = trace::arrays(self.traced.captures.iter().chain(leaves));
        let arguments = arguments.map_err(|error| error.at(location))?;
        let search = Search {
            simplified: &self.simplified,
            fissioned: &self.fissioned,
            computation: &self.computation,
            device,
            kernels: self.traced.kernels,
            arguments: &arguments,
            location,
        };
        // Arguments are needed for more than one run, so none is donated yet.
        let (tuning, program) = search
            .run(|tuning| self.executable(device, tuning, &none, &[]))
            .map_err(|error| error.at(location))?;
        match program.filter(|_| self.aliases.is_empty()) {
            Some(executable) => Ok(self.compiled_to(executable, tuning)),
            None => self.compile_as(device, tuning, &none),
        }
    }

    /// Compiles the program in one of several ways.
    pub(crate) fn compile_as(
        self,
        device: &Device,
        tuning: Tuning,
        options: &XlaOptions,
    ) -> Result<Compiled<A, R>> {
        let executable = self.executable(device, tuning, options, &self.aliases)?;
        Ok(self.compiled_to(executable, tuning))
    }

    fn executable(
        &self,
        device: &Device,
        tuning: Tuning,
        options: &XlaOptions,
        aliases: &[(usize, usize)],
    ) -> Result<Executable> {
        let without_fission = tuning.is_without_fission();
        let func = if without_fission { &self.simplified } else { &self.fissioned };
        let func = tuning.applied(func, device);
        let lowered;
        let computation = if *func == self.fissioned && aliases == self.aliases {
            &self.computation
        } else {
            lowered = lower::lower(&func, aliases)?;
            &lowered
        };
        let options = tuning.options().followed_by(options);
        let results = self.traced.func.result_avals();
        let donated = aliases.iter().map(|alias| alias.1).collect();
        let calls_host = self.traced.func.has_effect();
        Executable::compile(computation, results, donated, device, &options, calls_host)
    }

    fn compiled_to(self, executable: Executable, tuning: Tuning) -> Compiled<A, R> {
        let traced = self.traced;
        Compiled {
            executable,
            tuning,
            captures: traced.captures,
            output: traced.output,
            params: traced.params,
            structure: traced.structure,
            arguments: PhantomData,
        }
    }
}

/// A compiled function for arguments of one type. Many threads can call it at the same time.
pub struct Compiled<A, R> {
    executable: Executable,
    tuning: Tuning,
    captures: Vec<Tensor>,
    output: R,
    /// The types and names of the arguments.
    params: Vec<(Aval, String)>,
    structure: Structure,
    arguments: PhantomData<fn(A) -> R>,
}

impl<A: Tree, R: Tree> Compiled<A, R> {
    /// The device that the program runs on.
    pub fn device(&self) -> &Device {
        self.executable.device()
    }

    /// How the program was compiled, where there was a choice.
    pub fn tuning(&self) -> Tuning {
        self.tuning
    }

    /// Runs the program. The results stay on its device until they are read.
    ///
    /// # Errors
    /// If the types of the arguments are not those it was compiled for, or if one is tied to
    /// another device; whatever XLA reports.
    #[track_caller]
    pub fn call(&self, arguments: impl Borrow<A>) -> Result<R> {
        let location = std::panic::Location::caller();
        let arguments = arguments.borrow();
        tree::check(arguments)?;
        let leaves = tree::leaves(arguments);
        if let Some(traced) = leaves.iter().find(|leaf| leaf.is_traced()) {
            return Err(Error::argument(format!(
                "a compiled function runs at once, but a traced tensor of type {} was given: call \
                 the `Jit` where something is traced",
                traced.aval(),
            ))
            .at(location));
        }
        let fits = leaves.len() == self.params.len()
            && leaves.iter().zip(&self.params).all(|(leaf, (aval, _))| leaf.aval() == aval)
            && tree::structure(arguments) == self.structure;
        if !fits {
            return Err(self.misfit(arguments).at(location));
        }
        self.check_devices(&leaves).map_err(|error| error.at(location))?;
        self.run(&leaves, true, location)
    }

    /// Checks that what is tied to a device is tied to this one.
    fn check_devices(&self, leaves: &[Tensor]) -> Result<()> {
        for (leaf, (_, name)) in leaves.iter().zip(&self.params) {
            self.executable.check_device(trace::concrete(leaf)?, "function", name)?;
        }
        Ok(())
    }

    /// What tells `arguments` from those the function was compiled for.
    fn misfit(&self, arguments: &A) -> Error {
        let given = prefixed("arg", arguments);
        let find = |leaves: &[(Aval, String)], wanted: &str| {
            let found = leaves.iter().find(|(_, name)| name == wanted);
            found.map_or("nothing".to_owned(), |(aval, _)| aval.to_string())
        };
        let added = given.iter().filter(|(_, name)| self.params.iter().all(|(_, n)| n != name));
        let mut lines = String::new();
        for (_, name) in self.params.iter().chain(added) {
            let (compiled, given) = (find(&self.params, name), find(&given, name));
            if compiled != given {
                lines += &format!("\n  {name}: {compiled} compiled, {given} given");
            }
        }
        if lines.is_empty() {
            lines += "\n  arg: the static fields differ";
        }
        Error::argument(format!(
            "a compiled function takes the types it was compiled for, but:{lines}\n  call the `Jit` \
             instead: it compiles for new types"
        ))
    }

    /// The HLO module that the backend runs, after XLA's passes.
    ///
    /// # Errors
    /// If the backend does not give it.
    pub fn optimized(&self) -> Result<hlo::Module> {
        hlo::Module::from_xla(self.executable.program().optimized_module()?)
    }

    /// The HLO that the backend runs, after XLA's passes, as text with short constants.
    ///
    /// # Errors
    /// As [`optimized`](Compiled::optimized).
    pub fn optimized_hlo(&self) -> Result<String> {
        self.optimized()?.text(hlo::TextOptions::default())
    }

    /// The memory that the program needs, where the backend tells.
    pub fn memory(&self) -> Option<Memory> {
        self.executable.program().memory()
    }

    /// Runs the program on arguments of the types it was compiled for. Results are tied to its
    /// device if the arguments are.
    pub(crate) fn run(&self, leaves: &[Tensor], is_tied: bool, location: Location) -> Result<R> {
        let arrays = trace::arrays(self.captures.iter().chain(leaves));
        let results = arrays.and_then(|arrays| self.executable.run(&arrays, is_tied, location));
        tree::unflatten(&self.output, results.map_err(|error| error.at(location))?)
    }
}
