//! What a command looks at: a model or a file, at a stage.

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};

use clap::error::ErrorKind as ClapError;
use clap::{Args, Command, FromArgMatches, ValueEnum};
use onetrace::{ErrorKind, Fission, Unroll};
use serde::{Deserialize, Serialize};

use crate::failure::{Failure, reason};
use crate::model::{Forward, Loop, Model, Shape};
use crate::number;

/// A point on the way from a closure to a running program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub enum Stage {
    /// What was traced, before any pass of XLA; of a file, what is in it
    Traced,
    /// The IR of a model without what is computed twice, in vain, or in a loop where once is enough
    Simplified,
    /// The IR that HLO is made of: what need not be in a loop is before or behind it; of models
    /// only
    Fissioned,
    /// What the backend runs, after XLA's passes: the program is compiled, and not run
    Optimized,
}

impl Stage {
    /// Whether this is a stage of the IR alone.
    pub fn is_of_ir(self) -> bool {
        matches!(self, Stage::Simplified | Stage::Fissioned)
    }
}

/// As on the command line.
impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_possible_value().map_or(Ok(()), |value| f.write_str(value.get_name()))
    }
}

/// How a model is built, and the stage. What is not given has a default; files take the stage only.
#[derive(Args, Clone, Default)]
#[group(skip)]
pub struct Settings {
    /// The stage [default: traced]
    #[arg(long, value_enum)]
    stage: Option<Stage>,

    /// The number of features of each row of the sequence [default: 32]
    #[arg(long, value_name = "D", value_parser = number::count, allow_hyphen_values = true)]
    #[arg(help_heading = MODEL)]
    in_features: Option<usize>,

    /// The number of features of the state [default: 64]
    #[arg(long, value_name = "H", value_parser = number::count, allow_hyphen_values = true)]
    #[arg(help_heading = MODEL)]
    hidden: Option<usize>,

    /// The number of steps, which are the rows of the sequence [default: 16]
    #[arg(long, value_name = "T", value_parser = number::count, allow_hyphen_values = true)]
    #[arg(help_heading = MODEL)]
    steps: Option<usize>,

    /// The number of sequences at once [default: one, without an axis for them]
    #[arg(long, value_name = "B", value_parser = number::count, allow_hyphen_values = true)]
    #[arg(help_heading = MODEL)]
    batch: Option<usize>,

    /// The seed of the parameters [default: 0]
    #[arg(long, value_name = "S", value_parser = number::seed, allow_hyphen_values = true)]
    #[arg(help_heading = MODEL)]
    seed: Option<i64>,

    /// Call the step T times in a loop of Rust, without a scan
    #[arg(long, conflicts_with = "unroll", help_heading = MODEL)]
    unrolled: bool,

    /// Go from the last row to the first
    #[arg(long, help_heading = MODEL)]
    reverse: bool,

    /// Make K steps of the scan in one iteration of the loop, or as many as are fastest where it is
    /// compiled [default: auto]
    #[arg(long, value_name = "auto|K", value_parser = number::unroll, allow_hyphen_values = true)]
    #[arg(help_heading = MODEL)]
    unroll: Option<Unroll>,

    /// What may leave the loop of the scan: auto, off, or what fits in so many bytes [default:
    /// auto]
    #[arg(long, value_name = "auto|off|BYTES", value_parser = number::fission)]
    #[arg(allow_hyphen_values = true, conflicts_with = "unrolled", help_heading = MODEL)]
    fission: Option<Fission>,
}

const MODEL: &str = "Options of a MODEL";

impl Settings {
    pub fn stage(&self) -> Stage {
        self.stage.unwrap_or(Stage::Traced)
    }

    /// Reads settings such as `hidden=128,unrolled`: the options of the command line, with commas
    /// between them and without dashes.
    fn parse(text: &str) -> Result<Settings, String> {
        let takes =
            || format!("the settings behind the colon are {}", Settings::names().join(", "));
        if text.is_empty() {
            return Err(takes());
        }
        let options = text.split(',').map(|setting| format!("--{setting}"));
        let command = Settings::augment_args(Command::new("settings").no_binary_name(true));
        let command = command.disable_help_flag(true);
        let parsed = command.try_get_matches_from(options);
        parsed.and_then(|matches| Settings::from_arg_matches(&matches)).map_err(|error| {
            if error.kind() == ClapError::UnknownArgument {
                return takes();
            }
            let message = error.render().to_string();
            let message = message.lines().next().unwrap_or_default();
            message.trim_start_matches("error: ").replace("--", "")
        })
    }

    fn names() -> Vec<String> {
        let command = Settings::augment_args(Command::new("settings"));
        command
            .get_arguments()
            .map(|argument| argument.get_id().as_str().replace('_', "-"))
            .collect()
    }

    /// These settings, and those of `shared` for what is not among them.
    fn or(&self, shared: &Settings) -> Settings {
        // An operand that says something of a scan has one, and one that is unrolled has none.
        let has_scan = self.unroll.is_some() || self.fission.is_some();
        let unrolled = self.unrolled || (shared.unrolled && !has_scan);
        Settings {
            stage: self.stage.or(shared.stage),
            in_features: self.in_features.or(shared.in_features),
            hidden: self.hidden.or(shared.hidden),
            steps: self.steps.or(shared.steps),
            batch: self.batch.or(shared.batch),
            seed: self.seed.or(shared.seed),
            unrolled,
            reverse: self.reverse || shared.reverse,
            unroll: self.unroll.or(shared.unroll).filter(|_| !unrolled),
            fission: self.fission.or(shared.fission).filter(|_| !unrolled),
        }
    }

    /// The first option among these that only models take.
    fn of_model(&self) -> Option<&'static str> {
        let given = [
            ("in-features", self.in_features.is_some()),
            ("hidden", self.hidden.is_some()),
            ("steps", self.steps.is_some()),
            ("batch", self.batch.is_some()),
            ("seed", self.seed.is_some()),
            ("unrolled", self.unrolled),
            ("reverse", self.reverse),
            ("unroll", self.unroll.is_some()),
            ("fission", self.fission.is_some()),
        ];
        given.into_iter().find(|(_, given)| *given).map(|(name, _)| name)
    }

    fn shape(&self) -> Shape {
        Shape {
            in_features: self.in_features.unwrap_or(32),
            hidden: self.hidden.unwrap_or(64),
            steps: self.steps.unwrap_or(16),
            batch: self.batch,
        }
    }

    fn repeat(&self) -> Loop {
        match self.unrolled {
            true => Loop::Unrolled,
            false => Loop::Scan {
                unroll: self.unroll.unwrap_or_default(),
                fission: self.fission.unwrap_or_default(),
            },
        }
    }
}

/// What is looked at.
pub enum Program {
    Model(Model, Settings),
    File(PathBuf, Stage),
}

impl Program {
    /// The model or file that an operand names, with the settings of the command line.
    pub fn new(operand: &OsStr, settings: &Settings) -> Result<Program, Failure> {
        if let Some(model) = operand.to_str().and_then(Model::find) {
            return Ok(Program::Model(model, settings.clone()));
        }
        let path = Path::new(operand);
        if let Some(option) = settings.of_model() {
            let why = format!("{} is no model, and files do not take it", path.display());
            return Err(Failure::input(&format!("--{option}"), why));
        }
        Program::file(path, settings.stage())
    }

    /// The model or file that an operand with settings of its own names, as in
    /// `gru:hidden=128,unrolled`. `shared` holds for what they do not say.
    pub fn with_settings(operand: &OsStr, shared: &Settings) -> Result<Program, Failure> {
        let path = Path::new(operand);
        let split = operand.to_str().filter(|_| !path.exists()).and_then(|o| o.rsplit_once(':'));
        let Some((name, text)) = split else {
            return match operand.to_str().and_then(Model::find) {
                Some(model) => Ok(Program::Model(model, shared.clone())),
                None => Program::file(path, shared.stage()),
            };
        };
        let refused = |why: String| Failure::input(&path.display().to_string(), why);
        let own = Settings::parse(text).map_err(refused)?;
        let settings = own.or(shared);
        match (Model::find(name), own.of_model()) {
            (Some(model), _) => Ok(Program::Model(model, settings)),
            (None, Some(option)) => {
                Err(refused(format!("{name} is no model, and files do not take {option}")))
            }
            (None, None) => Program::file(Path::new(name), settings.stage()),
        }
    }

    pub fn stage(&self) -> Stage {
        match self {
            Program::Model(_, settings) => settings.stage(),
            Program::File(_, stage) => *stage,
        }
    }

    fn file(path: &Path, stage: Stage) -> Result<Program, Failure> {
        if stage.is_of_ir() {
            let why = "this stage is one of the IR, and a file has HLO; take traced or optimized";
            return Err(Failure::input("--stage", why));
        }
        if path == "-" {
            return Ok(Program::File("/dev/stdin".into(), stage));
        }
        // What else can be wrong with a file is found when it is read.
        if path.components().count() == 1 && std::fs::symlink_metadata(path).is_err() {
            let models = Model::ALL.map(Model::name).join(", ");
            let why =
                format!("there is no model and no file of this name; the models are {models}");
            return Err(Failure::input(&path.display().to_string(), why));
        }
        Ok(Program::File(path.to_owned(), stage))
    }
}

/// As an operand with settings: all that the program depends on.
impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (model, settings) = match self {
            Program::File(path, Stage::Traced) => return write!(f, "{}", path.display()),
            Program::File(path, stage) => return write!(f, "{}:stage={stage}", path.display()),
            Program::Model(model, settings) => (model, settings),
        };
        let Shape { in_features, hidden, steps, batch } = settings.shape();
        write!(f, "{model}:in-features={in_features},hidden={hidden},steps={steps}")?;
        if let Some(batch) = batch {
            write!(f, ",batch={batch}")?;
        }
        if let Some(seed) = settings.seed {
            write!(f, ",seed={seed}")?;
        }
        match settings.repeat() {
            Loop::Unrolled => write!(f, ",unrolled")?,
            Loop::Scan { unroll, fission } => {
                if unroll != Unroll::Auto {
                    write!(f, ",unroll={unroll}")?;
                }
                if fission != Fission::Auto {
                    write!(f, ",fission={fission}")?;
                }
            }
        }
        if settings.reverse {
            write!(f, ",reverse")?;
        }
        match settings.stage() {
            Stage::Traced => Ok(()),
            stage => write!(f, ",stage={stage}"),
        }
    }
}

pub type Lowered = onetrace::Lowered<onetrace::Tensor, Vec<onetrace::Tensor>>;

/// A model that was traced and lowered.
pub struct Built {
    pub lowered: Lowered,
    /// How often the step was called for that.
    pub step_calls: usize,
}

impl Model {
    /// Builds the model, traces it and lowers it.
    pub fn build(self, settings: &Settings) -> Result<Built, Failure> {
        let shape = settings.shape();
        let (seed, repeat) = (settings.seed.unwrap_or(0), settings.repeat());
        let build = || {
            let forward = Forward::new(self, &shape, seed, repeat, settings.reverse)?;
            let lowered = forward.trace(&forward.sequence())?.lower()?;
            Ok(Built { lowered, step_calls: forward.step_calls() })
        };
        build().map_err(|error: onetrace::Error| match error.kind() {
            ErrorKind::Argument | ErrorKind::Shape => {
                let Shape { in_features, hidden, .. } = shape;
                let sequence = shape.sequence();
                Failure::input(
                    self.name(),
                    format_args!(
                        "{in_features} features to {hidden} over a sequence {sequence:?} are too \
                         many: {}",
                        reason(&error)
                    ),
                )
            }
            _ => error.into(),
        })
    }
}
