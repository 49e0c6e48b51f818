//! Troubles of a service: counted while they happen, named when the run is over.
//!
//! The rest of the simulation only [notes](Troubles::note) what happened. At the end each finding is drawn from the
//! counts and put into words by one function, [`Finding::diagnosis`].

use super::Simulation;
use super::life::StartStep;
use super::recorder::ServiceRecord;
use super::scale::Role;
use crate::cluster::{DeploymentOutcome, TaskStatus};
use crate::kernel::{SimDuration, SimTime};
use crate::output::{Diagnosis, DiagnosisKind};
use crate::scenario::model::Capacity;
use crate::units::{CapacityId, ServiceId};

/// What can be noted of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TroubleKind {
    /// A launch found no capacity.
    NoCapacity,
    /// A launch found no Spot capacity.
    NoSpot,
    /// A launch was held back by the quota of vCPUs.
    OverQuota,
    /// A launch found no address in its subnet.
    NoAddress,
    /// A Spot task got its notice.
    Interrupted,
    /// An essential container exited by itself.
    Exit,
    /// A container of a pod was started again.
    Restarted,
    /// A quota of the namespace refused a pod.
    Forbidden,
    /// The volume of a pod was attached to another node.
    VolumeInUse,
    /// A task was killed for memory.
    OutOfMemory,
    /// The agent gave up pulling an image.
    CannotPull,
    /// A task stopped before it was RUNNING, for another reason.
    FailedStart,
    /// A task was replaced for failed health checks before its application had ever answered.
    KilledWhileStarting,
    /// A task was replaced for failed health checks.
    Unhealthy,
    /// A task was lost with its machine.
    LostMachine,
    /// The restart throttle held a launch back.
    Throttled,
    /// An alarm of a scaling policy had no data.
    NoData,
    /// An interval in which an objective failed and no alarm of a scaling policy stood.
    Silent,
    /// An interval in which an objective failed at the largest capacity.
    AtMaximum,
}

const KINDS: usize = TroubleKind::AtMaximum as usize + 1;

/// How often something was noted, and when first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Noted {
    count: u64,
    since: Option<SimTime>,
}

/// The troubles of a service.
#[derive(Clone, Debug, Default)]
pub(super) struct Troubles {
    noted: [Noted; KINDS],
    /// Scaling that was held back, by what, with the first time.
    held: indexmap::IndexMap<&'static str, Noted>,
    /// How long no alarm has stood in an incident, now and at most.
    silent: SimDuration,
    longest_silent: SimDuration,
    /// The longest wait that the restart throttle set.
    longest_throttle: SimDuration,
    /// Tasks that found no room on an instance.
    pub(super) unplaced: super::place::Unplaced,
    /// What the deployment at work waits for, and since when.
    waits: Option<(SimTime, String)>,
}

/// Time without an alarm that is more than the loop needs: three periods and their publication.
const LONG_SILENCE: SimDuration = SimDuration::from_secs(480);

/// Time that a deployment may wait for the same before it counts as stuck.
const LONG_WAIT: SimDuration = SimDuration::from_secs(600);

impl Troubles {
    /// Something happened.
    pub(super) fn note(&mut self, kind: TroubleKind, now: SimTime) {
        self.noted[kind as usize].add(now);
    }

    /// Scaling was held back.
    pub(super) fn scaling_held(&mut self, by: &'static str, now: SimTime) {
        self.held.entry(by).or_default().add(now);
    }

    /// The restart throttle holds launches back until then.
    pub(super) fn throttled(&mut self, now: SimTime, until: SimTime) {
        self.note(TroubleKind::Throttled, now);
        self.longest_throttle = self.longest_throttle.max(until.since(now));
    }

    /// An interval of an incident has passed, with an alarm that stood or without one.
    pub(super) fn interval(&mut self, now: SimTime, length: SimDuration, broken: bool, alarm_stands: bool) {
        if broken && !alarm_stands {
            self.note(TroubleKind::Silent, now);
            self.silent += length;
            self.longest_silent = self.longest_silent.max(self.silent);
        } else {
            self.silent = SimDuration::ZERO;
        }
    }

    /// What the deployment at work waits for; an empty text when it goes on.
    pub(super) fn deployment_waits(&mut self, now: SimTime, what: &str) {
        match &self.waits {
            _ if what.is_empty() => self.waits = None,
            // A throttle names another instant each time.
            Some((_, before)) if head(before) == head(what) => {}
            _ => self.waits = Some((now, what.to_string())),
        }
    }

    fn count(&self, kind: TroubleKind) -> u64 {
        self.noted[kind as usize].count
    }
}

/// The words of a wait without its numbers.
fn head(text: &str) -> &str {
    text.split_at(text.find(|c: char| c.is_ascii_digit()).unwrap_or(text.len())).0
}

impl Noted {
    fn add(&mut self, now: SimTime) {
        self.count += 1;
        self.since.get_or_insert(now);
    }
}

/// A trouble with what is known of it: a closed set.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Finding {
    OutOfMemory { tasks: u64 },
    Exits { times: u64 },
    Throttled { passes: u64, longest: SimDuration },
    FailedPulls { tasks: u64 },
    FailedStarts { tasks: u64 },
    KilledWhileStarting { tasks: u64, grace_s: u32 },
    Unhealthy { tasks: u64 },
    LostMachines { tasks: u64 },
    NoCapacity { launches: u64, waiting: u32 },
    NoSpot { launches: u64, waiting: u32 },
    NoAddress { launches: u64, waiting: u32, per_zone: u32 },
    OverQuota { launches: u64, waiting: u32 },
    Unplaceable { tasks: u64, given_up: u64, waiting: u32, why: String },
    NoInstances { launches: u64, short: u32 },
    GroupAtMaximum { minutes: u64, max: u32, waiting: u32 },
    DeploymentStuck { revision: u32, why: String, kube: bool },
    Unschedulable { pods: u64, waiting: u32, why: String },
    Restarts { times: u64, of_one: u32, why: String },
    Forbidden { times: u64, namespace: String },
    VolumeInUse { times: u64 },
    UpdateFailed { times: u64, why: String, evicts: bool },
    ScalingHeld { by: Vec<(&'static str, u64)> },
    ScalingWithoutData { evaluations: u64 },
    ScalingSilent { longest: SimDuration },
    AtMaximum { seconds: f64, max: u32 },
    RefusedByDependency { connections: u64, max_connections: u32 },
    PoolStarved { attempts: u64, callee: String, max_connections: u32 },
    RetryStorm { retries: u64, attempts: u64 },
    Overload { cpu_pct: f64, unanswered: u64 },
}

fn n(count: u64, one: &str, more: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {more}") }
}

/// What still waits at the end.
fn still(waiting: u32) -> String {
    if waiting == 0 {
        String::new()
    } else {
        format!("; {} still wait at the end", n(u64::from(waiting), "task", "tasks"))
    }
}

impl Finding {
    /// The kind, how often, the evidence and the advice.
    pub(super) fn words(&self) -> (DiagnosisKind, u64, String, &'static str) {
        use DiagnosisKind as K;
        match self {
            Self::OutOfMemory { tasks } => (
                K::OutOfMemory,
                *tasks,
                format!(
                    "{} killed because the requests in it needed more than its memory",
                    n(*tasks, "task was", "tasks were")
                ),
                "give the task more memory or let it work on fewer requests at once (`task.memory`, `task.concurrency`)",
            ),
            Self::Exits { times: times @ 3.. } => (
                K::RepeatedRestarts,
                *times,
                format!("an essential container exited by itself {times} times; each time the task was replaced"),
                "look for what ends it; a circuit breaker ends a deployment that brought it",
            ),
            Self::Exits { times } => (
                K::EssentialExit,
                *times,
                format!("an essential container exited by itself {}, and the task with it", n(*times, "time", "times")),
                "a container that may end is not essential (`containers.X.essential = false`)",
            ),
            Self::Throttled { passes, longest } => (
                K::RestartThrottle,
                *passes,
                format!(
                    "launches that never reach RUNNING are spaced out: the longest wait was {:.0} s",
                    longest.as_secs_f64()
                ),
                "a new deployment ends the throttle; the cause is among the other diagnoses",
            ),
            Self::FailedPulls { tasks } => (
                K::FailedPulls,
                *tasks,
                format!("{} with CannotPullContainerError", n(*tasks, "task stopped", "tasks stopped")),
                "check registry, its limits and the way to it (NAT gateway or VPC endpoints); a pull-through cache or a copy in ECR takes a foreign registry out of the way",
            ),
            Self::FailedStarts { tasks } => (
                K::FailedStarts,
                *tasks,
                format!(
                    "{} before RUNNING: image, configuration, secrets or dependencies",
                    n(*tasks, "task stopped", "tasks stopped")
                ),
                "the stop reasons in tasks.csv say which; a circuit breaker with rollback ends a deployment that brought it",
            ),
            Self::KilledWhileStarting { tasks, grace_s } => (
                K::KilledWhileStarting,
                *tasks,
                format!(
                    "{} for failed health checks before the application had answered once; the grace period is {grace_s} s",
                    n(*tasks, "task was replaced", "tasks were replaced")
                ),
                "set `ecs.health_check_grace_period_seconds` above the start-up time",
            ),
            Self::Unhealthy { tasks } => (
                K::UnhealthyService,
                *tasks,
                format!("{} because health checks failed", n(*tasks, "task was replaced", "tasks were replaced")),
                "if the tasks were only busy, be more patient (`health_check.unhealthy_threshold`, `timeout`) or give them more room",
            ),
            Self::LostMachines { tasks } => (
                K::MachinesLost,
                *tasks,
                format!(
                    "{} lost with the machine under {}",
                    n(*tasks, "task was", "tasks were"),
                    if *tasks == 1 { "it" } else { "them" }
                ),
                "what is left must carry the load until replacements serve: keep room for the loss of a zone",
            ),
            Self::NoCapacity { launches, waiting } => (
                K::CapacityUnavailable,
                *launches,
                format!(
                    "{} no capacity and {} tried again later{}",
                    n(*launches, "launch found", "launches found"),
                    was(*launches),
                    still(*waiting)
                ),
                "spread over more zones, sizes or capacity providers, or hold the tasks in advance",
            ),
            Self::NoSpot { launches, waiting } => (
                K::SpotUnavailable,
                *launches,
                format!(
                    "{} no Spot capacity and {} tried again later{}",
                    n(*launches, "launch found", "launches found"),
                    was(*launches),
                    still(*waiting)
                ),
                "give the strategy an on-demand base; ECS does not fall back to it by itself",
            ),
            Self::NoAddress { launches, waiting, per_zone } => (
                K::AddressesExhausted,
                *launches,
                format!(
                    "{} no free address in the subnets ({per_zone} a zone) and {} tried again later{}",
                    n(*launches, "launch found", "launches found"),
                    was(*launches),
                    still(*waiting)
                ),
                "larger or more subnets; every awsvpc task takes an address",
            ),
            Self::OverQuota { launches, waiting } => (
                K::QuotaReached,
                *launches,
                format!(
                    "{} held back by the account's Fargate vCPU quota{}",
                    n(*launches, "launch was", "launches were"),
                    still(*waiting)
                ),
                "ask for a higher quota before the peak (Service Quotas, Fargate vCPU resource count)",
            ),
            Self::Unplaceable { tasks, given_up, waiting, why } => (
                K::TasksUnplaceable,
                *tasks,
                format!(
                    "{} to wait for room on an instance; at the latest look {why}{}{}",
                    n(*tasks, "task had", "tasks had"),
                    if *given_up > 0 {
                        format!("; {} stopped for it", n(*given_up, "task was", "tasks were"))
                    } else {
                        String::new()
                    },
                    still(*waiting)
                ),
                "more or larger instances, managed scaling with a target below 100 for spare room, awsvpcTrunking where interfaces run out, or smaller tasks",
            ),
            Self::NoInstances { launches, short } => (
                K::CapacityUnavailable,
                *launches,
                format!(
                    "{} of an instance found no capacity{}",
                    n(*launches, "launch", "launches"),
                    if *short > 0 {
                        format!("; {} missing at the end", n(u64::from(*short), "instance is", "instances are"))
                    } else {
                        String::new()
                    }
                ),
                "more instance types and zones, On-Demand beside Spot, or capacity that is reserved",
            ),
            Self::GroupAtMaximum { minutes, max, waiting } => (
                K::ProviderAtMaximum,
                *minutes,
                format!(
                    "managed scaling wanted more than the {} that the group may have for {}{}",
                    n(u64::from(*max), "instance", "instances"),
                    n(*minutes, "minute", "minutes"),
                    still(*waiting)
                ),
                "raise `max_size`, or give the tasks larger instances",
            ),
            Self::DeploymentStuck { revision, why, kube } => (
                K::DeploymentStuck,
                1,
                format!("revision {revision} does not go on: {why}"),
                match kube {
                    true => {
                        "kubectl rollout undo; a StatefulSet that waits for a broken pod goes on when that is deleted"
                    }
                    false => "end it with a circuit breaker, an alarm, or StopServiceDeployment",
                },
            ),
            Self::Unschedulable { pods, waiting, why } => (
                K::PodsUnschedulable,
                *pods,
                format!(
                    "{} no node at first, the latest because: {}{}",
                    n(*pods, "pod found", "pods found"),
                    why.trim_end_matches('.'),
                    match waiting {
                        0 => String::new(),
                        w => format!("; {} unschedulable at the end", n(u64::from(*w), "pod is", "pods are")),
                    }
                ),
                "an autoscaler for nodes, larger groups or pools, smaller requests, or low-priority pods that hold room",
            ),
            Self::Restarts { times, of_one: of_one @ 3.., why } => (
                K::CrashLoopBackOff,
                *times,
                format!(
                    "containers were started again {times} times, one of them {of_one} times, lately because {why}; the kubelet waits longer each time, up to 5 min"
                ),
                "look for what ends them; a liveness probe that a busy pod fails makes it worse (`timeout_seconds`, `failure_threshold`)",
            ),
            Self::Restarts { times, why, .. } => (
                K::ContainerRestarts,
                *times,
                format!(
                    "{} again, lately because {why}",
                    n(*times, "container was started", "containers were started")
                ),
                "look for what ended them",
            ),
            Self::Forbidden { times, namespace } => (
                K::NamespaceQuotaReached,
                *times,
                format!(
                    "{} forbidden by the ResourceQuota of the namespace {namespace}",
                    n(*times, "creation of a pod was", "creations of a pod were")
                ),
                "raise the quota, or leave room in it for the surge of a rollout",
            ),
            Self::VolumeInUse { times } => (
                K::VolumeInUse,
                *times,
                format!(
                    "{} the volume attached to another node (Multi-Attach error)",
                    n(*times, "look found", "looks found")
                ),
                "a ReadWriteOnce volume goes with one replica and the strategy `Recreate`",
            ),
            Self::UpdateFailed { times, why, evicts } => (
                K::NodeGroupUpdateFailed,
                *times,
                why.clone(),
                if *evicts {
                    "let the budget spare a pod (`pod_disruption_budget.max_unavailable`), run more pods than it demands, or force the update (`update_config.force`)"
                } else {
                    "see why new nodes do not come: capacity, zones, quotas, `nodes.launch`"
                },
            ),
            Self::ScalingHeld { by } => {
                let named: Vec<String> = by.iter().map(|(name, n)| format!("{} {n}", name.replace('_', " "))).collect();
                (
                    K::ScalingBlocked,
                    by.iter().map(|(_, n)| n).sum(),
                    format!("scaling wanted a change and was held back: {}", named.join(", ")),
                    match by.first().map(|b| b.0) {
                        Some("deployment") => "scale-in waits while a deployment is in progress",
                        Some("suspended") => "resume the suspended kind of scaling",
                        Some("no_metric") => "an alarm without points gives the policy nothing to reckon with",
                        _ => "scaling out waits until the tasks of the step before are ready",
                    },
                )
            }
            Self::ScalingWithoutData { evaluations } => (
                K::ScalingWithoutData,
                *evaluations,
                format!(
                    "an alarm of a scaling policy was in INSUFFICIENT_DATA at {}",
                    n(*evaluations, "evaluation", "evaluations")
                ),
                "without data points nothing scales, out or in; watch for it with `treat_missing_data = \"breaching\"` on an alarm of your own",
            ),
            Self::ScalingSilent { longest } => (
                K::ScalingSilent,
                1,
                format!(
                    "an objective failed for {:.0} s on end and no alarm of a scaling policy rang: its metric, a mean over all tasks, did not cross",
                    longest.as_secs_f64()
                ),
                "scale on what the objective is about (requests per target, response time), or lower the target",
            ),
            Self::AtMaximum { seconds, max } => (
                K::AtMaximumCapacity,
                1,
                format!("for {seconds:.0} s an objective failed while the service stood at its maximum of {max}"),
                "raise `scaling.max_capacity` (`max_replicas` of an autoscaler of pods), or find out what the tasks do with their time",
            ),
            Self::RefusedByDependency { connections, max_connections } => (
                K::ConnectionsExhausted,
                *connections,
                format!(
                    "{} beyond its max_connections of {max_connections}",
                    n(*connections, "connection was refused", "connections were refused")
                ),
                "pools times tasks must stay below it: smaller pools, or a proxy that shares connections",
            ),
            Self::PoolStarved { attempts, callee, max_connections } => (
                K::PoolExhausted,
                *attempts,
                format!(
                    "{} to call {callee} found no free connection in the pool of {max_connections} of their task",
                    n(*attempts, "attempt", "attempts")
                ),
                "a larger pool helps only if what is behind it is not the slow part",
            ),
            Self::RetryStorm { retries, attempts } => (
                K::RetryStorm,
                *retries,
                format!("{:.0} % of all attempts were retries", 100.0 * *retries as f64 / (*attempts).max(1) as f64),
                "a retry budget (`client.retry_budget`) keeps retries from holding the load up",
            ),
            Self::Overload { cpu_pct, unanswered } => (
                K::Overload,
                *unanswered,
                format!(
                    "the tasks were at {cpu_pct:.0} % CPU over the whole run: the load is more than they can serve"
                ),
                "more or larger tasks",
            ),
        }
    }

    /// The finding as the summary has it.
    pub(super) fn diagnosis(&self, subject: &str, since: Option<SimTime>) -> Diagnosis {
        let (kind, count, evidence, advice) = self.words();
        Diagnosis {
            kind,
            subject: subject.to_string(),
            since_s: since.map(SimTime::as_secs_f64),
            count,
            evidence,
            advice: advice.to_string(),
        }
    }
}

fn was(n: u64) -> &'static str {
    if n == 1 { "was" } else { "were" }
}

impl Simulation<'_> {
    /// Names the troubles of a service.
    pub(super) fn diagnose(&self, index: usize, into: &mut Vec<Diagnosis>) {
        use TroubleKind as T;
        let s = &self.services[index];
        let r = &self.recorder.services[index];
        let t = &s.trouble;
        let mut add = |finding: Finding, since: Option<SimTime>| into.push(finding.diagnosis(s.name, since));
        let counted: [(T, &dyn Fn(u64) -> Finding); 12] = [
            (T::LostMachine, &|tasks| Finding::LostMachines { tasks }),
            (T::OutOfMemory, &|tasks| Finding::OutOfMemory { tasks }),
            (T::Exit, &|times| Finding::Exits { times }),
            (T::CannotPull, &|tasks| Finding::FailedPulls { tasks }),
            (T::FailedStart, &|tasks| Finding::FailedStarts { tasks }),
            (T::Throttled, &|passes| Finding::Throttled { passes, longest: t.longest_throttle }),
            (T::KilledWhileStarting, &|tasks| Finding::KilledWhileStarting {
                tasks,
                grace_s: s.plan.ecs.health_check_grace_period_seconds,
            }),
            (T::Unhealthy, &|tasks| Finding::Unhealthy { tasks }),
            (T::NoCapacity, &|launches| Finding::NoCapacity { launches, waiting: self.waiting(index, T::NoCapacity) }),
            (T::NoSpot, &|launches| Finding::NoSpot { launches, waiting: self.waiting(index, T::NoSpot) }),
            (T::NoAddress, &|launches| Finding::NoAddress {
                launches,
                waiting: self.waiting(index, T::NoAddress),
                per_zone: self.plan.cluster.subnets.addresses_per_zone.unwrap_or(0),
            }),
            (T::OverQuota, &|launches| Finding::OverQuota { launches, waiting: self.waiting(index, T::OverQuota) }),
        ];
        for (kind, finding) in counted {
            let noted = t.noted[kind as usize];
            if noted.count > 0 {
                add(finding(noted.count), noted.since);
            }
        }
        self.diagnose_pods(index, &mut add);
        let unplaced = &t.unplaced;
        if unplaced.times > 0 {
            let (tasks, given_up) = (unplaced.times, unplaced.given_up);
            let waiting = self.unplaced_now(ServiceId::from(index));
            let why = unplaced.why.map_or_else(|| "nothing was seen".to_string(), |w| w.to_string());
            add(Finding::Unplaceable { tasks, given_up, waiting, why }, unplaced.first);
        }
        if let Some((at, revision, why)) = self.stuck_deployment(index) {
            add(Finding::DeploymentStuck { revision, why, kube: self.is_kube() }, Some(at));
        }
        self.diagnose_scaling(index, r, &mut add);
        let (retries, attempts) = (r.whole.retries, r.whole.attempts);
        if retries * 2 > attempts {
            add(Finding::RetryStorm { retries, attempts }, None);
        }
        let finished = r.whole.finished();
        let unanswered =
            r.whole.failed.timeout + r.whole.failed.abandoned + r.whole.failed.bad_gateway + r.whole.in_flight;
        let busy = crate::telemetry::utilization::percent(r.cpu_used, r.cpu_reserved);
        if let Some(cpu_pct) = busy.filter(|b| *b > 95.0 && unanswered * 100 > finished) {
            add(Finding::Overload { cpu_pct, unanswered }, None);
        }
    }

    /// Names the troubles that only pods have.
    fn diagnose_pods(&self, index: usize, add: &mut impl FnMut(Finding, Option<SimTime>)) {
        let Some(kube) = &self.kube else { return };
        let t = &self.services[index].trouble;
        let noted = |kind: TroubleKind| Some(t.noted[kind as usize]).filter(|n| n.count > 0);
        if let Some((pods, first, why)) = kube.unschedulable(index) {
            let waiting = self.cluster.count(ServiceId::from(index), |t| kube.waits_for_node(t));
            add(Finding::Unschedulable { pods, waiting, why }, first);
        }
        if let Some(n) = noted(TroubleKind::Restarted) {
            let (of_one, why) = kube.restarts(index);
            add(Finding::Restarts { times: n.count, of_one, why }, n.since);
        }
        if let Some(n) = noted(TroubleKind::Forbidden) {
            let namespace = self.services[index].plan.kubernetes.namespace.clone();
            add(Finding::Forbidden { times: n.count, namespace }, n.since);
        }
        if let Some(n) = noted(TroubleKind::VolumeInUse) {
            add(Finding::VolumeInUse { times: n.count }, n.since);
        }
    }

    /// Tasks of a service that wait for room on an instance now.
    fn unplaced_now(&self, service: ServiceId) -> u32 {
        self.cluster.count(service, |t| {
            t.status == TaskStatus::Provisioning
                && t.stop_code.is_none()
                && t.node.is_none()
                && t.times.launched.is_some()
                && self.cluster.has_nodes(t.capacity)
        })
    }

    /// Names the troubles of the groups of instances.
    pub(super) fn diagnose_groups(&self, into: &mut Vec<Diagnosis>) {
        for (index, capacity) in self.capacities.iter().enumerate() {
            let id = CapacityId::from(index);
            let Some(group) = self.group(id) else { continue };
            let t = &group.trouble;
            let mut add = |finding: Finding, since| into.push(finding.diagnosis(capacity.name, since));
            if let Some((at, finding)) = self.failed_updates(id) {
                add(finding, Some(at));
            }
            if t.no_capacity > 0 {
                let short = group.desired.saturating_sub(self.members(id).count() as u32);
                add(Finding::NoInstances { launches: t.no_capacity, short }, t.no_capacity_first);
            }
            if let (Capacity::Ec2(e), true) = (capacity.plan, t.at_maximum > 0) {
                let alive = |task: &&crate::units::TaskId| self.cluster.task(**task).stop_code.is_none();
                let waiting = group.waiting.iter().filter(alive).count() as u32;
                let finding = Finding::GroupAtMaximum { minutes: t.at_maximum, max: e.max_size, waiting };
                add(finding, t.at_maximum_first);
            }
        }
    }

    /// Scaling that did not happen, and why.
    fn diagnose_scaling(&self, index: usize, r: &ServiceRecord, add: &mut impl FnMut(Finding, Option<SimTime>)) {
        let s = &self.services[index];
        let t = &s.trouble;
        let mut by: Vec<(&'static str, Noted)> = ["suspended", "no_metric", "deployment", "not_all_ready"]
            .into_iter()
            .filter_map(|name| t.held.get(name).map(|noted| (name, *noted)))
            .collect();
        // A cooldown that delays is what it is there for; it is worth a word where objectives failed in it.
        if r.breach_minutes > 0 {
            by.extend(t.held.get("cooldown").map(|noted| ("cooldown", *noted)));
        }
        if !by.is_empty() && by.iter().any(|b| b.0 != "cooldown") {
            let since = by.iter().filter_map(|b| b.1.since).min();
            add(Finding::ScalingHeld { by: by.iter().map(|b| (b.0, b.1.count)).collect() }, since);
        }
        let without = t.noted[TroubleKind::NoData as usize];
        if without.count >= 3 {
            add(Finding::ScalingWithoutData { evaluations: without.count }, without.since);
        }
        if t.longest_silent >= LONG_SILENCE && without.count < 3 {
            add(Finding::ScalingSilent { longest: t.longest_silent }, t.noted[TroubleKind::Silent as usize].since);
        }
        if r.at_max_broken_s > 0.0 {
            let of_pods = self.kube.as_ref().and_then(|k| k.max_replicas(index));
            let max = s.scaling.as_ref().map(|m| m.max).or(of_pods).unwrap_or(0);
            let since = t.noted[TroubleKind::AtMaximum as usize].since;
            add(Finding::AtMaximum { seconds: r.at_max_broken_s, max }, since);
        }
    }

    /// Tasks that wait for this at the end.
    fn waiting(&self, index: usize, what: TroubleKind) -> u32 {
        self.cluster.count(ServiceId::from(index), |t| {
            let runtime = &self.tasks[t.id.index()];
            t.status == TaskStatus::Provisioning
                && t.stop_code.is_none()
                && runtime.start == StartStep::FindCapacity
                && runtime.waits_for == Some(what)
        })
    }

    /// A deployment that does not go on: since when, its revision, and for what it waits.
    fn stuck_deployment(&self, index: usize) -> Option<(SimTime, u32, String)> {
        let s = &self.services[index];
        let stalled =
            s.deployments.iter().rev().find_map(|d| d.stalled.clone().map(|why| (d.started, d.revision + 1, why)));
        if stalled.is_some() {
            return stalled;
        }
        let d = s.deployments.last().filter(|d| d.outcome == DeploymentOutcome::InProgress)?;
        let long = |since: SimTime| self.end.since(since) >= LONG_WAIT;
        if self.unplaced_now(ServiceId::from(index)) > 0 && s.trouble.unplaced.first.is_some_and(long) {
            let since = s.trouble.unplaced.first.unwrap_or(d.started).max(d.started);
            return Some((since, d.revision + 1, "no instance has room for its tasks".to_string()));
        }
        for (kind, why) in [
            (TroubleKind::NoAddress, "no address is free for its tasks"),
            (TroubleKind::OverQuota, "the quota of vCPUs leaves no room for its tasks"),
            (TroubleKind::NoCapacity, "no capacity is to be had for its tasks"),
            (TroubleKind::NoSpot, "no Spot capacity is to be had for its tasks"),
        ] {
            let since = s.trouble.noted[kind as usize].since;
            if self.waiting(index, kind) > 0 && since.is_some_and(long) {
                return Some((since.unwrap_or(d.started).max(d.started), d.revision + 1, why.to_string()));
            }
        }
        if let Some((since, what)) = s.trouble.waits.as_ref().filter(|w| long(w.0)) {
            return Some((*since, d.revision + 1, format!("it waits for {what}")));
        }
        let restarts = s.trouble.count(TroubleKind::FailedStart) + s.trouble.count(TroubleKind::CannotPull);
        (restarts > 0 && d.failed_tasks > 0 && long(d.started))
            .then(|| (d.started, d.revision + 1, format!("{} of its tasks have failed so far", d.failed_tasks)))
    }

    /// Whether an alarm that makes a service scale out stands.
    pub(super) fn scale_out_alarm_stands(&self, service: ServiceId) -> bool {
        use crate::telemetry::alarm::AlarmState;
        self.alarms.iter().any(|a| {
            a.service == service
                && matches!(a.role, Role::TrackingHigh(_) | Role::Step(_))
                && a.state == AlarmState::Alarm
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_finding_has_evidence_and_advice() {
        let findings = [
            Finding::OutOfMemory { tasks: 1 },
            Finding::Exits { times: 1 },
            Finding::Exits { times: 3 },
            Finding::Throttled { passes: 3, longest: SimDuration::from_secs(120) },
            Finding::FailedPulls { tasks: 2 },
            Finding::FailedStarts { tasks: 1 },
            Finding::KilledWhileStarting { tasks: 2, grace_s: 0 },
            Finding::Unhealthy { tasks: 2 },
            Finding::LostMachines { tasks: 1 },
            Finding::NoCapacity { launches: 1, waiting: 0 },
            Finding::NoSpot { launches: 3, waiting: 2 },
            Finding::NoAddress { launches: 2, waiting: 1, per_zone: 11 },
            Finding::OverQuota { launches: 2, waiting: 0 },
            Finding::Unplaceable { tasks: 2, given_up: 1, waiting: 1, why: "no room".into() },
            Finding::GroupAtMaximum { minutes: 4, max: 10, waiting: 3 },
            Finding::DeploymentStuck { revision: 2, why: "no room".into(), kube: false },
            Finding::Unschedulable { pods: 2, waiting: 1, why: "0/3 nodes are available: 3 Insufficient cpu.".into() },
            Finding::Restarts { times: 1, of_one: 1, why: "its liveness probe failed".into() },
            Finding::Restarts { times: 9, of_one: 4, why: "its container exited".into() },
            Finding::Forbidden { times: 4, namespace: "shop".into() },
            Finding::VolumeInUse { times: 2 },
            Finding::UpdateFailed { times: 1, why: "2 pods were left".into(), evicts: true },
            Finding::ScalingHeld { by: vec![("suspended", 3), ("cooldown", 1)] },
            Finding::ScalingWithoutData { evaluations: 9 },
            Finding::ScalingSilent { longest: SimDuration::from_secs(900) },
            Finding::AtMaximum { seconds: 60.0, max: 8 },
            Finding::RefusedByDependency { connections: 1, max_connections: 100 },
            Finding::PoolStarved { attempts: 4, callee: "db".into(), max_connections: 10 },
            Finding::RetryStorm { retries: 7, attempts: 10 },
            Finding::Overload { cpu_pct: 99.0, unanswered: 3 },
        ];
        let mut seen = Vec::new();
        for finding in findings {
            let d = finding.diagnosis("web", Some(SimTime::from_secs(9)));
            assert!(!d.evidence.is_empty() && !d.advice.is_empty() && d.count > 0, "{d:?}");
            assert!(!d.evidence.ends_with('.') && !d.evidence.contains("1 tasks"), "{d:?}");
            assert!(!seen.contains(&d.kind), "{d:?}");
            seen.push(d.kind);
        }
        let d = Finding::NoSpot { launches: 3, waiting: 2 }.diagnosis("web", None);
        assert_eq!(
            d.evidence,
            "3 launches found no Spot capacity and were tried again later; 2 tasks still wait at the end"
        );
    }

    #[test]
    fn a_wait_counts_from_its_first_naming_whatever_its_numbers() {
        let mut t = Troubles::default();
        t.deployment_waits(SimTime::from_secs(5), "restart throttle until 70 s");
        t.deployment_waits(SimTime::from_secs(70), "restart throttle until 190 s");
        assert_eq!(t.waits.as_ref().map(|w| w.0), Some(SimTime::from_secs(5)));
        t.deployment_waits(SimTime::from_secs(80), "");
        assert!(t.waits.is_none());
    }
}
