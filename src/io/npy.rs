//! NumPy's `.npy`: a header that is a Python dictionary, then the elements.
//!
//! The format is that of `numpy.lib.format`, versions 1.0, 2.0 and 3.0.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use bytemuck::Pod;

use super::{replace, unwritable};
use crate::aval::{Aval, DType};
use crate::error::{Error, ErrorKind, Result};
use crate::host::HostArray;
use crate::tensor::Tensor;

const MAGIC: &[u8] = b"\x93NUMPY";

/// More than any array of numbers needs; NumPy itself takes 10,000 bytes by default.
const HEADER_LIMIT: usize = 1 << 16;

/// The most axes that NumPy allows.
const RANK_LIMIT: usize = 64;

/// The types of elements that are read: the letter and the size of NumPy's type string, and the
/// dtype that holds all their values.
///
/// A bfloat16 is not a type that NumPy knows: JAX and ml_dtypes store it as two bytes without a
/// meaning, `V2`, and JAX reads those as bfloat16 again.
const ELEMENTS: [(char, usize, DType); 13] = [
    ('b', 1, DType::Bool),
    ('u', 1, DType::U8),
    ('u', 2, DType::U32),
    ('u', 4, DType::U32),
    ('u', 8, DType::I64),
    ('i', 1, DType::I32),
    ('i', 2, DType::I32),
    ('i', 4, DType::I32),
    ('i', 8, DType::I64),
    ('f', 2, DType::F16),
    ('f', 4, DType::F32),
    ('f', 8, DType::F64),
    ('V', 2, DType::BF16),
];

/// Reads an array that NumPy wrote; `numpy.load` of a `.npy` file.
///
/// Versions 1.0 to 3.0 of the format, C and Fortran order and both byte orders are read. The dtype
/// is the nearest that holds all values of the file's:
///
/// | in the file | tensor |
/// |---|---|
/// | float64, float32, float16 | `f64`, `f32`, `f16` |
/// | bfloat16 as JAX and ml_dtypes write it (`V2`) | `bf16` |
/// | int64 | `i64` |
/// | int32, int16, int8 | `i32` |
/// | uint64 | `i64`; fails if a value is larger than 2⁶³ - 1 |
/// | uint32, uint16 | `u32` |
/// | uint8 | `u8` |
/// | bool | `bool` |
///
/// # Errors
/// If the file cannot be read, is not a `.npy` file, is cut short or has bytes after the array, if
/// its header is damaged, or if its elements are something else than real numbers: objects,
/// strings, dates, complex numbers, records. Nothing is ever unpickled. The size of the file is
/// compared with what the header says before memory is taken.
///
/// # Examples
/// ```
/// use onetrace::prelude::*;
/// # let directory = tempfile::tempdir().unwrap();
/// let path = directory.path().join("x.npy");
/// onetrace::io::write_npy(&path, &Tensor::new(&[1.5f32, -2.0, 0.25], [3, 1]))?;
/// let x = onetrace::io::read_npy(&path)?;
/// assert_eq!(x.aval().to_string(), "f32[3,1]");
/// assert_eq!(x.to_vec::<f32>()?, [1.5, -2.0, 0.25]);
/// # Ok::<(), onetrace::Error>(())
/// ```
#[track_caller]
pub fn read_npy(path: impl AsRef<Path>) -> Result<Tensor> {
    let location = std::panic::Location::caller();
    let path = path.as_ref();
    match read(path) {
        Ok(host) => Ok(Tensor::from_host(host, "")),
        Err(reason) => {
            let message = format!("read_npy: {}: {reason}", path.display());
            Err(Error::new(ErrorKind::Io, message).at(location))
        }
    }
}

/// Writes an array that NumPy reads; `numpy.save`, byte for byte. The file appears whole or not at
/// all.
///
/// A bfloat16 is written as JAX writes it; `jax.numpy.load` gives it back, and NumPy shows it as
/// `V2`.
///
/// # Errors
/// If the tensor is traced, if a mistake was made on the way to it, if it has more than 64 axes
/// (NumPy has no more), or if the file cannot be written.
///
/// # Examples
/// ```
/// use onetrace::prelude::*;
/// # let directory = tempfile::tempdir().unwrap();
/// let path = directory.path().join("h.npy");
/// onetrace::io::write_npy(&path, &(Tensor::ones([64], DType::F32) * 2.0))?;
/// assert_eq!(std::fs::metadata(&path).unwrap().len(), 128 + 64 * 4);
/// # Ok::<(), onetrace::Error>(())
/// ```
#[track_caller]
pub fn write_npy(path: impl AsRef<Path>, tensor: &Tensor) -> Result<()> {
    let location = std::panic::Location::caller();
    let path = path.as_ref();
    let host = tensor.to_host().map_err(|error| error.at(location))?;
    if host.aval.rank() > RANK_LIMIT {
        let message = format!(
            "write_npy: {} has {} axes, but an array of NumPy has at most {RANK_LIMIT}",
            host.aval,
            host.aval.rank(),
        );
        return Err(Error::shape(message).at(location));
    }
    let header = header_of(&host.aval);
    replace(path, |file| {
        file.write_all(&header)?;
        file.write_all(&host.bytes)
    })
    .map_err(|error| unwritable("write_npy", path, &error).at(location))
}

/// The header that `numpy.save` writes, in format version 1.0.
fn header_of(aval: &Aval) -> Vec<u8> {
    let (letter, size) = match aval.dtype {
        DType::Bool => ('b', 1),
        DType::U8 => ('u', 1),
        DType::U32 => ('u', 4),
        DType::I32 => ('i', 4),
        DType::I64 => ('i', 8),
        DType::F16 => ('f', 2),
        DType::BF16 => ('V', 2),
        DType::F32 => ('f', 4),
        DType::F64 => ('f', 8),
    };
    let order = match size {
        1 => '|',
        _ if cfg!(target_endian = "big") => '>',
        _ => '<',
    };
    let mut text = format!(
        "{{'descr': '{order}{letter}{size}', 'fortran_order': False, 'shape': {}, }}",
        tuple(&aval.shape),
    );
    // NumPy leaves room for the first axis to grow to its 21 digits in place.
    if let Some(first) = aval.shape.first() {
        text += &" ".repeat(21usize.saturating_sub(first.to_string().len()));
    }
    // The data begins at a multiple of 64 bytes, after at least one space and the newline.
    let fixed = MAGIC.len() + 4;
    text += &" ".repeat(64 - (fixed + text.len() + 1) % 64);
    text.push('\n');
    let length = (text.len() as u16).to_le_bytes();
    [MAGIC, &[1, 0], &length, text.as_bytes()].concat()
}

/// A shape as Python prints it.
fn tuple(shape: &[usize]) -> String {
    match shape {
        [one] => format!("({one},)"),
        _ => {
            let sizes: Vec<String> = shape.iter().map(ToString::to_string).collect();
            format!("({})", sizes.join(", "))
        }
    }
}

/// Reads the file, or says why it cannot be read.
fn read(path: &Path) -> Result<HostArray, String> {
    let mut file = File::open(path).map_err(|error| error.to_string())?;
    let metadata = file.metadata().map_err(|error| error.to_string())?;
    // A pipe does not know its size; what comes out of it is counted instead.
    let size = metadata.is_file().then_some(metadata.len());
    let header = Header::read(&mut file, size)?;
    let bytes = header.data_size()?;
    if let Some(size) = size {
        header.check_data_size(bytes, size.saturating_sub(header.length))?;
    }

    let mut data = Vec::new();
    if size.is_some() {
        reserve(&mut data, bytes, &header)?;
    }
    let read = file.take(bytes as u64 + 1).read_to_end(&mut data);
    read.map_err(|error| error.to_string())?;
    header.check_data_size(bytes, data.len() as u64)?;

    if header.swapped {
        data.chunks_exact_mut(header.size).for_each(<[u8]>::reverse);
    }
    if header.fortran_order {
        data = row_major(&data, &header)?;
    }
    let data = widened(data, &header)?;
    Ok(HostArray { aval: header.aval, bytes: data })
}

/// Takes memory that there may not be.
fn reserve(buffer: &mut Vec<u8>, bytes: usize, header: &Header) -> Result<(), String> {
    buffer
        .try_reserve_exact(bytes)
        .map_err(|_| format!("the array, {}, does not fit in memory", header.aval))
}

/// What stands before the data.
struct Header {
    /// Bytes from the beginning of the file to the data.
    length: u64,
    /// The letter of the type of the elements: `f`, `i`, `u`, `b` or `V`.
    letter: char,
    /// Bytes that an element takes in the file.
    size: usize,
    /// Whether the byte order is not that of this machine.
    swapped: bool,
    fortran_order: bool,
    /// The type that the tensor will have.
    aval: Aval,
}

impl Header {
    fn read(file: &mut impl Read, file_size: Option<u64>) -> Result<Header, String> {
        let mut prefix = [0; 8];
        let got = read_up_to(file, &mut prefix)?;
        if got == 0 {
            return Err("the file is empty".to_owned());
        }
        if got < 6 || prefix[..6] != *MAGIC {
            return Err(not_npy(&prefix[..got]));
        }
        let length_bytes = match (got, prefix[6], prefix[7]) {
            (8, 1, 0) => 2,
            (8, 2 | 3, 0) => 4,
            (8, major, minor) => {
                return Err(format!(
                    "version {major}.{minor} of the .npy format is not known; known are 1.0, 2.0 \
                     and 3.0"
                ));
            }
            _ => return Err("the file ends inside its header".to_owned()),
        };
        let mut length = [0; 4];
        if read_up_to(file, &mut length[..length_bytes])? < length_bytes {
            return Err("the file ends inside its header".to_owned());
        }
        let text_length = u32::from_le_bytes(length) as usize;
        let start = (8 + length_bytes) as u64;
        if file_size.is_some_and(|size| size < start + text_length as u64) {
            return Err(format!(
                "the file ends inside its header, which should be {text_length} bytes long"
            ));
        }
        if text_length > HEADER_LIMIT {
            return Err(format!(
                "the header says that it is {text_length} bytes long, but that of an array of \
                 numbers has at most {HEADER_LIMIT}: the file is damaged, or holds something else"
            ));
        }
        let mut text = vec![0; text_length];
        if read_up_to(file, &mut text)? < text_length {
            return Err("the file ends inside its header".to_owned());
        }
        Header::parse(&String::from_utf8_lossy(&text), start + text_length as u64)
    }

    /// Reads `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`.
    fn parse(text: &str, length: u64) -> Result<Header, String> {
        let damaged = || {
            let shown: String = text.trim_end().chars().take(200).collect();
            format!(
                "the header is not a dictionary of 'descr', 'fortran_order' and 'shape': {shown:?}"
            )
        };
        let mut literal = Literal { rest: text };
        let (mut descr, mut fortran_order, mut shape) = (None, None, None);
        literal.expect('{').ok_or_else(damaged)?;
        while !literal.eat('}') {
            let key = literal.string().ok_or_else(damaged)?;
            literal.expect(':').ok_or_else(damaged)?;
            match key {
                "descr" if literal.next_is('[') || literal.next_is('(') => {
                    return Err("the elements are records (a structured dtype): save one field \
                                of them, as in np.save(path, x['field'])"
                        .to_owned());
                }
                "descr" => descr = Some(literal.string().ok_or_else(damaged)?),
                "fortran_order" => fortran_order = Some(literal.truth().ok_or_else(damaged)?),
                "shape" => shape = Some(literal.shape().ok_or_else(damaged)?),
                _ => return Err(damaged()),
            }
            if !literal.eat(',') && !literal.next_is('}') {
                return Err(damaged());
            }
        }
        if !literal.rest.trim().is_empty() {
            return Err(damaged());
        }
        let (Some(descr), Some(fortran_order), Some(shape)) = (descr, fortran_order, shape) else {
            return Err(damaged());
        };
        if shape.len() > RANK_LIMIT {
            return Err(format!(
                "the shape has {} axes, but an array of NumPy has at most {RANK_LIMIT}",
                shape.len(),
            ));
        }
        let (letter, size, dtype, swapped) = element(descr)?;
        let aval = Aval::new(dtype, shape);
        Ok(Header { length, letter, size, swapped, fortran_order, aval })
    }

    /// Bytes that the data must have in the file.
    fn data_size(&self) -> Result<usize, String> {
        // The product of the sizes that are not zero must fit, also where the elements are widened.
        let sizes: Vec<usize> = self.aval.shape.iter().map(|&d| d.max(1)).collect();
        match self.aval.with_shape(sizes).byte_size() {
            Some(_) => Ok(self.aval.size() * self.size),
            None => Err(format!("the shape {} is too large", tuple(&self.aval.shape))),
        }
    }

    fn check_data_size(&self, wanted: usize, found: u64) -> Result<(), String> {
        let shape = tuple(&self.aval.shape);
        let header = format!(
            "the header says shape {shape} with {} bytes an element, {wanted} bytes in all",
            self.size,
        );
        match found.cmp(&(wanted as u64)) {
            std::cmp::Ordering::Equal => Ok(()),
            std::cmp::Ordering::Less => Err(format!(
                "the file is cut short: {header}, but only {found} bytes of data are there"
            )),
            std::cmp::Ordering::Greater => {
                Err(format!("there are more bytes after the array: {header}"))
            }
        }
    }
}

/// Fills `buffer` as far as the file goes.
fn read_up_to(file: &mut impl Read, buffer: &mut [u8]) -> Result<usize, String> {
    let mut got = 0;
    while got < buffer.len() {
        match file.read(&mut buffer[got..]) {
            Ok(0) => break,
            Ok(n) => got += n,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => (),
            Err(error) => return Err(error.to_string()),
        }
    }
    Ok(got)
}

fn not_npy(prefix: &[u8]) -> String {
    match prefix {
        [b'P', b'K', 3, 4, ..] => "this is a .npz archive; save the one array that is wanted, as \
                                   in np.save(path, np.load(archive)['x'])"
            .to_owned(),
        [0x80, ..] => "this is a pickle, which is not read; save the array with np.save".to_owned(),
        _ => "this is not a .npy file: it does not begin with \\x93NUMPY".to_owned(),
    }
}

/// The letter, size, dtype and order of a type string such as `<f4`.
fn element(descr: &str) -> Result<(char, usize, DType, bool), String> {
    let unknown = || format!("the elements have the type {descr:?}, which is not known");
    let mut chars = descr.chars();
    let native = if cfg!(target_endian = "big") { '>' } else { '<' };
    let swapped = match chars.next() {
        Some('|' | '=') => false,
        Some(order @ ('<' | '>')) => order != native,
        _ => return Err(unknown()),
    };
    let letter = chars.next().ok_or_else(unknown)?;
    let size = chars.as_str();
    if let Ok(size) = size.parse::<usize>()
        && let Some((_, _, dtype)) = ELEMENTS.iter().find(|e| (e.0, e.1) == (letter, size))
    {
        return Ok((letter, size, *dtype, swapped));
    }
    let what = match letter {
        'O' => "Python objects, which would have to be unpickled",
        'S' | 'a' | 'U' => "strings",
        'M' | 'm' => "dates or times",
        'c' => "complex numbers",
        'f' => "floating-point numbers of a size that only some machines have",
        'V' => "raw bytes",
        _ => return Err(unknown()),
    };
    Err(format!(
        "the elements are {what} (type {descr:?}); real numbers can be read: save \
         x.astype(np.float32)"
    ))
}

/// The data in row-major order, from the column-major order it is in.
fn row_major(data: &[u8], header: &Header) -> Result<Vec<u8>, String> {
    let shape = &header.aval.shape;
    let Some((&columns, outer)) = shape.split_last().filter(|_| !data.is_empty()) else {
        return Ok(data.to_vec());
    };
    let strides: Vec<usize> = shape
        .iter()
        .scan(header.size, |next, &d| Some(std::mem::replace(next, *next * d)))
        .collect();
    let mut out = Vec::new();
    reserve(&mut out, data.len(), header)?;
    let mut index = vec![0; outer.len()];
    loop {
        let start: usize = index.iter().zip(&strides).map(|(i, stride)| i * stride).sum();
        for column in 0..columns {
            let at = start + column * strides[outer.len()];
            out.extend_from_slice(&data[at..at + header.size]);
        }
        // The next row: the last axis that is not at its end advances, those behind it start over.
        let Some(axis) = (0..outer.len()).rev().find(|&axis| index[axis] + 1 < outer[axis]) else {
            return Ok(out);
        };
        index[axis] += 1;
        index[axis + 1..].fill(0);
    }
}

/// The elements in the dtype of the tensor.
fn widened(mut data: Vec<u8>, header: &Header) -> Result<Vec<u8>, String> {
    fn widen<Narrow: Pod, Wide: Pod + From<Narrow>>(
        data: &[u8],
        header: &Header,
    ) -> Result<Vec<u8>, String> {
        let mut out = Vec::new();
        reserve(&mut out, data.len() / size_of::<Narrow>() * size_of::<Wide>(), header)?;
        for element in data.chunks_exact(size_of::<Narrow>()) {
            let narrow: Narrow = bytemuck::pod_read_unaligned(element);
            out.extend_from_slice(bytemuck::bytes_of(&Wide::from(narrow)));
        }
        Ok(out)
    }

    match (header.letter, header.size) {
        ('i', 1) => widen::<i8, i32>(&data, header),
        ('i', 2) => widen::<i16, i32>(&data, header),
        ('u', 2) => widen::<u16, u32>(&data, header),
        ('u', 8) => {
            let values = data.chunks_exact(8).map(bytemuck::pod_read_unaligned::<u64>);
            match values.enumerate().find(|&(_, value)| i64::try_from(value).is_err()) {
                None => Ok(data),
                Some((i, value)) => Err(format!(
                    "the elements are uint64 and become int64, whose largest is {}, but element \
                     {i} in row-major order is {value}",
                    i64::MAX,
                )),
            }
        }
        ('b', 1) => {
            // To XLA a truth value is 0 or 1; to NumPy any other byte is true as well.
            data.iter_mut().for_each(|byte| *byte = u8::from(*byte != 0));
            Ok(data)
        }
        _ => Ok(data),
    }
}

/// A reader of the few Python literals that a header has. It never recurses: what is nested deeper
/// is not a header.
struct Literal<'a> {
    rest: &'a str,
}

impl<'a> Literal<'a> {
    fn next_is(&mut self, c: char) -> bool {
        self.rest = self.rest.trim_start();
        self.rest.starts_with(c)
    }

    fn eat(&mut self, c: char) -> bool {
        let found = self.next_is(c);
        if found {
            self.rest = &self.rest[c.len_utf8()..];
        }
        found
    }

    fn expect(&mut self, c: char) -> Option<()> {
        self.eat(c).then_some(())
    }

    /// The characters up to the first that `end` takes.
    fn until(&mut self, end: impl Fn(char) -> bool) -> &'a str {
        let (found, rest) = self.rest.split_at(self.rest.find(end).unwrap_or(self.rest.len()));
        self.rest = rest;
        found
    }

    fn string(&mut self) -> Option<&'a str> {
        let quote = ['\'', '"'].into_iter().find(|&quote| self.eat(quote))?;
        let text = self.until(|c| c == quote || c == '\\');
        // No space may be skipped before the closing quote.
        self.rest = self.rest.strip_prefix(quote)?;
        Some(text)
    }

    fn truth(&mut self) -> Option<bool> {
        self.rest = self.rest.trim_start();
        match self.until(|c| !c.is_ascii_alphabetic()) {
            "True" => Some(true),
            "False" => Some(false),
            _ => None,
        }
    }

    fn shape(&mut self) -> Option<Vec<usize>> {
        self.expect('(')?;
        let mut shape = Vec::new();
        while !self.eat(')') {
            self.rest = self.rest.trim_start();
            let digits = self.until(|c| !c.is_ascii_digit());
            if digits.is_empty() {
                return None;
            }
            // A number with too many digits is too large as well as the largest one.
            shape.push(digits.parse().unwrap_or(usize::MAX));
            // Python 2 wrote its long integers as 3L.
            self.eat('L');
            // A number in parentheses is not a tuple: a tuple of one has a comma.
            let end = self.next_is(')') && shape.len() > 1;
            if !end && !self.eat(',') {
                return None;
            }
        }
        Some(shape)
    }
}
