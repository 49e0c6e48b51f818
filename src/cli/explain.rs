//! `simctl explain`: pages about what cannot be seen from the commands.

use super::args::ExplainArgs;
use super::console::Console;
use super::{ExitCode, Failure};
use crate::scenario::diagnostic::nearest;

/// A page: its topic, what it is about, and its text.
type Page = (&'static str, &'static str, &'static str);

const PAGES: &[Page] = &[
    ("exit-codes", "how simctl ends, for scripts", ""),
    ("language", "every key of a scenario, with its default", ""),
    (
        "files",
        "what a result folder holds",
        "A run leaves output/SCENARIO/VARIANT/ (or --out DIR). It is written beside that place under another\n\
         name and renamed when it is whole. The same plan again replaces it; the result of another plan is\n\
         kept unless --force is given.\n\n\
         plan.toml         the scenario with every default filled in; `simctl run` takes it,\n\
         \x20                 beside the files that it names\n\
         summary.json      objectives, breach minutes, latency, errors, cost, scaling, time to recover\n\
         services.csv      per service and interval: load, latency, errors, tasks, utilisation, cost\n\
         tasks.csv         one row per task: when it entered each state, why it stopped, what it cost\n\
         dependencies.csv  per dependency and interval: calls, connections, wait (where there are any)\n\
         nodes.csv         one row per node; a Fargate task is one\n\
         capacity.csv      per group of instances and interval: instances, tasks that wait, packing\n\
         decisions.csv     one row per decision: what was seen, how old it was, what bound it, why\n\
         decisions.jsonl   the same with the complete observation and memory of the controller\n\
         deployments.csv   one row per step of each deployment\n\
         pods.csv          per pod of a file (cluster.eks.initial_state), when it ends\n\
         packing.csv       per interval: how such pods fill the nodes, what of the free room is in fragments\n\
         queues.csv        per queue and interval: messages sent, done and waiting, age of the oldest\n\
         jobs.csv          one row per piece of work of a job: due, started, ended, attempts, outcome\n\
         costs.csv         per item and interval: quantity, unit price, dollars, who pays\n\
         replications.csv  one row per run\n\
         charts/           the pictures, as SVG and PNG; overview.svg is the one to look at first\n\n\
         With --replications also replications.json: every figure over all runs, with its interval.\n\
         compare, sweep and search leave output/SCENARIO/compare (sweep, search): study.json says what made\n\
         it, comparison.json, sweep.json or search.json holds all of it, the CSV files its tables.\n\n\
         Columns carry their unit in the name. Times count from the start of the simulation, warm-up\n\
         included; an absent value is an empty field. Equal plans and seeds give equal bytes.\n",
    ),
    (
        "streams",
        "what goes to which stream",
        "Standard output carries the result: the summary, or the document that --format asks for. Progress,\n\
         warnings and errors go to standard error: a bar on a terminal, else one line at the start and one at\n\
         the end. --quiet leaves progress and the text summary out. Text is never told apart by colour alone;\n\
         NO_COLOR, CLICOLOR_FORCE and --color are honoured, and a locale without UTF-8 gets plain ASCII.\n",
    ),
    (
        "randomness",
        "seeds, and what can be compared",
        "Every random draw comes from a stream that is named after its purpose and derived from the seed and\n\
         the replication. Another policy or another number of tasks does not move the draws of the arrivals,\n\
         so two variants with one seed meet the same requests. One replication has no interval: it says what\n\
         happened once.\n",
    ),
    (
        "experiments",
        "replications, intervals, verdicts, resuming",
        "Replication k of every variant meets the same draws, so that variants are compared pair by pair.\n\
         Intervals are over replications, never over the requests of one run; below five runs there is\n\
         none. A latency percentile is that of the requests of all runs together, its interval a jackknife\n\
         over runs. Verdicts are corrected for the number of figures tested (Holm): 5 % for any false one.\n\
         `No difference shown` is not `equal`; --margin FIGURE=MARGIN tests that.\n\n\
         An objective counts as kept when it held in nine runs of ten (--hold). --until FIGURE=HALF makes\n\
         runs until half of the interval is that small. --warm-up auto finds the warm-up where rate and\n\
         capacity are constant.\n\n\
         Finished runs are kept in output/SCENARIO/.runs (--store DIR). --resume takes them from there: after\n\
         an interrupt or a kill the result has the same bytes as without. The store may be deleted.\n",
    ),
    (
        "utilisation",
        "three meanings of one word",
        "cpu_used_pct      CPU burned, start-up and abandoned work included, over what running tasks reserve\n\
         cpu_reserved_pct  CPU reserved over what could be reserved\n\
         cpu_seen_pct      the newest published metric, which is all that scaling knows: late, and a mean\n",
    ),
    (
        "recovery",
        "how the time to recover is split",
        "An incident starts with the first interval that breaks an objective and ends before the first of\n\
         three good ones. Each moment of it belongs to the earliest link that was not yet done for the launch\n\
         that ended it:\n\n\
         detection     until the end of the newest metric period that the scaling decision had seen, or\n\
         \x20             until a health check or ECS found tasks lost; launches before it that were not\n\
         \x20             enough fall into it\n\
         publication   until that point could be seen\n\
         alarm         until the alarm had all the points it wants\n\
         decision      until scaling had acted\n\
         relaunch      earlier launches for the same loss that failed, with the waits between them\n\
         quota         waiting for launch rates and quotas\n\
         capacity      waiting for capacity that was not to be had\n\
         address       waiting for an address in a subnet\n\
         node          finding capacity and attaching the network\n\
         pull retries  tries to pull the image that failed\n\
         pull          pulling the image\n\
         start         starting containers and the application\n\
         health        until the task was healthy and had its share of the traffic\n\
         fault         while a fault lasted, and no link of a launch was under way\n\
         deployment    while a deployment was in progress, and nothing above\n\
         retries       while more than half of all attempts were retries, and nothing above\n\
         overload      while the tasks were saturated, and nothing above\n\
         unattributed  without a cause among these\n\n\
         The parts add up to the whole.\n",
    ),
];

/// Prints a page, or the list of them.
pub(crate) fn explain(args: &ExplainArgs, console: &mut Console<'_>) -> Result<ExitCode, Failure> {
    let Some(topic) = &args.topic else {
        let mut text = String::from("Topics of `simctl explain`:\n\n");
        for (name, about, _) in PAGES {
            text += &format!("  {name:<14}{about}\n");
        }
        console.out.write_all(text.as_bytes()).map_err(Failure::stdout)?;
        return Ok(ExitCode::Ok);
    };
    let wanted = topic.to_lowercase().replace(['_', ' '], "-");
    let Some((name, _, text)) = PAGES.iter().find(|p| p.0 == wanted) else {
        let near = nearest(&wanted, PAGES.iter().map(|p| p.0));
        let help = near.map_or("`simctl explain` lists the topics".into(), |n| format!("did you mean `{n}`?"));
        return Err(Failure::Other(ExitCode::Usage, format!("there is no page about `{topic}`; {help}")));
    };
    let text = match *name {
        "exit-codes" => exit_codes(),
        "language" => crate::scenario::reference(),
        _ => (*text).to_owned(),
    };
    console.out.write_all(text.as_bytes()).map_err(Failure::stdout)?;
    Ok(ExitCode::Ok)
}

fn exit_codes() -> String {
    ExitCode::ALL.iter().map(|c| format!("{:>4}  {}\n", c.code(), c.meaning())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_fit_on_a_screen() {
        for (name, about, text) in PAGES {
            assert!(!about.is_empty(), "{name}");
            for line in text.lines() {
                assert!(line.chars().count() <= 100, "{name}: {line}");
            }
        }
        assert!(exit_codes().contains("  10  an objective was missed"));
    }
}
