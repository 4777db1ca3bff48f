//! The intermediate representation: what a trace records.
//!
//! A [`Func`] is closed, in single static assignment form, and holds its equations in the order in
//! which they were recorded, so that every value is defined before it is used. Operations that own
//! functions (a `scan` its body) hold them as attributes, and such a region sees values of the
//! function around it only through its parameters. Values are indices into an arena, a `u32` each:
//! they are cheap to copy, order by definition, and cannot dangle as long as they stay with their
//! function.
//!
//! The text form is made by [`mod@print`] and read back by [`mod@parse`]:
//!
//! ```text
//! func @main(%0 "x": f32[4]) -> (f32[4]) {
//!   %1: f32[4] = tanh %0
//!   %2: f32[4] = mul %0 %1
//!   return %2
//! }
//! ```
//!
//! The grammar, in full (`*` any number, `+` at least one, `?` optional; `x,*` any number with
//! commas between them; `'a'..'z'` a range of characters; everything else in quotes stands for
//! itself):
//!
//! ```text
//! func      = "func" "@" name "(" param,* ")" "->" "(" aval,* ")"
//!             "{" equation* "return" value,* "}"
//! param     = value string? ":" aval
//! equation  = ((value ":" aval),+ "=")? operation value*
//! operation = name ("{" (name "=" attribute),+ "}")?
//! attribute = integer | bool | dtype | name | string | constant | func
//!           | "[" attribute,* "]" | "(" attribute,+ ")"
//! constant  = aval "(" element,* ")"
//! element   = integer | bool | float
//! aval      = dtype "[" integer,* "]"
//! dtype     = "bool" | "u8" | "u32" | "i32" | "i64" | "f16" | "bf16" | "f32" | "f64"
//! value     = "%" integer
//! name      = ('a'..'z' | 'A'..'Z' | '0'..'9' | "_" | ".")+
//! integer   = "-"? digit+
//! digit     = '0'..'9'
//! bool      = "true" | "false"
//! float     = "-"? (digit+ ("." digit+)? ("e" "-"? digit+)? | "inf") | "NaN" ("_" hex+)?
//! hex       = digit | 'a'..'f'
//! string    = '"' (character | escape)* '"'
//! escape    = "\" ("n" | "r" | "t" | "0" | "'" | '"' | "\" | "u{" hex+ "}")
//! ```
//!
//! - Between these stand any spaces, line ends and comments; only the values that an operation is
//!   applied to stand on its line (that on which its attributes end), with nothing but spaces
//!   between them. A comment begins with `//` and ends with its line.
//! - The numbers of values name them within their function. They may be any that are different;
//!   printed they ascend from 0.
//! - An operation has the attributes that its struct in `src/ops/` has fields: all of them, in that
//!   order. A `name` as an attribute is one of a few that the field can be, such as `sum` or `max`.
//! - A character of a string is any but `"` and `\`. Sizes, axes and the numbers of values are not
//!   negative, and a type has fewer than 2^63 bytes.
//! - Elements stand in row-major order, and print so that they read back as the same bits: a NaN
//!   that is not the usual one is `NaN_` and its bits in hexadecimal.
//! - Functions nest at most [`MAX_DEPTH`](parse::MAX_DEPTH) deep: text that is deeper is refused,
//!   before it can exhaust the stack.

pub mod check;
pub mod parse;
pub mod print;

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::aval::Aval;
use crate::error::Location;
use crate::ops::Op;

/// A value of a [`Func`]: a parameter, or an output of an equation.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct Value(u32);

impl Value {
    /// The position in the arena of the function's values.
    pub fn index(self) -> usize {
        self.0 as usize
    }

    pub(crate) fn from_index(index: usize) -> Value {
        Value(u32::try_from(index).expect("a function has fewer than 2^32 values"))
    }
}

/// Where an equation comes from. It is not part of what the equation means: two equations that
/// differ only in it are equal.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// The call in the user's code that recorded the equation.
    pub location: Option<Location>,
    /// The scopes that were open, such as `gru_cell/dense_i`; empty outside any.
    pub scope: Option<Arc<str>>,
}

impl PartialEq for Source {
    fn eq(&self, _: &Source) -> bool {
        true
    }
}

impl Eq for Source {}

impl Hash for Source {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

/// One operation applied to values.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Equation {
    pub(crate) op: Op,
    pub(crate) inputs: Vec<Value>,
    pub(crate) outputs: Vec<Value>,
    pub(crate) source: Source,
}

impl Equation {
    /// The name of the operation, as printed.
    pub fn name(&self) -> &'static str {
        self.op.rules().name()
    }

    /// The values the operation is applied to.
    pub fn inputs(&self) -> &[Value] {
        &self.inputs
    }

    /// The values the operation defines.
    pub fn outputs(&self) -> &[Value] {
        &self.outputs
    }

    /// Where the equation comes from.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// The functions that the operation owns: the body of a `scan`, the branches of a `cond`.
    pub fn regions(&self) -> Vec<&Func> {
        self.op.rules().regions()
    }

    /// Whether each element of the result is cheaply made of those at the same place. `aval` gives
    /// the types of values.
    pub(crate) fn is_elementwise<'a>(&self, aval: impl Fn(Value) -> &'a Aval) -> bool {
        let rules = self.op.rules();
        let &[output] = self.outputs() else { return false };
        let shape = &aval(output).shape;
        rules.is_cheap()
            && !rules.only_moves()
            && !self.inputs.is_empty()
            && self.inputs.iter().all(|&input| aval(input).shape == *shape)
    }
}

/// A parameter of a [`Func`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Param {
    pub(crate) value: Value,
    /// The path of the argument it stands for, such as `cell.dense_i.kernel`; may be empty.
    pub(crate) name: String,
}

/// A closed function; see the [module](self). It is shared and does not change, so that a copy costs
/// nothing: the operations that own it are copied by every pass.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Func(Arc<Definition>);

/// What a [`Func`] consists of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Definition {
    name: String,
    values: Vec<Aval>,
    params: Vec<Param>,
    equations: Vec<Equation>,
    results: Vec<Value>,
    has_effect: bool,
}

impl Func {
    /// The name, a valid identifier.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The dtype and shape of a value of this function.
    pub fn aval(&self, value: Value) -> &Aval {
        &self.0.values[value.index()]
    }

    /// The number of values: parameters and outputs of equations.
    pub fn value_count(&self) -> usize {
        self.0.values.len()
    }

    /// How often each value is an input or a result, by its index.
    pub(crate) fn uses(&self) -> Vec<usize> {
        let mut uses = vec![0; self.value_count()];
        let used = self.equations().iter().flat_map(|equation| equation.inputs());
        used.chain(self.results()).for_each(|value| uses[value.index()] += 1);
        uses
    }

    /// The parameters, in order, with their names.
    pub fn params(&self) -> impl ExactSizeIterator<Item = (Value, &str)> {
        self.0.params.iter().map(|p| (p.value, p.name.as_str()))
    }

    /// The types of the parameters.
    pub fn param_avals(&self) -> Vec<&Aval> {
        self.0.params.iter().map(|p| self.aval(p.value)).collect()
    }

    /// The equations, in an order in which every value is defined before it is used.
    pub fn equations(&self) -> &[Equation] {
        &self.0.equations
    }

    /// The values the function returns.
    pub fn results(&self) -> &[Value] {
        &self.0.results
    }

    /// The types of the results.
    pub fn result_avals(&self) -> Vec<Aval> {
        self.avals(&self.0.results)
    }

    /// The types of these values.
    pub(crate) fn avals(&self, values: &[Value]) -> Vec<Aval> {
        values.iter().map(|&value| self.aval(value).clone()).collect()
    }

    /// Whether it does something on the host while it runs, such as to print.
    pub(crate) fn has_effect(&self) -> bool {
        self.0.has_effect
    }

    /// The same function with its parameters and results in another order: the new ones are the
    /// old ones at these positions. Every parameter must be named once.
    pub(crate) fn reordered(self, params: &[usize], results: &[usize]) -> Func {
        let Definition { name, values, params: old, equations, results: given, .. } =
            Arc::unwrap_or_clone(self.0);
        let params = params.iter().map(|&i| old[i].clone()).collect();
        let results = results.iter().map(|&i| given[i]).collect();
        FuncBuilder { values, equations }.finish(&name, params, results)
    }

    /// The same function with only the results at these positions.
    pub(crate) fn with_results(mut self, results: &[usize]) -> Func {
        let results = results.iter().map(|&i| self.0.results[i]).collect();
        Arc::make_mut(&mut self.0).results = results;
        self
    }

    /// The number of equations, those of all regions included.
    pub fn equation_count(&self) -> usize {
        let nested = |e: &Equation| e.regions().iter().map(|f| f.equation_count()).sum::<usize>();
        self.0.equations.iter().map(|e| 1 + nested(e)).sum()
    }
}

/// Builds a [`Func`], equation by equation.
///
/// Parameters may be added at any time; [`finish`](FuncBuilder::finish) numbers the values anew,
/// parameters first, so that two functions that do the same are equal.
pub(crate) struct FuncBuilder {
    values: Vec<Aval>,
    equations: Vec<Equation>,
}

impl FuncBuilder {
    /// There is room for a step of a cell. What grows from a few elements on is more than copied:
    /// glibc looks for the larger block in the arena of the smaller one, which a thread of XLA's
    /// compiler may have made and others have freed, and joins first whatever is free there.
    pub fn new() -> FuncBuilder {
        FuncBuilder { values: Vec::with_capacity(64), equations: Vec::with_capacity(32) }
    }

    pub fn aval(&self, value: Value) -> &Aval {
        &self.values[value.index()]
    }

    /// The equations so far.
    pub fn equations(&self) -> &[Equation] {
        &self.equations
    }

    /// A value that no equation defines: [`finish`](FuncBuilder::finish) must be told that it is a
    /// parameter.
    pub fn param(&mut self, aval: Aval) -> Value {
        self.values.push(aval);
        Value::from_index(self.values.len() - 1)
    }

    /// As [`param`](FuncBuilder::param), with a name.
    pub fn named_param(&mut self, aval: &Aval, name: &str) -> Param {
        Param { value: self.param(aval.clone()), name: name.to_owned() }
    }

    /// Records an equation whose outputs have the types `outputs`, as inferred by the operation.
    pub fn equation(
        &mut self,
        op: Op,
        inputs: Vec<Value>,
        outputs: impl IntoIterator<Item = Aval>,
        source: Source,
    ) -> &[Value] {
        let outputs = outputs.into_iter().map(|aval| self.param(aval)).collect();
        let place = self.equations.len();
        self.equations.push(Equation { op, inputs, outputs, source });
        &self.equations[place].outputs
    }

    pub fn finish(self, name: &str, mut params: Vec<Param>, mut results: Vec<Value>) -> Func {
        let mut equations = self.equations;
        let mut avals: Vec<Option<Aval>> = self.values.into_iter().map(Some).collect();
        let mut renumbered = vec![None; avals.len()];
        let mut values = Vec::with_capacity(avals.len());
        let outputs = equations.iter().flat_map(|equation| &equation.outputs);
        for old in params.iter().map(|param| &param.value).chain(outputs) {
            renumbered[old.index()] = Some(Value::from_index(values.len()));
            values.push(avals[old.index()].take().expect("a value is defined once"));
        }
        let renumber = |value: &mut Value| {
            *value = renumbered[value.index()].expect("a value used is a value defined");
        };
        params.iter_mut().for_each(|param| renumber(&mut param.value));
        equations.iter_mut().for_each(|equation| {
            equation.inputs.iter_mut().chain(&mut equation.outputs).for_each(renumber);
        });
        results.iter_mut().for_each(renumber);
        let func = Func(Arc::new(Definition {
            name: identifier(name),
            values,
            params,
            results,
            has_effect: equations.iter().any(|e| e.op.rules().has_effect()),
            equations,
        }));
        if cfg!(debug_assertions)
            && let Err(error) = check::check(&func)
        {
            panic!("a function that was just built is not well formed: {error}\n{func}");
        }
        func
    }
}

/// The names of all operations, as printed.
pub fn operation_names() -> Vec<&'static str> {
    Op::names()
}

/// `name` with everything replaced that an identifier of the IR or of HLO cannot hold.
pub(crate) fn identifier(name: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
    let name: String = name.chars().map(|c| if allowed(c) { c } else { '_' }).collect();
    if name.is_empty() { "func".into() } else { name }
}
