//! Which of HLO's forms some bytes are in, and what is refused before XLA reads it.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use prost::Message;
use prost::bytes::Bytes;

use super::proto::{HloModuleProto, HloProto};
use super::shape;

/// The most bytes of a file that is read: half of what a protocol buffer can hold.
pub(super) const MAX_BYTES: u64 = 1 << 30;

/// How deep brackets may lie in each other in HLO text. XLA's parser descends into them by recursion.
const MAX_NESTING: usize = 200;

/// The most bytes of all constants of a text: what a protocol buffer can hold.
const MAX_CONSTANT_BYTES: u64 = i32::MAX as u64;

/// What a module is written in.
#[derive(Debug, PartialEq)]
pub(super) enum Form<'a> {
    /// HLO text.
    Text(&'a str),
    /// A protocol buffer as text, a `HloProto` or else a `HloModuleProto`.
    Pbtxt { text: &'a str, is_hlo_proto: bool },
    /// A protocol buffer.
    Binary,
}

/// The content of a file, refused before it is read if it is too large.
pub(super) fn file(path: &Path) -> Result<Vec<u8>, String> {
    let too_large = |size: String| format!("{size} bytes; at most {MAX_BYTES} are read");
    let opened = File::open(path).and_then(|file| Ok((file.metadata()?, file)));
    let (metadata, file) = opened.map_err(|error| error.to_string())?;
    if metadata.is_dir() {
        return Err("it is a directory".to_owned());
    }
    if metadata.len() > MAX_BYTES {
        return Err(too_large(metadata.len().to_string()));
    }
    // A pipe or a device has no size beforehand.
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(too_large(format!("more than {MAX_BYTES}")));
    }
    Ok(bytes)
}

/// Tells the form by the content; for what is none of them, says what it looks like.
pub(super) fn form(bytes: &[u8]) -> Result<Form<'_>, String> {
    const WANTED: &str = "HLO text, a HloModuleProto or a HloProto is wanted";
    if bytes.is_empty() {
        return Err(format!("there is nothing in it; {WANTED}"));
    }
    let looks_like = |what: &str, fix: &str| Err(format!("this is {what}; {WANTED}: {fix}"));
    const AS_HLO: &str = "JAX writes HLO with `lower(..).as_text('hlo')`";
    match bytes {
        [0x1f, 0x8b, ..] => return looks_like("compressed with gzip", "unpack it with gunzip"),
        [b'M', b'L', 0xef, b'R', ..] => return looks_like("MLIR bytecode", AS_HLO),
        _ => (),
    }
    let is_text = |c: char| !c.is_control() || matches!(c, '\t' | '\n' | '\r');
    let text = match std::str::from_utf8(bytes) {
        Ok(text) if text.chars().all(is_text) => text,
        _ => return Ok(Form::Binary),
    };
    let start = beginning(text);
    let word_end = start.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(start.len());
    let (word, rest) = start.split_at(word_end);
    let is_field = rest.trim_start().starts_with([':', '{']);
    match word {
        "HloModule" => Ok(Form::Text(text)),
        "hlo_module" | "buffer_assignment" if is_field => {
            Ok(Form::Pbtxt { text, is_hlo_proto: true })
        }
        "name" | "entry_computation_name" | "computations" if is_field => {
            Ok(Form::Pbtxt { text, is_hlo_proto: false })
        }
        "" if start.is_empty() => Err(format!("there is nothing in it but space; {WANTED}")),
        "module" | "func" | "builtin" => looks_like("MLIR", AS_HLO),
        _ if text.contains("stablehlo.") || text.contains("func.func") => {
            looks_like("MLIR", AS_HLO)
        }
        _ => Err(format!("this is text, but not of HLO, which begins with `HloModule`; {WANTED}")),
    }
}

/// The text behind the comments and the space at its start.
fn beginning(text: &str) -> &str {
    let mut rest = text.trim_start();
    loop {
        let end = match rest.get(..2) {
            Some("/*") => rest.find("*/").map(|i| i + 2),
            Some("//") => Some(rest.find('\n').unwrap_or(rest.len())),
            _ if rest.starts_with('#') => Some(rest.find('\n').unwrap_or(rest.len())),
            _ => None,
        };
        match end {
            Some(end) => rest = rest[end..].trim_start(),
            None => return rest,
        }
    }
}

/// The serialized `HloModuleProto` in `bytes`, which may be in a `HloProto` or a `HloSnapshot`, and
/// the module decoded.
pub(super) fn unwrap(bytes: &Bytes) -> Result<(Bytes, HloModuleProto), String> {
    let mut outer = bytes.clone();
    // A snapshot has a `HloProto` where that one has its module.
    for _ in 0..2 {
        let Ok(HloProto { hlo_module: inner }) = HloProto::decode(outer.clone()) else { break };
        match HloModuleProto::decode(inner.clone()) {
            Ok(module) if !module.computations.is_empty() => return Ok((inner, module)),
            _ => outer = inner,
        }
    }
    let module = HloModuleProto::decode(bytes.clone()).map_err(|error| {
        format!("these bytes are no HLO module, or one that was cut off: {error}")
    })?;
    if module.computations.is_empty() && module.name.is_empty() {
        return Err("these bytes are no HLO module".to_owned());
    }
    Ok((bytes.clone(), module))
}

/// What was found in HLO text before it is parsed.
#[derive(Debug, PartialEq)]
pub(super) struct Scanned {
    /// Whether the values of some constants are left out: `constant({...})`.
    pub leaves_out_constants: bool,
}

/// Refuses text on which XLA's parser would end the process: brackets too deep, constants too large.
pub(super) fn scan(text: &str) -> Result<Scanned, String> {
    let bytes = text.as_bytes();
    let (mut depth, mut constant_bytes, mut leaves_out_constants) = (0usize, 0u64, false);
    let (mut i, mut line, mut statement) = (0, 1, 0);
    while i < bytes.len() {
        let skipped = match bytes[i] {
            b'"' => quoted_end(bytes, i),
            b'/' if bytes[i..].starts_with(b"//") => find(bytes, i, b"\n"),
            b'/' if bytes[i..].starts_with(b"/*") => find(bytes, i + 2, b"*/") + 2,
            _ => i + 1,
        }
        .min(bytes.len());
        match bytes[i] {
            b'(' | b'{' | b'[' => depth += 1,
            b')' | b'}' | b']' => depth = depth.saturating_sub(1),
            b'=' => statement = i,
            b'c' if bytes[i..].starts_with(b"constant(") => {
                let size = text.get(statement + 1..i).and_then(type_bytes).unwrap_or(0);
                constant_bytes = constant_bytes.saturating_add(size);
                leaves_out_constants |= bytes[i..].starts_with(b"constant({...})");
            }
            _ => (),
        }
        if depth > MAX_NESTING {
            return Err(format!("line {line}: brackets lie more than {MAX_NESTING} deep"));
        }
        if constant_bytes > MAX_CONSTANT_BYTES {
            return Err(format!(
                "line {line}: the constants up to here have {constant_bytes} bytes, and a module \
                 holds 2 GiB"
            ));
        }
        line += bytes[i..skipped].iter().filter(|&&b| b == b'\n').count();
        i = skipped;
    }
    Ok(Scanned { leaves_out_constants })
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

/// The bytes of the arrays in a type as it is written, `f32[8,128]{1,0}`; too many, if they cannot be
/// counted.
fn type_bytes(text: &str) -> Option<u64> {
    let mut total = 0u64;
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('[') {
        let (sizes, behind) = behind.split_once(']')?;
        let name = before.rsplit(|c: char| !c.is_ascii_alphanumeric()).next()?;
        let bits = shape::bits(name).unwrap_or(128);
        let size = |text: &str| text.trim().trim_start_matches("<=").parse::<u64>().ok();
        let elements = match sizes.trim() {
            "" => Some(1),
            sizes => sizes.split(',').try_fold(1u64, |n, text| n.checked_mul(size(text)?)),
        };
        let bytes = elements.and_then(|n| n.checked_mul(bits)).map_or(u64::MAX, |b| b.div_ceil(8));
        total = total.saturating_add(bytes);
        rest = behind;
    }
    Some(total)
}
