//! The round of disruption: expiry, drift, consolidation, and the commands that wait for their replacements.

use super::words::{give_up_text, invalid_text};
use super::{Karpenter, Queued};
use crate::cluster::{LifeCycle, NodeEnd, NodeStatus};
use crate::kernel::{Phase, SimDuration, SimTime};
use crate::kubernetes::karpenter::disruption::queue::{self, ReplacementState};
use crate::kubernetes::karpenter::disruption::{
    self, Command, Decision, Method, Observation, PERIOD, VALIDATION_DELAY,
};
use crate::kubernetes::karpenter::scheduling::Scheduler;
use crate::kubernetes::karpenter::timers::expires;
use crate::kubernetes::karpenter::world::{NodeView, PendingPod};
use crate::kubernetes::object::Symbol;
use crate::simulation::{Simulation, Timer};
use crate::units::NodeId;

/// A round that found nothing is believed no longer than this. Source: the cluster state of Karpenter, five minutes.
const LOOK_ANYWAY: SimDuration = SimDuration::from_mins(5);

/// What a round looks at.
struct Seen {
    ids: Vec<NodeId>,
    nodes: Vec<NodeView>,
    pending: Vec<PendingPod>,
    /// Nodes that commands are about already.
    queued: Vec<Symbol>,
}

impl Seen {
    fn by<'a>(&'a self, k: &'a Karpenter) -> Observation<'a> {
        Observation {
            pending: &self.pending,
            unavailable: &k.unavailable,
            queued: &self.queued,
            version: k.version,
            most_single: None,
        }
    }

    fn node(&self, name: Symbol) -> Option<NodeId> {
        self.ids.iter().zip(&self.nodes).find(|(_, v)| v.name == name).map(|(n, _)| *n)
    }
}

impl Karpenter {
    /// Whether time alone has made a node a candidate since the last look: it has been left alone for long enough, or is no
    /// longer nominated.
    fn ripens(&self, simulation: &Simulation<'_>, from: SimTime, to: SimTime) -> bool {
        let within = |at: SimTime| from < at && at <= to;
        self.claims.iter().any(|(node, c)| {
            let initialized = simulation.cluster.node(*node).times.registered;
            let quiet_since = c.last_pod_event.or(initialized);
            let after = self.pools[c.pool].disruption.consolidate_after;
            within(c.nominated_until) || quiet_since.zip(after).is_some_and(|(at, after)| within(at + after))
        }) || self.pools.iter().any(|p| p.disruption.budgets.iter().any(|b| b.schedule.is_some()))
    }

    /// NodeClaims that are older than their pool allows.
    fn expired(&self, now: SimTime) -> Vec<NodeId> {
        let is_old = |c: &super::Claim| {
            let after = c.expire_after.map(|a| a.saturating_sub(c.age));
            c.termination.is_none() && expires(c.created, after).is_some_and(|at| at <= now)
        };
        self.claims.iter().filter(|(_, c)| is_old(c)).map(|(n, _)| *n).collect()
    }

    fn unmark(&mut self, nodes: &[NodeId]) {
        for node in nodes {
            if let Some(claim) = self.claims.get_mut(node) {
                claim.marked = false;
            }
        }
    }
}

impl Simulation<'_> {
    /// One round of Karpenter's loops: expiry, drift, commands that wait, disruption.
    pub(in crate::simulation) fn on_karpenter(&mut self) {
        let now = self.queue.now();
        let Some(k) = &mut self.kube_mut().karpenter else { return };
        k.unavailable.sweep(now);
        let expired = k.expired(now);
        self.tell_expiry(&expired);
        let mut going: Vec<(NodeId, NodeEnd)> = expired.into_iter().map(|n| (n, NodeEnd::MaxLifetime)).collect();
        self.look_for_drift();
        // Pods that wait are brought up again and again, whatever became of them before.
        for pod in self.pods_for_karpenter() {
            self.trigger_batch(pod.uid);
        }
        going.extend(self.replacements_ready());
        let Some(k) = &mut self.kube_mut().karpenter else { return };
        let mut next = now + if k.queue.is_empty() { PERIOD } else { queue::POLL };
        let mut done = false;
        match k.validating.take() {
            Some((command, due)) if due > now => {
                next = next.min(due);
                k.validating = Some((command, due));
            }
            Some((command, _)) => {
                going.extend(self.validate_command(command));
                done = true;
            }
            None => match self.find_disruption() {
                Some(command) if command.method.is_validated() => {
                    next = next.min(now + VALIDATION_DELAY);
                    if let Some(k) = &mut self.kube_mut().karpenter {
                        k.validating = Some((command, now + VALIDATION_DELAY));
                    }
                }
                Some(command) => {
                    going.extend(self.execute(command));
                    done = true;
                }
                None => self.say_what_holds_drift(),
            },
        }
        if done {
            // After a success the loop runs again at once.
            next = next.min(now + SimDuration::from_secs(1));
        }
        for (node, why) in going {
            self.delete_claim(node, why);
        }
        self.schedule_timer_if_due(Timer::Karpenter, next, Phase::Decision);
    }

    /// Nodes that are older than their template allows go, whatever the budgets say.
    fn tell_expiry(&mut self, nodes: &[NodeId]) {
        for node in nodes {
            let Some(k) = &self.kube().karpenter else { return };
            let Some(claim) = k.claims.get(node) else { continue };
            let capacity = k.capacities[claim.pool];
            let text =
                format!("node {} is as old as its expireAfter allows: it goes, whatever the budgets say", node.0);
            self.record_karpenter(capacity, None, "expired", text);
        }
    }

    fn what_is_there(&self, k: &Karpenter) -> Seen {
        let (ids, nodes) = self.node_views(k);
        let concerned = |n: &NodeId| k.queue.iter().any(|q| q.nodes.contains(n) || q.replacements.contains(n));
        let queued = ids.iter().zip(&nodes).filter(|(n, _)| concerned(n)).map(|(_, v)| v.name).collect();
        Seen { ids, nodes, pending: self.pods_for_karpenter(), queued }
    }

    fn find_disruption(&mut self) -> Option<Command> {
        let now = self.queue.now();
        let k = self.kube().karpenter.as_ref()?;
        if let Some((version, at)) = k.quiet
            && version == k.version
            && now.since(at) < LOOK_ANYWAY
            && !k.ripens(self, at, now)
        {
            return None;
        }
        let mut memory = std::mem::take(&mut self.kube_mut().karpenter.as_mut()?.memory);
        let k = self.kube().karpenter.as_ref()?;
        let seen = self.what_is_there(k);
        let mut scheduler = Scheduler::new(self.world_of(k, &seen.nodes), &k.unavailable);
        let command = disruption::disrupt(&mut scheduler, &mut memory, &seen.by(k));
        let k = self.kube_mut().karpenter.as_mut()?;
        k.memory = memory;
        k.quiet = command.is_none().then_some((k.version, now));
        command
    }

    /// A decision is looked at again, fifteen seconds after it was made.
    fn validate_command(&mut self, command: Command) -> Vec<(NodeId, NodeEnd)> {
        let Some(k) = &self.kube().karpenter else { return Vec::new() };
        let seen = self.what_is_there(k);
        let (method, pool) = (command.method, command.candidates.first().map_or(0, |c| c.pool));
        let mut scheduler = Scheduler::new(self.world_of(k, &seen.nodes), &k.unavailable);
        match disruption::validate(&mut scheduler, command, &seen.by(k)) {
            Ok(command) => self.execute(command),
            Err(why) => {
                let why = invalid_text(&why, self.kube().scheduler.symbols());
                let text = format!("{}: the decision no longer holds after 15 s: {why}", method_name(method));
                let capacity = k.capacities[pool];
                self.record_karpenter(capacity, None, "abandoned", text);
                Vec::new()
            }
        }
    }

    /// Carries a command out: replacements first. The nodes that may go at once are given back.
    fn execute(&mut self, command: Command) -> Vec<(NodeId, NodeEnd)> {
        let now = self.queue.now();
        let Some(k) = &self.kube().karpenter else { return Vec::new() };
        let seen = self.what_is_there(k);
        let going: Vec<NodeId> = command.candidates.iter().filter_map(|c| seen.node(c.name)).collect();
        let pool = command.candidates.first().map_or(0, |c| c.pool);
        let capacity = k.capacities[pool];
        let names: Vec<String> = going.iter().map(|n| n.0.to_string()).collect();
        let what = match command.decision() {
            Decision::Delete => "delete",
            Decision::Replace => "replace",
        };
        let drift = going.first().and_then(|n| k.claims.get(n)).and_then(|c| c.drift);
        let why = match (command.method, drift) {
            (Method::Drift, Some(drift)) => format!(", {}", drift.reason.text()),
            _ => String::new(),
        };
        let count = k.claims.values().filter(|c| c.pool == pool).count() as i64;
        let text = format!(
            "{}: {what} node{} {} of ${:.4} an hour{why}",
            method_name(command.method),
            if names.len() == 1 { "" } else { "s" },
            names.join(", "),
            command.price.dollars(),
        );
        let after = count - going.len() as i64 + command.replacements.len() as i64;
        self.record_karpenter(capacity, Some((count, after)), method_name(command.method), text);
        let Some(k) = &mut self.kube_mut().karpenter else { return Vec::new() };
        for node in &going {
            if let Some(claim) = k.claims.get_mut(node) {
                claim.marked = true;
            }
        }
        k.version += 1;
        let mut replacements = Vec::new();
        for claim in &command.replacements {
            let Some(node) = self.launch_claim(claim, &seen.nodes, false, Some(&command)) else {
                // Without its replacement the command is given up.
                if let Some(k) = &mut self.kube_mut().karpenter {
                    k.unmark(&going);
                }
                return Vec::new();
            };
            replacements.push(node);
        }
        for &node in &going {
            self.cordon(node);
        }
        let end = if command.method == Method::Drift { NodeEnd::Drifted } else { NodeEnd::Idle };
        if replacements.is_empty() {
            return going.into_iter().map(|n| (n, end)).collect();
        }
        if let Some(k) = &mut self.kube_mut().karpenter {
            k.queue.push(Queued { command, nodes: going, replacements, started: now, end });
        }
        Vec::new()
    }

    /// Commands whose replacements are ready: their nodes go.
    fn replacements_ready(&mut self) -> Vec<(NodeId, NodeEnd)> {
        let now = self.queue.now();
        let Some(k) = &mut self.kube_mut().karpenter else { return Vec::new() };
        let waiting = std::mem::take(&mut k.queue);
        let commands = waiting.len();
        let (mut going, mut left) = (Vec::new(), Vec::new());
        for queued in waiting {
            let state = |n: &NodeId| match self.cluster.node(*n) {
                n if n.life >= LifeCycle::Terminating => ReplacementState::Gone,
                n if n.times.registered.is_some() => ReplacementState::Initialized,
                _ => ReplacementState::Starting,
            };
            let states: Vec<ReplacementState> = queued.replacements.iter().map(state).collect();
            match queue::step(&states, queued.started, commands, now) {
                queue::Step::Wait => left.push(queued),
                queue::Step::Delete => going.extend(queued.nodes.iter().map(|n| (*n, queued.end))),
                queue::Step::GiveUp(why) => self.give_up_command(&queued, why),
            }
        }
        if let Some(k) = &mut self.kube_mut().karpenter {
            k.queue = left;
        }
        going
    }

    fn give_up_command(&mut self, queued: &Queued, why: queue::GiveUp) {
        let pool = queued.command.candidates.first().map_or(0, |c| c.pool);
        let Some(k) = &mut self.kube_mut().karpenter else { return };
        k.unmark(&queued.nodes);
        let capacity = k.capacities[pool];
        let text = format!("a command is given up: {}", give_up_text(why));
        self.record_karpenter(capacity, None, "given_up", text);
        for &node in &queued.nodes {
            if self.cluster.node(node).status == NodeStatus::Draining {
                self.uncordon(node);
            }
        }
    }
}

const fn method_name(method: Method) -> &'static str {
    match method {
        Method::Emptiness => "emptiness",
        Method::Drift => "drift",
        Method::MultiNode => "multi_node_consolidation",
        Method::SingleNode => "single_node_consolidation",
    }
}
