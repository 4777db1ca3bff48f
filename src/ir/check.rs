//! The checker: whether a [`Func`] is well formed.
//!
//! It reports *all* violations, one a line, of these rules:
//!
//! 1. every value is defined once, by a parameter or an equation, before it is used;
//! 2. the outputs of an equation have the types that its operation infers from its inputs;
//! 3. the results are defined;
//! 4. the same holds for every region.
//!
//! Every function that the tracer, a pass or the parser makes passes it (checked after each in
//! debug builds).

use super::{Func, Value};
use crate::aval::Aval;
use crate::error::{Error, Result};

/// Checks `func` and its regions; see the [module](self) for the rules.
///
/// # Errors
/// One [`ErrorKind::Ir`](crate::ErrorKind::Ir) error that lists every violation.
pub fn check(func: &Func) -> Result<()> {
    let mut checker = Checker { func, defined: vec![false; func.value_count()], found: Vec::new() };
    checker.run();
    if checker.found.is_empty() {
        return Ok(());
    }
    Err(Error::ir(format!("func @{}: {}", func.name(), checker.found.join("\n  "))))
}

struct Checker<'a> {
    func: &'a Func,
    defined: Vec<bool>,
    found: Vec<String>,
}

impl Checker<'_> {
    fn run(&mut self) {
        let func = self.func;
        for (value, _) in func.params() {
            self.define(value);
        }
        for (i, equation) in func.equations().iter().enumerate() {
            let place = format!("equation {i} ({})", equation.name());
            let known = equation.inputs().iter().filter(|&&v| self.is_defined(v, &place)).count();
            if known == equation.inputs().len() {
                self.types(i, &place);
            }
            for region in equation.regions() {
                if let Err(error) = check(region) {
                    self.found.push(format!("{place}: {}", error.message()));
                }
            }
            for &output in equation.outputs() {
                self.define(output);
            }
        }
        for &result in func.results() {
            self.is_defined(result, "return");
        }
    }

    fn define(&mut self, value: Value) {
        match self.defined.get_mut(value.index()) {
            Some(true) => self.found.push(format!("%{} is defined twice", value.index())),
            Some(defined) => *defined = true,
            None => self.found.push(format!("%{} is not a value of the function", value.index())),
        }
    }

    fn is_defined(&mut self, value: Value, place: &str) -> bool {
        let defined = self.defined.get(value.index()) == Some(&true);
        if !defined {
            self.found.push(format!("{place}: %{} is used before it is defined", value.index()));
        }
        defined
    }

    fn types(&mut self, index: usize, place: &str) {
        let equation = &self.func.equations()[index];
        let inputs: Vec<&Aval> = equation.inputs().iter().map(|&v| self.func.aval(v)).collect();
        let declared: Vec<&Aval> = equation.outputs().iter().map(|&v| self.func.aval(v)).collect();
        match equation.op.rules().infer(&inputs) {
            Err(error) => self.found.push(format!("{place}: {}", error.message())),
            Ok(inferred) if inferred.iter().ne(declared.iter().copied()) => {
                let list = |avals: Vec<String>| avals.join(", ");
                self.found.push(format!(
                    "{place}: declared ({}), but the operation gives ({})",
                    list(declared.iter().map(ToString::to_string).collect()),
                    list(inferred.iter().map(ToString::to_string).collect()),
                ));
            }
            Ok(_) => {}
        }
    }
}
