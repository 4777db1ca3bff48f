//! The printer: a [`Func`] as text, which [`parse`](super::parse) reads back.

use std::fmt::{self, Display, Write};

use super::{Equation, Func};
use crate::ops::Operation;

/// How a [`Func`] is printed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Print every element of large constants. Without it, constants of more than
    /// [`LARGE_CONSTANT`] elements print as `...`, which does not parse back.
    pub full_constants: bool,
    /// Print, as a comment behind each equation, where in the user's code it was recorded.
    pub locations: bool,
}

/// The number of elements up to which a constant is always printed in full.
pub const LARGE_CONSTANT: usize = 16;

/// The text of `func`.
pub fn print(func: &Func, options: Options) -> String {
    let mut printer = Printer { out: String::new(), indent: 0, options };
    printer.func(func);
    printer.out.push('\n');
    printer.out
}

/// The text of an operation: its name and attributes.
pub(crate) fn operation(op: &dyn Operation) -> String {
    let options = Options { full_constants: true, ..Options::default() };
    let mut printer = Printer { out: String::new(), indent: 0, options };
    printer.operation(op);
    printer.out
}

impl Display for Func {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&print(self, Options::default()))
    }
}

/// A text under construction. Attributes of operations print themselves onto it.
pub(crate) struct Printer {
    out: String,
    indent: usize,
    pub options: Options,
}

impl Printer {
    /// Appends text as it is.
    pub fn push(&mut self, text: impl Display) {
        write!(self.out, "{text}").expect("writing to a string does not fail");
    }

    /// Appends the items with `, ` between them.
    pub fn list<T>(&mut self, items: impl IntoIterator<Item = T>, mut f: impl FnMut(&mut Self, T)) {
        for (i, item) in items.into_iter().enumerate() {
            if i > 0 {
                self.push(", ");
            }
            f(self, item);
        }
    }

    fn line(&mut self) {
        self.out.push('\n');
        for _ in 0..self.indent {
            self.out.push_str("  ");
        }
    }

    /// Appends a function; its equations stand one level deeper than the text around it.
    pub fn func(&mut self, func: &Func) {
        self.push(format_args!("func @{}(", func.name()));
        self.list(func.params(), |p, (value, name)| {
            p.push(format_args!("%{}", value.index()));
            if !name.is_empty() {
                p.push(format_args!(" {name:?}"));
            }
            p.push(format_args!(": {}", func.aval(value)));
        });
        self.push(") -> (");
        self.list(func.result_avals(), |p, aval| p.push(aval));
        self.push(") {");
        self.indent += 1;
        for equation in func.equations() {
            self.line();
            self.equation(func, equation);
        }
        self.line();
        self.push(if func.results().is_empty() { "return" } else { "return " });
        self.list(func.results(), |p, v| p.push(format_args!("%{}", v.index())));
        self.indent -= 1;
        self.line();
        self.push("}");
    }

    fn equation(&mut self, func: &Func, equation: &Equation) {
        self.list(equation.outputs(), |p, &v| {
            p.push(format_args!("%{}: {}", v.index(), func.aval(v)));
        });
        if !equation.outputs().is_empty() {
            self.push(" = ");
        }
        self.operation(equation.op.rules());
        for input in equation.inputs() {
            self.push(format_args!(" %{}", input.index()));
        }
        if self.options.locations {
            let source = equation.source();
            if let Some(location) = source.location {
                self.push(format_args!("  // {location}"));
                if let Some(scope) = &source.scope {
                    // A scope may have any name, but a comment ends with its line.
                    self.push(format_args!(" in {}", scope.escape_debug()));
                }
            }
        }
    }

    fn operation(&mut self, op: &dyn Operation) {
        self.push(op.name());
        let start = self.out.len();
        op.print_attributes(self);
        if self.out.len() > start {
            self.push("}");
        }
    }

    /// Appends one attribute of an operation; the first one opens the braces.
    pub fn attribute<T: Attribute>(&mut self, first: bool, name: &str, value: &T) {
        if T::omitted().is_some_and(|omitted| omitted == *value) {
            return;
        }
        self.push(if first { " {" } else { ", " });
        self.push(format_args!("{name}="));
        value.print(self);
    }
}

/// A type that an operation can hold as an attribute: it has a text form that reads back.
pub(crate) trait Attribute: Sized + PartialEq {
    fn print(&self, printer: &mut Printer);
    fn parse(parser: &mut super::parse::Parser<'_>) -> crate::Result<Self>;

    /// The value that is not written. An attribute that has one is neither the first nor the last
    /// of its operation.
    fn omitted() -> Option<Self> {
        None
    }
}
