//! Operations with an effect on the host: what a compiled program calls back while it runs.
//!
//! Such an operation becomes a custom call with the text form of the operation, so that a program
//! holds no pointer into this process: when XLA comes to the call, the text is parsed again, and
//! the operation is told the values of its operands. XLA:CPU can call back; plugins cannot.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use xla::XlaOp;

use crate::aval::{Aval, DType};
use crate::error::{Error, ErrorKind, Result};
use crate::host::HostArray;
use crate::ir::{parse, print};
use crate::lower::Lowering;
use crate::ops::{Op, Operation};
use crate::xla_ext::{self, CustomCall};

/// What an operation does on the host.
pub(crate) trait Effect {
    /// Called with the values of the operands, of types that `infer` accepted. Nothing may come of
    /// what goes wrong, such as a closed standard output: the program runs on.
    fn run(&self, operands: &[HostArray]);
}

/// The name under which XLA knows the handler.
pub(crate) const TARGET: &str = "onetrace_callback";

/// Makes XLA:CPU know the handler, before a program that calls it is compiled.
pub(crate) fn register() -> Result<()> {
    static KNOWN: OnceLock<bool> = OnceLock::new();
    match KNOWN.get_or_init(|| xla_ext::register_callback(TARGET, called)) {
        true => Ok(()),
        false => Err(Error::new(ErrorKind::Xla, "this XLA takes no handlers of custom calls")),
    }
}

/// The HLO of an operation with an effect. Calls of one computation are made in the order in which
/// they are lowered.
pub(crate) fn lower(cx: &Lowering, op: &dyn Operation, operands: &[XlaOp]) -> Result<Vec<XlaOp>> {
    let attributes = format!("{{call = \"{}\"}}", escaped(&print::operation(op)));
    cx.in_order(|before| {
        let operands = [operands, std::slice::from_ref(before)].concat();
        // The result says that the call was made, and orders the calls.
        let result = &Aval::scalar(DType::U8);
        let call = CustomCall { target: TARGET, attributes: &attributes, result, has_effect: true };
        xla_ext::custom_call(&operands, &call)
    })?;
    Ok(Vec::new())
}

/// The text as MLIR has it between quotes, where any byte can be two hexadecimal digits.
fn escaped(text: &str) -> String {
    let plain = |b: u8| (b == b' ' || b.is_ascii_graphic()) && b != b'"' && b != b'\\';
    let byte = |b: u8| if plain(b) { char::from(b).to_string() } else { format!("\\{b:02X}") };
    text.bytes().map(byte).collect()
}

/// Runs the effect of the operation with this text form; false if there is none, or if the operands
/// are not what it takes: the program may come from elsewhere.
fn called(text: &str, mut operands: Vec<HostArray>) -> bool {
    /// A loop makes the same few calls in every step.
    const KEPT: usize = 64;
    thread_local! {
        static KNOWN: RefCell<HashMap<String, Arc<Op>>> = RefCell::default();
    }
    let op = match KNOWN.with_borrow(|known| known.get(text).cloned()) {
        Some(op) => op,
        None => {
            let Some(op) = parse::operation(text) else { return false };
            let op = Arc::new(op);
            KNOWN.with_borrow_mut(|known| {
                if known.len() == KEPT {
                    known.clear();
                }
                known.insert(text.to_owned(), op.clone());
            });
            op
        }
    };
    let Some(effect) = op.rules().effect() else { return false };
    // The last operand is only there for the order of the calls.
    operands.pop();
    let avals: Vec<&Aval> = operands.iter().map(|operand| &operand.aval).collect();
    let fits = op.rules().infer(&avals).is_ok();
    if fits {
        effect.run(&operands);
    }
    fits
}
