//! Expanders: which of several groups grows.
//!
//! Sources: `expander/{waste/waste,mostpods/mostpods,leastnodes/leastnodes,price/price,price/preferred,
//! priority/priority,random/random}.go`.

use super::Observation;
use super::scale_up::ExpansionOption;

/// One way to choose among groups.
#[derive(Clone, Debug, PartialEq)]
pub enum Expander {
    /// By lot.
    Random,
    /// The group that helps most pods.
    MostPods,
    /// The group that leaves least CPU and memory idle, each as a share of its new nodes' capacity.
    LeastWaste,
    /// The group with the fewest new nodes.
    LeastNodes,
    /// The cheapest for what its pods are worth, weighed by how well the node's size suits the cluster.
    Price(PodPrices),
    /// The group of the highest priority.
    Priority(Priorities),
}

/// What a pod's requests are worth an hour in dollars: for [`Expander::Price`]. The real expander has such
/// prices for few clouds, AWS not among them; the defaults are its own ones for GCE.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PodPrices {
    /// A core.
    pub core: f64,
    /// A GiB of memory.
    pub gib: f64,
}

impl Default for PodPrices {
    fn default() -> Self {
        Self { core: 0.033_174, gib: 0.004_446 }
    }
}

/// Priorities of groups: patterns (regular expressions on the group's name) by priority, the higher the
/// better, as in the ConfigMap `cluster-autoscaler-priority-expander`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Priorities(pub Vec<(i32, Vec<String>)>);

/// Whether a text is a pattern that [`Priorities`] can hold.
#[must_use]
pub fn pattern_is_valid(pattern: &str) -> bool {
    regex_lite::Regex::new(pattern).is_ok()
}

/// Chooses one option, if there is any.
pub(super) fn choose(
    expanders: &[Expander],
    options: Vec<ExpansionOption>,
    see: &Observation<'_>,
    nodes: u32,
) -> Option<ExpansionOption> {
    let mut left = options;
    for expander in expanders {
        if left.len() <= 1 {
            break;
        }
        left = filter(expander, left, see, nodes);
    }
    match left.len() {
        0 => None,
        many => {
            let at = (u128::from(see.draw) * many as u128) >> 64;
            Some(left.swap_remove(at as usize))
        }
    }
}

fn filter(
    expander: &Expander,
    options: Vec<ExpansionOption>,
    see: &Observation<'_>,
    nodes: u32,
) -> Vec<ExpansionOption> {
    match expander {
        Expander::Random => {
            let at = (u128::from(see.draw) * options.len() as u128) >> 64;
            options.into_iter().skip(at as usize).take(1).collect()
        }
        Expander::MostPods => least_of(options, |o| -(o.pods.len() as f64)),
        Expander::LeastNodes => least_of(options, |o| f64::from(o.nodes)),
        Expander::LeastWaste => least_of(options, |o| waste(o, see)),
        Expander::Price(prices) => {
            let mut best = least_of(options, |o| price_score(o, see, *prices, nodes));
            best.truncate(1);
            best
        }
        Expander::Priority(priorities) => by_priority(priorities, options, see),
    }
}

fn least_of(options: Vec<ExpansionOption>, score: impl Fn(&ExpansionOption) -> f64) -> Vec<ExpansionOption> {
    let scores: Vec<f64> = options.iter().map(&score).collect();
    let Some(least) = scores.iter().copied().min_by(f64::total_cmp) else { return options };
    options.into_iter().zip(scores).filter(|(_, s)| s.total_cmp(&least).is_eq()).map(|(o, _)| o).collect()
}

/// What the pods of an option request: millicores and bytes.
fn requested(option: &ExpansionOption, see: &Observation<'_>) -> (i64, i64) {
    let shapes = option.pods.iter().filter_map(|p| see.scheduler.shape(p.shape));
    shapes.fold((0, 0), |sum, s| (sum.0 + s.requests.cpu_m, sum.1 + s.requests.memory))
}

fn waste(option: &ExpansionOption, see: &Observation<'_>) -> f64 {
    let (cpu, memory) = requested(option, see);
    let Some(group) = see.groups.iter().find(|g| g.id == option.group) else { return f64::INFINITY };
    let nodes = i64::from(option.nodes);
    let wasted = |has: i64, requested: i64| {
        let has = has * nodes;
        (has - requested) as f64 / has as f64
    };
    wasted(group.capacity.cpu_m, cpu) + wasted(group.capacity.memory, memory)
}

/// The CPU of the node that suits a cluster of so many nodes, in millicores: it doubles as they treble.
fn preferred_cpu(nodes: u32) -> f64 {
    let cores = match nodes {
        0..=2 => 1,
        3..=6 => 2,
        7..=20 => 4,
        21..=60 => 8,
        61..=200 => 16,
        _ => 32,
    };
    f64::from(cores) * 1000.0
}

fn price_score(option: &ExpansionOption, see: &Observation<'_>, prices: PodPrices, nodes: u32) -> f64 {
    // Nodes with GPUs are for pods that need them and nothing else.
    const GPU_UNFITNESS: f64 = 1000.0;
    let Some(group) = see.groups.iter().find(|g| g.id == option.group) else { return f64::INFINITY };
    let worth =
        |cpu_m: i64, memory: i64| cpu_m as f64 / 1000.0 * prices.core + memory as f64 / f64::from(1 << 30) * prices.gib;
    // Steadies the ratio where pods request little.
    let steady = worth(500, 500 << 20);
    let (cpu, memory) = requested(option, see);
    let ratio = (group.price_per_hour * f64::from(option.nodes) + steady) / (worth(cpu, memory) + steady);
    let (preferred, own) = (preferred_cpu(nodes), group.capacity.cpu_m as f64);
    let unfitness = (preferred / own).max(own / preferred);
    let suppressed = match group.gpu {
        Some(_) => GPU_UNFITNESS,
        None => (unfitness - 1.0) * (1.0 - libm::tanh((f64::from(option.nodes) - 1.0) / 15.0)) + 1.0,
    };
    suppressed * ratio
}

fn by_priority(priorities: &Priorities, options: Vec<ExpansionOption>, see: &Observation<'_>) -> Vec<ExpansionOption> {
    let name = |o: &ExpansionOption| see.groups.iter().find(|g| g.id == o.group).map_or("", |g| g.name.as_str());
    let priority = |o: &ExpansionOption| {
        let matching = priorities.0.iter().filter(|(_, patterns)| {
            patterns.iter().any(|p| regex_lite::Regex::new(p).is_ok_and(|r| r.is_match(name(o))))
        });
        matching.map(|(priority, _)| *priority).max()
    };
    let own: Vec<Option<i32>> = options.iter().map(priority).collect();
    match own.iter().flatten().max() {
        // No group has a priority: nothing is left out.
        None => options,
        highest => options.into_iter().zip(&own).filter(|(_, p)| p.as_ref() == highest).map(|(o, _)| o).collect(),
    }
}
