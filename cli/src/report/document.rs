//! What the report says, and `report.json`.

use serde::Serialize;

use super::measure::{Figures, Stop, Variant};

/// A report. Serialized it is `report.json`, as the help of the command describes it.
#[derive(Serialize)]
pub struct Document {
    /// The version of onetrace.
    pub onetrace: &'static str,
    /// `release` or `debug`: with or without optimisation of tracing and lowering.
    pub build: &'static str,
    /// When the report was begun: RFC 3339, in UTC.
    pub date: String,
    pub device: String,
    pub machine: Machine,
    pub model: &'static str,
    pub in_features: usize,
    pub hidden: usize,
    pub max_steps: usize,
    pub fission: String,
    pub budget_s: f64,
    /// Whether all was measured that was asked for, or the report is one on the way to that.
    pub finished: bool,
    /// Where and why the unrolled loop ended early.
    pub unrolled_stopped: Option<Stop>,
    /// The largest difference between the final states of the two loops.
    pub largest_difference: Option<f32>,
    pub rows: Vec<Row>,
}

/// Both loops over a number of steps.
#[derive(Serialize)]
pub struct Row {
    pub steps: usize,
    pub scan: Option<Figures>,
    pub unrolled: Option<Figures>,
}

impl Row {
    pub fn new(steps: usize) -> Row {
        Row { steps, scan: None, unrolled: None }
    }

    pub fn figures(&self, variant: Variant) -> Option<&Figures> {
        match variant {
            Variant::Scan => self.scan.as_ref(),
            Variant::Unrolled => self.unrolled.as_ref(),
        }
    }

    pub fn set(&mut self, variant: Variant, figures: Figures) {
        match variant {
            Variant::Scan => self.scan = Some(figures),
            Variant::Unrolled => self.unrolled = Some(figures),
        }
    }
}

/// What the times depend on besides the device.
#[derive(Serialize)]
pub struct Machine {
    /// Operating system and architecture, such as `Linux x86_64`.
    pub system: String,
    pub cores: usize,
    /// Those instruction set extensions that decide how fast float32 arithmetic is.
    pub extensions: Vec<&'static str>,
}

impl Machine {
    pub fn this() -> Machine {
        let mut os = std::env::consts::OS.to_owned();
        os[..1].make_ascii_uppercase();
        Machine {
            system: format!("{os} {}", std::env::consts::ARCH),
            // Those that this process may use.
            cores: std::thread::available_parallelism().map_or(1, |cores| cores.get()),
            extensions: extensions(),
        }
    }
}

/// The extensions that the processor has, by their names in `/proc/cpuinfo`.
fn extensions() -> Vec<&'static str> {
    const KNOWN: [&str; 5] = ["avx2", "fma", "avx512f", "avx512_bf16", "amx_tile"];
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let flags = cpuinfo.lines().find(|line| line.starts_with("flags")).unwrap_or_default();
    let flags: Vec<&str> = flags.split_whitespace().collect();
    KNOWN.into_iter().filter(|name| flags.contains(name)).collect()
}

impl std::fmt::Display for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let cores = if self.cores == 1 { "core" } else { "cores" };
        write!(f, "{}, {} {cores}", self.system, self.cores)?;
        match self.extensions.is_empty() {
            true => Ok(()),
            false => write!(f, " ({})", self.extensions.join(", ")),
        }
    }
}
