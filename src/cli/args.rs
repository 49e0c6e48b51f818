//! The arguments. Every flag has a twin in the environment, named in its help.

use std::path::PathBuf;

use clap::builder::FalseyValueParser;
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

/// Simulates ECS services on Fargate, request by request, with their scaling and their bill.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "simctl",
    version,
    about,
    propagate_version = true,
    disable_help_subcommand = true,
    after_help = "Exit codes: 0 ok, 1 failure of simctl, 2 wrong usage or scenario, 3 files, 10 objective missed (--check), \
                  130 interrupted. `simctl explain` says more."
)]
pub struct Cli {
    /// What every command takes.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What every command takes.
#[derive(Args, Clone, Debug)]
pub struct Global {
    /// Print no progress and no summary; documents asked for (JSON, Markdown) and errors still come
    #[arg(short, long, global = true, env = "SIMCTL_QUIET", value_parser = FalseyValueParser::new(), action = ArgAction::SetTrue)]
    pub quiet: bool,
    /// Print more about what is done
    #[arg(short, long, global = true, env = "SIMCTL_VERBOSE", value_parser = FalseyValueParser::new(), action = ArgAction::SetTrue)]
    pub verbose: bool,
    /// When to colour
    #[arg(long, global = true, env = "SIMCTL_COLOR", value_enum, default_value_t = ColorWhen::Auto, value_name = "WHEN")]
    pub color: ColorWhen,
    /// How findings about a scenario are printed
    #[arg(long, global = true, env = "SIMCTL_ERROR_FORMAT", value_enum, default_value_t = ErrorFormat::Text, value_name = "FORMAT")]
    pub error_format: ErrorFormat,
}

/// When to colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ColorWhen {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Also into files and pipes.
    Always,
    /// Not at all.
    Never,
}

/// How findings about a scenario are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ErrorFormat {
    /// With the lines that are meant.
    Text,
    /// As a JSON array with positions.
    Json,
}

/// How a result is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
    /// For documents and pull requests.
    Markdown,
}

/// How findings of `check` and rows of `catalog` are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PlainFormat {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// How latency is placed on its axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LatencyAxis {
    /// Logarithmic where the largest value is far above the usual one.
    Auto,
    /// From zero.
    Linear,
    /// By decades.
    Log,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Simulate scenarios and leave their results in a folder
    Run(RunArgs),
    /// Check a scenario and do the arithmetic that needs no simulation
    Check(CheckArgs),
    /// Print the summary of a result again and redraw its charts
    Report(ReportArgs),
    /// Write a commented scenario to start from
    Init(InitArgs),
    /// Print the JSON Schema of the scenario language
    Schema,
    /// Look up prices, task sizes, quotas and latencies
    Catalog(CatalogCommand),
    /// Explain exit codes, result files, random streams, or the code of an error
    Explain(ExplainArgs),
    /// Print a completion script for a shell
    Completions(CompletionsArgs),
}

/// Which scenario, and how it is changed.
#[derive(Args, Clone, Debug)]
pub struct Patch {
    /// Change one setting: an address and a value, for example services.web.task.cpu=2048 (repeatable)
    #[arg(long = "set", env = "SIMCTL_SET", value_name = "ADDR=VALUE", value_delimiter = '\n')]
    pub sets: Vec<String>,
    /// Take a variant of the scenario, or `all` of them (repeatable)
    #[arg(long = "variant", env = "SIMCTL_VARIANT", value_name = "NAME", value_delimiter = '\n')]
    pub variants: Vec<String>,
    /// Let the scenario name files outside of its folder
    #[arg(long, env = "SIMCTL_ALLOW_OUTSIDE", value_parser = FalseyValueParser::new(), action = ArgAction::SetTrue)]
    pub allow_outside: bool,
}

/// Arguments of `run`.
#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    /// Scenario files
    #[arg(value_name = "FILE", required_unless_present = "examples")]
    pub files: Vec<PathBuf>,
    /// Run a scenario that comes with simctl (repeatable); `--example list` names them
    #[arg(long = "example", env = "SIMCTL_EXAMPLE", value_name = "NAME", value_delimiter = '\n')]
    pub examples: Vec<String>,
    /// Changes to the scenario
    #[command(flatten)]
    pub patch: Patch,
    /// Where the result goes [default: output/SCENARIO/VARIANT]
    #[arg(short, long, env = "SIMCTL_OUT", value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Seed of all random streams, instead of the scenario's
    #[arg(long, env = "SIMCTL_SEED", value_name = "N")]
    pub seed: Option<u64>,
    /// Replace the result of another plan
    #[arg(short, long, env = "SIMCTL_FORCE", value_parser = FalseyValueParser::new(), action = ArgAction::SetTrue)]
    pub force: bool,
    /// How the result is printed
    #[command(flatten)]
    pub show: Show,
}

/// How a result is shown.
#[derive(Args, Clone, Debug)]
pub struct Show {
    /// How the summary is printed
    #[arg(long, env = "SIMCTL_FORMAT", value_enum, default_value_t = Format::Text, value_name = "FORMAT")]
    pub format: Format,
    /// The same as --format json
    #[arg(long, env = "SIMCTL_JSON", value_parser = FalseyValueParser::new(), action = ArgAction::SetTrue)]
    pub json: bool,
    /// End with exit code 10 when an objective is missed
    #[arg(long, env = "SIMCTL_CHECK", value_parser = FalseyValueParser::new(), action = ArgAction::SetTrue)]
    pub check: bool,
    /// Draw no charts
    #[arg(long, env = "SIMCTL_NO_CHARTS", value_parser = FalseyValueParser::new(), action = ArgAction::SetTrue)]
    pub no_charts: bool,
    /// Axis of latency in charts
    #[arg(long, env = "SIMCTL_LATENCY_AXIS", value_enum, default_value_t = LatencyAxis::Auto, value_name = "AXIS")]
    pub latency_axis: LatencyAxis,
}

impl Show {
    /// The format, with `--json` taken into account.
    #[must_use]
    pub const fn format(&self) -> Format {
        if self.json { Format::Json } else { self.format }
    }
}

/// Arguments of `check`.
#[derive(Args, Clone, Debug)]
pub struct CheckArgs {
    /// Scenario file
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Changes to the scenario
    #[command(flatten)]
    pub patch: Patch,
    /// How the findings are printed
    #[arg(long, env = "SIMCTL_FORMAT", value_enum, default_value_t = PlainFormat::Text, value_name = "FORMAT")]
    pub format: PlainFormat,
}

/// Arguments of `report`.
#[derive(Args, Clone, Debug)]
pub struct ReportArgs {
    /// Result folder
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    /// How the result is printed
    #[command(flatten)]
    pub show: Show,
}

/// Arguments of `init`.
#[derive(Args, Clone, Debug)]
pub struct InitArgs {
    /// File to write, which must not exist; standard output if left out
    #[arg(value_name = "PATH")]
    pub path: Option<PathBuf>,
}

/// Arguments of `explain`.
#[derive(Args, Clone, Debug)]
pub struct ExplainArgs {
    /// A topic; all topics are listed if left out
    #[arg(value_name = "TOPIC")]
    pub topic: Option<String>,
}

/// Arguments of `completions`.
#[derive(Args, Clone, Debug)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

/// Arguments of `catalog`.
#[derive(Args, Clone, Debug)]
pub struct CatalogCommand {
    /// What is looked up
    #[command(flatten)]
    pub search: super::catalog::CatalogArgs,
    /// How the rows are printed
    #[arg(long, env = "SIMCTL_FORMAT", value_enum, default_value_t = PlainFormat::Text, value_name = "FORMAT")]
    pub format: PlainFormat,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_well_formed_and_every_flag_has_its_twin() {
        let command = Cli::command();
        command.clone().debug_assert();
        for sub in command.get_subcommands() {
            for arg in sub.get_arguments().filter(|a| !a.is_positional()) {
                let Some(long) = arg.get_long().filter(|l| !["help", "version"].contains(l)) else { continue };
                let env = arg.get_env().map(|e| e.to_string_lossy().into_owned());
                if sub.get_name() == "catalog" && env.is_none() {
                    continue;
                }
                let twin = format!("SIMCTL_{}", long.to_uppercase().replace('-', "_"));
                assert_eq!(env.as_deref(), Some(twin.as_str()), "{} --{long}", sub.get_name());
            }
        }
    }
}
