//! From a file to a plan: includes, variants, settings, defaults, the files that it names.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::diagnostic::{Diagnostic, Diagnostics, Source, nearest};
use super::inputs::{Files, InputFile, read_inputs, read_text};
use super::lang::{Lang, Reader, list};
use super::locate;
use super::model::{
    Algorithm, Capacity, EcsService, Eks, Fargate, Inputs, KubeServiceType, KubernetesJob, KubernetesService,
    LoadBalancer, LoadBalancerType, Orchestrator, Plan, SchedulingStrategy, Search, Service, StrategyItem, TargetType,
    Traffic, Via, ViaLoadBalancer,
};
use super::patch::{Addresses, apply_set, apply_variant};
use super::state_files::read_state;
use super::tree::{Entry, Node, Table, Value, parse_document};
use super::validate::validate;
use crate::kernel::SimDuration;

/// Checks a schedule and its time zone; the error says what is wrong.
pub type CheckSchedule = fn(&str, &str) -> Result<(), String>;

/// How a scenario is loaded.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// Settings by address, `services.web.task.cpu=2048`, applied last and in order.
    pub sets: Vec<String>,
    /// The variant that is applied; the unpatched file (`base`) when absent.
    pub variant: Option<String>,
    /// Whether files outside of the scenario's folder may be read.
    pub allow_outside: bool,
    /// The full check of `cron(...)`, `rate(...)` and `at(...)`; only their shape is checked when absent.
    pub check_schedule: Option<CheckSchedule>,
    /// Further lines for the head of `plan.toml`, such as the version of the catalog.
    pub header: Vec<String>,
}

/// A scenario that can run.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Its name: that of the file, without its ending.
    pub name: String,
    /// The variant that was applied; `base` for the unpatched file.
    pub variant: String,
    /// The variants that the file has, `base` first.
    pub variants: Vec<String>,
    /// What runs.
    pub plan: Plan,
    /// What the files it names hold.
    pub inputs: Inputs,
    /// What is doubtful.
    pub warnings: Diagnostics,
    /// What `simctl search` is to look for, if the file says so.
    pub search: Option<Search>,
    /// What was written and has no effect.
    pub unused: Vec<String>,
    /// The plan with all defaults filled in, as a scenario of its own.
    pub plan_toml: String,
    /// The files that the plan names. A plan that is moved needs them beside it, under the same names.
    pub files: Vec<InputFile>,
}

/// The variant that stands for the unpatched file.
pub const BASE: &str = "base";

/// Loads a scenario from a file.
///
/// # Errors
/// With all findings, sorted by position, when one of them is an error.
pub fn load(path: &Path, options: &LoadOptions) -> Result<Loaded, Diagnostics> {
    let name = path.file_stem().map_or_else(|| "scenario".to_owned(), |s| s.to_string_lossy().into_owned());
    let folder = match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p.to_owned(),
        _ => PathBuf::from("."),
    };
    match read_text(path) {
        Ok(text) => load_text(&name, &path.display().to_string(), &text, &folder, options),
        Err(message) => Err(unreadable(path, message)),
    }
}

fn unreadable(path: &Path, message: String) -> Diagnostics {
    let code = if message.contains("not UTF-8") { "S0003" } else { "S0001" };
    let mut d = Diagnostic::error(code, message);
    if code == "S0001" && !path.exists() {
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut names: Vec<String> = std::fs::read_dir(folder)
            .map(|entries| {
                entries
                    .filter_map(|e| e.ok()?.file_name().into_string().ok())
                    .filter(|n| n.ends_with(".toml"))
                    .collect()
            })
            .unwrap_or_default();
        names.sort();
        let wanted = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        if let Some(near) = nearest(&wanted, names.iter().map(String::as_str)) {
            d = d.help(format!("there is `{}`", folder.join(near).display()));
        }
    }
    Diagnostics { sources: Vec::new(), items: vec![d] }
}

/// Loads a scenario from a text. `folder` is where files that it names are looked for.
///
/// # Errors
/// With all findings, sorted by position, when one of them is an error.
pub fn load_text(
    name: &str,
    source: &str,
    text: &str,
    folder: &Path,
    options: &LoadOptions,
) -> Result<Loaded, Diagnostics> {
    let mut loader =
        Loader { found: Diagnostics::default(), files: Files::new(folder.to_owned(), options.allow_outside) };
    match loader.load(name, source, text, options) {
        Some(loaded) if !loader.found.has_errors() => {
            loader.found.sort();
            Ok(Loaded { warnings: loader.found, files: loader.files.into_list(), ..loaded })
        }
        _ => {
            loader.found.sort();
            Err(loader.found)
        }
    }
}

/// Reads a scenario from a text that names no files.
///
/// # Errors
/// With all findings, when one of them is an error.
pub fn from_text(name: &str, text: &str) -> Result<Plan, Diagnostics> {
    load_text(name, name, text, Path::new("."), &LoadOptions::default()).map(|l| l.plan)
}

struct Loader {
    found: Diagnostics,
    files: Files,
}

/// Includes within includes, at most.
const MAX_DEPTH: usize = 8;

impl Loader {
    fn load(&mut self, name: &str, source: &str, text: &str, options: &LoadOptions) -> Option<Loaded> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        if text.trim().is_empty() {
            self.source(source, text);
            self.error(
                Diagnostic::error("S0004", format!("`{source}` is empty"))
                    .help("`simctl init` writes a scenario to start from"),
            );
            return None;
        }
        let mut root = self.parse(source, text)?;
        self.include(&mut root, 0);
        let addresses = Addresses::new();
        let origin = take_table(&mut root, "origin");
        let variants = self.take_variants(&mut root);
        let search = take_table(&mut root, "search");
        let chosen = options.variant.as_deref().unwrap_or(BASE);
        self.check_variants(&addresses, &root, &variants, chosen);
        if let Some(entry) = variants.get(chosen) {
            apply_variant(&addresses, &mut root, &entry.node, &mut self.found.items);
        }
        for set in &options.sets {
            apply_set(&addresses, &mut root, set, &mut self.found.sources, &mut self.found.items);
        }
        let search = search.and_then(|entry| self.read_search(&addresses, &root, &entry));
        if self.found.has_errors() {
            // What an address missed is not there to be read: its absence would be reported again.
            return None;
        }
        let mut plan = self.read(&root)?;
        let unused = keep_in_force(&mut plan, &root);
        let mut plan = resolve(plan);
        let state = read_state(&mut plan, &root, &mut self.files, &mut self.found);
        let inputs = Inputs { state, ..read_inputs(&plan, &root, &mut self.files, &mut self.found) };
        self.check_origin(origin.as_ref());
        validate(&plan, &root, origin.is_some(), options, &mut self.found);
        let name = origin_word(origin.as_ref(), "scenario").unwrap_or_else(|| name.to_owned());
        let variant = match chosen {
            BASE => origin_word(origin.as_ref(), "variant").unwrap_or_else(|| BASE.to_owned()),
            _ => chosen.to_owned(),
        };
        let mut names = vec![BASE.to_owned()];
        names.extend(variants.keys().filter(|n| *n != BASE).cloned());
        Some(Loaded {
            plan_toml: plan_toml(&plan, &name, &variant, &options.header, self.files.list()),
            name,
            variant,
            variants: names,
            search,
            plan,
            inputs,
            warnings: Diagnostics::default(),
            unused,
            files: Vec::new(),
        })
    }

    fn source(&mut self, name: &str, text: &str) -> u32 {
        self.found.sources.push(Source { name: name.to_owned(), text: Arc::from(text) });
        self.found.sources.len() as u32 - 1
    }

    fn error(&mut self, d: Diagnostic) {
        self.found.items.push(d);
    }

    /// Parses a text; none when its syntax is broken, for then nothing else it says can be trusted.
    fn parse(&mut self, name: &str, text: &str) -> Option<Node> {
        let source = self.source(name, text);
        let before = self.found.items.len();
        let node = parse_document(text, source, &mut self.found.items);
        (self.found.items.len() == before).then_some(node)
    }

    /// Merges the files of `include` below what is written here.
    fn include(&mut self, root: &mut Node, depth: usize) {
        let Value::Table(table) = &mut root.value else { return };
        let Some(entry) = table.shift_remove("include") else { return };
        let Value::Array(items) = &entry.node.value else {
            self.error(Diagnostic::error("S0101", "`include` takes an array of file names").at(entry.node.span));
            return;
        };
        for item in items {
            let Some(file) = item.as_str() else {
                self.error(Diagnostic::error("S0101", "`include` takes an array of file names").at(item.span));
                continue;
            };
            if depth >= MAX_DEPTH {
                self.error(
                    Diagnostic::error("S2002", "files include one another in a circle, or too deeply").at(item.span),
                );
                return;
            }
            match self.files.open(file) {
                Err(message) => self.error(Diagnostic::error("S2001", message).at(item.span).label("included here")),
                Ok(text) => {
                    if let Some(mut included) = self.parse(file, &text) {
                        self.include(&mut included, depth + 1);
                        merge_below(root, included);
                    }
                }
            }
        }
    }

    fn take_variants(&mut self, root: &mut Node) -> Table {
        match take_table(root, "variants") {
            None => Table::new(),
            Some(Entry { node: Node { value: Value::Table(t), .. }, .. }) => {
                if let Some(entry) = t.get(BASE) {
                    self.error(
                        Diagnostic::error("S1002", "`base` is the name of the unpatched file")
                            .at(entry.key)
                            .label("choose another name"),
                    );
                }
                t
            }
            Some(entry) => {
                self.error(Diagnostic::error("S0101", "`variants` takes tables by name").at(entry.node.span));
                Table::new()
            }
        }
    }

    /// Tries every variant that is not chosen, so that a wrong address is found before it is needed.
    fn check_variants(&mut self, addresses: &Addresses, root: &Node, variants: &Table, chosen: &str) {
        if chosen != BASE && !variants.contains_key(chosen) {
            let names: Vec<&str> = std::iter::once(BASE).chain(variants.keys().map(String::as_str)).collect();
            let mut d = Diagnostic::error("S2003", format!("there is no variant `{chosen}`"));
            d = match nearest(chosen, names.iter().copied()) {
                Some(near) => d.help(format!("there is `{near}`")),
                None => d.help(format!("the variants are {}", list(&names))),
            };
            self.error(d);
        }
        for (_, entry) in variants.iter().filter(|(name, _)| *name != chosen) {
            apply_variant(addresses, &mut root.clone(), &entry.node, &mut self.found.items);
        }
    }

    /// Reads the search and tries every address of its space.
    fn read_search(&mut self, addresses: &Addresses, root: &Node, entry: &Entry) -> Option<Search> {
        let mut reader = Reader::new(&mut self.found.items, None);
        let search = reader.within("search", |cx| Search::read(&entry.node, cx))?;
        let out_of = |value: f64, low: f64| !(value > low && value < 1.0);
        for (key, value, low) in [("hold", search.hold, 0.0), ("confidence", search.confidence, 0.5)] {
            if out_of(value, low) {
                let place = entry.node.as_table().and_then(|t| t.get(key)).map_or(entry.key, |e| e.node.span);
                let message = format!("`search.{key}` is above {low} and below 1, not {value}");
                self.error(Diagnostic::error("S1010", message).at(place));
            }
        }
        if !(5..=100_000).contains(&search.replications) {
            let place = entry.node.as_table().and_then(|t| t.get("replications")).map_or(entry.key, |e| e.node.span);
            let message = format!("`search.replications` is between 5 and 100000, not {}", search.replications);
            self.error(Diagnostic::error("S1010", message).at(place));
        }
        let space = entry.node.as_table().and_then(|t| t.get("space")).and_then(|e| e.node.as_table());
        let mut trial = Table::new();
        for (address, entry) in space.into_iter().flatten() {
            let first = match &entry.node.value {
                Value::Array(items) => items.first().cloned(),
                _ => None,
            };
            trial.insert(address.clone(), Entry { key: entry.key, node: first.unwrap_or_else(|| entry.node.clone()) });
        }
        let trial = Node { span: entry.node.span, value: Value::Table(trial) };
        apply_variant(addresses, &mut root.clone(), &trial, &mut self.found.items);
        Some(search)
    }

    /// A plan that was written by a run names the files it was made of: they must still be the same.
    fn check_origin(&mut self, origin: Option<&Entry>) {
        let written = origin.and_then(|o| o.node.as_table()?.get("inputs")?.node.as_table());
        for (name, entry) in written.into_iter().flatten() {
            let then = entry.node.as_str();
            if let Some(now) = self.files.list().find(|f| f.name == *name).filter(|f| Some(f.hash.as_str()) != then) {
                let message = format!("`{}` is not the file that this plan ran with", now.path.display());
                self.found.items.push(Diagnostic::error("S2012", message).at(entry.node.span).label("its BLAKE3 then"));
            }
        }
    }

    fn read(&mut self, root: &Node) -> Option<Plan> {
        let files = &mut self.files;
        let mut open = |name: &str| files.open(name).map(|text| text.to_string());
        Plan::read(root, &mut Reader::new(&mut self.found.items, Some(&mut open)))
    }
}

fn take_table(root: &mut Node, key: &str) -> Option<Entry> {
    match &mut root.value {
        Value::Table(table) => table.shift_remove(key),
        _ => None,
    }
}

fn origin_word(origin: Option<&Entry>, key: &str) -> Option<String> {
    let word = origin?.node.as_table()?.get(key)?.node.as_str()?;
    (!word.is_empty()).then(|| word.to_owned())
}

/// Puts in what `other` has and `root` has not.
fn merge_below(root: &mut Node, other: Node) {
    if let (Value::Table(mine), Value::Table(theirs)) = (&mut root.value, other.value) {
        for (name, entry) in theirs {
            match mine.get_mut(&name) {
                Some(own) => merge_below(&mut own.node, entry.node),
                None => {
                    mine.insert(name, entry);
                }
            }
        }
    }
}

/// Takes out what belongs to the orchestrator that is not in force, and names it: one file may serve both.
fn keep_in_force(plan: &mut Plan, root: &Node) -> Vec<String> {
    let orchestrator = plan.cluster.orchestrator;
    let mut names = Vec::new();
    let mut out = |path: &[&str]| {
        if locate::is_written(root, path) {
            names.push(super::lang::address(path));
        }
    };
    if orchestrator == Orchestrator::Ecs {
        out(&["cluster", "eks"]);
        plan.cluster.eks = Eks::default();
    }
    plan.capacity.retain(|name, capacity| {
        let serves = capacity.serves(orchestrator);
        if !serves {
            out(&["capacity", name]);
        }
        serves
    });
    for (name, job) in &mut plan.jobs {
        job.schedules.retain(|schedule, s| {
            let serves = s.serves(orchestrator);
            if !serves {
                out(&["jobs", name, "schedules", schedule]);
            }
            serves
        });
        let beside: &[&str] = match orchestrator {
            Orchestrator::Ecs => &["kubernetes"],
            Orchestrator::Eks => &["capacity", "attempts", "retry_interval"],
        };
        for key in beside {
            out(&["jobs", name, key]);
        }
        match orchestrator {
            Orchestrator::Ecs => job.kubernetes = KubernetesJob::default(),
            Orchestrator::Eks => {
                job.capacity.clear();
                (job.attempts, job.retry_interval) = (1, SimDuration::ZERO);
            }
        }
    }
    for (name, service) in &mut plan.services {
        let beside: &[&str] = match orchestrator {
            Orchestrator::Ecs => &["kubernetes"],
            Orchestrator::Eks => &["ecs", "capacity", "scaling", "alarms", "monitoring_resolution"],
        };
        for key in beside {
            out(&["services", name, key]);
        }
        // The API's defaults for a DAEMON service are not those of a REPLICA service.
        let configuration = ["services", name, "ecs", "deployment_configuration"];
        let left_out = |key: &str| {
            let path: Vec<&str> = configuration.iter().copied().chain([key]).collect();
            !locate::is_written(root, &path)
        };
        if service.ecs.scheduling_strategy == SchedulingStrategy::Daemon {
            if left_out("minimum_healthy_percent") {
                service.ecs.deployment_configuration.minimum_healthy_percent = 0;
            }
            if left_out("maximum_percent") {
                service.ecs.deployment_configuration.maximum_percent = 100;
            }
        }
        match orchestrator {
            Orchestrator::Ecs => service.kubernetes = KubernetesService::default(),
            Orchestrator::Eks => {
                service.ecs = EcsService::default();
                service.capacity.clear();
                service.scaling = None;
                service.alarms.clear();
                service.monitoring_resolution = 60;
            }
        }
    }
    names
}

/// Fills in what depends on other keys: without any capacity there is Fargate, a service that names none
/// runs on the only one, and a service with traffic, or that is called through one, stands behind a load balancer.
#[must_use]
pub fn resolve(mut plan: Plan) -> Plan {
    if plan.cluster.orchestrator == Orchestrator::Eks {
        return resolve_pods(plan);
    }
    if plan.capacity.is_empty() {
        plan.capacity.insert("fargate".to_owned(), Capacity::Fargate(Fargate::default()));
    }
    let only = (plan.capacity.len() == 1).then(|| plan.capacity.keys().next().cloned()).flatten();
    for service in plan.services.values_mut() {
        if let (true, Some(name)) = (service.capacity.is_empty(), &only) {
            service.capacity.insert(name.clone(), StrategyItem { base: 0, weight: 1 });
        }
        if service.load_balancer.is_none() && has_traffic(service) {
            service.load_balancer = Some(LoadBalancer::default());
        }
    }
    let mut behind = Vec::new();
    for service in plan.services.values_mut() {
        for (callee, call) in &mut service.calls {
            if !plan.dependencies.contains_key(callee) {
                let via = call.via.get_or_insert(Via::LoadBalancer(ViaLoadBalancer {}));
                behind.extend(matches!(via, Via::LoadBalancer(_)).then(|| callee.clone()));
            }
        }
    }
    for callee in &behind {
        if let Some(service) = plan.services.get_mut(callee) {
            service.load_balancer.get_or_insert_with(LoadBalancer::default);
        }
    }
    for job in plan.jobs.values_mut() {
        if let (true, Some(name)) = (job.capacity.is_empty(), &only) {
            job.capacity.insert(name.clone(), StrategyItem { base: 0, weight: 1 });
        }
    }
    plan
}

/// The same for pods: who has traffic stands behind a load balancer if one is written, else behind kube-proxy.
fn resolve_pods(mut plan: Plan) -> Plan {
    let called: Vec<bool> = plan.services.keys().map(|name| is_called(&plan, name)).collect();
    for (service, called) in plan.services.values_mut().zip(called) {
        let front = &mut service.kubernetes.service.r#type;
        let written = service.load_balancer.is_some();
        let kind =
            *front.get_or_insert(if written { KubeServiceType::LoadBalancer } else { KubeServiceType::ClusterIp });
        let served = called || service.traffic != Traffic::default();
        if kind == KubeServiceType::ClusterIp && served {
            // No proxy times out, and nothing is asked of targets beside their readiness.
            let balancer = service.load_balancer.get_or_insert_with(LoadBalancer::default);
            balancer.algorithm = Algorithm::WeightedRandom;
            balancer.idle_timeout = SimDuration::from_secs(4_000);
            balancer.deregistration_delay = SimDuration::ZERO;
        } else if kind == KubeServiceType::LoadBalancer {
            let balancer = service.load_balancer.get_or_insert_with(LoadBalancer::default);
            if service.kubernetes.service.target_type == TargetType::Instance {
                // Nodes are the targets; their proxies choose the pod.
                if balancer.r#type == LoadBalancerType::Application {
                    balancer.algorithm = Algorithm::WeightedRandom;
                }
                balancer.deregistration_delay = SimDuration::ZERO;
            }
        }
        for (callee, call) in &mut service.calls {
            if !plan.dependencies.contains_key(callee) {
                call.via.get_or_insert(Via::LoadBalancer(ViaLoadBalancer {}));
            }
        }
    }
    plan
}

/// Whether requests come to a service from outside.
#[must_use]
pub fn has_traffic(service: &Service) -> bool {
    let t = &service.traffic;
    !t.rate.is_empty() || !t.shapes.is_empty() || t.trace.is_some() || t.recorded.is_some() || t.users.is_some()
}

/// Whether a service or a dependency is called by services of the plan.
#[must_use]
pub fn is_called(plan: &Plan, name: &str) -> bool {
    plan.services.values().any(|s| s.calls.contains_key(name))
}

/// The plan as a scenario of its own, with its origin.
fn plan_toml<'a>(
    plan: &Plan,
    name: &str,
    variant: &str,
    header: &[String],
    files: impl Iterator<Item = &'a InputFile>,
) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let mut text = format!(
        "# The scenario as it ran: every default filled in. Run it again with `simctl run` and this file.\n# simctl {version}\n"
    );
    for line in header {
        text.push_str(&format!("# {}\n", line.replace('\n', " ")));
    }
    let inputs: indexmap::IndexMap<String, String> = files.map(|f| (f.name.clone(), f.hash.clone())).collect();
    let inputs = if inputs.is_empty() { super::written::Written::Absent } else { inputs.write() };
    let origin = super::written::Written::Table(indexmap::IndexMap::from_iter([
        ("scenario".to_owned(), name.to_owned().write()),
        ("variant".to_owned(), variant.to_owned().write()),
        ("simctl".to_owned(), version.to_owned().write()),
        ("inputs".to_owned(), inputs),
    ]));
    let origin = super::written::Written::Table(indexmap::IndexMap::from_iter([("origin".to_owned(), origin)]));
    text.push('\n');
    text.push_str(&origin.to_toml());
    text.push('\n');
    text.push_str(&plan.write().to_toml());
    text
}

/// The identity of what runs: BLAKE3, in hexadecimal, of the plan's text and of what its files hold.
#[must_use]
pub fn plan_hash(plan: &Plan, inputs: &Inputs) -> String {
    let mut hash = blake3::Hasher::new();
    hash.update(plan.write().to_toml().as_bytes());
    for (name, rows) in &inputs.traces {
        hash.update(format!("\ntrace {name} {}\n", rows.len()).as_bytes());
        for row in rows.iter() {
            hash.update(&row.at.as_nanos().to_le_bytes());
            hash.update(&row.requests.to_bits().to_le_bytes());
        }
    }
    for (name, instants) in &inputs.recordings {
        hash.update(format!("\nrecording {name} {}\n", instants.len()).as_bytes());
        for at in instants.iter() {
            hash.update(&at.as_nanos().to_le_bytes());
        }
    }
    for (name, rows) in &inputs.spot {
        hash.update(format!("\nspot {name} {}\n", rows.len()).as_bytes());
        for row in rows.iter() {
            hash.update(&row.at.as_nanos().to_le_bytes());
            hash.update(&row.value.to_bits().to_le_bytes());
            hash.update(format!("{:?} {:?}\n", row.zone, row.instance_type).as_bytes());
        }
    }
    if let Some(state) = &inputs.state {
        hash.update(format!("\nstate {}\n", state.hash).as_bytes());
    }
    if let Some(prices) = &inputs.prices {
        hash.update(b"\nprices\n");
        hash.update(prices.as_bytes());
    }
    hash.finalize().to_hex().to_string()
}
