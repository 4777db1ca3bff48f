//! Trees of tensors as safetensors files: the format in which models are shared.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use safetensors::tensor::{Dtype, Metadata, TensorInfo, View};

use super::{replace, unwritable};
use crate::aval::{Aval, DType};
use crate::error::{Error, ErrorKind, Result};
use crate::host::HostArray;
use crate::tensor::Tensor;
use crate::tree::{self, Tree};

/// The longest header that the format allows.
const HEADER_LIMIT: u64 = 100_000_000;

/// The name of a tensor that is a tree by itself, and so has no path.
const ROOT: &str = "tensor";

/// Writes the tensors of a tree to a safetensors file, each under the path of its leaf, such as
/// `dense_i.kernel`. The file appears whole or not at all. A tree that is one tensor is written
/// under the name `tensor`.
///
/// # Errors
/// If a leaf is traced or a mistake was made on the way to it, if two leaves have the same path (a
/// key of a map can contain a dot), or if the file cannot be written.
///
/// # Examples
/// ```
/// use onetrace::prelude::*;
///
/// #[derive(Clone, Tree)]
/// struct Linear {
///     kernel: Tensor,
///     bias: Tensor,
/// }
/// let layer =
///     Linear { kernel: Tensor::ones([2, 3], DType::F32), bias: Tensor::zeros([3], DType::F32) };
/// # let directory = tempfile::tempdir().unwrap();
/// let path = directory.path().join("layer.safetensors");
/// onetrace::io::save_safetensors(&path, &layer)?;
///
/// let read = onetrace::io::load_safetensors(&path, &layer)?;
/// assert_eq!(read.kernel.to_vec::<f32>()?, [1.0; 6]);
/// # Ok::<(), onetrace::Error>(())
/// ```
#[track_caller]
pub fn save_safetensors<T: Tree>(path: impl AsRef<Path>, tree: &T) -> Result<()> {
    let location = std::panic::Location::caller();
    let path = path.as_ref();
    let bytes = serialized(tree).map_err(|error| error.at(location))?;
    replace(path, |file| file.write_all(&bytes))
        .map_err(|error| unwritable("save_safetensors", path, &error).at(location))
}

/// Reads a tree from a safetensors file. `template` says which leaves there must be, and of which
/// types; its data is not used.
///
/// # Errors
/// If the file cannot be read or is damaged. If a leaf is missing from it, is there with another
/// dtype or shape, or if it holds a tensor that is no leaf of the tree; the message lists all of
/// these.
///
/// # Examples
/// ```
/// use onetrace::prelude::*;
/// # let directory = tempfile::tempdir().unwrap();
/// let path = directory.path().join("state.safetensors");
/// let state = (Tensor::zeros([4], DType::F32), Tensor::scalar(7, DType::I32));
/// onetrace::io::save_safetensors(&path, &state)?;
/// assert_eq!(onetrace::io::load_safetensors(&path, &state)?.1.item::<i32>()?, 7);
///
/// let other = (Tensor::zeros([5], DType::F32), Tensor::scalar(0, DType::I32));
/// let error = onetrace::io::load_safetensors(&path, &other).map(|_| ()).unwrap_err();
/// assert!(error.to_string().contains("0: f32[5] in the tree, f32[4] in the file"));
/// # Ok::<(), onetrace::Error>(())
/// ```
#[track_caller]
pub fn load_safetensors<T: Tree>(path: impl AsRef<Path>, template: &T) -> Result<T> {
    let location = std::panic::Location::caller();
    let path = path.as_ref();
    let leaves = load(path, template).map_err(|(kind, reason)| {
        let message = format!("load_safetensors: {}: {reason}", path.display());
        Error::new(kind, message).at(location)
    })?;
    tree::unflatten(template, leaves)
}

/// The name of a leaf in the file.
fn name(path: &tree::Path) -> String {
    match path.keys() {
        [] => ROOT.to_owned(),
        _ => path.to_string(),
    }
}

/// A leaf on its way into a file.
struct Leaf(Arc<HostArray>);

impl View for &Leaf {
    fn dtype(&self) -> Dtype {
        match self.0.aval.dtype {
            DType::Bool => Dtype::BOOL,
            DType::U8 => Dtype::U8,
            DType::U32 => Dtype::U32,
            DType::I32 => Dtype::I32,
            DType::I64 => Dtype::I64,
            DType::F16 => Dtype::F16,
            DType::BF16 => Dtype::BF16,
            DType::F32 => Dtype::F32,
            DType::F64 => Dtype::F64,
        }
    }

    fn shape(&self) -> &[usize] {
        &self.0.aval.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.0.bytes)
    }

    fn data_len(&self) -> usize {
        self.0.bytes.len()
    }
}

fn serialized<T: Tree>(tree: &T) -> Result<Vec<u8>> {
    let mut leaves = BTreeMap::new();
    for (path, tensor) in tree::leaves_with_paths(tree) {
        let name = name(&path);
        let refused = |why: &str| {
            Err(Error::new(ErrorKind::Tree, format!("save_safetensors: the leaf {name:?} {why}")))
        };
        if name == "__metadata__" {
            return refused("has a name that the format keeps for itself");
        }
        let host = tensor.to_host();
        let host =
            host.map_err(|error| error.note(format!("the leaf {name:?} was to be saved")))?;
        if leaves.contains_key(&name) {
            return refused("is there twice: a key of a map contains a dot");
        }
        leaves.insert(name, Leaf(host));
    }
    safetensors::serialize(&leaves, None).map_err(|error| {
        Error::new(ErrorKind::Io, format!("save_safetensors: the tree cannot be written: {error}"))
    })
}

/// The leaves of the template, from the file.
fn load<T: Tree>(path: &Path, template: &T) -> Result<Vec<Tensor>, (ErrorKind, String)> {
    let io = |error: std::io::Error| (ErrorKind::Io, error.to_string());
    let damaged = |reason: String| (ErrorKind::Io, reason);
    let mut file = File::open(path).map_err(io)?;
    let file_size = file.metadata().map_err(io)?.len();
    let (data_start, metadata) = header(&mut file, file_size).map_err(damaged)?;

    let infos: BTreeMap<String, &TensorInfo> = metadata.tensors().into_iter().collect();
    let leaves = tree::leaves_with_paths(template);
    check_leaves(&leaves, &infos).map_err(|reason| (ErrorKind::Tree, reason))?;

    let mut tensors = Vec::with_capacity(leaves.len());
    for (path, leaf) in &leaves {
        let (begin, end) = infos[&name(path)].data_offsets;
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(end - begin).map_err(|_| {
            damaged(format!("{}, {}, does not fit in memory", name(path), leaf.aval()))
        })?;
        file.seek(SeekFrom::Start(data_start + begin as u64)).map_err(io)?;
        let wanted = (end - begin) as u64;
        let read = (&file).take(wanted).read_to_end(&mut bytes).map_err(io)?;
        if read as u64 != wanted {
            return Err(damaged("the file was cut short while it was read".to_owned()));
        }
        if leaf.dtype() == DType::Bool {
            // To XLA a truth value is 0 or 1.
            bytes.iter_mut().for_each(|byte| *byte = u8::from(*byte != 0));
        }
        tensors.push(Tensor::from_host(HostArray { aval: leaf.aval().clone(), bytes }, ""));
    }
    Ok(tensors)
}

/// Reads what stands before the data: where the data begins, and which tensors it holds.
///
/// The parts of the format are read one after the other, because reading a file as a whole would
/// hold large weights in memory twice.
fn header(file: &mut File, file_size: u64) -> Result<(u64, Metadata), String> {
    let mut length = [0; 8];
    if file_size < 8 {
        return Err(format!("a safetensors file has at least 8 bytes, this one has {file_size}"));
    }
    file.read_exact(&mut length).map_err(|error| error.to_string())?;
    let length = u64::from_le_bytes(length);
    if length > HEADER_LIMIT {
        return Err(format!(
            "this is not a safetensors file, or it is damaged: the header says that it is {length} \
             bytes long, and at most {HEADER_LIMIT} are allowed"
        ));
    }
    let Some(data_size) = (file_size - 8).checked_sub(length) else {
        return Err(format!(
            "the file is cut short: it has {file_size} bytes, its header alone {length}"
        ));
    };
    let mut text = vec![0; length as usize];
    file.read_exact(&mut text).map_err(|error| error.to_string())?;
    let metadata: Metadata = serde_json::from_slice(&text)
        .map_err(|error| format!("the header of the file is damaged: {error}"))?;
    if metadata.data_len() as u64 != data_size {
        return Err(format!(
            "the header says {} bytes of data, but {data_size} are there",
            metadata.data_len(),
        ));
    }
    Ok((8 + length, metadata))
}

/// Compares the leaves of a tree with what a file holds.
fn check_leaves(
    leaves: &[(tree::Path, Tensor)],
    infos: &BTreeMap<String, &TensorInfo>,
) -> Result<(), String> {
    let mut lines = Vec::new();
    let mut names = HashSet::new();
    for (path, leaf) in leaves {
        let name = name(path);
        let aval = leaf.aval();
        match infos.get(&name) {
            None => lines.push(format!("{name}: {aval} in the tree, missing from the file")),
            Some(info) if dtype(info) == Some(aval.dtype) && info.shape == aval.shape => (),
            Some(info) => {
                lines.push(format!("{name}: {aval} in the tree, {} in the file", printed(info)));
            }
        }
        names.insert(name);
    }
    for (name, info) in infos.iter().filter(|(name, _)| !names.contains(*name)) {
        lines.push(format!("{name}: not in the tree, {} in the file", printed(info)));
    }
    if lines.is_empty() {
        return Ok(());
    }
    Err(format!("the file does not hold the leaves of the tree:\n  {}", lines.join("\n  ")))
}

/// The dtype that a tensor in the file would have here, if there is one.
fn dtype(info: &TensorInfo) -> Option<DType> {
    match info.dtype {
        Dtype::BOOL => Some(DType::Bool),
        Dtype::U8 => Some(DType::U8),
        Dtype::U32 => Some(DType::U32),
        Dtype::I32 => Some(DType::I32),
        Dtype::I64 => Some(DType::I64),
        Dtype::F16 => Some(DType::F16),
        Dtype::BF16 => Some(DType::BF16),
        Dtype::F32 => Some(DType::F32),
        Dtype::F64 => Some(DType::F64),
        _ => None,
    }
}

/// The type of a tensor in the file, as an [`Aval`] prints.
fn printed(info: &TensorInfo) -> String {
    match dtype(info) {
        Some(dtype) => Aval::new(dtype, info.shape.clone()).to_string(),
        None => format!("{:?}{:?}", info.dtype, info.shape).to_lowercase().replace(' ', ""),
    }
}
