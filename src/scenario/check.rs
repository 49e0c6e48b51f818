//! The arithmetic that needs no simulation: offered load against capacity, the latency that is left
//! at zero load, the availability that the error rates leave.
//!
//! A finding of severity error is a bound that no run can beat; everything else is for information.

use indexmap::IndexMap;

use super::diagnostic::Severity;
use super::has_traffic;
use super::lang::address;
use super::model::{
    Bound, Capacity, CapacityKind, ClusterState, CpuModel, Dependency, GivenKind, Inputs, LoadBalancer, NodeSizes,
    Objectives, Plan, PredefinedMetric, RequestClass, ScalingPolicy, Sense, Service, Shape, TargetTracking, Task,
    Traffic,
};
use crate::kernel::{Law, SimDuration};
use crate::units::{Cpu, print_duration};

/// One result of the arithmetic.
#[derive(Clone, Debug)]
pub struct Finding {
    /// A stable code: S11xx for what cannot be, W01xx for what is doubtful, N01xx for information.
    pub code: &'static str,
    /// An error means that the scenario cannot meet its objective, whatever happens.
    pub severity: Severity,
    /// What it is about.
    pub address: String,
    /// One sentence with the numbers in it.
    pub message: String,
    /// The numbers, with their unit in the name.
    pub figures: Vec<(&'static str, f64)>,
}

/// Does the arithmetic of every service.
#[must_use]
pub fn arithmetic(plan: &Plan, inputs: &Inputs) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, service) in &plan.services {
        Arithmetic { plan, inputs, name, service, findings: &mut findings }.all();
    }
    if let Some(state) = &inputs.state {
        findings.extend(given(state));
    }
    for (name, dependency) in &plan.dependencies {
        findings.extend(asked(plan, inputs, name, dependency));
    }
    findings
}

/// What the files of the initial state hold.
fn given(state: &ClusterState) -> Vec<Finding> {
    let mut findings = Vec::new();
    let note = |code: &'static str, key: &str, message: String, figures: Vec<(&'static str, f64)>| Finding {
        code,
        severity: Severity::Note,
        address: format!("cluster.eks.initial_state.{key}"),
        message,
        figures,
    };
    if !state.nodes.is_empty() {
        let machines: Vec<&NodeSizes> = state
            .nodes
            .iter()
            .filter_map(|n| match &n.kind {
                GivenKind::Machine(sizes) => Some(sizes),
                GivenKind::Instance(_) => None,
            })
            .collect();
        let mut of: IndexMap<&str, u32> = IndexMap::new();
        for node in &state.nodes {
            *of.entry(&node.capacity).or_insert(0) += 1;
        }
        let of: Vec<String> = of.iter().map(|(name, n)| format!("{n} of `{name}`")).collect();
        let mut message = format!("{} nodes were read: {}", state.nodes.len(), of.join(", "));
        if !machines.is_empty() {
            let cpu: u64 = machines.iter().map(|m| m.cpu_m).sum();
            let memory: u64 = machines.iter().map(|m| m.memory >> 20).sum();
            let gpus: u64 = machines.iter().map(|m| u64::from(m.gpus)).sum();
            message += &format!(
                "; {} are no EC2 instances and have no price: together {} CPU, {} GiB, {gpus} GPUs",
                machines.len(),
                short(cpu as f64 / 1000.0),
                short(memory as f64 / 1024.0),
            );
        }
        findings.push(note("N0120", "nodes", message, vec![("nodes", state.nodes.len() as f64)]));
    }
    if !state.pods.is_empty() {
        let (mut cpu, mut memory, mut gpus, mut bound, mut replicas) = (0, 0, 0, 0, 0);
        for pod in &state.pods {
            let Some(template) = state.template_of(pod) else { continue };
            cpu += template.cpu_m;
            memory += template.memory >> 20;
            gpus += u64::from(template.gpus);
            bound += u32::from(pod.node.is_some());
            replicas += u32::from(template.service.is_some());
        }
        let last = state.pods.last().map_or(0.0, |p| p.submit.as_secs_f64());
        let message = format!(
            "{} pods were read, {bound} of them bound to a node, {replicas} replicas of services; the others ask for {} CPU, {} GiB \
             and {gpus} GPUs together, the last is submitted at {}",
            state.pods.len(),
            short(cpu as f64 / 1000.0),
            short(memory as f64 / 1024.0),
            print_duration(SimDuration::from_secs_f64(last)),
        );
        findings.push(note("N0121", "pods", message, vec![("pods", state.pods.len() as f64)]));
    }
    findings
}

/// What is asked of a dependency when each of its callers is at its peak, against what its workers can do.
fn asked(plan: &Plan, inputs: &Inputs, name: &str, dependency: &Dependency) -> Option<Finding> {
    let calls = calls_to(plan, inputs, name);
    let rate: f64 = calls.iter().map(|c| c.peak).sum();
    let usual = dependency.service_time.law().mean();
    let busy: f64 = calls.iter().map(|c| c.peak * c.work.unwrap_or(usual)).sum();
    let usage = busy / f64::from(dependency.concurrency.max(1));
    let message = format!(
        "its callers make {} calls/s at their peaks, retries left out: they keep {} of its {} workers busy, {} %",
        short(rate),
        short(busy),
        dependency.concurrency,
        short(usage * 100.0),
    );
    let (severity, code) = if usage <= 1.0 { (Severity::Note, "N0107") } else { (Severity::Warning, "W0107") };
    let figures = vec![("calls_per_second", rate), ("busy_workers", busy)];
    (rate > 0.0).then(|| Finding { code, severity, address: address(&["dependencies", name]), message, figures })
}

/// The calls of one service to another one or to a dependency.
struct Called {
    /// A second, when the caller is at its peak.
    peak: f64,
    /// Class of the request at the callee; none for its usual mix.
    class: Option<String>,
    /// Work of one call at a dependency, seconds; none for its usual work.
    work: Option<f64>,
}

/// Who calls, and how often at his peak: what clients, queues and callers in turn ask of him, retries left out. Circles of
/// calls are refused by the language.
fn calls_to(plan: &Plan, inputs: &Inputs, name: &str) -> Vec<Called> {
    let mut rates = IndexMap::new();
    calls_of(plan, inputs, name, &mut rates)
}

fn calls_of<'a>(plan: &'a Plan, inputs: &Inputs, name: &str, rates: &mut IndexMap<&'a str, f64>) -> Vec<Called> {
    let mut calls = Vec::new();
    for (caller, service) in &plan.services {
        let Some(call) = service.calls.get(name) else { continue };
        let rate = match rates.get(caller.as_str()) {
            Some(rate) => *rate,
            None => {
                let arithmetic = Arithmetic { plan, inputs, name: caller, service, findings: &mut Vec::new() };
                let queue = service.worker.as_ref().and_then(|w| plan.queues.get(&w.queue));
                let own = if has_traffic(service) { arithmetic.demand(&service.traffic).peak.0 } else { 0.0 };
                let taken = queue.map_or(0.0, |q| arithmetic.demand(&q.traffic).peak.0);
                let asked: f64 = calls_of(plan, inputs, caller, rates).iter().map(|c| c.peak).sum();
                rates.insert(caller, own + taken + asked);
                own + taken + asked
            }
        };
        let classes = service.requests.iter();
        let chosen: f64 = classes
            .filter(|(class, _)| call.classes.is_empty() || call.classes.contains(class))
            .map(|(_, c)| c.weight)
            .sum();
        let all = weight(service);
        if all > 0.0 {
            calls.push(Called {
                peak: rate * call.count * chosen / all,
                class: call.request.clone(),
                work: call.service_time.as_ref().map(|t| t.law().mean()),
            });
        }
    }
    calls
}

/// Length of a CFS period.
const PERIOD_SECS: f64 = 0.1;
/// Points at which the joint law of a request's parts is looked at.
const POINTS: u32 = 1 << 14;
/// Rates are looked at this many times over the simulation, beside where they change.
const LOOKS: u64 = 4_000;

struct Arithmetic<'a> {
    plan: &'a Plan,
    inputs: &'a Inputs,
    name: &'a str,
    service: &'a Service,
    findings: &'a mut Vec<Finding>,
}

/// What arrives over the simulation.
struct Demand {
    /// Requests a second at the start.
    start: f64,
    /// The highest rate, and when.
    peak: (f64, SimDuration),
    /// Requests in all.
    total: f64,
}

impl Arithmetic<'_> {
    fn add(
        &mut self,
        severity: Severity,
        code: &'static str,
        path: &[&str],
        message: String,
        figures: Vec<(&'static str, f64)>,
    ) {
        let address = address(&[&["services", self.name], path].concat());
        self.findings.push(Finding { code, severity, address, message, figures });
    }

    fn all(&mut self) {
        self.size();
        if self.service.requests.is_empty() {
            return;
        }
        self.called();
        self.worked();
        if !has_traffic(self.service) {
            return;
        }
        let demand = self.demand(&self.service.traffic);
        self.load(&demand);
        self.zero_load(&demand);
    }

    /// What the callers of a service ask of it when each of them is at its peak, retries left out.
    fn called(&mut self) {
        let calls = calls_to(self.plan, self.inputs, self.name);
        let rate: f64 = calls.iter().map(|c| c.peak).sum();
        if rate <= 0.0 {
            return;
        }
        let of = |c: &Called, figure: &dyn Fn(&RequestClass) -> f64| {
            let class = c.class.as_ref().and_then(|name| self.service.requests.get(name));
            c.peak * class.map_or_else(|| mean(self.service, figure), figure)
        };
        let own = if has_traffic(self.service) { self.demand(&self.service.traffic).peak.0 } else { 0.0 };
        let cpu = |c: &RequestClass| c.cpu_time.law().mean();
        let slot = |c: &RequestClass| c.cpu_time.law().mean() + c.wait.law().mean();
        let offered: f64 = calls.iter().map(|c| of(c, &cpu)).sum::<f64>() + own * mean(self.service, cpu);
        let held: f64 = calls.iter().map(|c| of(c, &slot)).sum::<f64>() + own * mean(self.service, slot);
        let tasks = f64::from(self.most_tasks());
        let capacity = usable(&self.service.task) * tasks;
        let slots = self.service.task.concurrency.map_or(f64::INFINITY, |n| f64::from(n) * tasks);
        let usage = (offered / capacity.max(1e-12)).max(held / slots);
        let beside = if own > 0.0 { " beside its own" } else { "" };
        let message = format!(
            "its callers ask for {} requests/s at their peaks{beside}, retries left out: they need {} of the {} vCPU of {tasks} \
             tasks, {} % of what these can serve",
            short(rate),
            short(offered),
            short(capacity),
            short(usage * 100.0),
        );
        let figures = vec![
            ("requests_per_second", rate),
            ("offered_vcpus", offered),
            ("capacity_vcpus", capacity),
            ("tasks", tasks),
        ];
        match usage <= 1.0 {
            true => self.add(Severity::Note, "N0105", &["desired_count"], message, figures),
            false => self.add(Severity::Warning, "W0105", &["desired_count"], message, figures),
        }
    }

    /// The messages of the queue that a service works on, against what its tasks can do.
    fn worked(&mut self) {
        let Some(worker) = &self.service.worker else { return };
        let Some(queue) = self.plan.queues.get(&worker.queue) else { return };
        let demand = self.demand(&queue.traffic);
        if demand.total <= 0.0 {
            return;
        }
        let work = mean(self.service, |c| c.cpu_time.law().mean());
        let time = work + mean(self.service, |c| c.wait.law().mean());
        let per_task = usable(&self.service.task);
        let by_loops = f64::from(worker.concurrency) / time.max(1e-12);
        let task_rate = (per_task / work.max(1e-12)).min(by_loops);
        let tasks = self.most_tasks();
        let most = task_rate * f64::from(tasks);
        let duration = self.plan.simulation.duration.as_secs_f64();
        let share = demand.total / (most * duration).max(1e-12);
        let limit = if by_loops < per_task / work.max(1e-12) { "their loops" } else { "their CPU" };
        let grows = if demand.peak.0 > most { "; at the peak the queue grows" } else { "" };
        let message = format!(
            "{} messages come, {}/s at the peak ({}); {tasks} tasks do at most {}/s ({limit}), so that the whole is {} % of what \
             they can do in the time{grows}",
            short(demand.total),
            short(demand.peak.0),
            print_duration(whole_seconds(demand.peak.1)),
            short(most),
            short(share * 100.0),
        );
        let figures =
            vec![("messages", demand.total), ("messages_per_second_at_peak", demand.peak.0), ("most_per_second", most)];
        match share <= 1.0 {
            true => self.add(Severity::Note, "N0106", &["worker"], message, figures),
            false => self.add(Severity::Warning, "W0106", &["worker"], message, figures),
        }
    }

    /// Tasks that may run at once: of the bounds of scaling and of scheduled actions, or the fixed count.
    fn most_tasks(&self) -> u32 {
        let fixed = self.service.desired_count;
        self.service.scaling.as_ref().map_or(fixed, |s| {
            let scheduled = s.scheduled_actions.values().filter_map(|a| a.max_capacity.max(a.min_capacity));
            scheduled.chain([s.max_capacity, fixed]).max().unwrap_or(fixed)
        })
    }

    fn size(&mut self) {
        let task = &self.service.task;
        let (per_task, most) = (task.cpu.vcpus(), self.most_tasks());
        let vcpus = per_task * f64::from(most);
        let spot_only =
            self.service.capacity.keys().all(|k| matches!(self.plan.capacity.get(k), Some(Capacity::FargateSpot(_))));
        let quotas = &self.plan.cluster.quotas;
        let (quota, key) = match spot_only {
            true => (quotas.fargate_spot_vcpus, "fargate_spot_vcpus"),
            false => (quotas.fargate_on_demand_vcpus, "fargate_on_demand_vcpus"),
        };
        let fargate = |k: &String| self.plan.capacity.get(k).is_some_and(|c| c.kind() == CapacityKind::Fargate);
        if vcpus > f64::from(quota) && self.service.capacity.keys().all(fargate) {
            let message = format!(
                "{most} tasks of {per_task} vCPU are {vcpus} vCPU: the quota `{key}` of {quota} stops them at {} tasks",
                (f64::from(quota) / per_task).floor()
            );
            self.add(
                Severity::Warning,
                "W0101",
                &["task", "cpu"],
                message,
                vec![("vcpus", vcpus), ("quota_vcpus", f64::from(quota))],
            );
        }
        let (Some(slots), total) = (task.concurrency, weight(self.service)) else { return };
        let each: f64 = self.service.requests.values().map(|c| c.weight * c.memory.law().mean()).sum::<f64>() / total;
        let full = task.memory_idle.get() as f64 + f64::from(slots) * each;
        if total > 0.0 && full > task.memory.get() as f64 {
            let mib = |bytes: f64| bytes / f64::from(1 << 20);
            let message = format!(
                "a task with all its {slots} slots in use needs {:.0} MiB of {:.0} MiB: it is killed for lack of memory",
                mib(full),
                mib(task.memory.get() as f64)
            );
            self.add(
                Severity::Warning,
                "W0102",
                &["task", "memory"],
                message,
                vec![("needed_mib", mib(full)), ("limit_mib", mib(task.memory.get() as f64))],
            );
        }
    }

    fn demand(&self, traffic: &Traffic) -> Demand {
        let duration = self.plan.simulation.duration;
        let end = duration.as_secs_f64();
        let mut looks: Vec<f64> = (0..=LOOKS).map(|i| end * i as f64 / LOOKS as f64).collect();
        looks.extend(changes(traffic).into_iter().filter(|t| *t <= end));
        looks.sort_by(f64::total_cmp);
        let closed = traffic.users.as_ref().map_or(0.0, |u| {
            let cycle = u.think.law().mean() + self.mean_latency();
            if cycle > 0.0 { f64::from(u.count) / cycle } else { 0.0 }
        });
        let mut rates: Vec<(f64, f64)> =
            looks.iter().map(|t| (*t, closed + smooth_rate(traffic, *t, self.plan))).collect();
        let steps = self.counted(traffic);
        for (t, rate) in &mut rates {
            *rate += step_rate(&steps, *t);
        }
        for (from, _, rate) in steps.iter().filter(|(from, ..)| *from < end) {
            rates.push((*from, closed + smooth_rate(traffic, *from, self.plan) + rate));
        }
        let mut peak = (0.0, 0.0);
        for (t, rate) in &rates {
            if *rate > peak.0 {
                peak = (*rate, *t);
            }
        }
        let smooth: f64 = looks
            .windows(2)
            .map(|w| {
                (w[1] - w[0]) * (smooth_rate(traffic, w[0], self.plan) + smooth_rate(traffic, w[1], self.plan)) / 2.0
            })
            .sum();
        let counted: f64 = steps.iter().map(|(from, to, rate)| (to.min(end) - from.min(end)) * rate).sum();
        Demand {
            start: rates.first().map_or(0.0, |r| r.1),
            peak: (peak.0, SimDuration::from_secs_f64(peak.1)),
            total: smooth + counted + closed * end,
        }
    }

    /// Traces and recordings as steps: from, to, requests a second; in simulated time.
    fn counted(&self, traffic: &Traffic) -> Vec<(f64, f64, f64)> {
        let end = self.plan.simulation.duration.as_secs_f64();
        let mut steps = Vec::new();
        if let Some(trace) = &traffic.trace
            && let Some(rows) = self.inputs.traces.get(&trace.file)
        {
            let from = trace.from.as_secs_f64();
            let last = rows.len().saturating_sub(1);
            let length = |i: usize| {
                let j = i.min(last.saturating_sub(1));
                rows[j + 1].at.as_secs_f64() - rows[j].at.as_secs_f64()
            };
            if last > 0 {
                let round = (rows[last].at.as_secs_f64() + length(last) - from) * trace.time_scale;
                let mut offset = 0.0;
                while offset < end && round > 0.0 {
                    for (i, row) in rows.iter().enumerate() {
                        let start = (row.at.as_secs_f64() - from) * trace.time_scale + offset;
                        let stop = start + length(i) * trace.time_scale;
                        if stop > offset && start < end {
                            steps.push((start.max(offset), stop, row.requests * trace.scale / (stop - start)));
                        }
                    }
                    if !trace.repeat {
                        break;
                    }
                    offset += round;
                }
            }
        }
        if let Some(recorded) = &traffic.recorded
            && let Some(instants) = self.inputs.recordings.get(&recorded.file)
        {
            // Counted by the minute: a rate of single instants has no meaning.
            let from = recorded.from.as_secs_f64();
            let times = instants.iter().map(|t| (t.as_secs_f64() - from) * recorded.time_scale);
            for t in times.filter(|t| *t >= 0.0 && *t < end) {
                let minute = (t / 60.0).floor() * 60.0;
                match steps.last_mut() {
                    Some((start, _, rate)) if *start == minute => *rate += 1.0 / 60.0,
                    _ => steps.push((minute, minute + 60.0, 1.0 / 60.0)),
                }
            }
        }
        steps
    }

    /// The share of requests that goes to the service's own targets.
    fn own_share(&self) -> f64 {
        self.service.load_balancer.as_ref().map_or(1.0, |b| {
            let own = b.target_groups.get("main").map_or(1, |g| g.weight);
            let others: u32 = b.target_groups.iter().filter(|(n, _)| *n != "main").map(|(_, g)| g.weight).sum();
            if own + others == 0 { 1.0 } else { f64::from(own) / f64::from(own + others) }
        })
    }

    fn load(&mut self, demand: &Demand) {
        let work = mean(self.service, |c| c.cpu_time.law().mean());
        let slot_time = work + mean(self.service, |c| c.wait.law().mean());
        let per_task = usable(&self.service.task);
        let share = self.own_share();
        // A task is full when its CPU is, or when its slots are.
        let slots = self.service.task.concurrency.map_or(f64::INFINITY, |n| f64::from(n) / slot_time.max(1e-12));
        let task_rps = (per_task / work.max(1e-12)).min(slots);
        let by_slots = slots < per_task / work.max(1e-12);
        for (when, rate, tasks, path) in [
            ("at the start".to_owned(), demand.start, self.service.desired_count, "desired_count"),
            (
                format!("at the peak ({})", print_duration(whole_seconds(demand.peak.1))),
                demand.peak.0,
                self.most_tasks(),
                if self.service.scaling.is_some() { "scaling" } else { "desired_count" },
            ),
        ] {
            let rate = rate * share;
            let offered = rate * work;
            let capacity = per_task * f64::from(tasks);
            let usage = if task_rps > 0.0 { rate / (task_rps * f64::from(tasks)) } else { f64::INFINITY };
            let figures = vec![
                ("requests_per_second", rate),
                ("offered_vcpus", offered),
                ("capacity_vcpus", capacity),
                ("tasks", f64::from(tasks)),
            ];
            let limit = if by_slots { "; the limit is their concurrency" } else { "" };
            let message = format!(
                "{when}, {} requests/s need {} of the {} vCPU of {tasks} tasks: {} % of what they can serve{limit}",
                short(rate),
                short(offered),
                short(capacity),
                short(usage * 100.0),
            );
            match usage <= 1.0 {
                true => self.add(Severity::Note, "N0101", &[path], message, figures),
                false => self.add(Severity::Warning, "W0103", &[path], message, figures),
            }
        }
        self.tracking(demand.peak.0 * share, work, per_task);
        self.served(demand, task_rps, share);
    }

    /// What target tracking would ask for at the peak.
    fn tracking(&mut self, peak: f64, work: f64, per_task: f64) {
        let Some(scaling) = &self.service.scaling else { return };
        let reserved = self.service.task.cpu.vcpus();
        for (name, policy) in &scaling.policies {
            let ScalingPolicy::TargetTracking(TargetTracking { predefined_metric_type, target_value, .. }) = policy
            else {
                continue;
            };
            use PredefinedMetric as M;
            let burn = reserved - per_task;
            let (needed, unit) = match predefined_metric_type {
                Some(M::EcsServiceAverageCpuUtilization | M::EcsServiceAverageCpuUtilizationHighResolution) => {
                    let free = reserved * target_value / 100.0 - burn;
                    (if free > 0.0 { (peak * work / free).ceil() } else { f64::INFINITY }, "% CPU")
                }
                Some(M::AlbRequestCountPerTarget) => {
                    ((peak * 60.0 / target_value).ceil(), "requests per target and minute")
                }
                _ => continue,
            };
            let most = f64::from(self.most_tasks());
            let figures = vec![("tasks_needed", needed), ("max_capacity", most)];
            let message =
                format!("`{name}` holds {target_value} {unit} at the peak with {needed} tasks; at most {most} may run");
            let path = ["scaling", "policies", name.as_str()];
            match needed <= most {
                true => self.add(Severity::Note, "N0102", &path, message, figures),
                false => self.add(Severity::Warning, "W0104", &path, message, figures),
            }
        }
    }

    /// The availability that the largest capacity leaves when all work is added up.
    fn served(&mut self, demand: &Demand, task_rps: f64, share: f64) {
        let wait = self.patience().map_or(f64::INFINITY, SimDuration::as_secs_f64);
        let time = self.plan.simulation.duration.as_secs_f64();
        // Warm-up is part of the run, and its requests are part of the work that has to be done.
        let possible = task_rps * f64::from(self.most_tasks()) * (time + wait);
        let asked = demand.total * share;
        if self.plan.simulation.warm_up.is_zero() && asked > possible && wait.is_finite() {
            let best = 100.0 * (1.0 - share + share * possible / asked);
            self.availability(
                best,
                format!(
                    "{} requests arrive and at most {} can be served in the time there is",
                    short(demand.total),
                    short(possible)
                ),
            );
        }
    }

    /// The longest that anybody waits for one attempt.
    fn patience(&self) -> Option<SimDuration> {
        let idle = self.service.load_balancer.as_ref().map(LoadBalancer::gives_up_after);
        self.service.client.timeout.into_iter().chain(idle).min()
    }

    fn objectives(&self) -> Vec<(&'static str, Objectives)> {
        let mut list: Vec<(&str, Objectives)> =
            self.plan.objectives.get(self.name).map(|o| ("", o.clone())).into_iter().collect();
        // With one service, the whole is that service.
        if self.plan.services.values().filter(|s| has_traffic(s)).count() == 1 {
            list.extend(self.plan.objectives.get("cluster").map(|o| ("cluster", o.clone())));
        }
        list
    }

    fn objective_address(&self, scope: &str, key: &str) -> String {
        address(&["objectives", if scope.is_empty() { self.name } else { scope }, key])
    }

    fn availability(&mut self, best_percent: f64, why: String) {
        let mut refused = false;
        for (scope, objectives) in self.objectives() {
            let Some(Bound { sense: Sense::AtLeast, value }) = objectives.availability else { continue };
            if best_percent < value {
                refused = true;
                let address = self.objective_address(scope, "availability");
                self.findings.push(Finding {
                    code: "S1101",
                    severity: Severity::Error,
                    address,
                    message: format!(
                        "an availability of {value} % cannot be met: {why}, which leaves at most {best_percent:.4} %"
                    ),
                    figures: vec![("best_availability_pct", best_percent), ("objective_pct", value)],
                });
            }
        }
        if !refused && best_percent < 100.0 {
            let message = format!("the availability is at most {best_percent:.4} %: {why}");
            self.add(Severity::Note, "N0103", &[], message, vec![("best_availability_pct", best_percent)]);
        }
    }

    fn mean_latency(&self) -> f64 {
        let network = self.service.load_balancer.as_ref().map_or(0.0, |b| b.network_latency.law().mean());
        network + mean(self.service, |c| c.wait.law().mean() + c.cpu_time.law().mean())
    }

    /// Latency and availability of a service that is never busy.
    fn zero_load(&mut self, _: &Demand) {
        let mut samples = self.idle_latencies();
        samples.sort_by(|a, b| a.0.total_cmp(&b.0));
        let total: f64 = samples.iter().map(|s| s.1).sum();
        let limit = self.patience().map_or(f64::INFINITY, SimDuration::as_secs_f64);
        let late: f64 = samples.iter().filter(|s| s.0 > limit).map(|s| s.1).sum::<f64>() / total;
        samples.retain(|s| s.0 <= limit);
        let answered: f64 = samples.iter().map(|s| s.1).sum();
        if answered > 0.0 {
            self.latency(&samples, answered);
        }
        // Errors of the application: each attempt draws anew. What is too slow is too slow again.
        let attempts = i32::try_from(self.service.client.retries.min(1_000)).unwrap_or(1_000) + 1;
        let share = self.own_share();
        let errors = mean(self.service, |c| libm::pow(c.error_rate, f64::from(attempts)));
        let failing = (late + errors - late * errors) * if late > 0.0 { 1.0 } else { share };
        if failing > 0.0 {
            let mut why = Vec::new();
            if late > 0.0 {
                why.push(format!(
                    "{} % of requests take longer than {} even without load",
                    short(late * 100.0),
                    print_duration(SimDuration::from_secs_f64(limit))
                ));
            }
            if errors > 0.0 {
                why.push(format!("`error_rate` fails {} % of requests after all attempts", short(errors * 100.0)));
            }
            // Half a step of the sampling of `late` in favour of the scenario.
            let slack = if late > 0.0 { 0.5 / f64::from(POINTS) } else { 0.0 };
            self.availability(100.0 * (1.0 - failing + slack).min(1.0), why.join(" and "));
        }
    }

    fn latency(&mut self, samples: &[(f64, f64)], weight: f64) {
        let quantile = |q: f64| {
            let mut left = q * weight;
            samples
                .iter()
                .find(|(_, w)| {
                    left -= w;
                    left <= 0.0
                })
                .or(samples.last())
                .map_or(0.0, |s| s.0)
        };
        let mean = samples.iter().map(|(t, w)| t * w).sum::<f64>() / weight;
        let figures = vec![
            ("latency_mean_ms", mean * 1e3),
            ("latency_p50_ms", quantile(0.5) * 1e3),
            ("latency_p99_ms", quantile(0.99) * 1e3),
        ];
        let message = format!(
            "without any load a request takes {} ms in the mean, {} ms at the median and {} ms at the 99th percentile",
            short(mean * 1e3),
            short(quantile(0.5) * 1e3),
            short(quantile(0.99) * 1e3)
        );
        self.add(Severity::Note, "N0104", &["requests"], message, figures);
        for (scope, o) in self.objectives() {
            let floors = [
                ("latency_mean", o.latency_mean, mean),
                ("latency_p50", o.latency_p50, quantile(0.5)),
                ("latency_p90", o.latency_p90, quantile(0.9)),
                ("latency_p95", o.latency_p95, quantile(0.95)),
                ("latency_p99", o.latency_p99, quantile(0.99)),
                ("latency_p999", o.latency_p999, quantile(0.999)),
            ];
            for (key, bound, floor) in floors {
                // Two percent are left for the coarseness of the sampling.
                if let Some(bound) = bound.filter(|b| floor * 0.98 > b.value) {
                    let address = self.objective_address(scope, key);
                    self.findings.push(Finding {
                        code: "S1102",
                        severity: Severity::Error,
                        address,
                        message: format!(
                            "a {} of {} ms cannot be met: without any load it is {} ms already",
                            key.replace('_', " "),
                            short(bound.value * 1e3),
                            short(floor * 1e3)
                        ),
                        figures: vec![("floor_ms", floor * 1e3), ("objective_ms", bound.value * 1e3)],
                    });
                }
            }
        }
    }

    /// Latencies of lone requests with their weights, over an even net of the parts' quantiles.
    fn idle_latencies(&self) -> Vec<(f64, f64)> {
        let constant = Law::Constant(0.0);
        let network = self.service.load_balancer.as_ref().map_or(&constant, |b: &LoadBalancer| b.network_latency.law());
        let mut samples = Vec::new();
        for class in self.service.requests.values().filter(|c| c.weight > 0.0) {
            let (cpu, wait) = (class.cpu_time.law(), class.wait.law());
            for i in 0..POINTS {
                // The first dimension is a regular grid, so a single law's quantiles are exact to half a step.
                let u = (f64::from(i) + 0.5) / f64::from(POINTS);
                let time = lone(&self.service.task, cpu.quantile(u))
                    + wait.quantile(radical_inverse(i, 2))
                    + network.quantile(radical_inverse(i, 3));
                samples.push((time, class.weight));
            }
        }
        samples
    }
}

/// How long a lone request with this CPU work takes on an idle task.
fn lone(task: &Task, work: f64) -> f64 {
    let vcpus = usable(task).max(1e-9);
    if vcpus >= 1.0 {
        return work;
    }
    match task.cpu_model {
        CpuModel::Fluid => work / vcpus,
        // At full speed until the period's quota is used up; the last piece does not wait for its period's end.
        CpuModel::Quota => {
            let quota = vcpus * PERIOD_SECS;
            let stalls = ((work / quota).ceil() - 1.0).max(0.0);
            stalls * PERIOD_SECS + (work - stalls * quota)
        }
    }
}

/// The van der Corput sequence, strictly between 0 and 1.
fn radical_inverse(index: u32, base: u32) -> f64 {
    let (mut n, mut scale, mut value) = (index + 1, 1.0, 0.0);
    while n > 0 {
        scale /= f64::from(base);
        value += f64::from(n % base) * scale;
        n /= base;
    }
    value
}

/// vCPUs of a task that its sidecars leave.
fn usable(task: &Task) -> f64 {
    let burn: Cpu = task.containers.values().map(|c| c.cpu_burn).sum();
    task.cpu.saturating_sub(burn).vcpus()
}

fn weight(service: &Service) -> f64 {
    service.requests.values().map(|c| c.weight).sum()
}

/// The mean of a figure over the request classes, by weight.
fn mean(service: &Service, figure: impl Fn(&RequestClass) -> f64) -> f64 {
    let total = weight(service);
    if total > 0.0 { service.requests.values().map(|c| c.weight * figure(c)).sum::<f64>() / total } else { 0.0 }
}

/// Instants at which the smooth rate bends.
fn changes(traffic: &Traffic) -> Vec<f64> {
    let mut times: Vec<f64> = traffic.rate.iter().map(|p| p.at.as_secs_f64()).collect();
    for shape in traffic.shapes.values() {
        match shape {
            Shape::Spike(s) => {
                let mut t = s.at;
                times.push(t.as_secs_f64());
                for length in [s.rise, s.hold, s.fall] {
                    t += length;
                    times.push(t.as_secs_f64());
                }
            }
            Shape::Step(s) => times.push(s.at.as_secs_f64()),
            Shape::Sine(_) | Shape::Daily(_) => {}
        }
    }
    times
}

/// The rate of the curve and the shapes at an instant, in requests a second.
fn smooth_rate(traffic: &Traffic, t: f64, plan: &Plan) -> f64 {
    use std::f64::consts::TAU;
    let mut rate = curve(traffic, t);
    for shape in traffic.shapes.values() {
        rate += match shape {
            Shape::Sine(s) => {
                let angle = TAU * (t - s.phase.as_secs_f64()) / s.period.as_secs_f64().max(1e-9);
                (s.mean_rps + s.amplitude_rps * libm::sin(angle)).max(0.0)
            }
            Shape::Spike(s) => {
                let into = t - s.at.as_secs_f64();
                let (rise, hold, fall) = (s.rise.as_secs_f64(), s.hold.as_secs_f64(), s.fall.as_secs_f64());
                match into {
                    x if x < 0.0 => 0.0,
                    x if x < rise => s.rps * x / rise,
                    x if x <= rise + hold => s.rps,
                    x if x < rise + hold + fall => s.rps * (1.0 - (x - rise - hold) / fall),
                    _ => 0.0,
                }
            }
            Shape::Daily(s) => {
                let clock = plan.simulation.start.as_second().rem_euclid(86_400) as f64 + t;
                let angle = TAU * (clock - s.low_at.as_secs_f64()) / 86_400.0;
                s.low_rps + (s.high_rps - s.low_rps) * (1.0 - libm::cos(angle)) / 2.0
            }
            Shape::Step(s) => {
                if t >= s.at.as_secs_f64() {
                    s.rps
                } else {
                    0.0
                }
            }
        };
    }
    rate
}

/// The curve: straight lines between its points; the last of several points at one instant holds.
fn curve(traffic: &Traffic, t: f64) -> f64 {
    let points = &traffic.rate;
    let after = points.partition_point(|p| p.at.as_secs_f64() <= t);
    match (after.checked_sub(1).map(|i| &points[i]), points.get(after)) {
        (None, None) => 0.0,
        (Some(p), None) | (None, Some(p)) => p.rps,
        (Some(a), Some(b)) => {
            let (from, to) = (a.at.as_secs_f64(), b.at.as_secs_f64());
            a.rps + (b.rps - a.rps) * (t - from) / (to - from)
        }
    }
}

fn step_rate(steps: &[(f64, f64, f64)], t: f64) -> f64 {
    steps.iter().filter(|(from, to, _)| (*from..*to).contains(&t)).map(|s| s.2).sum()
}

fn whole_seconds(d: SimDuration) -> SimDuration {
    SimDuration::from_secs(d.as_secs())
}

/// Three significant digits.
fn short(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return format!("{value}");
    }
    let digits = (2 - value.abs().log10().floor() as i32).clamp(0, 9) as usize;
    let text = format!("{value:.digits$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}
