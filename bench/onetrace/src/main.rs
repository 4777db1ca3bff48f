//! onetrace in the benchmark of `bench/grid.py`: reads requests from standard input, one JSON
//! object on each line, and answers each with one line.
//!
//! | request | answer |
//! |---|---|
//! | `{"prepare": case}` | `{"lower_s": .., "compile_s": .., "temp_bytes": ..}`, when the results are in `case.outputs` |
//! | `{"run": n}` | `{"seconds": [..]}`, the time of each of `n` calls |
//!
//! What goes wrong is answered by `{"error": ..}`.

mod case;
mod programs;

use std::io::{self, BufRead, Write};

use anyhow::{Result, anyhow};
use serde::Deserialize;
use serde_json::{Value, json};

use case::Case;
use programs::Prepared;

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Request {
    Prepare(Case),
    Run(usize),
}

/// Answers a request; `prepared` is the one program that is there.
fn answer(line: &str, prepared: &mut Option<Prepared>) -> Result<Value> {
    match serde_json::from_str(line)? {
        Request::Prepare(case) => {
            // Its memory is free before the next program takes some.
            *prepared = None;
            let made = programs::prepare(&case)?;
            let answer = serde_json::to_value(made.costs)?;
            *prepared = Some(made);
            Ok(answer)
        }
        Request::Run(count) => {
            let prepared = prepared.as_mut().ok_or_else(|| anyhow!("run: nothing is prepared"))?;
            let seconds: Result<Vec<f64>> = (0..count).map(|_| prepared.run()).collect();
            Ok(json!({ "seconds": seconds? }))
        }
    }
}

fn main() -> Result<()> {
    let mut prepared = None;
    for line in io::stdin().lock().lines() {
        let answer = answer(&line?, &mut prepared)
            .unwrap_or_else(|error| json!({ "error": format!("{error:#}") }));
        let mut out = io::stdout().lock();
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}
