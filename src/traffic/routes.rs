//! How a call reaches its callee: pools of connections, addresses from DNS, the proxies of a mesh, and
//! the connections of a dependency.
//!
//! What a task of the caller knows is its own: its pool, the last answer of the DNS, which targets its proxy has ejected.
//! That is a [`Site`], one for each edge and server of the caller.

use std::collections::VecDeque;

use super::calls::site_draw;
use super::path::{attempt_draw, instant, purpose};
use super::request::{CALL, NONE, Request, Stage};
use super::totals::Failure;
use super::{Agenda, DataPlane, TrafficEvent};
use crate::kernel::{Draw, Phase};
use crate::scenario::model::{MeshAlgorithm, OutlierDetection};

/// Most addresses in an answer of the DNS.
const ANSWERS: usize = 8;

/// How an attempt ended, as its connection and its proxy see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AttemptEnd {
    /// With an answer.
    Answered,
    /// With an answer that is an error.
    Error,
    /// The connection was refused, or broke.
    Broken,
    /// Nobody waited any longer.
    TimedOut,
    /// The caller itself is gone.
    Abandoned,
}

/// By which way an edge goes. Times in nanoseconds.
#[derive(Clone, Debug)]
pub(super) enum Route {
    /// The callee's load balancer.
    Balancer,
    /// Addresses from the DNS.
    Discovery { ttl: u64, answers: usize, connect_timeout: u64, propagation: u64 },
    /// The proxies of a mesh.
    Mesh { algorithm: MeshAlgorithm, tries: u32, outliers: OutlierDetection, propagation: u64 },
    /// A dependency, by its number.
    Dependency(u32),
}

impl Route {
    /// Tries that a proxy makes after the first.
    pub(super) fn proxy_tries(&self) -> u32 {
        match self {
            Self::Mesh { tries, .. } => *tries,
            _ => 0,
        }
    }
}

/// The rules of a pool. Times in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct PoolRules {
    pub(super) max: u32,
    pub(super) acquire_timeout: u64,
    pub(super) idle_timeout: u64,
    pub(super) max_lifetime: u64,
}

/// A task as somebody knows it: its server, and which of those that had this number it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) server: u32,
    pub(super) incarnation: u32,
}

/// An open connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Connection {
    /// Where it leads to; the server is [`NONE`] where that is of no account.
    to: Address,
    born: u64,
    idle_since: u64,
}

/// What a task of the caller keeps for an edge.
#[derive(Clone, Debug, Default)]
pub(super) struct Site {
    /// Connections in use, and those that are not: the one that is longest unused first.
    in_use: u32,
    idle: VecDeque<Connection>,
    /// Who waits for one; entries that have moved on are stale, `queued` counts the others.
    waiting: VecDeque<(u32, u32)>,
    queued: u32,
    /// When somebody looks for connections that are unused for too long; 0 for never.
    sweep_at: u64,
    /// The last answer of the DNS.
    answer: [Option<Address>; ANSWERS],
    answers: usize,
    answer_until: u64,
    /// Whose turn it is, of the answer or of the proxy's hosts.
    turn: usize,
    /// How often it has asked.
    asked: u64,
    hosts: Vec<Host>,
    /// State of the list of targets that the hosts are from, and when the list changes by time alone.
    version: u64,
    stale_at: u64,
}

/// A target as a proxy sees it.
#[derive(Clone, Copy, Debug)]
struct Host {
    address: Address,
    active: u32,
    failures: u32,
    ejections: u32,
    ejected_until: u64,
}

/// A task that can be found: since when, and until when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Endpoint {
    address: Address,
    from: u64,
    until: u64,
}

/// The tasks of a service that its callers can find by themselves.
#[derive(Clone, Debug, Default)]
pub(super) struct Endpoints {
    all: Vec<Endpoint>,
    /// Grows with every change.
    version: u64,
    /// The longest delay until somebody hears of a change.
    pub(super) longest: u64,
    /// Somebody looks here at all.
    pub(super) wanted: bool,
}

impl Endpoints {
    /// Those that can be found when news takes `delay`, and when that changes by time alone.
    fn found(&mut self, now: u64, delay: u64) -> (impl Iterator<Item = Address> + '_, u64) {
        let longest = self.longest;
        if self.all.iter().any(|e| e.until.saturating_add(longest) <= now) {
            self.all.retain(|e| e.until.saturating_add(longest) > now);
        }
        let times = self.all.iter().flat_map(|e| [e.from.saturating_add(delay), e.until.saturating_add(delay)]);
        let change = times.filter(|&t| t > now).min().unwrap_or(u64::MAX);
        // What is there from the start has always been known.
        let known = move |e: &&Endpoint| {
            (e.from == 0 || e.from.saturating_add(delay) <= now) && now < e.until.saturating_add(delay)
        };
        (self.all.iter().filter(known).map(|e| e.address), change)
    }

    fn add(&mut self, address: Address, now: u64) {
        if !self.all.iter().any(|e| e.address == address && e.until == u64::MAX) {
            self.all.push(Endpoint { address, from: now, until: u64::MAX });
            self.version += 1;
        }
    }

    fn remove(&mut self, address: Address, now: u64) {
        for e in self.all.iter_mut().filter(|e| e.address == address && e.until == u64::MAX) {
            e.until = now;
            self.version += 1;
        }
    }
}

/// A dependency: a hidden service with one server, and what it counts of connections.
#[derive(Clone, Debug)]
pub(super) struct DependencyState {
    pub(super) service: u16,
    pub(super) server: u32,
    pub(super) max_connections: u32,
    pub(super) connections: u32,
    /// For the totals: the largest number, the integral over time and since when it holds.
    pub(super) peak: u32,
    pub(super) area: u128,
    pub(super) since: u64,
    pub(super) refused: u64,
    /// Speed by the scenario's slowdowns, and by whoever else has set it.
    pub(super) planned_speed: f64,
    pub(super) set_speed: f64,
    /// Instants at which the planned speed changes.
    pub(super) changes: Vec<(u64, f64)>,
    /// CPU used at the last look.
    pub(super) used: f64,
}

impl DependencyState {
    pub(super) fn count(&mut self, now: u64, change: i32) {
        self.area += u128::from(now - self.since) * u128::from(self.connections);
        self.since = now;
        self.connections = self.connections.saturating_add_signed(change);
        self.peak = self.peak.max(self.connections);
    }
}

impl Site {
    /// Connections that are open.
    fn open(&self) -> u32 {
        self.in_use + self.idle.len() as u32
    }
}

impl DataPlane {
    /// The address of a server.
    fn address(&self, server: u32) -> Address {
        Address { server, incarnation: self.incarnations.get(server as usize).copied().unwrap_or(0) }
    }

    /// Whether the task behind an address still exists.
    fn exists(&self, to: Address) -> bool {
        self.servers.cold.get(to.server as usize).is_some_and(|c| c.alive) && self.address(to.server) == to
    }

    /// The tasks that use a server number from now on are others.
    pub(super) fn forget_address(&mut self, server: u32) {
        let at = server as usize;
        if self.incarnations.len() <= at {
            self.incarnations.resize(at + 1, 0);
        }
        self.incarnations[at] = self.incarnations[at].wrapping_add(1);
    }

    /// Makes a task known to those who look for it by themselves: the DNS, the proxies. Each hears of it after a delay of
    /// its own; tasks of the start have always been known.
    pub fn publish(&mut self, q: &mut impl Agenda, server: crate::units::ServerId) {
        let (service, address) = (self.servers.kind(server.0).service, self.address(server.0));
        if let Some(endpoints) = self.endpoints.get_mut(service as usize).filter(|e| e.wanted) {
            endpoints.add(address, q.now().as_nanos());
        }
    }

    /// Takes a task out of what the DNS answers and the proxies know.
    pub fn unpublish(&mut self, q: &mut impl Agenda, server: crate::units::ServerId) {
        let (service, address) = (self.servers.kind(server.0).service, self.address(server.0));
        if let Some(endpoints) = self.endpoints.get_mut(service as usize) {
            endpoints.remove(address, q.now().as_nanos());
        }
    }

    fn site(&mut self, edge: u32, server: u32) -> &mut Site {
        let sites = &mut self.edges[edge as usize].sites;
        if sites.len() <= server as usize {
            sites.resize_with(server as usize + 1, Site::default);
        }
        &mut sites[server as usize]
    }

    /// An attempt that does not simply go to the balancer.
    pub(super) fn send_specially(&mut self, q: &mut impl Agenda, at: u32) {
        let r = &mut self.requests[at];
        let front = &self.fronts[usize::from(r.front)];
        if !front.is_call() {
            self.send_pinned(q, at);
            return;
        }
        let (edge, server) = (front.edge, self.calls[r.caller & !CALL].server);
        r.sent = q.now().as_nanos();
        let (sent, generation) = (r.sent, self.requests.generation(at));
        let Some(pool) = self.edges[edge as usize].pool else {
            self.connect(q, at);
            return;
        };
        let site = self.site(edge, server);
        if site.queued == 0 && site.in_use < pool.max {
            self.acquire(q, at, pool);
        } else {
            // Stale entries may not pile up when nobody gets a connection and all give up.
            if site.waiting.len() > 2 * site.queued as usize + 64 {
                let requests = &self.requests;
                let waiting = &mut self.edges[edge as usize].sites[server as usize].waiting;
                waiting.retain(|&(at, g)| requests.current(at, g).is_some_and(|r| r.stage == Stage::Pooled));
            }
            let site = self.site(edge, server);
            site.waiting.push_back((at, generation));
            site.queued += 1;
            self.requests[at].stage = Stage::Pooled;
            let due = instant(sent.saturating_add(pool.acquire_timeout));
            q.schedule(due, Phase::State, TrafficEvent::PoolTimeout { request: at, generation });
        }
    }

    /// There is a place in the pool for an attempt: it takes an unused connection, or will open one.
    fn acquire(&mut self, q: &mut impl Agenda, at: u32, pool: PoolRules) {
        let now = q.now().as_nanos();
        let r = &self.requests[at];
        let call = r.caller & !CALL;
        let (edge, server, sent) = (self.fronts[usize::from(r.front)].edge, self.calls[call].server, r.sent);
        self.edges[edge as usize].totals.pool_wait.record(now - sent);
        let mut connection = None;
        while let Some(unused) = self.site(edge, server).idle.pop_back() {
            let fresh = now - unused.born < pool.max_lifetime && now - unused.idle_since < pool.idle_timeout;
            // The end of a task closes its connections, and the other side hears of that.
            if fresh && (unused.to.server == NONE || self.exists(unused.to)) {
                connection = Some(unused);
                break;
            }
            self.close(edge, now);
        }
        let site = self.site(edge, server);
        site.in_use += 1;
        let open = site.open();
        let totals = &mut self.edges[edge as usize].totals;
        totals.pool_peak = totals.pool_peak.max(open);
        let c = &mut self.calls[call];
        c.slot = true;
        c.connection = connection;
        self.connect(q, at);
    }

    /// A connection of an edge is closed.
    fn close(&mut self, edge: u32, now: u64) {
        if let Route::Dependency(d) = self.edges[edge as usize].route {
            self.dependencies[d as usize].count(now, -1);
        }
    }

    /// The attempt is sent: over the connection that it has, or over a new one.
    fn connect(&mut self, q: &mut impl Agenda, at: u32) {
        let now = q.now().as_nanos();
        let r = &mut self.requests[at];
        r.sent = now;
        let (seed, attempt, call, service) = (r.seed, r.attempt, r.caller & !CALL, usize::from(r.service));
        let bytes = self.classes[r.class as usize].request_bytes;
        let c = self.calls[call];
        let edge = self.fronts[usize::from(r.front)].edge;
        self.edges[edge as usize].totals.attempts += 1;
        let nowhere = Address { server: NONE, incarnation: 0 };
        let opened = |to| Some(Connection { to, born: now, idle_since: now });
        match self.edges[edge as usize].route {
            Route::Balancer => {
                if c.connection.is_none() {
                    self.calls[call].connection = opened(nowhere);
                }
                self.send_to_balancer(q, at);
                return;
            }
            _ => {
                let totals = &mut self.services[service].totals;
                totals.attempts += 1;
                totals.direct += 1;
                totals.request_bytes += bytes;
                totals.direct_bytes += bytes;
            }
        }
        match self.edges[edge as usize].route {
            Route::Balancer => {}
            Route::Dependency(d) => {
                let d = &mut self.dependencies[d as usize];
                if c.connection.is_none() {
                    if d.connections >= d.max_connections {
                        d.refused += 1;
                        self.edges[edge as usize].totals.refused += 1;
                        self.no_connection(q, at, true);
                        return;
                    }
                    d.count(now, 1);
                    self.calls[call].connection = opened(nowhere);
                }
                let server = d.server;
                self.deliver(q, at, server, false);
            }
            Route::Discovery { connect_timeout, .. } => {
                let to = match c.connection {
                    Some(connection) => connection.to,
                    None => {
                        let Some(to) = self.next_address(now, edge, c.server) else {
                            self.edges[edge as usize].totals.refused += 1;
                            self.no_target(q, at);
                            return;
                        };
                        to
                    }
                };
                if !self.exists(to) {
                    let front = &self.fronts[usize::from(self.requests[at].front)];
                    let wait = connect_timeout.min(front.limit);
                    self.requests[at].stage = Stage::Connecting;
                    let generation = self.requests.generation(at);
                    let event = TrafficEvent::ConnectTimeout { request: at, generation };
                    q.schedule(instant(now.saturating_add(wait)), Phase::State, event);
                    return;
                }
                if c.connection.is_none() {
                    self.calls[call].connection = opened(to);
                }
                self.deliver(q, at, to.server, false);
            }
            Route::Mesh { .. } => {
                let draw = attempt_draw(seed, purpose::HOST, attempt);
                let Some(to) = self.next_host(now, edge, c.server, c.last, draw) else {
                    self.no_target(q, at);
                    return;
                };
                let c = &mut self.calls[call];
                c.target = to.server;
                c.last = to.server;
                c.connection.get_or_insert(Connection { to: nowhere, born: now, idle_since: now });
                if self.exists(to) {
                    self.deliver(q, at, to.server, false);
                } else {
                    self.edges[edge as usize].totals.refused += 1;
                    self.no_connection(q, at, true);
                }
            }
        }
    }

    /// An attempt ends without a connection; `travels` when its caller hears of that only after a while.
    fn no_connection(&mut self, q: &mut impl Agenda, at: u32, travels: bool) {
        let r = self.requests[at];
        self.attempt_over(q, &r, AttemptEnd::Broken);
        let travel = if travels { self.fronts[usize::from(r.front)].travel(r.seed, r.attempt) } else { 0 };
        self.failed(q, at, Failure::NoConnection, q.now().as_nanos().saturating_add(travel), false);
    }

    /// A connection has not come about in time.
    pub(super) fn connect_timeout(&mut self, q: &mut impl Agenda, at: u32, generation: u32) {
        let Some(&r) = self.requests.current(at, generation).filter(|r| r.stage == Stage::Connecting) else { return };
        let edge = self.fronts[usize::from(r.front)].edge;
        self.edges[edge as usize].totals.connect_timeouts += 1;
        self.no_connection(q, at, false);
    }

    /// A place in a pool has not become free in time.
    pub(super) fn pool_timeout(&mut self, q: &mut impl Agenda, at: u32, generation: u32) {
        let Some(&r) = self.requests.current(at, generation).filter(|r| r.stage == Stage::Pooled) else { return };
        let (edge, server) = (self.fronts[usize::from(r.front)].edge, self.calls[r.caller & !CALL].server);
        self.leave_pool_queue(edge, server);
        let totals = &mut self.edges[edge as usize].totals;
        totals.pool_timeouts += 1;
        totals.pool_wait.record(q.now().as_nanos() - r.sent);
        self.failed(q, at, Failure::NoConnection, q.now().as_nanos(), false);
    }

    /// Somebody does not wait any longer for a place in a pool.
    pub(super) fn leave_pool_queue(&mut self, edge: u32, server: u32) {
        self.site(edge, server).queued -= 1;
    }

    /// The attempt of a call is over: its connection goes back or is closed, the proxy takes note.
    pub(super) fn attempt_over(&mut self, q: &mut impl Agenda, r: &Request, end: AttemptEnd) {
        let now = q.now().as_nanos();
        let call = r.caller & !CALL;
        let c = &mut self.calls[call];
        let (server, target) = (c.server, std::mem::replace(&mut c.target, NONE));
        let (slot, connection) = (std::mem::take(&mut c.slot), c.connection.take());
        let front = &self.fronts[usize::from(r.front)];
        let (edge, cancel) = (front.edge, front.client.cancel);
        if target != NONE {
            self.note(now, edge, server, target, end);
        }
        let usable = matches!(end, AttemptEnd::Answered | AttemptEnd::Error);
        if let Some(mut connection) = connection {
            if let (true, true, Some(pool)) = (slot, usable, self.edges[edge as usize].pool)
                && now - connection.born < pool.max_lifetime
            {
                connection.idle_since = now;
                self.keep(q, edge, server, connection, pool);
            } else {
                // A dependency that works on for nobody keeps the connection until it notices.
                let left = matches!(end, AttemptEnd::TimedOut | AttemptEnd::Abandoned);
                let inside = matches!(r.stage, Stage::Queued | Stage::Running | Stage::Waiting);
                if !(left && inside && !cancel) {
                    self.close(edge, now);
                }
            }
        }
        if slot {
            let site = self.site(edge, server);
            site.in_use -= 1;
            if site.queued > 0 {
                self.wake.push((edge, server));
            }
        }
    }

    /// Keeps a connection for the next attempt.
    fn keep(&mut self, q: &mut impl Agenda, edge: u32, server: u32, connection: Connection, pool: PoolRules) {
        let due = connection.idle_since.saturating_add(pool.idle_timeout);
        let site = self.site(edge, server);
        site.idle.push_back(connection);
        if site.sweep_at == 0 {
            site.sweep_at = due;
            q.schedule(instant(due), Phase::State, TrafficEvent::Sweep { edge, server });
        }
    }

    /// Closes the connections of a pool that have been unused for too long.
    pub(super) fn sweep_pool(&mut self, q: &mut impl Agenda, edge: u32, server: u32) {
        let now = q.now().as_nanos();
        let Some(pool) = self.edges[edge as usize].pool else { return };
        if self.site(edge, server).sweep_at != now {
            return;
        }
        loop {
            let site = self.site(edge, server);
            let due = site.idle.front().map(|c| c.idle_since.saturating_add(pool.idle_timeout));
            match due {
                Some(due) if due <= now => {
                    site.idle.pop_front();
                    self.close(edge, now);
                }
                Some(due) => {
                    site.sweep_at = due;
                    q.schedule(instant(due), Phase::State, TrafficEvent::Sweep { edge, server });
                    return;
                }
                None => {
                    site.sweep_at = 0;
                    return;
                }
            }
        }
    }

    /// Those who wait in pools take the places that have become free.
    #[inline]
    pub(super) fn pump(&mut self, q: &mut impl Agenda) {
        if !self.wake.is_empty() {
            self.pump_pools(q);
        }
    }

    #[inline(never)]
    fn pump_pools(&mut self, q: &mut impl Agenda) {
        while let Some((edge, server)) = self.wake.pop() {
            let Some(pool) = self.edges[edge as usize].pool else { continue };
            while self.site(edge, server).queued > 0 && self.site(edge, server).in_use < pool.max {
                let Some((at, generation)) = self.site(edge, server).waiting.pop_front() else { break };
                if self.requests.current(at, generation).is_some_and(|r| r.stage == Stage::Pooled) {
                    self.site(edge, server).queued -= 1;
                    // The event of its time-out is stale.
                    self.requests.stale(at);
                    self.acquire(q, at, pool);
                }
            }
        }
    }

    /// A server of a caller is gone, and all that it kept.
    pub(super) fn close_sites(&mut self, server: u32, now: u64) {
        for edge in 0..self.edges.len() {
            if let Some(site) = self.edges[edge].sites.get_mut(server as usize) {
                let idle = site.idle.len();
                *site = Site::default();
                for _ in 0..idle {
                    self.close(edge as u32, now);
                }
            }
        }
    }

    /// The next address of the caller's last answer from the DNS, which is asked again when the answer is too old.
    fn next_address(&mut self, now: u64, edge: u32, server: u32) -> Option<Address> {
        let e = &self.edges[edge as usize];
        let Route::Discovery { ttl, answers, propagation, .. } = e.route else { return None };
        let callee = usize::from(e.callee);
        let root = self.route_root;
        let site = self.site(edge, server);
        if now >= site.answer_until || site.answers == 0 {
            site.asked += 1;
            let draw = site_draw(edge, server, root).of(purpose::ADDRESSES).of(site.asked);
            let (found, _) = self.endpoints[callee].found(now, propagation);
            let mut all: Vec<Address> = found.collect();
            let n = all.len().min(answers).min(ANSWERS);
            for i in 0..n {
                let left = (all.len() - i) as u64;
                let j = i + (((draw.of(i as u64).bits() >> 32) * left) >> 32) as usize;
                all.swap(i, j);
            }
            let site = self.site(edge, server);
            site.answer = std::array::from_fn(|i| all.get(i).copied().filter(|_| i < n));
            site.answers = n;
            site.answer_until = now.saturating_add(ttl);
            site.turn = 0;
        }
        let site = self.site(edge, server);
        if site.answers == 0 {
            return None;
        }
        let next = site.turn % site.answers;
        site.turn = next + 1;
        site.answer[next]
    }

    /// The host that a proxy sends an attempt to; not the `last` one if there is another.
    fn next_host(&mut self, now: u64, edge: u32, server: u32, last: u32, draw: Draw) -> Option<Address> {
        let e = &self.edges[edge as usize];
        let Route::Mesh { algorithm, propagation, .. } = e.route else { return None };
        let callee = usize::from(e.callee);
        let version = self.endpoints[callee].version;
        let site = self.site(edge, server);
        if site.version != version + 1 || now >= site.stale_at {
            let mut hosts = std::mem::take(&mut site.hosts);
            let (found, change) = self.endpoints[callee].found(now, propagation);
            let fresh = |address| Host { address, active: 0, failures: 0, ejections: 0, ejected_until: 0 };
            let new: Vec<Host> =
                found.map(|a| hosts.iter().find(|h| h.address == a).copied().unwrap_or_else(|| fresh(a))).collect();
            hosts = new;
            let site = self.site(edge, server);
            (site.hosts, site.version, site.stale_at) = (hosts, version + 1, change);
        }
        let site = self.site(edge, server);
        let n = site.hosts.len();
        if n == 0 {
            return None;
        }
        let fits = |h: &Host| h.ejected_until <= now && (h.address.server != last || n == 1);
        // Without any that fits all are used, ejected or not.
        let any = site.hosts.iter().any(fits);
        let from = |start: usize, hosts: &[Host]| (0..n).map(|i| (start + i) % n).find(|&i| !any || fits(&hosts[i]));
        let chosen = match algorithm {
            MeshAlgorithm::RoundRobin => {
                let i = from(site.turn % n, &site.hosts)?;
                site.turn = i + 1;
                i
            }
            MeshAlgorithm::LeastRequest => {
                let below = |bits: u64| (((bits >> 32) * n as u64) >> 32) as usize;
                let a = from(below(draw.bits()), &site.hosts)?;
                let b = from((a + 1 + below(draw.bits() << 32).min(n.saturating_sub(2))) % n, &site.hosts)?;
                if site.hosts[b].active < site.hosts[a].active { b } else { a }
            }
        };
        site.hosts[chosen].active += 1;
        Some(site.hosts[chosen].address)
    }

    /// A proxy takes note of how an attempt at a target ended.
    fn note(&mut self, now: u64, edge: u32, server: u32, target: u32, end: AttemptEnd) {
        let Route::Mesh { outliers, .. } = &self.edges[edge as usize].route else { return };
        let (limit, base, longest, share) = (
            outliers.consecutive_5xx,
            outliers.base_ejection_time.as_nanos(),
            outliers.max_ejection_time.as_nanos(),
            outliers.max_ejection_percent,
        );
        let site = self.site(edge, server);
        let Some(at) = site.hosts.iter().position(|h| h.address.server == target) else { return };
        let host = &mut site.hosts[at];
        host.active = host.active.saturating_sub(1);
        match end {
            AttemptEnd::Answered => host.failures = 0,
            AttemptEnd::Abandoned => {}
            AttemptEnd::Error | AttemptEnd::Broken | AttemptEnd::TimedOut => {
                host.failures += 1;
                if limit == 0 || host.failures < limit || host.ejected_until > now {
                    return;
                }
                let (all, out) = (site.hosts.len(), site.hosts.iter().filter(|h| h.ejected_until > now).count());
                let host = &mut site.hosts[at];
                if out == 0 || (100 * (out + 1)) as f64 <= share * all as f64 {
                    host.failures = 0;
                    host.ejections += 1;
                    let length = base.saturating_mul(u64::from(host.ejections)).min(longest);
                    host.ejected_until = now.saturating_add(length);
                    self.edges[edge as usize].totals.ejections += 1;
                }
            }
        }
    }

    /// A dependency has worked for nobody to the end, and closes the connection.
    pub(super) fn orphan_leaves(&mut self, q: &mut impl Agenda, r: &Request) {
        if let Some(d) = usize::from(r.service).checked_sub(self.endpoints.len()) {
            self.dependencies[d].count(q.now().as_nanos(), -1);
        }
    }

    /// Schedules the changes of speed that the scenario plans.
    pub(super) fn start_slowdowns(&mut self, q: &mut impl Agenda) {
        for (dependency, d) in (0_u32..).zip(&self.dependencies) {
            for (change, &(at, _)) in (0_u32..).zip(&d.changes) {
                q.schedule(instant(at), Phase::State, TrafficEvent::Speed { dependency, change });
            }
        }
    }

    pub(super) fn change_speed(&mut self, q: &mut impl Agenda, dependency: u32, change: u32) {
        let d = &mut self.dependencies[dependency as usize];
        d.planned_speed = d.changes[change as usize].1;
        self.apply_speed(q, dependency as usize);
    }

    pub(super) fn apply_speed(&mut self, q: &mut impl Agenda, dependency: usize) {
        let d = &self.dependencies[dependency];
        let (server, speed) = (crate::units::ServerId(d.server), d.planned_speed * d.set_speed);
        self.set_speed(q, server, speed);
    }
}
