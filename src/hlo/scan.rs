//! What is refused in HLO text before XLA's parser reads it, which ends the process on some texts
//! that are not well formed.
//!
//! Brackets too deep or without their match, constants too large, parameters that are not numbered
//! from 0, tuples that are called arrays, tokens with axes, and reshapes to another number of
//! elements. The scan knows of the grammar no more than that: strings, comments, brackets, and
//! instructions of the form `name = type opcode(operands)` in the braces of a computation.

use std::collections::HashMap;

use super::shape;

/// How deep brackets may lie in each other. XLA's parser descends into them by recursion.
const MAX_NESTING: usize = 200;

/// The most bytes of all constants of a text: what a protocol buffer can hold.
const MAX_CONSTANT_BYTES: u64 = i32::MAX as u64;

/// What was found in HLO text.
#[derive(Debug, Default)]
pub(super) struct Scanned<'a> {
    /// Whether the values of some constants are left out: `constant({...})`.
    pub leaves_out_constants: bool,
    constant_bytes: u64,
    /// The numbers of the parameters of the computation that is being read.
    parameters: Vec<u64>,
    /// The elements of the arrays of that computation, by name.
    elements: HashMap<&'a str, u64>,
}

/// Scans HLO text, and says what is wrong with it, if something is.
pub(super) fn scan(text: &str) -> Result<Scanned<'_>, String> {
    let bytes = text.as_bytes();
    let mut scanned = Scanned::default();
    let (mut i, mut line) = (0, 1);
    // What closes the brackets that are open, and the lines they are in.
    let mut open: Vec<(u8, usize)> = Vec::new();
    // Behind the last line end or brace, and behind the last equals sign.
    let (mut start, mut right) = (0, 0);
    while i < bytes.len() {
        let here = |what: String| format!("line {line}: {what}");
        let next = match bytes[i] {
            b'"' => quoted_end(bytes, i),
            b'/' if bytes[i..].starts_with(b"//") => find(bytes, i, b"\n"),
            b'/' if bytes[i..].starts_with(b"/*") => find(bytes, i + 2, b"*/") + 2,
            _ => i + 1,
        };
        let depth = open.len();
        match bytes[i] {
            b'=' => right = i + 1,
            b'\n' | b';' => start = i + 1,
            b'{' if depth == 0 => {
                scanned.parameters.clear();
                scanned.elements.clear();
                start = i + 1;
            }
            b'(' if depth == 1 && start < right => {
                let left = text.get(start..right - 1).unwrap_or_default();
                let before = text.get(right..i).unwrap_or_default();
                let operands = text.get(i + 1..).unwrap_or_default();
                scanned.instruction(left, before, operands).map_err(here)?;
            }
            b'}' if depth == 1 => scanned.check_parameters().map_err(here)?,
            b'[' if is_token_with_axes(bytes, i) => {
                return Err(here("a token is no array, and has no axes".to_owned()));
            }
            _ => (),
        }
        match bytes[i] {
            b'(' => open.push((b')', line)),
            b'{' => open.push((b'}', line)),
            b'[' => open.push((b']', line)),
            found @ (b')' | b'}' | b']') => match open.pop() {
                Some((wanted, _)) if wanted == found => (),
                Some((wanted, from)) => {
                    let (wanted, found) = (wanted as char, found as char);
                    return Err(here(format!(
                        "`{found}` stands where `{wanted}` is missing, for the bracket in line {from}"
                    )));
                }
                None => return Err(here(format!("`{}` closes no bracket", found as char))),
            },
            _ => (),
        }
        if open.len() > MAX_NESTING {
            return Err(here(format!("brackets lie more than {MAX_NESTING} deep")));
        }
        let next = next.min(bytes.len());
        line += bytes[i..next].iter().filter(|&&b| b == b'\n').count();
        i = next;
    }
    match open.last() {
        Some((wanted, from)) => {
            Err(format!("`{}` is missing, for the bracket in line {from}", *wanted as char))
        }
        None => Ok(scanned),
    }
}

impl<'a> Scanned<'a> {
    /// Looks at an instruction: what stands left of the equals sign, the type and the opcode, and
    /// the operands and what follows.
    fn instruction(&mut self, left: &'a str, before: &str, operands: &str) -> Result<(), String> {
        let before = before.trim();
        let word = before.rfind(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_');
        let (ty, opcode) = before.split_at(word.map_or(0, |i| i + 1));
        let ty = ty.trim();
        let is_tuple = ty.starts_with('(');
        let elements = if is_tuple { None } else { Size::of(ty).and_then(|size| size.elements) };
        match opcode {
            "constant" => self.constant(ty, operands)?,
            "parameter" => {
                let digits = operands.bytes().take_while(u8::is_ascii_digit);
                let number = digits.fold(0u64, |n, digit| {
                    n.saturating_mul(10).saturating_add(u64::from(digit - b'0'))
                });
                self.parameters.push(number);
            }
            "tuple" if !ty.is_empty() && !is_tuple => {
                return Err(format!("a tuple is said to have the type {ty}"));
            }
            "reshape" => {
                let end = operands.find([',', ')']).unwrap_or(operands.len());
                let operand = operands[..end].split_whitespace().last().map_or("", name);
                if let (Some(to), Some(&from)) = (elements, self.elements.get(operand))
                    && to != from
                {
                    return Err(format!(
                        "a reshape keeps the number of elements, but {operand} has {from} and the \
                         result {to}"
                    ));
                }
            }
            _ => (),
        }
        if let (Some(elements), Some(own)) = (elements, left.split_whitespace().last()) {
            self.elements.insert(name(own), elements);
        }
        Ok(())
    }

    fn constant(&mut self, ty: &str, operands: &str) -> Result<(), String> {
        if ty.starts_with("opaque") || ty.starts_with("token") {
            return Err(format!("there is no constant of type {ty}"));
        }
        if !ty.starts_with('(') && has_bad_layout(ty) {
            return Err(format!("the layout of {ty} is no order of its axes"));
        }
        self.leaves_out_constants |= operands.starts_with("{...})");
        let size = Size::of(ty).map_or(u64::MAX, |size| size.bytes);
        self.constant_bytes = self.constant_bytes.saturating_add(size);
        if self.constant_bytes <= MAX_CONSTANT_BYTES {
            return Ok(());
        }
        let bytes = self.constant_bytes;
        Err(format!("the constants up to here have {bytes} bytes, and a module holds 2 GiB"))
    }

    /// The parameters of a computation are numbered one by one from 0.
    fn check_parameters(&mut self) -> Result<(), String> {
        self.parameters.sort_unstable();
        match self.parameters.iter().zip(0..).find(|&(&found, wanted)| found != wanted) {
            Some((found, wanted)) => Err(format!(
                "the parameters of the computation that ends here are not numbered one by one from \
                 0: {found} instead of {wanted}"
            )),
            None => Ok(()),
        }
    }
}

/// Whether an array's type has a layout, `f32[8,128]{1,0}`, that does not have each axis once.
fn has_bad_layout(ty: &str) -> bool {
    let Some((sizes, layout)) = ty.split_once("]{") else { return false };
    let rank = sizes.split_once('[').map_or(0, |(_, sizes)| sizes.split(',').count());
    let end = layout.find([':', '}']).unwrap_or(layout.len());
    let mut axes: Vec<Option<usize>> =
        layout[..end].split(',').map(|axis| axis.trim().parse().ok()).collect();
    axes.sort_unstable();
    !layout[..end].trim().is_empty() && !axes.into_iter().eq((0..rank).map(Some))
}

/// The name of an instruction, which may be written with a percent sign.
fn name(text: &str) -> &str {
    text.strip_prefix('%').unwrap_or(text)
}

/// Whether the bracket at `at` is that of a `token[...]` with something in it.
fn is_token_with_axes(bytes: &[u8], at: usize) -> bool {
    let word = bytes[..at].ends_with(b"token") || bytes[..at].ends_with(b"opaque");
    word && bytes[at + 1..].iter().find(|b| !b.is_ascii_whitespace()) != Some(&b']')
}

/// The position of `wanted` at or behind `from`, or the end.
fn find(bytes: &[u8], from: usize, wanted: &[u8]) -> usize {
    let rest = bytes.get(from..).unwrap_or_default();
    rest.windows(wanted.len()).position(|w| w == wanted).map_or(bytes.len(), |i| from + i)
}

/// The position behind the string that begins at `start`.
fn quoted_end(bytes: &[u8], start: usize) -> usize {
    let mut i = start + 1;
    while i < bytes.len() {
        match bytes[i] {
            b'\\' => i += 2,
            b'"' => return i + 1,
            _ => i += 1,
        }
    }
    i
}

/// How much a type as it is written, `f32[8,128]{1,0}`, or a tuple of such, holds.
struct Size {
    /// The elements of the last array; none if they cannot be counted.
    elements: Option<u64>,
    /// The bytes of all arrays; too many, if they cannot be counted.
    bytes: u64,
}

impl Size {
    /// The size of a type; none for what is no type.
    fn of(text: &str) -> Option<Size> {
        let mut size = Size { elements: None, bytes: 0 };
        let mut rest = text;
        while let Some((before, behind)) = rest.split_once('[') {
            let (sizes, behind) = behind.split_once(']')?;
            let name = before.rsplit(|c: char| !c.is_ascii_alphanumeric()).next()?;
            let bits = shape::bits(name).unwrap_or(128);
            let axis = |text: &str| text.trim().trim_start_matches("<=").parse::<u64>().ok();
            size.elements = match sizes.trim() {
                "" => Some(1),
                sizes => sizes.split(',').try_fold(1u64, |n, text| n.checked_mul(axis(text)?)),
            };
            let bytes = size.elements.and_then(|n| n.checked_mul(bits));
            size.bytes = size.bytes.saturating_add(bytes.map_or(u64::MAX, |b| b.div_ceil(8)));
            rest = behind;
        }
        Some(size)
    }
}
