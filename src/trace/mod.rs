//! The tracer: records what is done to tensors into [`Func`]s.
//!
//! Open traces form a stack, one for each thread. An operation is recorded by the innermost one;
//! with none open it is compiled and run at once. A value from outside of the innermost trace that
//! is used in it is *captured*: a concrete tensor becomes a constant, a tensor of an outer trace
//! becomes a parameter, for which the operation that owns the function passes the tensor as an
//! operand. So every recorded function is closed.
//!
//! A mistake does not stop the trace. It gives a *poisoned* tensor, on which later operations do
//! nothing, and the trace keeps the first one with the place in the user's code.

pub(crate) mod scope;

use std::any::Any;
use std::borrow::Borrow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::panic::{self, AssertUnwindSafe, Location as PanicLocation};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::array::{self, Array};
use crate::aval::Aval;
use crate::error::{Error, ErrorKind, Location, Result};
use crate::execute;
use crate::ir::{Func, FuncBuilder, Param, Source, Value};
use crate::ops::constant::Constant;
use crate::ops::{Op, check_size};
use crate::tensor::{Poison, Repr, Tensor, TracedValue};
use crate::tree::{self, Tree};

/// What tells one trace from every other one of the process.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct TraceId(u64);

impl TraceId {
    fn new() -> TraceId {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        TraceId(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// What a trace records.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// A function that runs once for each call.
    Function,
    /// The body of a loop.
    LoopBody,
}

/// Whether captured concrete tensors become constants or parameters. A tensor that was made inside
/// of the trace, such as the 2 of `x * 2`, is a constant in any case.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Captures {
    Constants,
    Params,
}

/// An open trace.
struct Frame {
    id: TraceId,
    kind: Kind,
    captures_as: Captures,
    /// Arrays with this id or a larger one were made since the trace began.
    first_array: u64,
    builder: FuncBuilder,
    /// The tensors from outside that became parameters.
    captures: Vec<(Tensor, Param)>,
    /// The value that each captured tensor has here.
    captured: HashMap<Identity, Value>,
    /// The first mistake that was made in the trace.
    error: Option<Error>,
    /// A mistake that was returned to the closure as an `Err`. It is one of the trace only if the
    /// closure panics over it.
    returned: Option<Error>,
}

/// What makes two tensors the same value.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Identity {
    Array(u64),
    Value(TraceId, Value),
}

thread_local! {
    static FRAMES: RefCell<Vec<Frame>> = const { RefCell::new(Vec::new()) };
}

/// Whether a trace is open on this thread.
pub(crate) fn is_tracing() -> bool {
    FRAMES.with_borrow(|frames| !frames.is_empty())
}

/// Whether the body of a loop is being traced on this thread.
pub(crate) fn in_loop_body() -> bool {
    FRAMES.with_borrow(|frames| frames.iter().any(|f| f.kind == Kind::LoopBody))
}

/// A function that was traced.
pub(crate) struct Traced<R> {
    /// Its parameters are the captured tensors and then those declared.
    pub func: Func,
    /// The captured tensors, in the order of the parameters.
    pub captures: Vec<Tensor>,
    /// What the closure returned. Its leaves belong to the trace that ended: only its structure is
    /// of use.
    pub output: R,
}

/// What a closure that was traced returned, even if the trace failed.
pub(crate) struct Outcome<R> {
    pub output: R,
    pub result: Result<(Func, Vec<Tensor>)>,
}

impl<R> Outcome<R> {
    pub fn into_traced(self) -> Result<Traced<R>> {
        let (func, captures) = self.result?;
        Ok(Traced { func, captures, output: self.output })
    }
}

/// A closure that panicked while it was traced.
pub(crate) struct Panic {
    /// The mistake that was made before: it often is the reason, for what stands for a result that
    /// could not be computed may have another shape than the closure relies on.
    pub mistake: Option<Error>,
    pub payload: Box<dyn Any + Send>,
}

impl Panic {
    /// Goes on panicking; the trace around keeps the mistake.
    fn resume(self) -> ! {
        if let Some(mistake) = self.mistake {
            let outer = FRAMES.with_borrow_mut(|frames| {
                frames.last_mut().map(|f| _ = f.error.get_or_insert_with(|| mistake.clone()))
            });
            if outer.is_none() {
                eprintln!("the panic above follows a mistake made before it:\n{mistake}");
            }
        }
        panic::resume_unwind(self.payload)
    }

    /// The mistake as the error to report, if there was one; else goes on panicking.
    pub fn into_error(self) -> Error {
        match self.mistake {
            Some(mistake) => mistake.note("the closure panicked after this"),
            None => panic::resume_unwind(self.payload),
        }
    }
}

/// Runs `f` once on abstract values with the types and names `params`, which a call at `place`
/// gives it, and records what it does.
pub(crate) fn trace<R: Tree>(
    name: &str,
    place: Location,
    kind: Kind,
    captures_as: Captures,
    params: Vec<(Aval, String)>,
    f: impl FnOnce(Vec<Tensor>) -> R,
) -> Outcome<R> {
    try_trace(name, place, kind, captures_as, params, f).unwrap_or_else(|panic| panic.resume())
}

/// The same for a caller that can report a mistake instead of the panic that followed it.
pub(crate) fn try_trace<R: Tree>(
    name: &str,
    place: Location,
    kind: Kind,
    captures_as: Captures,
    params: Vec<(Aval, String)>,
    f: impl FnOnce(Vec<Tensor>) -> R,
) -> Result<Outcome<R>, Panic> {
    let id = TraceId::new();
    let mut builder = FuncBuilder::new();
    let mut declared = Vec::new();
    let mut tensors = Vec::new();
    for (aval, name) in params {
        let value = builder.param(aval.clone());
        declared.push(Param { value, name });
        tensors.push(traced_tensor(id, value, aval, place));
    }
    let (captures_as, first_array) = FRAMES.with_borrow(|frames| match frames.last() {
        // What a region captures, the function around it captures too, and in the way of that one.
        Some(outer) if outer.captures_as == Captures::Params => {
            (Captures::Params, outer.first_array)
        }
        _ => (captures_as, array::next_id()),
    });
    let frame = Frame {
        id,
        kind,
        captures_as,
        first_array,
        builder,
        captures: Vec::new(),
        captured: HashMap::new(),
        error: None,
        returned: None,
    };
    FRAMES.with_borrow_mut(|frames| frames.push(frame));
    // The frame must leave the stack even if `f` panics, so that the thread can trace again.
    let run = || {
        let output = f(tensors);
        let leaves = tree::leaves(&output);
        (output, leaves)
    };
    let (output, leaves) = match panic::catch_unwind(AssertUnwindSafe(run)) {
        Ok(returned) => returned,
        Err(payload) => {
            let frame = FRAMES.with_borrow_mut(Vec::pop);
            let mistake = frame.and_then(|frame| frame.error.or(frame.returned));
            return Err(Panic { mistake, payload });
        }
    };
    let (frame, results) = FRAMES.with_borrow_mut(|frames| {
        let results: Result<Vec<Value>> = leaves.iter().map(|leaf| lift(frames, leaf)).collect();
        (frames.pop().expect("the frame pushed above is still there"), results)
    });

    let result = match (frame.error, results) {
        (Some(error), _) | (None, Err(error)) => Err(error),
        (None, Ok(results)) => {
            let (captures, mut params): (Vec<Tensor>, Vec<Param>) =
                frame.captures.into_iter().unzip();
            params.extend(declared);
            Ok((frame.builder.finish(name, params, results), captures))
        }
    };
    Ok(Outcome { output, result })
}

/// Keeps a mistake that is about to be returned to the closure of the innermost trace.
pub(crate) fn keep_returned(error: &Error) {
    FRAMES.with_borrow_mut(|frames| {
        if let Some(frame) = frames.last_mut() {
            frame.returned = Some(error.clone());
        }
    });
}

/// Records an operation of one output. The caller's caller is the place that errors name.
#[track_caller]
pub(crate) fn record_one(op: impl Into<Op>, inputs: &[&Tensor]) -> Tensor {
    record(op, inputs, 1).pop().expect("an operation recorded with one output has one")
}

/// Records an operation of `outputs` outputs; outside of any trace, runs it at once.
///
/// If an input is poisoned or the operation does not fit them, all outputs are poisoned.
#[track_caller]
pub(crate) fn record(
    op: impl Into<Op>,
    inputs: &[impl Borrow<Tensor>],
    outputs: usize,
) -> Vec<Tensor> {
    let inputs: Vec<&Tensor> = inputs.iter().map(Borrow::borrow).collect();
    let source = scope::source(PanicLocation::caller());
    match try_record(op.into(), &inputs, source) {
        Ok(tensors) => {
            debug_assert_eq!(tensors.len(), outputs, "the caller knows how many outputs there are");
            tensors
        }
        Err(error) => vec![poison(error, &inputs); outputs],
    }
}

fn try_record(op: Op, inputs: &[&Tensor], source: Source) -> Result<Vec<Tensor>> {
    inputs.iter().try_for_each(|tensor| tensor.check())?;
    let avals: Vec<&Aval> = inputs.iter().map(|tensor| tensor.aval()).collect();
    let outputs = op.rules().infer(&avals)?;
    outputs.iter().try_for_each(|aval| check_size(op.rules().name(), aval))?;
    if !is_tracing() {
        let arrays: Result<Vec<_>> = inputs.iter().map(|tensor| concrete(tensor)).collect();
        return execute::run_operation(op, &arrays?, outputs, source);
    }
    FRAMES.with_borrow_mut(|frames| {
        let values: Result<Vec<Value>> = inputs.iter().map(|tensor| lift(frames, tensor)).collect();
        let values = values?;
        let frame = frames.last_mut().expect("a trace is open");
        let location = source.location.unwrap_or(PanicLocation::caller());
        let made = frame.builder.equation(op, values, outputs.clone(), source);
        let tensor = |(&value, aval)| traced_tensor(frame.id, value, aval, location);
        Ok(made.iter().zip(outputs).map(tensor).collect())
    })
}

/// The data of a tensor that is used where nothing is traced.
pub(crate) fn concrete(tensor: &Tensor) -> Result<&Arc<Array>> {
    match &tensor.0 {
        Repr::Concrete(array) => Ok(array),
        Repr::Traced(traced) => Err(escaped(traced)),
        Repr::Poisoned(poison) => Err(poison.error.clone()),
    }
}

/// As [`concrete`], of several tensors.
pub(crate) fn arrays<'a>(tensors: impl IntoIterator<Item = &'a Tensor>) -> Result<Vec<&'a Array>> {
    tensors.into_iter().map(|tensor| Ok(&**concrete(tensor)?)).collect()
}

fn traced_tensor(trace: TraceId, value: Value, aval: Aval, made_at: Location) -> Tensor {
    Tensor(Repr::Traced(TracedValue { trace, value, aval: Arc::new(aval), made_at }))
}

/// A poisoned tensor that carries `error`, or that of an input which is poisoned itself: its type
/// is a guess, so that what is wrong with it says nothing. An open trace keeps the first error. The
/// place is the caller's, unless the error knows a nearer one. The type is that of the first input.
#[track_caller]
pub(crate) fn poison(error: Error, inputs: &[&Tensor]) -> Tensor {
    let error = inputs.iter().find_map(|tensor| tensor.check().err()).unwrap_or(error);
    let source = scope::source(PanicLocation::caller());
    let error = error.at(source.location.unwrap_or(PanicLocation::caller()));
    FRAMES.with_borrow_mut(|frames| {
        if let Some(frame) = frames.last_mut() {
            frame.error.get_or_insert_with(|| error.clone());
        }
    });
    let aval = inputs.first().map_or(Aval::scalar(crate::DType::F32), |t| t.aval().clone());
    Tensor(Repr::Poisoned(Arc::new(Poison { error, aval })))
}

/// The value that `tensor` has in the innermost trace, captured if it comes from outside.
fn lift(frames: &mut [Frame], tensor: &Tensor) -> Result<Value> {
    let (frame, outer) = frames.split_last_mut().expect("only an open trace lifts tensors");
    let identity = match &tensor.0 {
        Repr::Traced(traced) if traced.trace == frame.id => return Ok(traced.value),
        Repr::Traced(traced) => {
            if !outer.iter().any(|f| f.id == traced.trace) {
                return Err(escaped(traced));
            }
            Identity::Value(traced.trace, traced.value)
        }
        Repr::Concrete(array) => Identity::Array(array.id()),
        Repr::Poisoned(poison) => return Err(poison.error.clone()),
    };
    if let Some(&value) = frame.captured.get(&identity) {
        return Ok(value);
    }
    let value = match &tensor.0 {
        Repr::Concrete(array)
            if frame.captures_as == Captures::Constants || array.id() >= frame.first_array =>
        {
            let op = Constant { value: array.to_host()?, name: array.name().to_owned() };
            // A parameter of a model shows its name in the HLO, as if it were in a scope of that
            // name.
            let scope = (!array.name().is_empty()).then(|| array.name().into());
            let (aval, source) = (tensor.aval().clone(), Source { location: None, scope });
            frame.builder.equation(op.into(), Vec::new(), vec![aval], source)[0]
        }
        _ => {
            let value = frame.builder.param(tensor.aval().clone());
            let name = match &tensor.0 {
                Repr::Concrete(array) => array.name().to_owned(),
                _ => String::new(),
            };
            frame.captures.push((tensor.clone(), Param { value, name }));
            value
        }
    };
    frame.captured.insert(identity, value);
    Ok(value)
}

fn escaped(traced: &TracedValue) -> Error {
    Error::new(
        ErrorKind::Escaped,
        format!(
            "a traced tensor of type {} was used outside of its trace: it stands for a value of \
             every step or call, and has none of its own\n  \
             made at {}\n  \
             return it from the traced function instead (from a scan: in the carry to keep the \
             last one, as a `y` to keep all)",
            traced.aval, traced.made_at,
        ),
    )
}
