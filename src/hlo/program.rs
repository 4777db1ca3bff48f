//! Modules compiled and run, also those that another program wrote.

use std::borrow::Borrow;
use std::sync::Arc;

use xla::XlaComputation;

use super::proto::{HloInstructionProto, ShapeProto};
use super::{Module, malformed, shape};
use crate::array::Array;
use crate::aval::Aval;
use crate::callback;
use crate::device::{Device, XlaOptions};
use crate::error::{Error, Result};
use crate::execute::Executable;
use crate::memory::Memory;
use crate::tensor::Tensor;
use crate::trace;

/// A module that was compiled, by [`Module::compile`]. Many threads can call it at the same time.
///
/// # Examples
/// ```
/// use onetrace::prelude::*;
/// let module = onetrace::hlo::Module::from_text(
///     "HloModule axpy
///      ENTRY main {
///        a = f32[] parameter(0)
///        x = f32[3] parameter(1)
///        scale = f32[3] broadcast(a), dimensions={}
///        ax = f32[3] multiply(scale, x)
///        sum = f32[3] add(ax, ax)
///        ROOT results = (f32[3], f32[3]) tuple(ax, sum)
///      }",
/// )?;
/// let program = module.compile(&Device::cpu()?)?;
/// let results = program.call(&[Tensor::new(&[2.0f32], []), Tensor::arange(3, DType::F32)])?;
/// assert_eq!(results[1].to_vec::<f32>()?, [0.0, 4.0, 8.0]);
/// # Ok::<(), onetrace::Error>(())
/// ```
pub struct Program {
    executable: Executable,
    /// The types and names of the arguments.
    parameters: Vec<(Aval, String)>,
}

impl Program {
    pub(super) fn compile(module: &Module, device: &Device) -> Result<Program> {
        module.need_constants("compile")?;
        if module.decoded().schedule.is_some() {
            return Err(malformed(
                "compile",
                "the module has been through XLA's passes, and the order of its instructions is \
                 fixed; take the module from before them",
            ));
        }
        module.verify("compile")?;
        let Signature { parameters, results } =
            signature(module).map_err(|what| malformed("compile", &what))?;
        let aliases = module.decoded().input_output_alias.iter();
        let donated = aliases.flat_map(|aliases| &aliases.entries);
        let mut donated: Vec<usize> =
            donated.filter_map(|entry| usize::try_from(entry.parameter_number).ok()).collect();
        donated.sort_unstable();
        donated.dedup();
        let computation = XlaComputation::from_proto(&module.binding()?);
        let options = XlaOptions::new();
        let mut instructions = module.decoded().computations.iter().flat_map(|c| &c.instructions);
        let calls_host = instructions.any(|i| i.custom_call_target == callback::TARGET);
        let executable =
            Executable::compile(&computation, results, donated, device, &options, calls_host)?;
        Ok(Program { executable, parameters })
    }

    /// Runs the program: one tensor for each parameter of the module's entry computation. A result
    /// that is a tuple comes as its elements. An argument that the module gives to a result
    /// (`input_output_alias`) cannot be used afterwards.
    ///
    /// # Errors
    /// If the types of the arguments are not those of the parameters; if one is traced, or tied to
    /// another device; whatever XLA reports.
    #[track_caller]
    pub fn call(&self, arguments: &[impl Borrow<Tensor>]) -> Result<Vec<Tensor>> {
        let location = std::panic::Location::caller();
        let arguments: Vec<&Tensor> = arguments.iter().map(Borrow::borrow).collect();
        let results = self.arrays(&arguments).and_then(|arrays| {
            let arrays: Vec<&Array> = arrays.iter().map(|array| &***array).collect();
            self.executable.run(&arrays, true, location)
        });
        results.map_err(|error| error.at(location))
    }

    /// The data of the arguments, if they have the types of the parameters.
    fn arrays<'a>(&self, arguments: &[&'a Tensor]) -> Result<Vec<&'a Arc<Array>>> {
        if let Some(traced) = arguments.iter().find(|tensor| tensor.is_traced()) {
            return Err(Error::argument(format!(
                "a compiled program runs at once, but a traced tensor of type {} was given: call it \
                 outside of what is traced",
                traced.aval(),
            )));
        }
        let arrays = arguments.iter().map(|tensor| trace::concrete(tensor));
        let arrays: Vec<&Arc<Array>> = arrays.collect::<Result<_>>()?;
        let mut differences = String::new();
        for i in 0..arguments.len().max(self.parameters.len()) {
            let given = arguments.get(i).map(|tensor| tensor.aval().to_string());
            let wanted = self.parameters.get(i).map(|(aval, _)| aval.to_string());
            if given != wanted {
                let name = self.parameters.get(i).map_or("", |(_, name)| name);
                let [wanted, given] = [wanted, given].map(|ty| ty.unwrap_or("nothing".to_owned()));
                differences += &format!("\n  argument {i} {name}: {wanted} wanted, {given} given");
            }
        }
        if differences.is_empty() {
            for (array, (_, name)) in arrays.iter().zip(&self.parameters) {
                self.executable.check_device(array, "program", name)?;
            }
            return Ok(arrays);
        }
        Err(Error::argument(format!(
            "a program takes one tensor for each of the module's parameters, but:{differences}"
        )))
    }

    /// The types of the arguments and the names of the parameters they are for.
    pub fn parameters(&self) -> &[(Aval, String)] {
        &self.parameters
    }

    /// The module that the backend runs, after XLA's passes.
    ///
    /// # Errors
    /// If the backend does not give it.
    pub fn optimized(&self) -> Result<Module> {
        Module::from_xla(self.executable.program().optimized_module()?)
    }

    /// The memory that the program needs, where the backend tells.
    pub fn memory(&self) -> Option<Memory> {
        self.executable.program().memory()
    }
}

/// What a module takes and gives.
struct Signature {
    /// The parameters of the entry computation, in the order of their numbers, with their names.
    parameters: Vec<(Aval, String)>,
    results: Vec<Aval>,
}

fn signature(module: &Module) -> Result<Signature, String> {
    let entry = module.entry().ok_or("there is no entry computation")?;
    let shape = |i: &HloInstructionProto| i.shape.clone().ok_or("an instruction has no type");
    let mut parameters: Vec<_> =
        entry.instructions.iter().filter(|i| i.opcode == "parameter").collect();
    parameters.sort_by_key(|i| i.parameter_number);
    let parameters: Result<Vec<(Aval, String)>, String> = parameters
        .into_iter()
        .map(|i| Ok((aval(&shape(i)?, &format!("parameter {}", i.name))?, i.name.clone())))
        .collect();
    let root = entry.instructions.iter().find(|i| i.id == entry.root_id);
    let result = shape(root.ok_or("there is no result")?)?;
    let single = std::slice::from_ref(&result);
    let parts = if result.is_tuple() { &result.tuple_shapes } else { single };
    let results: Result<Vec<Aval>, String> =
        parts.iter().enumerate().map(|(i, part)| aval(part, &format!("result {i}"))).collect();
    Ok(Signature { parameters: parameters?, results: results? })
}

/// The type of the tensor for a value of this shape.
fn aval(shape: &ShapeProto, what: &str) -> Result<Aval, String> {
    let dtype = shape::dtype(shape.element_type).filter(|_| !shape.is_tuple());
    let dtype = dtype.ok_or_else(|| {
        format!("{what} has type {shape}, which tensors of this library cannot have")
    })?;
    if shape.is_dynamic_dimension.contains(&true) {
        return Err(format!("{what} has type {shape}, whose size is known only when it runs"));
    }
    let sizes: Option<Vec<usize>> =
        shape.dimensions.iter().map(|&size| usize::try_from(size).ok()).collect();
    Ok(Aval::new(dtype, sizes.ok_or_else(|| format!("{what} has type {shape}"))?))
}
