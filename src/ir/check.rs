//! The checker: whether a [`Func`] is well formed.
//!
//! It reports *all* violations, one a line, of these rules:
//!
//! 1. every value is defined once, by a parameter or an equation, before it is used;
//! 2. the outputs of an equation have the types that its operation infers from its inputs;
//! 3. the results are defined;
//! 4. the same holds for every region.
//!
//! Every function that the tracer or the parser makes is well formed; debug builds check each.

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
            let before = self.found.len();
            for &input in equation.inputs() {
                self.is_defined(input, &place);
            }
            for region in equation.regions() {
                if let Err(error) = check(region) {
                    self.found.push(format!("{place}: {}", error.message()));
                }
            }
            for &output in equation.outputs() {
                self.define(output);
            }
            // Only what is sound so far has types to ask for.
            if self.found.len() == before {
                self.types(i, &place);
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::Definition;
    use super::super::parse::parse;
    use super::*;
    use crate::aval::DType;

    const TEXT: &str = "func @f(%0: f32[2], %1: i32[]) -> (f32[2]) {
        %2: f32[2] = tanh %0
        %3: f32[2] = call {function=func @g(%0: f32[2]) -> (f32[2]) {
            %1: f32[2] = mul %0 %0
            return %1
        }} %2
        return %3
    }";

    /// What the checker says of the function once it is broken.
    fn violations(damage: impl FnOnce(&mut Definition)) -> String {
        let mut func = parse(TEXT).unwrap();
        check(&func).unwrap();
        damage(Arc::make_mut(&mut func.0));
        check(&func).unwrap_err().message().to_owned()
    }

    fn value(index: usize) -> Value {
        Value::from_index(index)
    }

    #[test]
    fn a_value_used_before_it_is_defined() {
        let found = violations(|f| f.equations[0].inputs[0] = value(3));
        assert_eq!(found, "func @f: equation 0 (tanh): %3 is used before it is defined");
        let found = violations(|f| f.results[0] = value(9));
        assert_eq!(found, "func @f: return: %9 is used before it is defined");
    }

    #[test]
    fn a_value_defined_twice_or_not_at_all() {
        let found = violations(|f| f.equations[1].outputs[0] = value(2));
        let expected = "func @f: %2 is defined twice\n  return: %3 is used before it is defined";
        assert_eq!(found, expected);
        let found = violations(|f| f.params[1].value = value(0));
        assert_eq!(found, "func @f: %0 is defined twice");
        let found = violations(|f| f.equations[1].outputs[0] = value(7));
        assert!(found.starts_with("func @f: %7 is not a value of the function\n"), "{found}");
    }

    #[test]
    fn types_that_the_operation_does_not_give() {
        let found = violations(|f| f.values[2].dtype = DType::F64);
        let expected = "func @f: equation 0 (tanh): declared (f64[2]), but the operation gives \
                        (f32[2])\n  equation 1 (call): call: the inputs are not of the types of \
                        the parameters";
        assert_eq!(found, expected);
        let found = violations(|f| f.equations[0].inputs[0] = value(1));
        assert!(found.starts_with("func @f: equation 0 (tanh): tanh: the operand must"), "{found}");
        let found = violations(|f| f.equations[0].inputs.clear());
        assert!(found.starts_with("func @f: equation 0 (tanh): tanh: the number of"), "{found}");
    }

    #[test]
    fn all_violations_are_reported_also_those_in_regions() {
        let found = violations(|f| {
            let mut region = f.equations[1].regions()[0].clone();
            let damaged = Arc::make_mut(&mut region.0);
            damaged.equations[0].inputs[1] = value(1);
            damaged.results = vec![value(5)];
            damaged.values[1].shape = vec![3];
            f.equations[1].op = crate::ops::call::Call { function: region }.into();
            f.equations[0].inputs[0] = value(2);
        });
        let lines: Vec<&str> = found.lines().map(str::trim).collect();
        assert_eq!(
            lines,
            [
                "func @f: equation 0 (tanh): %2 is used before it is defined",
                "equation 1 (call): func @g: equation 0 (mul): %1 is used before it is defined",
                "return: %5 is used before it is defined",
            ]
        );
    }
}
