//! The parser: text as [`print`](super::print) makes it, back into a [`Func`].

use std::collections::HashMap;

use super::print::{Attribute, Printer};
use super::{Func, FuncBuilder, Param, Source, Value};
use crate::aval::{Aval, DType};
use crate::error::{Error, Result};
use crate::ops::Op;

/// The function that `text` holds.
///
/// # Errors
/// If the text does not follow the [grammar](super), with line and column, or if the function is
/// not well formed (see [`check`](super::check)).
///
/// # Examples
/// ```
/// let text = "func @main(%0: f32[4]) -> (f32[4]) {\n  %1: f32[4] = tanh %0\n  return %1\n}\n";
/// let func = onetrace::ir::parse::parse(text)?;
/// assert_eq!(func.to_string(), text);
/// # Ok::<(), onetrace::Error>(())
/// ```
pub fn parse(text: &str) -> Result<Func> {
    let mut parser = Parser { text, pos: 0, depth: 0 };
    let func = parser.func()?;
    parser.space();
    if parser.pos < text.len() {
        return Err(parser.error("the end of the text"));
    }
    Ok(func)
}

/// The operation that `text` holds, with its attributes, if it holds one.
pub(crate) fn operation(text: &str) -> Option<Op> {
    let mut parser = Parser { text, pos: 0, depth: 0 };
    let name = parser.word();
    let op = Op::parse(name, &mut parser)?.ok()?;
    (parser.pos == text.len()).then_some(op)
}

/// A position in a text. Attributes of operations parse themselves from it.
pub(crate) struct Parser<'a> {
    text: &'a str,
    pos: usize,
    depth: usize,
}

/// How deep functions may be nested: deeper text is refused before it can exhaust the stack.
pub const MAX_DEPTH: usize = 64;

impl<'a> Parser<'a> {
    /// The error that `wanted` does not stand here.
    pub fn error(&self, wanted: &str) -> Error {
        self.error_at(self.pos, wanted)
    }

    /// The error that `wanted` does not stand at `pos`, a place that was passed.
    pub fn error_at(&self, pos: usize, wanted: &str) -> Error {
        let rest = self.text[pos..].chars().take_while(|&c| c != '\n');
        let found = match rest.take(20).collect::<String>() {
            empty if empty.is_empty() => "the end of the line".into(),
            text => format!("{text:?}"),
        };
        Error::ir(format!("{}: expected {wanted}, found {found}", self.place(pos)))
    }

    /// The line and column of `pos`.
    fn place(&self, pos: usize) -> String {
        let before = &self.text[..pos];
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|&c| c != '\n').count() + 1;
        format!("line {line}, column {column}")
    }

    /// Where the next word or sign begins.
    pub fn start(&mut self) -> usize {
        self.space();
        self.pos
    }

    fn space(&mut self) {
        loop {
            let rest = self.text[self.pos..].trim_start();
            self.pos = self.text.len() - rest.len();
            if !rest.starts_with("//") {
                return;
            }
            self.pos += rest.find('\n').unwrap_or(rest.len());
        }
    }

    /// Takes `token` if it stands here.
    pub fn eat(&mut self, token: &str) -> bool {
        self.space();
        let found = self.text[self.pos..].starts_with(token);
        if found {
            self.pos += token.len();
        }
        found
    }

    /// Takes `token`, which must stand here.
    pub fn expect(&mut self, token: &str) -> Result<()> {
        if self.eat(token) { Ok(()) } else { Err(self.error(&format!("`{token}`"))) }
    }

    fn take_while(&mut self, allowed: impl Fn(char) -> bool) -> &'a str {
        self.space();
        let rest = &self.text[self.pos..];
        let len = rest.find(|c| !allowed(c)).unwrap_or(rest.len());
        self.pos += len;
        &rest[..len]
    }

    /// Takes a word of letters, digits, `_`, `.`, `+` and `-`: a name or a number.
    pub fn word(&mut self) -> &'a str {
        self.take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '+' | '-'))
    }

    /// Takes a word that `T` can be read from.
    pub fn number<T: std::str::FromStr>(&mut self, wanted: &str) -> Result<T> {
        let start = self.start();
        self.word().parse().map_err(|_| self.error_at(start, wanted))
    }

    /// Takes items with commas between them, up to and with `close`.
    pub fn list<T>(
        &mut self,
        close: &str,
        mut item: impl FnMut(&mut Self) -> Result<T>,
    ) -> Result<Vec<T>> {
        let mut items = Vec::new();
        while !self.eat(close) {
            if !items.is_empty() {
                self.expect(",")?;
            }
            items.push(item(self)?);
        }
        Ok(items)
    }

    /// Takes a quoted string.
    pub fn string(&mut self) -> Result<String> {
        self.expect("\"")?;
        let rest = &self.text[self.pos..];
        let mut out = String::new();
        let mut chars = rest.char_indices();
        while let Some((i, c)) = chars.next() {
            match c {
                '"' => {
                    self.pos += i + 1;
                    return Ok(out);
                }
                '\\' => match escape(&mut chars) {
                    Some(c) => out.push(c),
                    None => return Err(self.error("a string with the escapes of Rust")),
                },
                c => out.push(c),
            }
        }
        Err(self.error("the closing quote of a string"))
    }

    /// Takes a type such as `f32[8,128]`.
    pub fn aval(&mut self) -> Result<Aval> {
        let start = self.start();
        let dtype = DType::parse(self)?;
        self.expect("[")?;
        let shape = self.list("]", usize::parse)?;
        let aval = Aval::new(dtype, shape);
        match aval.byte_size() {
            Some(_) => Ok(aval),
            None => Err(self.error_at(start, "a type of fewer than 2^63 bytes")),
        }
    }

    fn value_index(&mut self) -> Result<usize> {
        self.expect("%")?;
        self.number("a value number")
    }

    /// Takes a whole function.
    pub fn func(&mut self) -> Result<Func> {
        if self.depth == MAX_DEPTH {
            return Err(self.error(&format!("functions nested at most {MAX_DEPTH} deep")));
        }
        self.depth += 1;
        self.expect("func")?;
        self.expect("@")?;
        let name = self.word();
        let mut scope = Scope { builder: FuncBuilder::new(), values: HashMap::new() };
        self.expect("(")?;
        let params = self.list(")", |p| {
            let start = p.start();
            let number = p.value_index()?;
            let name = if p.text[p.pos..].trim_start().starts_with('"') {
                p.string()?
            } else {
                String::new()
            };
            p.expect(":")?;
            let aval = p.aval()?;
            let value = scope.builder.param(aval);
            scope.define(p, start, number, value)?;
            Ok(Param { value, name })
        })?;
        self.expect("->")?;
        self.expect("(")?;
        let declared = self.list(")", Parser::aval)?;
        self.expect("{")?;
        while !self.eat("return") {
            self.equation(&mut scope)?;
        }
        let start = self.start();
        let results = self.list("}", |p| scope.used(p))?;
        if results.iter().map(|&v| scope.builder.aval(v)).ne(&declared) {
            let wanted = format!("results of type ({})", list(&declared));
            return Err(self.error_at(start, &wanted));
        }
        self.depth -= 1;
        Ok(scope.builder.finish(name, params, results))
    }

    fn equation(&mut self, scope: &mut Scope) -> Result<()> {
        let first = self.start();
        let outputs = match self.text[self.pos..].starts_with('%') {
            true => self.list("=", |p| {
                let start = p.start();
                let number = p.value_index()?;
                p.expect(":")?;
                Ok((start, number, p.aval()?))
            })?,
            false => Vec::new(),
        };
        let start = self.start();
        let name = self.word();
        let Some(op) = Op::parse(name, self) else {
            return Err(self.error_at(start, "the name of an operation"));
        };
        let op = op?;
        let mut inputs = Vec::new();
        while self.text[self.pos..].trim_start_matches(' ').starts_with('%') {
            inputs.push(scope.used(self)?);
        }
        let avals: Vec<&Aval> = inputs.iter().map(|&v| scope.builder.aval(v)).collect();
        let inferred = op
            .rules()
            .infer(&avals)
            .map_err(|error| Error::ir(format!("{}: {}", self.place(start), error.message())))?;
        if inferred.iter().ne(outputs.iter().map(|(_, _, aval)| aval)) {
            let wanted = format!("outputs of type ({})", list(&inferred));
            return Err(self.error_at(first, &wanted));
        }
        let values = scope.builder.equation(op, inputs, inferred, Source::default()).to_vec();
        for ((start, number, _), value) in outputs.into_iter().zip(values) {
            scope.define(self, start, number, value)?;
        }
        Ok(())
    }

    /// Takes the attribute `name=value`; the first one of an operation opens the braces, and the
    /// last one closes them.
    pub fn attribute<T: Attribute>(&mut self, first: bool, last: bool, name: &str) -> Result<T> {
        if let Some(omitted) = T::omitted()
            && !self.text[self.pos..]
                .trim_start_matches([',', ' '])
                .starts_with(&format!("{name}="))
        {
            return Ok(omitted);
        }
        self.expect(if first { "{" } else { "," })?;
        self.expect(name)?;
        self.expect("=")?;
        let value = T::parse(self)?;
        if last {
            self.expect("}")?;
        }
        Ok(value)
    }
}

fn list(avals: &[Aval]) -> String {
    avals.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// The values that are in scope while a function is parsed.
struct Scope {
    builder: FuncBuilder,
    values: HashMap<usize, Value>,
}

impl Scope {
    /// Defines the value called `number`, which stands at `start`.
    fn define(
        &mut self,
        parser: &Parser<'_>,
        start: usize,
        number: usize,
        value: Value,
    ) -> Result<()> {
        match self.values.insert(number, value) {
            None => Ok(()),
            Some(_) => Err(parser.error_at(start, "a value that is not defined before")),
        }
    }

    fn used(&self, parser: &mut Parser<'_>) -> Result<Value> {
        let start = parser.start();
        let number = parser.value_index()?;
        let found = self.values.get(&number).copied();
        found.ok_or_else(|| parser.error_at(start, "a value that is defined before"))
    }
}

/// The character that stands behind a backslash, as `{:?}` of a string writes it.
fn escape(chars: &mut std::str::CharIndices<'_>) -> Option<char> {
    let (_, c) = chars.next()?;
    Some(match c {
        'n' => '\n',
        't' => '\t',
        'r' => '\r',
        '0' => '\0',
        '"' | '\\' | '\'' => c,
        'u' => {
            let (digits, _) = chars.as_str().strip_prefix('{')?.split_once('}')?;
            // The braces too are behind what was read.
            chars.nth(digits.chars().count() + 1)?;
            char::from_u32(u32::from_str_radix(digits, 16).ok()?)?
        }
        _ => return None,
    })
}

macro_rules! number_attributes {
    ($($ty:ty)*) => {$(
        impl Attribute for $ty {
            fn print(&self, printer: &mut Printer) {
                printer.push(self);
            }

            fn parse(parser: &mut Parser<'_>) -> Result<$ty> {
                parser.number(concat!("a value of type ", stringify!($ty)))
            }
        }
    )*};
}

number_attributes!(usize i64 bool);

impl Attribute for DType {
    fn print(&self, printer: &mut Printer) {
        printer.push(self);
    }

    fn parse(parser: &mut Parser<'_>) -> Result<DType> {
        let start = parser.start();
        DType::from_name(parser.word()).ok_or_else(|| parser.error_at(start, "a dtype"))
    }
}

impl Attribute for String {
    fn print(&self, printer: &mut Printer) {
        printer.push(format_args!("{self:?}"));
    }

    fn parse(parser: &mut Parser<'_>) -> Result<String> {
        parser.string()
    }
}

impl Attribute for Option<usize> {
    fn print(&self, printer: &mut Printer) {
        match self {
            Some(number) => number.print(printer),
            None => printer.push("none"),
        }
    }

    fn parse(parser: &mut Parser<'_>) -> Result<Option<usize>> {
        if parser.eat("none") { Ok(None) } else { usize::parse(parser).map(Some) }
    }
}

impl<T: Attribute> Attribute for Vec<T> {
    fn print(&self, printer: &mut Printer) {
        printer.push("[");
        printer.list(self, |p, item| item.print(p));
        printer.push("]");
    }

    fn parse(parser: &mut Parser<'_>) -> Result<Vec<T>> {
        parser.expect("[")?;
        parser.list("]", T::parse)
    }
}

impl<A: Attribute, B: Attribute, C: Attribute> Attribute for (A, B, C) {
    fn print(&self, printer: &mut Printer) {
        printer.push("(");
        self.0.print(printer);
        printer.push(", ");
        self.1.print(printer);
        printer.push(", ");
        self.2.print(printer);
        printer.push(")");
    }

    fn parse(parser: &mut Parser<'_>) -> Result<(A, B, C)> {
        parser.expect("(")?;
        let a = A::parse(parser)?;
        parser.expect(",")?;
        let b = B::parse(parser)?;
        parser.expect(",")?;
        let c = C::parse(parser)?;
        parser.expect(")")?;
        Ok((a, b, c))
    }
}

impl Attribute for Func {
    fn print(&self, printer: &mut Printer) {
        printer.func(self);
    }

    fn parse(parser: &mut Parser<'_>) -> Result<Func> {
        parser.func()
    }
}
