//! Nodes: machines whose CPU is shared by the servers on them.
//!
//! While the servers of a node want no more than it has, each runs as if it were alone, and a request costs what it costs
//! without a node. When they want more, the CPU is shared by weight (max-min fair): a server that wants less than its
//! share gets what it wants, and the rest is shared between the others in proportion to their weights. That is what
//! the kernel's fair scheduler does over times much longer than its slices. A capped server that has used its quota
//! up wants nothing until its next period.

use super::credits::{BurstSpec, Credits};
use super::processor::{Clock, round_up};
use super::request::NONE;
use super::server::{Hot, NodeShare, NodeSlot, Seat, Servers};
use super::{Agenda, DataPlane, TrafficEvent};
use crate::kernel::{Phase, SimTime};
use crate::units::{Cpu, ServerId};

/// CPU is counted in parts here: whole numbers, whose sums are exact in any order.
const PARTS: f64 = Cpu::PER_VCPU as f64;
/// The kernel's bounds of CPU shares.
const WEIGHTS: (u32, u32) = (2, 262_144);

/// What a node is made of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NodeSpec {
    /// All vCPUs of the machine, those that are reserved for nobody included.
    pub cores: Cpu,
    /// Speed of a core, as a factor on that of the reference for which the work of requests is given: above 0; 1
    /// for the reference.
    pub speed: f64,
    /// CPU credits of a burstable instance; `None` for any other.
    pub credits: Option<BurstSpec>,
}

/// What a node has done since it was added.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct NodeTotals {
    /// Servers on it now.
    pub servers: u32,
    /// Cores that may be used now: all, or fewer on a burstable node that is low on credits.
    pub capacity: f64,
    /// CPU used, vCPU-seconds.
    pub busy: f64,
    /// CPU that servers wanted and did not get, because others had it or the node had no credits, vCPU-seconds.
    pub steal: f64,
    /// Time below full speed for want of credits, with more wanted, seconds.
    pub throttled: f64,
    /// Credits in the balance.
    pub credits: f64,
    /// Surplus credits that are owed and not charged yet.
    pub surplus: f64,
    /// Surplus that was charged, vCPU-hours.
    pub surplus_charged: f64,
}

/// What only the accounts of a server on a node need.
#[derive(Clone, Copy, Debug)]
struct Member {
    server: u32,
    /// Cores that it may use at most.
    visible: f64,
    /// Until when `steal` is complete: the instant, and the node's time.
    since: u64,
    flow_since: f64,
    /// CPU wanted and not got, part-nanoseconds.
    steal: f64,
}

/// How a server runs while its node is tracked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Mode {
    /// It gets what it wants.
    #[default]
    Free,
    /// It gets less, in proportion to its weight: its time is the node's.
    Flowing,
    /// It gets less, and what it does with it is not in proportion: a quota or a background.
    Held,
}

/// One node. CPU in parts.
///
/// Those who get less than they want all get the same for a unit of weight, so the node has a time of its own that passes as
/// fast as that: in it the completion of each is where it is, whatever the others do. Only the first of them is in the
/// completion lane, and a change of the level moves that one alone.
#[derive(Clone, Debug, Default)]
struct Node {
    alive: bool,
    cores: f64,
    capacity: f64,
    speed: f64,
    /// Sum of `full`.
    wanted: f64,
    /// What is wanted, got and used up is kept up with for each server, because it may be more than there is.
    tracked: bool,
    /// Parts for a unit of weight; infinite while there is enough.
    level: f64,
    /// The node's time, core-nanoseconds for a unit of weight, and the instant at which it was that.
    flow: f64,
    flow_at: u64,
    /// The flowing server in the completion lane; [`NONE`] when there is none.
    first: u32,
    /// What each server would use if it were alone and its quota never bound.
    full: Vec<f64>,
    /// What it would use now, and what it gets unless it flows; only while `tracked`.
    demand: Vec<f64>,
    given: Vec<f64>,
    weight: Vec<f64>,
    /// The weight of those who get less than they want, 0 for the others.
    short: Vec<f64>,
    /// While `tracked`: sum of `demand`, the part of those who get it, sum of `short`, and how many are held.
    demands: f64,
    kept: f64,
    shorts: f64,
    held: u32,
    modes: Vec<Mode>,
    /// When the next completion is due in the node's time; infinite for those who do not flow.
    due: Vec<f64>,
    members: Vec<Member>,
    /// Of servers that have left: CPU used in vCPU-seconds, steal in part-nanoseconds.
    past_busy: f64,
    past_steal: f64,
    credits: Option<Box<Credits>>,
}

/// All nodes by slot.
#[derive(Clone, Debug, Default)]
pub(super) struct Nodes {
    all: Vec<Node>,
    generations: Vec<u32>,
    free: Vec<u32>,
}

impl Node {
    /// The node's time at an instant.
    #[inline]
    fn flow(&self, now: u64) -> f64 {
        let pace = if self.level.is_finite() { self.level / PARTS } else { 0.0 };
        self.flow + pace * now.saturating_sub(self.flow_at) as f64
    }

    /// CPU wanted and not got by a server until an instant.
    #[inline]
    fn steal(&self, at: usize, now: u64) -> f64 {
        let member = &self.members[at];
        let length = now.saturating_sub(member.since) as f64;
        let got = match self.modes[at] {
            Mode::Free => return member.steal,
            Mode::Flowing => self.weight[at] * (self.flow(now) - member.flow_since) * PARTS,
            Mode::Held => self.given[at] * length,
        };
        member.steal + self.demand[at] * length - got
    }

    /// Changes what a server wants now.
    #[inline]
    fn set_demand(&mut self, at: usize, demand: f64) {
        let more = demand - std::mem::replace(&mut self.demand[at], demand);
        self.demands += more;
        if self.modes[at] == Mode::Free {
            self.kept += more;
        }
    }

    #[inline]
    fn set_mode(&mut self, at: usize, mode: Mode) {
        let before = std::mem::replace(&mut self.modes[at], mode);
        if before == mode {
            return;
        }
        let weight = self.weight[at];
        if before == Mode::Free {
            self.kept -= self.demand[at];
            self.shorts += weight;
            self.short[at] = weight;
        } else if mode == Mode::Free {
            self.kept += self.demand[at];
            self.shorts -= weight;
            self.short[at] = 0.0;
        }
        self.held += u32::from(mode == Mode::Held);
        self.held -= u32::from(before == Mode::Held);
    }

    /// Where the search for the level begins: the others stay as they are, and the one whose demand has changed is
    /// short when it would have been.
    #[inline]
    fn guess(&self, changed: Option<usize>) -> f64 {
        let (mut kept, mut shorts) = (self.kept, self.shorts);
        if let Some(at) = changed {
            let (d, w) = (self.demand[at], self.weight[at]);
            if self.modes[at] == Mode::Free {
                kept -= d;
            } else {
                shorts -= w;
            }
            if d > w * self.level {
                shorts += w;
            } else {
                kept += d;
            }
        }
        if shorts > 0.0 { (self.capacity - kept) / shorts } else { f64::INFINITY }
    }

    /// Accounts for the steal of a server until `now`. For one that flows only [`Servers::advance_flow`] may do so.
    #[inline]
    fn settle_steal(&mut self, at: usize, now: u64) {
        let (steal, flow) = (self.steal(at, now), self.flow(now));
        let member = &mut self.members[at];
        (member.steal, member.since, member.flow_since) = (steal, now, flow);
    }
}

/// Of servers of which those are short that want more than a level gives: what the others want, the weight of the short
/// ones, and the weight of those of which `short` says something else.
///
/// All are whole numbers, so they may be added in any order; four sums at once take the waiting out of it.
#[inline]
fn look(level: f64, demand: &[f64], weight: &[f64], short: &[f64]) -> (f64, f64, f64) {
    let mut sums = [[0.0_f64; LANES]; 3];
    let mut add = |lane: usize, d: f64, w: f64, s: f64| {
        let is_short = d > w * level;
        let of = if is_short { w } else { 0.0 };
        sums[0][lane] += if is_short { 0.0 } else { d };
        sums[1][lane] += of;
        sums[2][lane] += (of - s).abs();
    };
    let ((d, d_rest), (w, w_rest), (s, s_rest)) =
        (demand.as_chunks::<LANES>(), weight.as_chunks::<LANES>(), short.as_chunks::<LANES>());
    for ((d, w), s) in d.iter().zip(w).zip(s) {
        for lane in 0..LANES {
            add(lane, d[lane], w[lane], s[lane]);
        }
    }
    for ((d, w), s) in d_rest.iter().zip(w_rest).zip(s_rest) {
        add(0, *d, *w, *s);
    }
    let [kept, weights, moved] = sums.map(|of| of.iter().sum());
    (kept, weights, moved)
}

const LANES: usize = 4;

/// The place of the smallest, and it.
#[inline]
fn smallest(of: &[f64]) -> (usize, f64) {
    let mut least = [f64::INFINITY; LANES];
    let (chunks, rest) = of.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            least[lane] = if chunk[lane] < least[lane] { chunk[lane] } else { least[lane] };
        }
    }
    let least = least.iter().chain(rest).copied().fold(f64::INFINITY, |a, b| if b < a { b } else { a });
    (of.iter().position(|&d| d == least).unwrap_or(0), least)
}

/// Parts for a unit of weight such that all that is there is given, when more is wanted; and the weight of those for
/// whom `short` does not say so. `from` is where the search begins.
///
/// What is given is a concave function of the level, so Newton's steps never overshoot after the first and end
/// after as many as there are kinds of servers, mostly one or two.
fn level(capacity: f64, demand: &[f64], weight: &[f64], short: &[f64], from: f64) -> (f64, f64) {
    let even = || capacity / weight.iter().sum::<f64>();
    let mut level = if from.is_finite() { from } else { even() };
    let mut first = true;
    loop {
        let (kept, weights, moved) = look(level, demand, weight, short);
        // A beginning above all that is wanted says nothing.
        let next = if weights > 0.0 { (capacity - kept) / weights } else { even() };
        if next == level || (!first && next < level) {
            return (level, moved);
        }
        first = false;
        level = next;
    }
}

/// Sets when a server is due in the completion lane.
#[inline]
fn set_due(q: &mut impl Agenda, server: u32, hot: &mut Hot, due: u64) {
    if due != hot.due {
        hot.due = due;
        if due == u64::MAX {
            q.cancel_completion(server);
        } else {
            q.set_completion(server, SimTime::from_nanos(due));
        }
    }
}

impl Servers {
    /// Sets the rate of a server on a node whose time is its own, and its next event.
    #[inline]
    fn rekey(&mut self, q: &mut impl Agenda, server: u32, tracked: bool) {
        let hot = &mut self.hot[server as usize];
        let cores = &self.kinds[hot.clock.kind()].cores;
        let slow = &mut self.slow[server as usize];
        hot.clock.share(cores, slow);
        let due = hot.jobs.first().and_then(|mark| hot.clock.finish(cores, slow, mark)).unwrap_or(u64::MAX);
        let turn = if tracked { hot.clock.turn(cores, slow) } else { u64::MAX };
        self.seats[server as usize].turn = turn < due;
        set_due(q, server, hot, due.min(turn));
    }

    /// Accounts for the time of a server until `now`, when that is its node's.
    pub(super) fn advance_flow(&mut self, server: u32, now: u64) {
        let seat = self.seats[server as usize];
        let node = &mut self.nodes.all[seat.node as usize];
        let at = seat.at as usize;
        let before = node.members[at].flow_since;
        node.settle_steal(at, now);
        let length = node.members[at].flow_since - before;
        self.hot[server as usize].clock.flow(&self.slow[server as usize], length, now);
    }

    /// CPU used by a server until `now` and time in which its quota was used up, seconds.
    pub(super) fn used(&self, server: u32, now: u64) -> (f64, f64) {
        let clock = &self.hot[server as usize].clock;
        let seat = &self.seats[server as usize];
        let flow = self.nodes.all.get(seat.node as usize).filter(|_| clock.flowing());
        let flow = flow.map_or(0.0, |node| node.flow(now) - node.members[seat.at as usize].flow_since);
        clock.used(&self.kinds[clock.kind()].cores, &self.slow[server as usize], now, flow)
    }

    /// Whether the quota of a server is used up. Its time must be accounted until now.
    #[inline]
    fn exhausted(&self, server: u32) -> bool {
        let clock = &self.hot[server as usize].clock;
        clock.exhausted(&self.kinds[clock.kind()].cores, &self.slow[server as usize])
    }

    /// From now on it is kept up with what the servers of a node want, get and have used up.
    fn track(&mut self, q: &mut impl Agenda, slot: u32, now: u64) {
        let node = &mut self.nodes.all[slot as usize];
        (node.flow, node.flow_at) = (0.0, now);
        node.demand.copy_from_slice(&node.full);
        node.given.copy_from_slice(&node.full);
        // All are free.
        (node.demands, node.kept, node.shorts, node.held) = (node.wanted, node.wanted, 0.0, 0);
        for at in 0..node.members.len() {
            let node = &self.nodes.all[slot as usize];
            let server = node.members[at].server;
            if node.full[at] > 0.0 && self.kind(server).cores.throttled() {
                self.advance(server, now);
                if self.exhausted(server) {
                    let node = &mut self.nodes.all[slot as usize];
                    node.set_demand(at, 0.0);
                    node.given[at] = 0.0;
                }
                self.rekey(q, server, true);
            }
        }
    }

    /// Puts the first of those who flow into the completion lane.
    fn set_first(&mut self, q: &mut impl Agenda, slot: u32, now: u64) {
        let node = &mut self.nodes.all[slot as usize];
        let (first, due) = smallest(&node.due);
        let first = node.members.get(first).filter(|_| due < f64::INFINITY).map_or(NONE, |m| m.server);
        let before = std::mem::replace(&mut node.first, first);
        if before != first && before != NONE {
            let hot = &mut self.hot[before as usize];
            if hot.clock.flowing() {
                set_due(q, before, hot, u64::MAX);
            }
        }
        if first != NONE {
            let want = (due - node.flow) / (node.level / PARTS);
            let at = if want < f64::INFINITY { now.saturating_add(round_up(want)) } else { u64::MAX };
            set_due(q, first, &mut self.hot[first as usize], at);
        }
    }

    /// Those whose demand has not changed begin to run in another way when the level makes them.
    fn place_others(&mut self, q: &mut impl Agenda, slot: u32, changed: Option<usize>, now: u64) {
        for at in 0..self.nodes.all[slot as usize].members.len() {
            let node = &mut self.nodes.all[slot as usize];
            let (demand, share) = (node.demand[at], node.weight[at] * node.level);
            let same = match node.modes[at] {
                Mode::Free => demand <= share && demand == node.given[at],
                Mode::Flowing => demand > share,
                Mode::Held => demand > share && share == node.given[at],
            };
            if !same && changed != Some(at) {
                if node.modes[at] == Mode::Held {
                    node.settle_steal(at, now);
                }
                let server = node.members[at].server;
                self.advance(server, now);
                self.place(q, slot, at, now);
            }
        }
    }

    /// A tracked server begins to run in another way, or its demand has changed: sets its rate and its next event
    /// for the present level.
    fn place(&mut self, q: &mut impl Agenda, slot: u32, at: usize, now: u64) {
        let node = &mut self.nodes.all[slot as usize];
        let server = node.members[at].server;
        let (demand, share) = (node.demand[at], node.weight[at] * node.level);
        let hot = &mut self.hot[server as usize];
        let slow = &mut self.slow[server as usize];
        let linear = !self.kinds[hot.clock.kind()].cores.throttled() && !Clock::accompanied(slow);
        if demand > share && linear {
            if node.modes[at] != Mode::Flowing {
                node.set_mode(at, Mode::Flowing);
                node.members[at].flow_since = node.flow;
                node.members[at].since = now;
                self.seats[server as usize].turn = false;
                set_due(q, server, hot, u64::MAX);
            }
            let mark = hot.jobs.first();
            let length = mark.map_or(f64::INFINITY, |mark| hot.clock.begin_flow(slow, node.weight[at], mark));
            node.due[at] = node.flow + length;
            return;
        }
        hot.clock.end_flow();
        node.due[at] = f64::INFINITY;
        node.members[at].since = now;
        let tracked = node.tracked;
        if demand > share {
            node.set_mode(at, Mode::Held);
            node.given[at] = share;
            slow.set_room(share / PARTS);
        } else {
            node.set_mode(at, Mode::Free);
            node.given[at] = demand;
            slow.set_room(node.members[at].visible);
        }
        self.rekey(q, server, tracked);
    }
}

impl DataPlane {
    /// Adds a machine whose CPU is shared by the servers that name it ([`super::ServerSpec::node`]).
    pub fn add_node(&mut self, q: &mut impl Agenda, spec: NodeSpec) -> NodeSlot {
        let cores = (spec.cores.parts() as f64).max(1.0);
        let mut credits = spec.credits.map(|c| Box::new(Credits::new(&c, spec.cores, q.now().as_nanos())));
        let node = Node {
            alive: true,
            cores,
            capacity: credits.as_mut().map_or(cores, |c| c.capacity() * PARTS),
            speed: if spec.speed.is_finite() && spec.speed > 0.0 { spec.speed } else { 1.0 },
            level: f64::INFINITY,
            first: NONE,
            // With credits every change of use matters.
            tracked: credits.is_some(),
            credits,
            ..Node::default()
        };
        let nodes = &mut self.servers.nodes;
        NodeSlot(match nodes.free.pop() {
            Some(slot) => {
                nodes.all[slot as usize] = node;
                slot
            }
            None => {
                nodes.all.push(node);
                nodes.generations.push(0);
                (nodes.all.len() - 1) as u32
            }
        })
    }

    /// The machine goes: everything in its servers is lost (502 to clients) and they serve no more. They are not removed:
    /// what they used can still be read. Returns the last totals, surplus credits that were owed charged.
    pub fn remove_node(&mut self, q: &mut impl Agenda, node: NodeSlot) -> NodeTotals {
        if !self.servers.nodes.all.get(node.0 as usize).is_some_and(|n| n.alive) {
            return NodeTotals::default();
        }
        let servers: Vec<u32> = self.servers.nodes.all[node.0 as usize].members.iter().map(|m| m.server).collect();
        for &server in &servers {
            self.kill(q, ServerId(server));
        }
        let now = q.now();
        let mut totals = self.node_totals(now, node);
        for &server in &servers {
            self.unseat(q, server);
        }
        let gone = &mut self.servers.nodes.all[node.0 as usize];
        gone.alive = false;
        if let Some(credits) = &mut gone.credits {
            credits.settle(now.as_nanos());
            credits.close();
            (totals.surplus, totals.surplus_charged) = (credits.owed(), credits.charged());
        }
        self.servers.nodes.generations[node.0 as usize] += 1;
        self.servers.nodes.free.push(node.0);
        totals
    }

    /// What a node has done since it was added. Looks at each of its servers. All zero for a node that is gone.
    #[must_use]
    pub fn node_totals(&self, now: SimTime, node: NodeSlot) -> NodeTotals {
        let Some(n) = self.servers.nodes.all.get(node.0 as usize).filter(|n| n.alive) else {
            return NodeTotals::default();
        };
        let nanos = now.as_nanos();
        let used = n.members.iter().map(|m| self.cpu_used(now, ServerId(m.server))).sum::<f64>();
        let steal = (0..n.members.len()).map(|at| n.steal(at, nanos)).sum::<f64>();
        let mut totals = NodeTotals {
            servers: n.members.len() as u32,
            capacity: n.capacity / PARTS,
            busy: n.past_busy + used,
            steal: (n.past_steal + steal) / PARTS / 1e9,
            ..NodeTotals::default()
        };
        if let Some(credits) = &n.credits {
            let mut then = (**credits).clone();
            then.settle(nanos);
            totals.throttled = then.held();
            totals.credits = then.balance();
            totals.surplus = then.owed();
            totals.surplus_charged = then.charged();
        }
        totals
    }

    /// CPU that a server wanted and did not get, because its neighbours had it or its node had no credits, vCPU-seconds since
    /// it was added; 0 for a server without a node.
    #[must_use]
    pub fn cpu_stolen(&self, now: SimTime, server: ServerId) -> f64 {
        let seat = &self.servers.seats[server.index()];
        if seat.node == NONE {
            return 0.0;
        }
        self.servers.nodes.all[seat.node as usize].steal(seat.at as usize, now.as_nanos()) / PARTS / 1e9
    }

    /// Time for which the quota was used up while a server wanted CPU, seconds since it was added (the kernel's throttled
    /// time).
    #[must_use]
    pub fn cpu_throttled(&self, now: SimTime, server: ServerId) -> f64 {
        self.servers.used(server.0, now.as_nanos()).1
    }

    /// Speed that a server has of its node.
    pub(super) fn node_speed(&self, server: u32) -> f64 {
        let node = self.servers.seats[server as usize].node;
        if node == NONE { 1.0 } else { self.servers.nodes.all[node as usize].speed }
    }

    /// Puts a new server on a node. On one that is gone it will do nothing for anybody, but no harm.
    pub(super) fn seat(&mut self, q: &mut impl Agenda, server: u32, share: NodeShare) {
        let now = q.now().as_nanos();
        let kind = self.servers.kind(server);
        let (cores, own) = (kind.cores, kind.spec.cpu.vcpus());
        let Servers { hot, slow, nodes, seats, .. } = &mut self.servers;
        let (hot, slow) = (&mut hot[server as usize], &mut slow[server as usize]);
        let Some(node) = nodes.all.get_mut(share.node.0 as usize).filter(|n| n.alive) else {
            hot.clock.seat(slow, cores.visible(own));
            return;
        };
        let visible = cores.visible(node.cores / PARTS);
        hot.clock.seat(slow, visible);
        hot.clock.set_speed(&cores, slow, node.speed);
        seats[server as usize] = Seat { node: share.node.0, at: node.members.len() as u32, turn: false };
        node.members.push(Member { server, visible, since: now, flow_since: 0.0, steal: 0.0 });
        node.modes.push(Mode::Free);
        node.short.push(0.0);
        node.due.push(f64::INFINITY);
        node.weight.push(f64::from(share.weight.clamp(WEIGHTS.0, WEIGHTS.1)));
        for of in [&mut node.full, &mut node.demand, &mut node.given] {
            of.push(0.0);
        }
    }

    /// Takes a server from its node. It must have lost everything in it.
    pub(super) fn unseat(&mut self, q: &mut impl Agenda, server: u32) {
        let seat = std::mem::replace(&mut self.servers.seats[server as usize], Seat::NONE);
        if seat.node == NONE {
            return;
        }
        let now = q.now();
        let used = self.cpu_used(now, ServerId(server));
        let (at, node) = (seat.at as usize, &mut self.servers.nodes.all[seat.node as usize]);
        node.past_busy += used;
        node.past_steal += node.steal(at, now.as_nanos());
        node.wanted -= node.full[at];
        let freed = node.full[at] > 0.0;
        node.set_demand(at, 0.0);
        node.set_mode(at, Mode::Free);
        if node.first == server {
            node.first = NONE;
        }
        node.members.swap_remove(at);
        node.modes.swap_remove(at);
        for of in [&mut node.weight, &mut node.full, &mut node.demand, &mut node.given, &mut node.short, &mut node.due]
        {
            of.swap_remove(at);
        }
        if let Some(moved) = node.members.get(at) {
            self.servers.seats[moved.server as usize].at = seat.at;
        }
        if freed {
            self.split(q, seat.node, None);
        }
    }

    /// Something has changed on a server of a node whose time is accounted until now: sets its next event, and those of
    /// its neighbours when they get more or less by it.
    #[inline(never)]
    pub(super) fn reshare(&mut self, q: &mut impl Agenda, server: u32) {
        let seat = self.servers.seats[server as usize];
        if seat.node == NONE {
            self.servers.rekey(q, server, false);
            return;
        }
        let at = seat.at as usize;
        let node = &mut self.servers.nodes.all[seat.node as usize];
        let (clock, slow) = (&self.servers.hot[server as usize].clock, &self.servers.slow[server as usize]);
        let full = (clock.demand(slow, node.members[at].visible) * PARTS + 0.5) as i64 as f64;
        let before = std::mem::replace(&mut node.full[at], full);
        node.wanted += full - before;
        if !node.tracked && node.wanted <= node.capacity {
            self.servers.rekey(q, server, false);
        } else {
            self.split(q, seat.node, Some(at));
        }
    }

    /// Shares the CPU of a node that is short of it, was until now, or has credits. `changed` is the server whose
    /// demand has changed, accounted until now.
    fn split(&mut self, q: &mut impl Agenda, slot: u32, changed: Option<usize>) {
        let now = q.now().as_nanos();
        let servers = &mut self.servers;
        let node = &mut servers.nodes.all[slot as usize];
        if let Some(credits) = &mut node.credits {
            credits.settle(now);
            node.capacity = credits.capacity() * PARTS;
        }
        let short = node.wanted > node.capacity;
        let track = short || node.credits.is_some();
        if track && !node.tracked {
            servers.track(q, slot, now);
        }
        let node = &mut servers.nodes.all[slot as usize];
        (node.flow, node.flow_at) = (node.flow(now), now);
        if let Some(at) = changed {
            if node.modes[at] == Mode::Held {
                node.settle_steal(at, now);
            }
            let server = node.members[at].server;
            let demand = node.full[at];
            let spent = track && servers.exhausted(server);
            servers.nodes.all[slot as usize].set_demand(at, if spent { 0.0 } else { demand });
        }
        let node = &mut servers.nodes.all[slot as usize];
        if !track {
            // What is used up is of no interest to others any more.
            for at in 0..node.members.len() {
                node.set_demand(at, node.full[at]);
            }
        }
        let mut moved = node.shorts;
        let untracked = std::mem::replace(&mut node.tracked, track) && !track;
        let guess = node.guess(changed);
        node.level = f64::INFINITY;
        if node.demands > node.capacity {
            (node.level, moved) = level(node.capacity, &node.demand, &node.weight, &node.short, guess);
        }
        if let Some(at) = changed {
            let of = if node.demand[at] > node.weight[at] * node.level { node.weight[at] } else { 0.0 };
            moved -= (of - node.short[at]).abs();
            servers.place(q, slot, at, now);
        }
        let node = &servers.nodes.all[slot as usize];
        if moved != 0.0 || node.held > 0 || untracked {
            servers.place_others(q, slot, changed, now);
        }
        servers.set_first(q, slot, now);
        let node = &mut servers.nodes.all[slot as usize];
        if let Some(credits) = &mut node.credits {
            credits.set_busy(node.demands.min(node.capacity) / PARTS, short);
            self.arm_credits(q, slot);
        }
    }

    /// Makes sure that somebody looks before a node can have spent its credits.
    fn arm_credits(&mut self, q: &mut impl Agenda, slot: u32) {
        let Some(credits) = &mut self.servers.nodes.all[slot as usize].credits else { return };
        if !credits.armed
            && let Some(after) = credits.look()
        {
            credits.armed = true;
            let at = SimTime::from_nanos(q.now().as_nanos().saturating_add(after));
            let event = TrafficEvent::Credits { node: slot, generation: self.servers.nodes.generations[slot as usize] };
            q.schedule(at, Phase::State, event);
        }
    }

    /// The credits of a node may be spent.
    pub(super) fn credits_due(&mut self, q: &mut impl Agenda, slot: u32, generation: u32) {
        if self.servers.nodes.generations[slot as usize] != generation {
            return;
        }
        let Some(credits) = &mut self.servers.nodes.all[slot as usize].credits else { return };
        credits.armed = false;
        credits.settle(q.now().as_nanos());
        if credits.check() {
            self.split(q, slot, None);
        } else {
            self.arm_credits(q, slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn given(level: f64, demand: &[f64], weight: &[f64]) -> Vec<f64> {
        demand.iter().zip(weight).map(|(d, w)| if *d > w * level { w * level } else { *d }).collect()
    }

    proptest! {
        /// All that is there is given, nobody gets more than is wanted, all that are short get the same for their
        /// weight, and who gets all would not be short at it; wherever the search begins.
        #[test]
        fn shares_are_max_min_fair(
            servers in prop::collection::vec((0u32..4_000_000, 2u32..10_000), 1..40),
            capacity in 1u32..8_000_000,
            from in prop_oneof![Just(f64::INFINITY), -1.0..1e6f64],
        ) {
            let demand: Vec<f64> = servers.iter().map(|s| f64::from(s.0)).collect();
            let weight: Vec<f64> = servers.iter().map(|s| f64::from(s.1)).collect();
            let capacity = f64::from(capacity);
            let wanted: f64 = demand.iter().sum();
            prop_assume!(wanted > capacity);
            let none = vec![0.0; demand.len()];
            let (found, moved) = level(capacity, &demand, &weight, &none, from);
            let given = given(found, &demand, &weight);
            let all: f64 = given.iter().sum();
            prop_assert!((all - capacity).abs() < 1e-6 * capacity, "{all} of {capacity} given");
            let mut short = vec![0.0; demand.len()];
            for (at, (g, d)) in given.iter().zip(&demand).enumerate() {
                prop_assert!(g <= d);
                if g < d {
                    prop_assert!((g / weight[at] - found).abs() <= 1e-9 * found);
                    short[at] = weight[at];
                }
            }
            // Those that are short are counted, and found again from there.
            prop_assert_eq!(moved, short.iter().sum::<f64>());
            let (again, moved) = level(capacity, &demand, &weight, &short, found);
            prop_assert!((again - found).abs() <= 1e-12 * found);
            prop_assert_eq!(moved, 0.0);
        }

        #[test]
        fn the_smallest_is_found(of in prop::collection::vec(0.0f64..10.0, 0..30)) {
            let (at, least) = smallest(&of);
            match of.iter().copied().min_by(f64::total_cmp) {
                Some(want) => {
                    prop_assert_eq!(least, want);
                    prop_assert_eq!(of[at], want);
                }
                None => prop_assert_eq!(least, f64::INFINITY),
            }
        }
    }
}
