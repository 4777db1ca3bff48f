//! The progress of a loop, on standard error.

use std::collections::HashMap;
use std::io::{IsTerminal as _, Write as _};
use std::sync::{Mutex, PoisonError};

use indicatif::{ProgressBar, ProgressStyle};
use xla::XlaOp;

use super::{Operation, inputs, rules};
use crate::aval::Aval;
use crate::callback::{self, Effect};
use crate::error::{Error, Result};
use crate::host::HostArray;
use crate::lower::Lowering;
use crate::tensor::Tensor;
use crate::trace::record;
use crate::transform::batch::Batched;
use crate::transform::jvp::Dual;
use crate::transform::transpose::Input;

operation! {
    /// Says that a loop of `length` steps, called `label`, has made as many as the input says, an
    /// `i32[]` or `i64[]`.
    struct Progress = "progress" { label: String, length: usize }
}

impl Operation for Progress {
    fn infer(&self, avals: &[&Aval]) -> Result<Vec<Aval>> {
        let [steps] = inputs(self, avals)?;
        match steps.rank() == 0 && steps.dtype.is_signed_int() {
            true => Ok(Vec::new()),
            false => Err(Error::shape(format!("progress: the steps must be i32[], not {steps}"))),
        }
    }

    fn lower(&self, cx: &Lowering, inputs: &[XlaOp], _: &[Aval]) -> Result<Vec<XlaOp>> {
        callback::lower(cx, self, inputs)
    }

    fn jvp(&self, primals: &[Tensor], _: &[Option<Tensor>]) -> Result<Dual> {
        rules::no_tangent(self, primals)
    }

    fn transpose(&self, _: &[Option<Tensor>], inputs: &[Input]) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![None; inputs.len()])
    }

    /// Loops of a batch make their steps together: one of them tells.
    fn batch(&self, size: usize, inputs: &[Batched]) -> Result<Vec<Batched>> {
        let steps = inputs[0].to_front(size).slice_in_dim(0..1, 0).reshape([0; 0]);
        record(self.clone(), &[steps], 0);
        Ok(Vec::new())
    }

    fn effect(&self) -> Option<&dyn Effect> {
        Some(self)
    }
}

/// How far a loop is known to have come.
enum Display {
    /// On a terminal.
    Bar(ProgressBar),
    /// Elsewhere a line for each tenth; the last one that was told.
    Lines(usize),
}

static RUNNING: Mutex<Option<HashMap<String, Display>>> = Mutex::new(None);

impl Effect for Progress {
    fn run(&self, operands: &[HostArray]) {
        let steps = operands.first().and_then(|steps| steps.element_texts(1).pop());
        let Some(steps) = steps.and_then(|text| text.parse::<usize>().ok()) else { return };
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        let running = running.get_or_insert_default();
        if steps == 0 {
            running.insert(self.label.clone(), self.begin());
        }
        match running.get_mut(&self.label) {
            None => {}
            Some(Display::Bar(bar)) => bar.set_position(steps as u64),
            Some(Display::Lines(told)) => {
                let tenths = 10 * steps / self.length.max(1);
                if tenths > *told {
                    *told = tenths;
                    self.tell(steps);
                }
            }
        }
        if steps < self.length {
            return;
        }
        if let Some(Display::Bar(bar)) = running.remove(&self.label) {
            bar.finish();
        }
    }
}

impl Progress {
    fn begin(&self) -> Display {
        if !std::io::stderr().is_terminal() {
            self.tell(0);
            return Display::Lines(0);
        }
        let template = "{msg} {percent:>3}% {wide_bar} {pos}/{len} [{elapsed}<{eta}, {per_sec}]";
        let style = ProgressStyle::with_template(template);
        let bar = ProgressBar::new(self.length as u64).with_message(self.label.clone());
        Display::Bar(bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())))
    }

    fn tell(&self, steps: usize) {
        let percent = 100 * steps / self.length.max(1);
        // A closed standard error is no reason for the program to fail.
        _ = writeln!(
            std::io::stderr().lock(),
            "{}: {percent}% ({steps}/{})",
            self.label,
            self.length,
        );
    }
}

/// Tells how many of `length` steps the loop called `label` has made.
#[track_caller]
pub(super) fn report(label: &str, length: usize, steps: &Tensor) {
    record(Progress { label: label.to_owned(), length }, &[steps], 0);
}
