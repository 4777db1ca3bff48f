//! `debug_print`: values on standard output, from inside of what is traced.

use std::fmt::Write as _;
use std::io::Write as _;

use xla::XlaOp;

use super::{Operation, rules};
use crate::aval::Aval;
use crate::callback::{self, Effect};
use crate::error::{Error, Result};
use crate::host::HostArray;
use crate::lower::Lowering;
use crate::tensor::Tensor;
use crate::trace::{self, concrete, poison, record};
use crate::transform::batch::Batched;
use crate::transform::jvp::Dual;
use crate::transform::transpose::Input;

operation! {
    /// Prints the text `format` with the inputs in place of its `{}`. For a batch it prints a line
    /// for each member: all inputs have the sizes `batch` in front.
    struct DebugPrint = "debug_print" { format: String, batch: Vec<usize> }
}

impl Operation for DebugPrint {
    fn infer(&self, avals: &[&Aval]) -> Result<Vec<Aval>> {
        let places = pieces(&self.format)?.iter().filter(|p| matches!(p, Piece::Value(_))).count();
        if places != avals.len() {
            return Err(Error::argument(format!(
                "debug_print: the number of values must be that of the places in the format {:?}, \
                 {places}, but it is {}",
                self.format,
                avals.len(),
            )));
        }
        if avals.is_empty() && !self.batch.is_empty() {
            return Err(Error::argument("debug_print: without values there is no batch"));
        }
        if let Some(aval) = avals.iter().find(|aval| !aval.shape.starts_with(&self.batch)) {
            return Err(Error::shape(format!(
                "debug_print: the sizes of the batch are {:?}, but an input is {aval}",
                self.batch,
            )));
        }
        Ok(Vec::new())
    }

    fn lower(&self, cx: &Lowering, inputs: &[XlaOp], _: &[Aval]) -> Result<Vec<XlaOp>> {
        callback::lower(cx, self, inputs)
    }

    /// What is printed are the values: derivatives print them once, and no tangents.
    fn jvp(&self, primals: &[Tensor], _: &[Option<Tensor>]) -> Result<Dual> {
        rules::no_tangent(self, primals)
    }

    fn transpose(&self, _: &[Option<Tensor>], inputs: &[Input]) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![None; inputs.len()])
    }

    fn batch(&self, size: usize, inputs: &[Batched]) -> Result<Vec<Batched>> {
        let inputs: Vec<Tensor> = inputs.iter().map(|input| input.to_front(size)).collect();
        let batch = [&[size], &self.batch[..]].concat();
        record(DebugPrint { batch, ..self.clone() }, &inputs, 0);
        Ok(Vec::new())
    }

    fn effect(&self) -> Option<&dyn Effect> {
        Some(self)
    }
}

impl Effect for DebugPrint {
    fn run(&self, operands: &[HostArray]) {
        let Ok(pieces) = pieces(&self.format) else { return };
        let members: usize = self.batch.iter().product();
        let mut text = String::new();
        for member in 0..members {
            let mut operands = operands.iter();
            for piece in &pieces {
                match piece {
                    Piece::Text(piece) => text.push_str(piece),
                    Piece::Value(precision) => {
                        let array = operands.next().map(|all| all.member(self.batch.len(), member));
                        array.iter().for_each(|array| push_array(&mut text, array, *precision));
                    }
                }
            }
            text.push('\n');
        }
        // A closed standard output is no reason for the program to fail.
        _ = std::io::stdout().lock().write_all(text.as_bytes());
    }
}

/// A part of a format.
enum Piece {
    Text(String),
    /// The place of a value, printed with so many digits behind the point.
    Value(Option<usize>),
}

/// The parts of a format: `{}` and `{:.3}` are places, `{{` and `}}` are braces.
fn pieces(format: &str) -> Result<Vec<Piece>> {
    let wrong = |what: &str| {
        Err(Error::argument(format!(
            "debug_print: the format {format:?} has {what}: a place for a value is {{}} or {{:.3}} \
             (digits behind the point), and a brace is {{{{ or }}}}"
        )))
    };
    let (mut pieces, mut text, mut rest) = (Vec::new(), String::new(), format);
    while let Some(at) = rest.find(['{', '}']) {
        text.push_str(&rest[..at]);
        let brace = &rest[at..=at];
        rest = &rest[at + 1..];
        if let Some(behind) = rest.strip_prefix(brace) {
            text.push_str(brace);
            rest = behind;
            continue;
        }
        let Some((inside, behind)) = rest.split_once('}').filter(|_| brace == "{") else {
            return wrong(&format!("a {brace} alone"));
        };
        // The formatting of Rust takes no more digits than a `u16` counts.
        let precision = match inside.strip_prefix(":.").map(str::parse::<u16>) {
            Some(Ok(digits)) => Some(usize::from(digits)),
            None if inside.is_empty() => None,
            _ => return wrong(&format!("the place {{{inside}}}")),
        };
        pieces.extend([Piece::Text(std::mem::take(&mut text)), Piece::Value(precision)]);
        rest = behind;
    }
    text.push_str(rest);
    pieces.push(Piece::Text(text));
    Ok(pieces)
}

/// Arrays of more elements are shortened to the first and last of each axis, as NumPy does.
const SHORTENED: usize = 1000;

/// How many entries of each end of an axis are left.
const ENDS: usize = 3;

fn push_array(out: &mut String, array: &HostArray, precision: Option<usize>) {
    let texts = array.element_texts(array.aval.size());
    let text = |i: usize| match (precision, texts[i].parse::<f64>()) {
        (Some(digits), Ok(x)) if array.aval.dtype.is_float() => format!("{x:.digits$}"),
        _ => texts[i].clone(),
    };
    push_axes(out, &array.aval.shape, 0, texts.len() > SHORTENED, &text);
}

fn push_axes(
    out: &mut String,
    shape: &[usize],
    first: usize,
    shorten: bool,
    text: &impl Fn(usize) -> String,
) {
    let Some((&size, inner)) = shape.split_first() else {
        _ = write!(out, "{}", text(first));
        return;
    };
    let stride: usize = inner.iter().product();
    out.push('[');
    for i in 0..size {
        let left_out = shorten && size > 2 * ENDS && (ENDS..size - ENDS).contains(&i);
        if i > 0 && (!left_out || i == ENDS) {
            out.push_str(", ");
        }
        match left_out {
            true if i == ENDS => out.push_str("..."),
            true => {}
            false => push_axes(out, inner, first + i * stride, shorten, text),
        }
    }
    out.push(']');
}

/// Prints values on standard output each time the program comes here; `jax.debug.print`.
///
/// `format` has a `{}` for each of the values, or `{:.3}` for three digits behind the point; `{{`
/// and `}}` are braces. Inside of a traced function the text is printed when the program runs: in a
/// loop at every step, in a branch if it is taken. It stays through `jit`, `vmap` (a line for each
/// member) and `grad`, which prints values and no derivatives, once, also where a
/// [checkpoint](crate::checkpoint) computes again. What one body prints comes in the order of the
/// calls; a loop in it prints on its own account. Outside of any trace the values are printed at
/// once.
///
/// A format that does not fit is a mistake of the trace, and comes out where its results do;
/// outside of a trace it is told on standard error. Programs for other devices than CPUs cannot
/// call back, and are refused with an error when they are compiled: return the values there, and
/// print them outside.
///
/// # Examples
/// ```
/// use onetrace::prelude::*;
/// let step = |sum: Tensor, x: Tensor| {
///     let sum = sum + &x;
///     onetrace::debug_print("x = {}, sum = {:.1}", &[&x, &sum]); // x = 0, sum = 0.0, and so on
///     (sum, ())
/// };
/// let run = jit(|xs: Tensor| scan(step, Tensor::scalar(0.0, DType::F32), xs).0);
/// assert_eq!(run.call(Tensor::arange(4, DType::F32))?.item::<f32>()?, 6.0);
/// # Ok::<(), onetrace::Error>(())
/// ```
#[track_caller]
pub fn debug_print(format: &str, values: &[&Tensor]) {
    let op = DebugPrint { format: format.to_owned(), batch: Vec::new() };
    if trace::is_tracing() {
        record(op, values, 0);
        return;
    }
    let avals: Vec<&Aval> = values.iter().map(|value| value.aval()).collect();
    let arrays = values.iter().map(|value| concrete(value)?.to_host().map(|a| (*a).clone()));
    let arrays: Result<Vec<HostArray>> = arrays.collect();
    match arrays.and_then(|arrays| op.infer(&avals).map(|_| arrays)) {
        Ok(arrays) => op.run(&arrays),
        Err(error) => {
            if let Err(error) = poison(error, &[]).check() {
                eprintln!("{error}");
            }
        }
    }
}
