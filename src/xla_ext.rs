//! What the `xla` crate lacks: operations, metadata and conversions of XLA that its C++ interface
//! has, through the shim in `xla_extension/shim`: `onetrace_ops.cc` and `onetrace_hlo.cc`.
//!
//! `unsafe` code is only here, in [`pjrt`](crate::pjrt), and where options are set.

use std::ffi::{CStr, CString, c_char, c_int, c_void};

use std::panic::AssertUnwindSafe;
use std::sync::OnceLock;

use xla::{XlaBuilder, XlaComputation, XlaOp};

use crate::aval::{Aval, DType};
use crate::error::Result;
use crate::host::HostArray;
use crate::lower::{dims, element_type};

/// A pointer to a C++ `xla::XlaOp`.
type RawOp = *mut c_void;

/// A pointer to a C++ `xla::XlaComputation`.
pub(crate) type RawComputation = *mut c_void;

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
    fn onetrace_custom_call(
        operands: *const RawOp,
        count: usize,
        target: *const c_char,
        attributes: *const c_char,
        primitive_type: c_int,
        dims: *const i64,
        rank: usize,
        has_effect: bool,
    ) -> RawOp;
    fn onetrace_register_panel_dot(name: *const c_char, name_size: usize) -> bool;
    fn onetrace_register_tall_dot(name: *const c_char, name_size: usize) -> bool;
    fn onetrace_register_panels(name: *const c_char, name_size: usize, axis: c_int) -> bool;
    fn onetrace_register_callback(
        name: *const c_char,
        name_size: usize,
        called: unsafe extern "C" fn(*const c_char, usize, *const CallOperand, usize) -> bool,
    ) -> bool;
    fn onetrace_set_op_metadata(
        any_op_of_the_builder: RawOp,
        op_type: *const c_char,
        op_name: *const c_char,
        source_file: *const c_char,
        source_line: c_int,
    );
    fn onetrace_free(bytes: *mut c_void);
    fn onetrace_hlo_from_text(
        text: *const c_char,
        size: usize,
        out: *mut *mut c_char,
        out_size: *mut usize,
    ) -> *mut c_char;
    fn onetrace_hlo_from_pbtxt(
        text: *const c_char,
        size: usize,
        is_hlo_proto: bool,
        out: *mut *mut c_char,
        out_size: *mut usize,
    ) -> *mut c_char;
    fn onetrace_hlo_check(bytes: *const c_char, size: usize, verify: bool) -> *mut c_char;
    fn onetrace_hlo_to_text(
        bytes: *const c_char,
        size: usize,
        full_constants: bool,
        metadata: bool,
        out: *mut *mut c_char,
        out_size: *mut usize,
    ) -> *mut c_char;
    fn onetrace_hlo_to_pbtxt(
        bytes: *const c_char,
        size: usize,
        out: *mut *mut c_char,
        out_size: *mut usize,
    ) -> *mut c_char;
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
pub(crate) fn raw_computation(computation: &XlaComputation) -> RawComputation {
    let pointer: *const XlaComputation = computation;
    // SAFETY: the struct is one pointer (asserted above for the one version of the crate that
    // Cargo.toml admits).
    unsafe { *pointer.cast() }
}

/// The operation that the shim made, with the builder's error if it made none.
fn wrap(builder: &XlaBuilder, op: RawOp) -> Result<XlaOp> {
    Ok(builder.wrap(op.cast())?)
}

pub(crate) fn c_string(text: &str) -> CString {
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

/// A call of a handler of XLA:CPU.
pub(crate) struct CustomCall<'a> {
    /// The name under which XLA knows the handler.
    pub target: &'a str,
    /// A dictionary of MLIR.
    pub attributes: &'a str,
    pub result: &'a Aval,
    /// Whether XLA keeps the call although nobody uses its result.
    pub has_effect: bool,
}

/// The result of a call with these operands, of which there is at least one.
pub(crate) fn custom_call(operands: &[XlaOp], call: &CustomCall) -> Result<XlaOp> {
    let values: Vec<RawOp> = operands.iter().map(raw).collect();
    let (target, attributes) = (c_string(call.target), c_string(call.attributes));
    let primitive_type = element_type(call.result.dtype).primitive_type() as c_int;
    let dims = dims(&call.result.shape);
    // SAFETY: as in `unary`; the slices have the lengths passed.
    let op = unsafe {
        onetrace_custom_call(
            values.as_ptr(),
            values.len(),
            target.as_ptr(),
            attributes.as_ptr(),
            primitive_type,
            dims.as_ptr(),
            dims.len(),
            call.has_effect,
        )
    };
    wrap(operands[0].builder(), op)
}

/// Makes XLA:CPU know the kernel for packed matrices as `name`. Returns whether it does: the
/// processor may lack what the kernel needs.
pub(crate) fn register_panel_dot(name: &str) -> bool {
    // SAFETY: XLA copies the name.
    unsafe { onetrace_register_panel_dot(name.as_ptr().cast(), name.len()) }
}

/// Makes XLA:CPU know the kernel for tall matrices as `name`, as [`register_panel_dot`] does it.
pub(crate) fn register_tall_dot(name: &str) -> bool {
    // SAFETY: XLA copies the name.
    unsafe { onetrace_register_tall_dot(name.as_ptr().cast(), name.len()) }
}

/// Makes XLA:CPU know the kernel that packs matrices, those whose axis `axis`, 0 or 1, becomes the
/// rows of the panels, as `name`. Returns whether it does.
pub(crate) fn register_panels(name: &str, axis: usize) -> bool {
    // SAFETY: XLA copies the name.
    unsafe { onetrace_register_panels(name.as_ptr().cast(), name.len(), axis as c_int) }
}

/// An operand of a call that a program makes.
#[repr(C)]
struct CallOperand {
    primitive_type: i32,
    data: *const u8,
    dims: *const i64,
    rank: usize,
}

impl CallOperand {
    /// The array, if its type is one of ours.
    ///
    /// # Safety
    /// `dims` are `rank` sizes, and `data` a dense array of this type and shape.
    unsafe fn array(&self) -> Option<HostArray> {
        // SAFETY: the caller's promise; a pointer to nothing may be null.
        unsafe {
            let dims = match self.rank {
                0 => &[],
                rank => std::slice::from_raw_parts(self.dims, rank),
            };
            let is_type =
                |&dtype: &DType| element_type(dtype).primitive_type() as i32 == self.primitive_type;
            let dtype = DType::ALL.into_iter().find(is_type)?;
            let shape: Option<Vec<usize>> = dims.iter().map(|&d| usize::try_from(d).ok()).collect();
            let aval = Aval::new(dtype, shape?);
            let bytes = match aval.byte_size()? {
                0 => &[],
                size => std::slice::from_raw_parts(self.data, size),
            };
            Some(HostArray { aval, bytes: bytes.to_vec() })
        }
    }
}

/// What a program that calls back calls: it gets a text and the operands, and returns whether they
/// mean something to it.
type Handler = fn(&str, Vec<HostArray>) -> bool;

/// The one handler there is.
static HANDLER: OnceLock<Handler> = OnceLock::new();

/// Makes XLA:CPU call `handler` where a program calls `name`. Returns whether it does.
pub(crate) fn register_callback(name: &str, handler: Handler) -> bool {
    unsafe extern "C" fn called(
        text: *const c_char,
        size: usize,
        operands: *const CallOperand,
        count: usize,
    ) -> bool {
        // SAFETY: the shim passes a text of `size` bytes and `count` operands, at least one, with
        // the data that XLA gives it.
        let (text, operands) = unsafe {
            let text = std::slice::from_raw_parts(text.cast::<u8>(), size);
            let operands = std::slice::from_raw_parts(operands, count).iter();
            (text, operands.map(|o| o.array()).collect::<Option<Vec<HostArray>>>())
        };
        let (Ok(text), Some(operands)) = (std::str::from_utf8(text), operands) else {
            return false;
        };
        let run = || HANDLER.get().is_some_and(|handler| handler(text, operands));
        // No panic may leave through C++.
        std::panic::catch_unwind(AssertUnwindSafe(run)).unwrap_or(false)
    }
    HANDLER.get_or_init(|| handler);
    // SAFETY: XLA copies the name; the function lives as long as the process.
    unsafe { onetrace_register_callback(name.as_ptr().cast(), name.len(), called) }
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

/// The text of an error, or null.
pub(crate) type RawError = *mut c_char;

/// A text that the shim made.
///
/// # Safety
/// `text` is a text with a zero at its end that `onetrace_free` frees, and nobody else knows it.
pub(crate) unsafe fn take(text: *mut c_char) -> String {
    // SAFETY: the caller's promise; the text is read before it is freed, and not used after that.
    unsafe {
        let string = CStr::from_ptr(text).to_string_lossy().into_owned();
        onetrace_free(text.cast());
        string
    }
}

/// The error that a function of the shim returned, if it did.
///
/// # Safety
/// `error` is null or what [`take`] takes.
pub(crate) unsafe fn outcome(error: RawError) -> Result<(), String> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: the caller's promise.
    Err(unsafe { take(error) })
}

/// The bytes that `f` gives through its two arguments.
///
/// # Safety
/// `f` returns what [`outcome`] takes, and where that is null it has set the first argument to as
/// many bytes as it has set the second one to, which `onetrace_free` frees.
pub(crate) unsafe fn received(
    f: impl FnOnce(*mut *mut c_char, *mut usize) -> RawError,
) -> Result<Vec<u8>, String> {
    let (mut bytes, mut size) = (std::ptr::null_mut::<c_char>(), 0);
    // SAFETY: the caller's promise; the bytes are copied before they are freed.
    unsafe {
        outcome(f(&mut bytes, &mut size))?;
        let copied = std::slice::from_raw_parts(bytes.cast::<u8>(), size).to_vec();
        onetrace_free(bytes.cast());
        Ok(copied)
    }
}

/// HLO text as a serialized `HloModuleProto`, or XLA's message.
pub(crate) fn hlo_from_text(text: &str) -> Result<Vec<u8>, String> {
    let (start, size) = (text.as_ptr().cast(), text.len());
    // SAFETY: the shim reads the text and gives bytes as `received` wants them.
    unsafe { received(|out, out_size| onetrace_hlo_from_text(start, size, out, out_size)) }
}

/// The text form of a `HloModuleProto`, or of a `HloProto` around one, as a serialized
/// `HloModuleProto`, or the message of the parser.
pub(crate) fn hlo_from_pbtxt(text: &str, is_hlo_proto: bool) -> Result<Vec<u8>, String> {
    let (start, size) = (text.as_ptr().cast(), text.len());
    // SAFETY: as in `hlo_from_text`.
    unsafe {
        received(|out, out_size| onetrace_hlo_from_pbtxt(start, size, is_hlo_proto, out, out_size))
    }
}

/// Whether XLA can read a serialized `HloModuleProto`; with `verify`, also whether each instruction
/// has the type that its operands give it. Otherwise XLA's message.
pub(crate) fn hlo_check(proto: &[u8], verify: bool) -> Result<(), String> {
    // SAFETY: the shim reads the bytes and returns what `outcome` takes.
    unsafe { outcome(onetrace_hlo_check(proto.as_ptr().cast(), proto.len(), verify)) }
}

/// A serialized `HloModuleProto` as HLO text.
pub(crate) fn hlo_to_text(
    proto: &[u8],
    full_constants: bool,
    metadata: bool,
) -> Result<Vec<u8>, String> {
    let (start, size) = (proto.as_ptr().cast(), proto.len());
    // SAFETY: as in `hlo_from_text`.
    unsafe {
        received(|out, out_size| {
            onetrace_hlo_to_text(start, size, full_constants, metadata, out, out_size)
        })
    }
}

/// A serialized `HloModuleProto` in the text form of protocol buffers.
pub(crate) fn hlo_to_pbtxt(proto: &[u8]) -> Result<Vec<u8>, String> {
    let (start, size) = (proto.as_ptr().cast(), proto.len());
    // SAFETY: as in `hlo_from_text`.
    unsafe { received(|out, out_size| onetrace_hlo_to_pbtxt(start, size, out, out_size)) }
}
