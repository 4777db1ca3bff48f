//! `cargo xtask`: sets XLA up, then runs, tests or measures. It depends on nothing of XLA itself.

mod archive;
mod assembly;
mod environment;
mod fetch;
mod hash;
mod places;
mod preflight;
mod progress;
mod python;
mod runs;
mod setup;
mod shim;
mod unpack;
mod wheels;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

#[derive(Parser)]
#[command(name = "xtask", bin_name = "cargo xtask", about = "Set-up and one-command runs", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Put XLA in place.
    ///
    /// An interrupted set-up is taken up again at the first stage that is not whole: each download,
    /// each unpacking, the compilation of the shim, the assembly. What is whole lies in the cache
    /// ($ONETRACE_CACHE, or `onetrace` in the user's cache directory), so that a second checkout
    /// downloads nothing. An XLA_EXTENSION_DIR that is already set is left alone.
    Setup(SetupArgs),
    /// Print the environment that a crate depending on onetrace is built and run in.
    Env {
        /// Where set-up put XLA [default: xla_extension/dist in the repository]
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
        /// Print the [env] table of a .cargo/config.toml in place of shell commands
        #[arg(long)]
        cargo: bool,
    },
    /// Set up, then run a GRU over 2,048 steps. Further arguments go to `onetrace run`.
    Demo {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Set up, then run everything that must pass: format, lints, documentation, tests, examples.
    ///
    /// The last step is that of `interop`. It is skipped, with the reason, where JAX cannot be
    /// installed.
    Test,
    /// Set up, then compare the speed of onetrace with that of its peers.
    ///
    /// JAX, Flax and onnxruntime go into a private Python environment in the cache; candle and burn
    /// are built in bench/peers. Times, a table and a picture go to bench/results.{json,md,svg},
    /// and how processes start to bench/figures.{json,md}. It takes half an hour, in which the
    /// machine should do nothing else.
    Bench(BenchArgs),
    /// Set up, then exchange programs with JAX: each side runs what the other one wrote.
    ///
    /// JAX and Flax go into a private Python environment in the cache.
    Interop {
        /// The Python that JAX is installed for, 3.11 or later
        #[arg(long, value_name = "COMMAND", default_value = runs::PYTHON)]
        python: String,
    },
}

/// How the comparison is made.
#[derive(Args)]
struct BenchArgs {
    /// The Python that the peers are installed for, 3.11 or later
    #[arg(long, value_name = "COMMAND", default_value = runs::PYTHON)]
    python: String,
    /// One round of everything at tiny sizes, to see that it works; its results go to target/bench
    #[arg(long)]
    quick: bool,
    /// The full product of sizes, cells, kinds, layers and dtypes, which takes hours
    #[arg(long, conflicts_with = "quick")]
    all: bool,
    /// Keep what is in the results already, and time the rest
    #[arg(long)]
    resume: bool,
    /// Only the grid, with these arguments of bench/grid.py (`-- --kind grad --batch 1`); its
    /// results go to target/bench
    #[arg(last = true, value_name = "ARGUMENTS")]
    grid: Vec<String>,
}

/// Where set-up takes XLA from and where it puts it.
#[derive(Args, Default)]
struct SetupArgs {
    /// Take XLA from an xla_extension archive (tar.gz) in place of the pinned wheel
    #[arg(long, value_name = "FILE")]
    from_archive: Option<PathBuf>,
    /// Take a pinned wheel from disk in place of downloading it; may be given for each wheel
    #[arg(long, value_name = "FILE")]
    from_wheel: Vec<PathBuf>,
    /// Where to put XLA [default: xla_extension/dist in the repository]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Make everything again, except for downloads whose hash is right
    #[arg(long)]
    force: bool,
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Setup(args) => setup::run(&args),
        Command::Env { dir, cargo } => environment::print(dir, cargo),
        Command::Demo { arguments } => runs::demo(&arguments),
        Command::Test => runs::test(),
        Command::Bench(args) => runs::bench(&args),
        Command::Interop { python } => runs::interop(&python),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
