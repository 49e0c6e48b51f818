//! The load balancer of a service: which target gets an attempt.

use crate::kernel::Draw;
use crate::scenario::model::Algorithm;

use super::request::NONE;

/// What the balancer thinks of a target. The states and what they mean for traffic are those of an ALB target group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum TargetState {
    /// Registered, no health check has passed or failed for good: no traffic.
    #[default]
    Initial,
    /// Gets traffic.
    Healthy,
    /// Gets traffic only when the group fails open.
    Unhealthy,
    /// Deregistered: no new requests, those in flight may finish.
    Draining,
    /// Known, but not in use: no traffic.
    Unused,
}

/// A server as its balancer sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    state: TargetState,
    /// Which of the service's own target groups it is in.
    pub(super) group: u8,
    /// On which side of its service it is, for those who tell them apart.
    pub(super) side: u8,
    /// Order of registration; [`NONE`] when not registered.
    rank: u32,
    /// Whether its share still grows, since when (nanoseconds), and the part of a request it has coming.
    slow: bool,
    since: u64,
    credit: f64,
    /// Position in the order by load; [`NONE`] when it gets no traffic.
    position: u32,
}

impl Target {
    pub(super) const NEW: Self = Self {
        state: TargetState::Initial,
        group: 0,
        side: 0,
        rank: NONE,
        slow: false,
        since: 0,
        credit: 0.0,
        position: NONE,
    };

    pub(super) fn registered(&self) -> bool {
        self.rank != NONE
    }

    pub(super) fn state(&self) -> TargetState {
        self.state
    }
}

/// The targets of all services, by server: the part that is looked at in the request path is one small array.
#[derive(Clone, Debug, Default)]
pub(super) struct Targets {
    pub(super) of: Vec<Target>,
    /// Attempts that the balancer has under way at each server.
    pub(super) outstanding: Vec<u32>,
    /// Where each server is, for balancers that look at zones or nodes first.
    pub(super) places: Vec<(u32, u32)>,
}

impl Targets {
    /// Which of its service's own target groups a server is in.
    #[inline]
    pub(super) fn group(&self, server: u32) -> usize {
        usize::from(self.of[server as usize].group)
    }
}

/// Zones, then nodes, each of which is as likely as any other, however many targets it has.
#[derive(Clone, Debug, Default)]
struct Stages {
    zones: bool,
    nodes: bool,
    /// For each zone, where its nodes are in `node_ends`.
    zone_ends: Vec<u32>,
    /// For each node, where its targets end in `active`.
    node_ends: Vec<u32>,
}

impl Stages {
    /// Orders the targets by place and notes where each place ends.
    fn arrange(&mut self, active: &mut [u32], places: &[(u32, u32)]) {
        let (zones, nodes) = (self.zones, self.nodes);
        let place = |s: u32| {
            let (zone, node) = places.get(s as usize).copied().unwrap_or_default();
            (if zones { zone } else { 0 }, if nodes { node } else { 0 })
        };
        active.sort_by_key(|&s| place(s));
        self.zone_ends.clear();
        self.node_ends.clear();
        for (i, &s) in active.iter().enumerate() {
            let next = active.get(i + 1).map(|&s| place(s));
            if next != Some(place(s)) {
                self.node_ends.push(i as u32 + 1);
                if next.map(|p| p.0) != Some(place(s).0) {
                    self.zone_ends.push(self.node_ends.len() as u32);
                }
            }
        }
    }

    fn pick(&self, active: &[u32], draw: Draw) -> u32 {
        let within = |ends: &[u32], from: usize, to: usize, n: u64| {
            let at = from + below(draw.of(n).bits(), to - from);
            (at.checked_sub(1).map_or(0, |before| ends[before] as usize), ends[at] as usize)
        };
        let (from, to) = within(&self.zone_ends, 0, self.zone_ends.len(), 0);
        let (from, to) = within(&self.node_ends, from, to, 1);
        active[from + below(draw.of(2).bits(), to - from)]
    }
}

/// One target group with its routing state.
#[derive(Clone, Debug)]
pub(super) struct Balancer {
    algorithm: Algorithm,
    choices: u32,
    slow_start: u64,
    minimum_healthy: u32,
    /// Registered servers in order of registration; entries whose rank has changed are stale.
    members: Vec<(u32, u32)>,
    next_rank: u32,
    /// Servers that get traffic, in order of registration.
    active: Vec<u32>,
    dirty: bool,
    /// Round robin: the position in `active` that comes next; while dirty, the rank of the target there.
    turn: usize,
    /// How many of `active` are in slow start.
    slow: u32,
    /// Random: zones or nodes that are chosen before a target is.
    stages: Option<Box<Stages>>,
    /// Least outstanding: `active` by load, and where each load begins in it.
    order: Vec<u32>,
    begins: Vec<u32>,
}

impl Balancer {
    pub(super) fn new(algorithm: Algorithm, choices: u32, slow_start: u64, minimum_healthy: u32) -> Self {
        Self {
            algorithm,
            choices: choices.max(1),
            slow_start: if algorithm == Algorithm::RoundRobin { slow_start } else { 0 },
            minimum_healthy,
            members: Vec::new(),
            next_rank: 0,
            active: Vec::new(),
            dirty: false,
            turn: 0,
            slow: 0,
            stages: None,
            order: Vec::new(),
            begins: Vec::new(),
        }
    }

    /// Chooses a zone, a node, or both, before a target: only at random.
    pub(super) fn by_stages(mut self, (zones, nodes): (bool, bool)) -> Self {
        if zones || nodes {
            self.algorithm = Algorithm::WeightedRandom;
            self.stages = Some(Box::new(Stages { zones, nodes, ..Stages::default() }));
        }
        self
    }

    pub(super) fn register(&mut self, targets: &mut Targets, server: u32) {
        self.spoil(targets);
        let Target { group, side, .. } = targets.of[server as usize];
        targets.of[server as usize] = Target { group, side, rank: self.next_rank, ..Target::NEW };
        self.members.push((server, self.next_rank));
        self.next_rank += 1;
    }

    pub(super) fn deregister(&mut self, targets: &mut Targets, server: u32) {
        self.spoil(targets);
        let Target { group, side, .. } = targets.of[server as usize];
        targets.of[server as usize] = Target { group, side, ..Target::NEW };
    }

    /// Who gets traffic has to be collected again before the next choice.
    fn spoil(&mut self, targets: &mut Targets) {
        if self.dirty {
            return;
        }
        self.dirty = true;
        self.turn = self.active.get(self.turn).map_or(0, |&s| targets.of[s as usize].rank as usize);
        // No position may outlive the order: the slot of a server can pass to another service.
        for s in self.order.drain(..) {
            targets.of[s as usize].position = NONE;
        }
    }

    pub(super) fn set_state(&mut self, targets: &mut Targets, server: u32, state: TargetState, now: u64) {
        let before = targets.of[server as usize].state;
        if before == state {
            return;
        }
        let healthy = state == TargetState::Healthy;
        // The first targets of a group have nobody to be compared with and take their full share at once.
        let others = healthy
            && self.slow_start > 0
            && self.members.iter().any(|&(s, rank)| {
                let t = &targets.of[s as usize];
                t.rank == rank
                    && t.state == TargetState::Healthy
                    && !(t.slow && now.saturating_sub(t.since) < self.slow_start)
            });
        self.spoil(targets);
        let target = &mut targets.of[server as usize];
        target.state = state;
        target.slow = others;
        target.since = now;
        target.credit = 1.0;
    }

    /// Collects again who gets traffic. Round robin goes on where it was.
    #[cold]
    fn refresh(&mut self, targets: &mut Targets) {
        self.dirty = false;
        let next = self.turn;
        self.members.retain(|&(s, rank)| targets.of[s as usize].rank == rank);
        let healthy = self.members.iter().filter(|m| targets.of[m.0 as usize].state == TargetState::Healthy).count();
        let open = healthy < self.minimum_healthy.max(1) as usize;
        self.active.clear();
        self.slow = 0;
        for &(s, _) in &self.members {
            let t = &targets.of[s as usize];
            if t.state == TargetState::Healthy || (open && t.state == TargetState::Unhealthy) {
                self.slow += u32::from(t.slow);
                self.active.push(s);
            }
        }
        if let Some(stages) = &mut self.stages {
            stages.arrange(&mut self.active, &targets.places);
            return;
        }
        self.turn = self.active.partition_point(|&s| (targets.of[s as usize].rank as usize) < next);
        if self.algorithm == Algorithm::LeastOutstandingRequests {
            self.order.clone_from(&self.active);
            self.order.sort_by_key(|&s| targets.outstanding[s as usize]);
            self.begins.clear();
            for (i, &s) in self.order.iter().enumerate() {
                targets.of[s as usize].position = i as u32;
                let load = targets.outstanding[s as usize] as usize;
                while self.begins.len() <= load {
                    self.begins.push(i as u32);
                }
            }
        }
    }

    /// Chooses a target; `None` when there is none that may have traffic. `draw` belongs to the attempt.
    #[inline(always)]
    pub(super) fn pick(&mut self, targets: &mut Targets, now: u64, draw: impl FnOnce() -> Draw) -> Option<u32> {
        if self.dirty {
            self.refresh(targets);
        }
        if self.active.is_empty() {
            return None;
        }
        match self.algorithm {
            Algorithm::RoundRobin => {
                if self.slow > 0 {
                    return Some(self.pick_slowly(targets, now));
                }
                if self.turn >= self.active.len() {
                    self.turn = 0;
                }
                let server = self.active[self.turn];
                self.turn += 1;
                Some(server)
            }
            Algorithm::LeastOutstandingRequests => {
                let least = targets.outstanding[self.order[0] as usize] as usize;
                let ties = self.begins.get(least + 1).map_or(self.order.len(), |&b| b as usize);
                Some(self.order[below(draw().bits(), ties)])
            }
            Algorithm::WeightedRandom => Some(match &self.stages {
                None => self.active[below(draw().bits(), self.active.len())],
                Some(stages) => stages.pick(&self.active, draw()),
            }),
            Algorithm::PowerOfChoices => Some(self.pick_of_few(targets, draw())),
        }
    }

    /// Round robin with targets in slow start: each turn of such a target is worth the share of the time that has
    /// passed; it takes the request when it has a whole one coming.
    fn pick_slowly(&mut self, targets: &mut Targets, now: u64) -> u32 {
        loop {
            if self.turn >= self.active.len() {
                self.turn = 0;
            }
            let server = self.active[self.turn];
            self.turn += 1;
            let t = &mut targets.of[server as usize];
            if !t.slow {
                return server;
            }
            let elapsed = now.saturating_sub(t.since);
            if elapsed >= self.slow_start {
                t.slow = false;
                self.slow -= 1;
                return server;
            }
            t.credit += elapsed as f64 / self.slow_start as f64;
            // Alone, or only among others in slow start (the rest left), a target takes what comes.
            if t.credit >= 1.0 || self.slow as usize == self.active.len() {
                t.credit = (t.credit - 1.0).max(0.0);
                return server;
            }
        }
    }

    #[inline]
    fn pick_of_few(&self, targets: &Targets, draw: Draw) -> u32 {
        let n = self.active.len();
        let load = |i: usize| targets.outstanding[self.active[i] as usize];
        if self.choices == 2 && n > 1 {
            let bits = draw.bits();
            let a = below(bits, n);
            let b = below(bits << 32, n - 1);
            let b = b + usize::from(b >= a);
            return self.active[if load(b) < load(a) { b } else { a }];
        }
        if self.choices as usize >= n {
            // All of them: from a random place on, so that ties fall evenly.
            let start = below(draw.bits(), n);
            let best = (0..n).map(|i| (start + i) % n).min_by_key(|&i| load(i));
            return self.active[best.unwrap_or(0)];
        }
        // Floyd's sampling of distinct positions; few of them, so a linear look-up.
        let mut chosen = [0usize; 16];
        let d = (self.choices as usize).min(chosen.len());
        for k in 0..d {
            let top = n - d + k;
            let x = below(draw.of(k as u64).bits(), top + 1);
            chosen[k] = if chosen[..k].contains(&x) { top } else { x };
        }
        let best = chosen[..d].iter().copied().min_by_key(|&i| load(i));
        self.active[best.unwrap_or(0)]
    }

    /// One more attempt is under way at `server`.
    #[inline]
    pub(super) fn more(&mut self, targets: &mut Targets, server: u32) {
        let load = targets.outstanding[server as usize];
        targets.outstanding[server as usize] = load + 1;
        if self.algorithm == Algorithm::LeastOutstandingRequests && targets.of[server as usize].position != NONE {
            // To the end of its load's stretch, which then begins the next one's.
            let end = self.begins.get(load as usize + 1).map_or(self.order.len() as u32, |&b| b);
            if self.begins.len() <= load as usize + 1 {
                self.begins.push(end);
            }
            self.swap(targets, server, end - 1);
            self.begins[load as usize + 1] = end - 1;
        }
    }

    /// One attempt less is under way at `server`.
    #[inline]
    pub(super) fn less(&mut self, targets: &mut Targets, server: u32) {
        let load = targets.outstanding[server as usize];
        targets.outstanding[server as usize] = load - 1;
        if self.algorithm == Algorithm::LeastOutstandingRequests && targets.of[server as usize].position != NONE {
            let begin = self.begins[load as usize];
            self.swap(targets, server, begin);
            self.begins[load as usize] = begin + 1;
        }
    }

    #[inline]
    fn swap(&mut self, targets: &mut Targets, server: u32, to: u32) {
        let from = targets.of[server as usize].position;
        let other = self.order[to as usize];
        self.order[from as usize] = other;
        self.order[to as usize] = server;
        targets.of[other as usize].position = from;
        targets.of[server as usize].position = to;
    }
}

/// Maps 64 random bits (their upper half) to `0..n`, evenly to one part in 2^32.
#[inline]
fn below(bits: u64, n: usize) -> usize {
    (((bits >> 32) * n as u64) >> 32) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often each target is chosen: three on node 1 and one on node 2 of zone 0, one on node 3 of zone 1.
    fn shares(stages: (bool, bool)) -> [f64; 5] {
        let mut targets = Targets {
            of: vec![Target::NEW; 5],
            outstanding: vec![0; 5],
            places: vec![(0, 1), (0, 2), (0, 1), (1, 3), (0, 1)],
        };
        let mut balancer = Balancer::new(Algorithm::WeightedRandom, 2, 0, 1).by_stages(stages);
        for server in 0..5 {
            balancer.register(&mut targets, server);
            balancer.set_state(&mut targets, server, TargetState::Healthy, 0);
        }
        let mut counts = [0.0; 5];
        for i in 0..60_000 {
            let chosen = balancer.pick(&mut targets, 0, || Draw::new(9).of(i)).expect("a target");
            counts[chosen as usize] += 1.0 / 60_000.0;
        }
        counts
    }

    #[test]
    fn zones_and_nodes_are_as_likely_as_each_other_however_many_targets_they_have() {
        let close = |got: [f64; 5], wanted: [f64; 5]| {
            let near = got.iter().zip(&wanted).all(|(g, w)| (g - w).abs() < 0.01);
            assert!(near, "{got:?} instead of {wanted:?}");
        };
        close(shares((false, false)), [0.2; 5]);
        close(shares((true, false)), [0.125, 0.125, 0.125, 0.5, 0.125]);
        close(shares((false, true)), [1.0 / 9.0, 1.0 / 3.0, 1.0 / 9.0, 1.0 / 3.0, 1.0 / 9.0]);
        close(shares((true, true)), [1.0 / 12.0, 0.25, 1.0 / 12.0, 0.5, 1.0 / 12.0]);
    }
}
