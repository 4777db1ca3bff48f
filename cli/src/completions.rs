//! `onetrace completions` and `onetrace man`: what a shell and `man` know of the command.

use std::path::PathBuf;

use clap::{Args, Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};
use onetrace::io;

use crate::failure::{Failure, reason};
use crate::{Cli, output};

/// Print a script that completes the command's arguments in a shell
#[derive(Args)]
#[command(after_long_help = COMPLETIONS)]
pub struct Completions {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

const COMPLETIONS: &str = "\
Examples:
  source <(onetrace completions bash)
  onetrace completions zsh > ~/.zfunc/_onetrace
  onetrace completions fish > ~/.config/fish/completions/onetrace.fish";

impl Completions {
    pub fn execute(&self) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut visible(), "onetrace", &mut script);
        output::print(|out| out.write_all(&script))
    }
}

/// Print the manual page of the command or of a subcommand
#[derive(Args)]
#[command(after_long_help = MANUAL)]
pub struct Manual {
    /// The subcommand [default: the page of the command itself]
    subcommand: Option<String>,

    /// Write the pages of the command and of all subcommands to a directory, which must exist
    #[arg(long, value_name = "DIR", conflicts_with = "subcommand")]
    output: Option<PathBuf>,
}

const MANUAL: &str = "\
Examples:
  onetrace man dump | man -l -
  onetrace man --output ~/.local/share/man/man1";

impl Manual {
    pub fn execute(&self) -> Result<(), Failure> {
        let command = visible();
        if let Some(directory) = &self.output {
            for page in std::iter::once(&command).chain(command.get_subcommands()) {
                let path = directory.join(format!("{}.1", page_name(page)));
                let text = render(page)?;
                io::write_atomically(path, |file| file.write_all(&text))
                    .map_err(|error| Failure::input("--output", reason(&error)))?;
            }
            return Ok(());
        }
        let page = match &self.subcommand {
            None => &command,
            Some(name) => command.find_subcommand(name).ok_or_else(|| {
                let names = command.get_subcommands().map(Command::get_name);
                let names = names.collect::<Vec<_>>().join(", ");
                Failure::input("SUBCOMMAND", format_args!("{name:?} is none of {names}"))
            })?,
        };
        let text = render(page)?;
        output::print(|out| out.write_all(&text))
    }
}

/// The command without the subcommands that are not for people.
fn visible() -> Command {
    let mut command = Cli::command();
    command.build();
    let shown: Vec<Command> =
        command.get_subcommands().filter(|sub| !sub.is_hide_set()).cloned().collect();
    Cli::command_for_update().subcommands(shown)
}

/// The name of a page, such as `onetrace-dump`.
fn page_name(page: &Command) -> &str {
    page.get_display_name().unwrap_or_else(|| page.get_name())
}

fn render(page: &Command) -> Result<Vec<u8>, Failure> {
    let mut text = Vec::new();
    // What follows the options in --help makes sections of its own, which come below.
    let body = page.clone().after_long_help("").after_help("");
    let man = Man::new(body).source(concat!("onetrace ", env!("CARGO_PKG_VERSION")));
    let sections = sections(page);
    let written = man.render(&mut text).and_then(|()| sections.to_writer(&mut text));
    written.map_err(|error| Failure::run(format_args!("the page cannot be made: {error}")))?;
    Ok(text)
}

/// What follows the options in --help: a block of lines under a heading such as `Examples:` is a
/// section with these lines as they stand.
fn sections(page: &Command) -> Roff {
    let mut roff = Roff::new();
    let text = page.get_after_long_help().map(ToString::to_string).unwrap_or_default();
    for block in text.split("\n\n") {
        let (first, rest) = block.split_once('\n').unwrap_or((block, ""));
        match first.strip_suffix(':') {
            Some(heading) => {
                roff.control("SH", [heading.to_uppercase().as_str()]);
                roff.control("nf", []);
                for line in rest.lines() {
                    roff.text([roman(line.strip_prefix("  ").unwrap_or(line))]);
                }
                roff.control("fi", []);
            }
            None if first.is_empty() => (),
            None => {
                roff.control("SH", ["NOTES"]);
                roff.text([roman(block)]);
            }
        }
    }
    roff
}
