//! What the `xla` crate lacks: operations, metadata and conversions of XLA that its C++ interface
//! has, through the shim in `xla_extension/shim/onetrace_ops.cc`.
//!
//! All `unsafe` code of the library is here.

use std::ffi::{CString, c_char, c_int, c_void};
use std::sync::{PoisonError, RwLock};

use xla::{PjRtClient, PjRtLoadedExecutable, XlaBuilder, XlaComputation, XlaOp};

use crate::error::Result;

/// A pointer to a C++ `xla::XlaOp`.
type RawOp = *mut c_void;

/// A pointer to a C++ `xla::XlaComputation`.
type RawComputation = *mut c_void;

unsafe extern "C" {
    fn onetrace_unary(name: *const c_char, x: RawOp) -> RawOp;
    fn onetrace_binary(name: *const c_char, x: RawOp, y: RawOp) -> RawOp;
    fn onetrace_optimization_barrier(tuple: RawOp) -> RawOp;
    fn onetrace_bitcast_convert(x: RawOp, primitive_type: c_int) -> RawOp;
    fn onetrace_conditional(
        index: RawOp,
        branches: *const RawComputation,
        operands: *const RawOp,
        count: usize,
    ) -> RawOp;
    fn onetrace_sort(
        operands: *const RawOp,
        count: usize,
        comparator: RawComputation,
        axis: i64,
        is_stable: bool,
    ) -> RawOp;
    fn onetrace_cumulative(
        x: RawOp,
        init: RawOp,
        computation: RawComputation,
        dims: *const i64,
        rank: usize,
        axis: usize,
        reverse: bool,
    ) -> RawOp;
    fn onetrace_set_option(option: *const c_char);
    fn onetrace_uses_fusion_emitters() -> bool;
    fn onetrace_set_op_metadata(
        any_op_of_the_builder: RawOp,
        op_type: *const c_char,
        op_name: *const c_char,
        source_file: *const c_char,
        source_line: c_int,
    );
}

// An `XlaOp` is a pointer to the C++ object and its builder, and nothing else. `raw` relies on it.
const _: () = assert!(size_of::<XlaOp>() == size_of::<RawOp>() + size_of::<XlaBuilder>());
const _: () = assert!(size_of::<XlaBuilder>() == size_of::<RawOp>());

/// The C++ object behind an operation.
fn raw(op: &XlaOp) -> RawOp {
    let start: *const XlaOp = op;
    let builder: *const XlaBuilder = op.builder();
    let words: *const RawOp = start.cast();
    // SAFETY: the struct is two words (asserted above for the one version of the crate that
    // Cargo.toml admits): the pointer we want and the builder. `builder()` returns a reference to
    // the latter, which tells which of the two words it is, so the other one is the pointer.
    unsafe { if builder.cast() == words { *words.add(1) } else { *words } }
}

// An `XlaComputation` is a pointer to the C++ object, and nothing else.
const _: () = assert!(size_of::<XlaComputation>() == size_of::<RawComputation>());

/// The C++ object behind a computation, which must outlive its use.
fn raw_computation(computation: &XlaComputation) -> RawComputation {
    let pointer: *const XlaComputation = computation;
    // SAFETY: the struct is one pointer (asserted above for the one version of the crate that
    // Cargo.toml admits).
    unsafe { *pointer.cast() }
}

/// The operation that the shim made, with the builder's error if it made none.
fn wrap(builder: &XlaBuilder, op: RawOp) -> Result<XlaOp> {
    Ok(builder.wrap(op.cast())?)
}

fn c_string(text: &str) -> CString {
    CString::new(text.replace('\0', "")).expect("the text has no nul left")
}

/// An element-wise function of one operand, by its name in XLA's builder library.
pub(crate) fn unary(name: &str, x: &XlaOp) -> Result<XlaOp> {
    // SAFETY: `x` is a live operation, and the shim only reads it and the name.
    let op = unsafe { onetrace_unary(c_string(name).as_ptr(), raw(x)) };
    wrap(x.builder(), op)
}

/// An element-wise function of two operands, by its name in XLA's builder library.
pub(crate) fn binary(name: &str, x: &XlaOp, y: &XlaOp) -> Result<XlaOp> {
    // SAFETY: as in `unary`.
    let op = unsafe { onetrace_binary(c_string(name).as_ptr(), raw(x), raw(y)) };
    wrap(x.builder(), op)
}

/// The tuple itself, which XLA takes for another value: what is computed from it is not merged with
/// what is computed from the elements elsewhere.
pub(crate) fn optimization_barrier(tuple: &XlaOp) -> Result<XlaOp> {
    // SAFETY: as in `unary`.
    let op = unsafe { onetrace_optimization_barrier(raw(tuple)) };
    wrap(tuple.builder(), op)
}

/// The same bits as another type of the same size.
pub(crate) fn bitcast_convert(x: &XlaOp, ty: xla::PrimitiveType) -> Result<XlaOp> {
    // SAFETY: as in `unary`.
    let op = unsafe { onetrace_bitcast_convert(raw(x), ty as c_int) };
    wrap(x.builder(), op)
}

/// The results of the branch that `index` names (the last one, if it is out of range), applied to
/// its operand.
pub(crate) fn conditional(
    index: &XlaOp,
    branches: &[XlaComputation],
    operands: &[XlaOp],
) -> Result<XlaOp> {
    let computations: Vec<RawComputation> = branches.iter().map(raw_computation).collect();
    let values: Vec<RawOp> = operands.iter().map(raw).collect();
    assert_eq!(computations.len(), values.len(), "one operand for each branch");
    // SAFETY: as in `unary`; both slices have the length passed.
    let op = unsafe {
        onetrace_conditional(raw(index), computations.as_ptr(), values.as_ptr(), values.len())
    };
    wrap(index.builder(), op)
}

/// The operands, sorted together along `axis` by `comparator`: a tuple, or the one there is.
pub(crate) fn sort(
    operands: &[XlaOp],
    comparator: &XlaComputation,
    axis: usize,
    is_stable: bool,
) -> Result<XlaOp> {
    let values: Vec<RawOp> = operands.iter().map(raw).collect();
    // SAFETY: as in `unary`; the slice has the length passed.
    let op = unsafe {
        let comparator = raw_computation(comparator);
        onetrace_sort(values.as_ptr(), values.len(), comparator, axis as i64, is_stable)
    };
    wrap(operands[0].builder(), op)
}

/// For each position along `axis`, the elements up to it (from it on, if `reverse`), folded with
/// `computation` and its neutral element `init`. `dims` is the shape of `x`.
pub(crate) fn cumulative(
    x: &XlaOp,
    init: &XlaOp,
    computation: &XlaComputation,
    dims: &[i64],
    axis: usize,
    reverse: bool,
) -> Result<XlaOp> {
    assert!(axis < dims.len(), "the axis is one of the shape");
    // SAFETY: as in `unary`; the slice has the length passed, and the axis lies in it.
    let op = unsafe {
        let computation = raw_computation(computation);
        let (pointer, rank) = (dims.as_ptr(), dims.len());
        onetrace_cumulative(raw(x), raw(init), computation, pointer, rank, axis, reverse)
    };
    wrap(x.builder(), op)
}

/// Options of XLA are those of the process, and every compilation reads them: whoever compiles holds
/// this lock for reading, and whoever changes options for one program, for writing.
static OPTIONS: RwLock<()> = RwLock::new(());

fn set_option(option: &str) {
    // SAFETY: the shim copies the text. The caller holds the lock for writing, so that no compilation
    // reads the options at the same time.
    unsafe { onetrace_set_option(c_string(option).as_ptr()) }
}

/// Sets the options of XLA on which our semantics rest. To be called before anything is compiled.
pub(crate) fn set_options() {
    let _lock = OPTIONS.write().unwrap_or_else(PoisonError::into_inner);
    // Otherwise XLA:CPU gives, in some versions, a number for the maximum of NaN and that number.
    set_option("--xla_cpu_enable_fast_min_max=false");
}

/// Whether a program is compiled to run fast or to be there fast.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum CompileFor {
    /// The best code that XLA makes.
    Speed,
    /// Code without XLA:CPU's MLIR emitters of fusions, which take most of the time of compiling a
    /// small program: 38 ms become 18 for an addition, 195 become 123 for the parameters of a GRU.
    Latency,
}

/// Compiles a computation.
pub(crate) fn compile(
    client: &PjRtClient,
    computation: &XlaComputation,
    goal: CompileFor,
) -> Result<PjRtLoadedExecutable> {
    if goal == CompileFor::Speed {
        let _lock = OPTIONS.read().unwrap_or_else(PoisonError::into_inner);
        return Ok(client.compile(computation)?);
    }
    let _lock = OPTIONS.write().unwrap_or_else(PoisonError::into_inner);
    // SAFETY: the lock is held, so that no option changes while it is read.
    let emitters = unsafe { onetrace_uses_fusion_emitters() };
    set_option("--xla_cpu_use_fusion_emitters=false");
    let compiled = client.compile(computation);
    set_option(&format!("--xla_cpu_use_fusion_emitters={emitters}"));
    Ok(compiled?)
}

/// Sets the metadata that the builder of `op` attaches to every operation it makes from now on.
pub(crate) fn set_op_metadata(op: &XlaOp, ty: &str, name: &str, file: &str, line: u32) {
    let (ty, name, file) = (c_string(ty), c_string(name), c_string(file));
    // SAFETY: as in `unary`; the shim copies the strings.
    unsafe {
        let line = line as c_int;
        onetrace_set_op_metadata(raw(op), ty.as_ptr(), name.as_ptr(), file.as_ptr(), line);
    }
}
