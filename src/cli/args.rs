//! The arguments. Every flag has a twin in the environment, named in its help.

use std::path::PathBuf;

use clap::builder::FalseyValueParser;
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

use crate::experiment::sweep::Design;

/// Simulates ECS services on Fargate, request by request, with their scaling and their bill.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "simctl",
    version,
    about,
    propagate_version = true,
    disable_help_subcommand = true,
    after_help = "Exit codes: 0 ok, 1 failure of simctl, 2 wrong usage or scenario, 3 files, 10 objective missed (--check) or \
                  nothing found, 11 not precise enough, 20 some runs failed, 130 interrupted. `simctl explain` says more."
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
    /// Compare variants or scenarios over many replications, with a verdict
    Compare(CompareArgs),
    /// Run a grid or a sample of settings
    Sweep(SweepArgs),
    /// Find the cheapest configuration that keeps the objectives
    Search(SearchArgs),
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
    /// Run this replication alone, in detail
    #[arg(long, env = "SIMCTL_REPLICATION", value_name = "K", conflicts_with_all = ["replications", "until"])]
    pub replication: Option<u32>,
    /// How many runs
    #[command(flatten)]
    pub many: Many,
    /// When they are enough
    #[command(flatten)]
    pub until: Until,
    /// Replace the result of another plan
    #[arg(short, long, env = "SIMCTL_FORCE", value_parser = FalseyValueParser::new(), action = ArgAction::SetTrue)]
    pub force: bool,
    /// How the result is printed
    #[command(flatten)]
    pub show: Show,
}

/// How many runs are made, and how.
#[derive(Args, Clone, Debug)]
pub struct Many {
    /// Replications: runs with their own random streams, the same ones for every variant
    #[arg(short = 'n', long, env = "SIMCTL_REPLICATIONS", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub replications: Option<u32>,
    /// Threads [default: all cores]; results do not depend on it
    #[arg(short, long, env = "SIMCTL_JOBS", value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1_024))]
    pub jobs: Option<u16>,
    /// Take finished runs from the store instead of running them again
    #[arg(long, env = "SIMCTL_RESUME", value_parser = FalseyValueParser::new(), action = ArgAction::SetTrue)]
    pub resume: bool,
    /// Where finished runs are kept [default: output/SCENARIO/.runs]
    #[arg(long, env = "SIMCTL_STORE", value_name = "DIR")]
    pub store: Option<PathBuf>,
    /// Where the warm-up ends; `auto` finds it in a pilot run where rate and capacity are constant (MSER-5)
    #[arg(long, env = "SIMCTL_WARM_UP", value_enum, default_value_t = WarmUp::Scenario, value_name = "WHO")]
    pub warm_up: WarmUp,
    /// Share of the runs in which an objective has to hold to count as kept [default: 0.9]
    #[arg(long, env = "SIMCTL_HOLD", value_name = "SHARE", value_parser = share)]
    pub hold: Option<f64>,
}

impl Many {
    /// How many threads are used.
    #[must_use]
    pub fn jobs(&self) -> usize {
        self.jobs.map_or_else(crate::experiment::all_cores, usize::from)
    }

    /// The share of runs in which an objective has to hold.
    #[must_use]
    pub fn hold(&self) -> f64 {
        self.hold.unwrap_or(crate::experiment::HOLD)
    }
}

/// Who says where the warm-up ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum WarmUp {
    /// The scenario.
    Scenario,
    /// A pilot run of each variant; the longest counts.
    Auto,
}

/// A share above 0 and at most 1.
fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if share > 0.0 && share <= 1.0 => Ok(share),
        _ => Err("expected a share above 0 and at most 1, such as 0.9".to_owned()),
    }
}

/// When replications are enough.
#[derive(Args, Clone, Debug)]
pub struct Until {
    /// Make replications until a figure is as precise as this: `p99=5ms`, `cost=2%` (half of its interval)
    #[arg(long, env = "SIMCTL_UNTIL", value_name = "FIGURE=HALF")]
    pub until: Option<String>,
    /// Most replications that --until makes
    #[arg(long, env = "SIMCTL_MAX_REPLICATIONS", value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(10..=1_000_000))]
    pub max_replications: u32,
}

/// What `compare`, `sweep` and `search` take.
#[derive(Args, Clone, Debug)]
pub struct StudyArgs {
    /// Changes to the scenario
    #[command(flatten)]
    pub patch: Patch,
    /// How many runs; in a search --replications and --hold replace those of the scenario's [search]
    #[command(flatten)]
    pub many: Many,
    /// Seed of all random streams, instead of the scenario's
    #[arg(long, env = "SIMCTL_SEED", value_name = "N")]
    pub seed: Option<u64>,
    /// Where the result goes [default: output/SCENARIO/COMMAND]
    #[arg(short, long, env = "SIMCTL_OUT", value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Replace a result that was made of something else
    #[arg(short, long, env = "SIMCTL_FORCE", value_parser = FalseyValueParser::new(), action = ArgAction::SetTrue)]
    pub force: bool,
    /// How the result is printed
    #[command(flatten)]
    pub show: Show,
}

/// Arguments of `compare`.
#[derive(Args, Clone, Debug)]
pub struct CompareArgs {
    /// One scenario, whose variants are compared, or several
    #[arg(value_name = "FILE", required_unless_present = "examples")]
    pub files: Vec<PathBuf>,
    /// Compare the variants of a scenario that comes with simctl (repeatable)
    #[arg(long = "example", env = "SIMCTL_EXAMPLE", value_name = "NAME", value_delimiter = '\n')]
    pub examples: Vec<String>,
    /// When they are enough
    #[command(flatten)]
    pub until: Until,
    /// The variant that the others are compared with [default: the first]
    #[arg(long, env = "SIMCTL_REFERENCE", value_name = "NAME")]
    pub reference: Option<String>,
    /// Treat the runs of different variants as independent
    #[arg(long, env = "SIMCTL_UNPAIRED", value_parser = FalseyValueParser::new(), action = ArgAction::SetTrue)]
    pub unpaired: bool,
    /// Test whether a figure is the same within a margin: `p99=10` (in the figure's unit; repeatable)
    #[arg(long = "margin", env = "SIMCTL_MARGIN", value_name = "FIGURE=MARGIN", value_delimiter = '\n')]
    pub margins: Vec<String>,
    /// What all commands over many runs take
    #[command(flatten)]
    pub study: StudyArgs,
}

/// Arguments of `sweep`.
#[derive(Args, Clone, Debug)]
pub struct SweepArgs {
    /// Scenario file
    #[arg(value_name = "FILE", required_unless_present = "example")]
    pub file: Option<PathBuf>,
    /// Sweep a scenario that comes with simctl
    #[arg(long, env = "SIMCTL_EXAMPLE", value_name = "NAME", conflicts_with = "file")]
    pub example: Option<String>,
    /// An address and its values: a list `a,b,c`, or a range `50..90:5`, `50..90/10`, `10..1000:5:log` (repeatable)
    #[arg(long = "vary", env = "SIMCTL_VARY", value_name = "ADDR=VALUES", value_delimiter = '\n', required = true)]
    pub vary: Vec<String>,
    /// Sample the axes instead of a grid: `lhs:64` (Latin hypercube) or `sobol:64`
    #[arg(long, env = "SIMCTL_SAMPLE", value_name = "DESIGN:N", value_parser = sample)]
    pub sample: Option<Design>,
    /// What all commands over many runs take
    #[command(flatten)]
    pub study: StudyArgs,
}

/// Reads `lhs:64` or `sobol:64`.
fn sample(text: &str) -> Result<Design, String> {
    let expected = || "expected lhs:N or sobol:N, with N from 2 to 1000000".to_owned();
    let (name, n) = text.split_once(':').ok_or_else(expected)?;
    let n = n.parse().ok().filter(|n| (2..=1_000_000).contains(n)).ok_or_else(expected)?;
    match name {
        "lhs" => Ok(Design::LatinHypercube(n)),
        "sobol" => Ok(Design::Sobol(n)),
        _ => Err(expected()),
    }
}

/// Arguments of `search`.
#[derive(Args, Clone, Debug)]
pub struct SearchArgs {
    /// Scenario file with objectives and a [search.space]
    #[arg(value_name = "FILE", required_unless_present = "example")]
    pub file: Option<PathBuf>,
    /// Search in a scenario that comes with simctl
    #[arg(long, env = "SIMCTL_EXAMPLE", value_name = "NAME", conflicts_with = "file")]
    pub example: Option<String>,
    /// Add an axis to the space, or replace it (repeatable)
    #[arg(long = "vary", env = "SIMCTL_VARY", value_name = "ADDR=VALUES", value_delimiter = '\n')]
    pub vary: Vec<String>,
    /// Most configurations that are run at once in the beginning; a larger space is sampled and then walked
    #[arg(long, env = "SIMCTL_FIRST", value_name = "N", default_value_t = 400, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub first: u32,
    /// What all commands over many runs take
    #[command(flatten)]
    pub study: StudyArgs,
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
