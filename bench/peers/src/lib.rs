//! What candle and burn have in common in the benchmark of `bench/grid.py`: requests, answers, and
//! files. `bench/onetrace` and `bench/workers/protocol.py` speak the same language.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, BufRead, Write};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::Deserialize;
use serde_json::{Value, json};

/// A case of the grid.
#[derive(Deserialize)]
pub struct Case {
    pub kind: String,
    pub cell: String,
    pub batch: usize,
    pub d: usize,
    pub h: usize,
    /// The number of steps.
    pub t: usize,
    pub layers: usize,
    pub dtype: String,
    data: String,
    outputs: String,
}

impl Case {
    /// How many features a layer takes.
    pub fn features(&self, layer: usize) -> usize {
        if layer == 0 { self.d } else { self.h }
    }

    pub fn wants_ys(&self) -> bool {
        self.kind == "forward_ys"
    }
}

/// Numbers in row-major order, and their shape.
#[derive(Clone)]
pub struct Array {
    pub shape: Vec<usize>,
    pub values: Vec<f32>,
}

impl Array {
    /// A matrix, or the first two axes of an array, the other way round.
    pub fn swapped(&self) -> Array {
        let (rows, columns) = (self.shape[0], self.shape[1]);
        let width: usize = self.shape[2..].iter().product();
        let mut values = Vec::with_capacity(self.values.len());
        for column in 0..columns {
            for row in 0..rows {
                let start = (row * columns + column) * width;
                values.extend_from_slice(&self.values[start..start + width]);
            }
        }
        let mut shape = self.shape.clone();
        shape.swap(0, 1);
        Array { shape, values }
    }

    /// The `index`-th of `count` equal parts of the last axis.
    pub fn part(&self, index: usize, count: usize) -> Array {
        let mut shape = self.shape.clone();
        let width = shape.pop().unwrap_or(1);
        let size = width / count;
        let rows = self.values.chunks(width);
        let values = rows.flat_map(|row| row[index * size..][..size].iter().copied()).collect();
        shape.push(size);
        Array { shape, values }
    }
}

/// The numbers of a file, by their names.
pub type Arrays = HashMap<String, Array>;

/// A parameter of a layer.
pub fn parameter<'a>(data: &'a Arrays, layer: usize, name: &str) -> Result<&'a Array> {
    let name = format!("layers.{layer}.{name}");
    data.get(&name).with_context(|| format!("the data has no {name}"))
}

/// The inputs as `[batch, steps, features]`, which both libraries take.
pub fn inputs(case: &Case, data: &Arrays) -> Result<Array> {
    let x = data.get("x").context("the data has no x")?;
    let x = Array { shape: vec![case.t, case.batch, case.d], values: x.values.clone() };
    Ok(x.swapped())
}

/// The outputs of all steps, `[batch, steps, hidden]`, as the other contestants give them.
pub fn outputs(case: &Case, ys: Array) -> Array {
    unbatched(case, ys.swapped(), 1)
}

/// Without the axis of a batch of one.
pub fn unbatched(case: &Case, mut array: Array, axis: usize) -> Array {
    if case.batch == 1 {
        array.shape.remove(axis);
    }
    array
}

/// The contestant has no way to compute the case.
#[derive(Debug)]
pub struct Unsupported(pub &'static str);

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Unsupported {}

/// A case that is ready to be computed.
pub struct Prepared {
    pub outputs: Arrays,
    pub call: Box<dyn FnMut() -> Result<()>>,
}

/// Answers the requests on standard input until there are no more.
pub fn serve(prepare: impl Fn(&Case, &Arrays) -> Result<Prepared>) -> Result<()> {
    let mut call = None;
    for line in io::stdin().lock().lines() {
        let answer = match answer(&line?, &prepare, &mut call) {
            Ok(answer) => answer,
            Err(error) if error.is::<Unsupported>() => json!({ "unsupported": error.to_string() }),
            Err(error) => json!({ "error": format!("{error:#}") }),
        };
        println!("{answer}");
        io::stdout().flush()?;
    }
    Ok(())
}

fn answer(
    line: &str,
    prepare: impl Fn(&Case, &Arrays) -> Result<Prepared>,
    call: &mut Option<Box<dyn FnMut() -> Result<()>>>,
) -> Result<Value> {
    let request: Value = serde_json::from_str(line)?;
    if let Some(case) = request.get("prepare") {
        *call = None;
        let case = Case::deserialize(case)?;
        if !case.kind.starts_with("forward") {
            bail!(Unsupported("the forward computation is compared"));
        }
        if case.dtype != "f32" {
            bail!(Unsupported("f32 is compared"));
        }
        let data = read(&case.data)?;
        let start = Instant::now();
        let prepared = prepare(&case, &data)?;
        let seconds = start.elapsed().as_secs_f64();
        write(&case.outputs, &prepared.outputs)?;
        *call = Some(prepared.call);
        return Ok(json!({ "compile_s": seconds }));
    }
    let count = request["run"].as_u64().context("the request is neither `prepare` nor `run`")?;
    let call = call.as_mut().context("run: nothing is prepared")?;
    let mut seconds = Vec::new();
    for _ in 0..count {
        let start = Instant::now();
        call()?;
        seconds.push(start.elapsed().as_secs_f64());
    }
    Ok(json!({ "seconds": seconds }))
}

fn read(path: &str) -> Result<Arrays> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {path}"))?;
    let mut arrays = Arrays::new();
    for (name, view) in SafeTensors::deserialize(&bytes)?.tensors() {
        ensure!(view.dtype() == Dtype::F32, "{name} of {path} is not of f32");
        let words = view.data().chunks_exact(4);
        let values = words.map(|word| f32::from_le_bytes([word[0], word[1], word[2], word[3]]));
        let array = Array { shape: view.shape().to_vec(), values: values.collect() };
        arrays.insert(name, array);
    }
    Ok(arrays)
}

fn write(path: &str, arrays: &Arrays) -> Result<()> {
    let bytes: Vec<(&String, &Array, Vec<u8>)> = arrays
        .iter()
        .map(|(name, array)| {
            (name, array, array.values.iter().flat_map(|value| value.to_le_bytes()).collect())
        })
        .collect();
    let views: Result<Vec<_>, _> = bytes
        .iter()
        .map(|(name, array, bytes)| {
            Ok((name, TensorView::new(Dtype::F32, array.shape.clone(), bytes)?))
        })
        .collect::<Result<_, safetensors::SafeTensorError>>();
    safetensors::serialize_to_file(views?, None, path.as_ref())?;
    Ok(())
}
