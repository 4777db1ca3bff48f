//! Which of HLO's forms some bytes are in, and what is refused before XLA reads it.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use prost::Message;
use prost::bytes::Bytes;

use super::proto::{HloModuleProto, HloProto};

/// The most bytes of a file that is read: half of what a protocol buffer can hold.
pub(super) const MAX_BYTES: u64 = 1 << 30;

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
        match HloModuleProto::of_bytes(inner.clone()) {
            Ok(module) if !module.computations.is_empty() => return Ok((inner, module)),
            _ => outer = inner,
        }
    }
    let module = HloModuleProto::of_bytes(bytes.clone()).map_err(|error| {
        format!("these bytes are no HLO module, or one that was cut off: {error}")
    })?;
    if module.computations.is_empty() && module.name.is_empty() {
        return Err("these bytes are no HLO module".to_owned());
    }
    Ok((bytes.clone(), module))
}
