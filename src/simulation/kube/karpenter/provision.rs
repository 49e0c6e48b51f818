//! Batches of pods that wait, and the nodes that are launched for them.

use super::words::unplaced_text;
use super::{Claim, Karpenter};
use crate::cluster::Market;
use crate::kernel::{Phase, SimDuration, SimTime};
use crate::kubernetes::karpenter::disruption::Command;
use crate::kubernetes::karpenter::disruption::drift::template_hash;
use crate::kubernetes::karpenter::instance::CapacityType;
use crate::kubernetes::karpenter::launch::{Depth, Launch, LaunchError, Unavailable, launch, node_labels};
use crate::kubernetes::karpenter::scheduling::{NodeClaim, Origin, Scheduler, Target};
use crate::kubernetes::karpenter::world::{NodeView, PendingPod};
use crate::kubernetes::object::{Labels, Symbol};
use crate::kubernetes::scheduler::PodKey;
use crate::simulation::intervals::zone_letter;
use crate::simulation::kube::nodes::{pods_wait, zone_name};
use crate::simulation::{Simulation, Timer};
use crate::units::{CapacityId, NodeId, TaskId, ZoneId};

/// What EC2 gave for a claim.
struct Launched {
    of: usize,
    kind: u32,
    zone: ZoneId,
    market: Market,
    labels: Labels,
    made_of: u64,
    capacity_type: CapacityType,
    price: f64,
    refused: usize,
}

impl Simulation<'_> {
    /// Nodes for the pods of the start, which have run for long.
    pub(in crate::simulation) fn provision_at_start(&mut self, waiting: &[TaskId]) {
        let pending: Vec<PendingPod> = waiting
            .iter()
            .map(|&t| PendingPod { uid: u64::from(t.0), shape: self.shape_of(t).0 as usize, created: SimTime::ZERO })
            .collect();
        self.provision(&pending, true);
    }

    /// A pod has no node: the batch waits a little for others.
    pub(in crate::simulation) fn pod_needs_a_node(&mut self, pod: PodKey) {
        self.trigger_batch(pod.0);
    }

    pub(super) fn trigger_batch(&mut self, uid: u64) {
        let now = self.queue.now();
        let Some(k) = &mut self.kube_mut().karpenter else { return };
        let at = k.batcher.trigger(&k.batch, uid, now);
        self.schedule_timer_if_due(Timer::KarpenterBatch, at, Phase::Decision);
    }

    /// The window of a batch may close.
    pub(in crate::simulation) fn on_karpenter_batch(&mut self) {
        let now = self.queue.now();
        let Some(k) = &mut self.kube_mut().karpenter else { return };
        if !k.batcher.close(&k.batch, now) {
            if let Some(at) = k.batcher.closes(&k.batch) {
                self.schedule_timer_if_due(Timer::KarpenterBatch, at, Phase::Decision);
            }
            return;
        }
        let pending = self.pods_for_karpenter();
        self.provision(&pending, false);
    }

    /// The NodeClaim of a node of the start, which comes next.
    pub(in crate::simulation) fn claim_at_start(
        &mut self,
        capacity: CapacityId,
        kind: u32,
        zone: ZoneId,
        market: Market,
        age: SimDuration,
    ) {
        let zone = zone_name(&self.plan.cluster.region, zone);
        let kube = self.kube_mut();
        let symbols = kube.scheduler.symbols();
        let zone = symbols.get(&zone);
        let Some(k) = &mut kube.karpenter else { return };
        let Some(pool) = k.capacities.iter().position(|c| *c == capacity) else { return };
        let (Some(of), Some(zone)) = (k.kinds[pool].iter().position(|at| *at == Some(kind)), zone) else { return };
        let mut labels = k.pools[pool].labels.clone();
        for (key, set) in k.tables[pool].types()[of].requirements.iter() {
            if let Some(value) = set.single() {
                labels.set(key, value);
            }
        }
        let capacity_type = match market {
            Market::Spot => CapacityType::Spot,
            Market::OnDemand => CapacityType::OnDemand,
        };
        labels.set(k.known.zone, zone);
        labels.set(k.known.capacity_type, k.known.value_of(capacity_type));
        labels.set(k.known.node_pool, k.pools[pool].name);
        let made_of = template_hash(&k.pools[pool], symbols);
        k.coming = Some(Claim {
            made_of,
            age,
            ..Claim::new((pool, of), labels, &k.pools[pool], k.images[pool], SimTime::ZERO)
        });
    }

    /// One pass of provisioning.
    fn provision(&mut self, pending: &[PendingPod], at_start: bool) {
        let now = self.queue.now();
        let Some(k) = &self.kube().karpenter else { return };
        let (ids, nodes) = self.node_views(k);
        let found = Scheduler::new(self.world_of(k, &nodes), &k.unavailable).provision(pending);
        let said = found.unplaced.first().map(|(_, why)| {
            let (unplaced, waits) = (found.unplaced.len(), found.pods.len());
            format!("{unplaced} of {waits} pods find no place: {}", unplaced_text(why, &self.world_of(k, &nodes)))
        });
        if let Some(k) = &mut self.kube_mut().karpenter {
            for (target, pod) in found.targets.iter().zip(&found.pods) {
                if let Some(Target::Node(n)) = target
                    && pod.origin == Origin::Pending
                    && let Some(claim) = k.claims.get_mut(&ids[*n])
                {
                    claim.nominated_until = now + k.batch.nomination();
                }
            }
        }
        let mut again = false;
        for claim in &found.claims {
            again |= self.launch_claim(claim, &nodes, at_start, None).is_none();
        }
        if let (Some(text), Some(k)) = (said, &mut self.kube_mut().karpenter)
            && k.said.as_deref() != Some(text.as_str())
        {
            let capacity = k.capacities[0];
            k.said = Some(text.clone());
            self.record_karpenter(capacity, None, "unplaced", text);
        }
        if again {
            for pod in pending {
                self.trigger_batch(pod.uid);
            }
        }
    }

    /// Launches the node of a claim. `None` when EC2 has nothing that it allows.
    pub(super) fn launch_claim(
        &mut self,
        claim: &NodeClaim,
        nodes: &[NodeView],
        at_start: bool,
        replaces: Option<&Command>,
    ) -> Option<NodeId> {
        let now = self.queue.now();
        let capacity = self.kube().karpenter.as_ref()?.capacities[claim.pool];
        let launched = match self.ask_for(claim, nodes, at_start) {
            Ok(launched) => launched,
            Err(error) => {
                let why = match error {
                    LaunchError::NoOffering => "no offering is left that is not known to be unavailable".to_string(),
                    LaunchError::Insufficient(all) => format!("EC2 had none of the {} offerings asked for", all.len()),
                };
                let text = format!("no capacity for {} pods: {why}", claim.pods.len());
                let k = self.kube_mut().karpenter.as_mut()?;
                // Karpenter asks again and again: what it hears is written down when it is news.
                if k.refused.replace(text.clone()).as_ref() != Some(&text) {
                    self.record_karpenter(capacity, None, "insufficient_capacity", text);
                }
                return None;
            }
        };
        let Launched { of, kind, zone, market, .. } = launched;
        let k = self.kube_mut().karpenter.as_mut()?;
        let pool = claim.pool;
        let made = Claim {
            made_of: launched.made_of,
            nominated_until: now + k.batch.nomination(),
            ..Claim::new((pool, of), launched.labels, &k.pools[pool], k.images[pool], now)
        };
        k.coming = Some(made);
        k.refused = None;
        k.version += 1;
        let node = match at_start {
            true => self.place_running_node(capacity, kind, zone, market),
            false => self.launch_node(capacity, kind, zone, market, false),
        };
        let k = self.kube_mut().karpenter.as_mut()?;
        let coming = k.coming.take();
        let node = node?;
        if let Some(coming) = coming {
            k.claims.entry(node).or_insert(coming);
        }
        if !at_start {
            let name = self.group(capacity).and_then(|g| g.types.get(kind as usize)).map_or("", |t| t.of.name);
            let what = format!(
                "node {} of type {name} ({}) in zone {} at ${:.4}",
                node.0,
                launched.capacity_type,
                zone_letter(zone.0),
                launched.price
            );
            let refused = match launched.refused {
                0 => String::new(),
                n => format!(", {n} offerings refused before"),
            };
            let (reason, text) = match replaces {
                None => {
                    let (pods, types) = (claim.pods.len(), claim.types.len());
                    ("provision", format!("{}: {what} an hour, the best of {types} types{refused}", pods_wait(pods)))
                }
                Some(command) => {
                    let (nodes, cost) = (command.candidates.len(), command.price.dollars());
                    let (s, cost_s) = if nodes == 1 { ("", "costs") } else { ("s", "cost") };
                    ("replace", format!("replaces {nodes} node{s} that {cost_s} ${cost:.4} an hour: {what}{refused}"))
                }
            };
            self.record_karpenter(capacity, None, reason, text);
        }
        Some(node)
    }

    /// Asks EC2 for the node of a claim. Karpenter is put aside meanwhile: EC2 knows nothing of it.
    fn ask_for(&mut self, claim: &NodeClaim, nodes: &[NodeView], at_start: bool) -> Result<Launched, LaunchError> {
        let mut k = self.kube_mut().karpenter.take().ok_or(LaunchError::NoOffering)?;
        let mut unavailable = std::mem::take(&mut k.unavailable);
        let launched = self.ask_of(&k, claim, nodes, at_start, &mut unavailable);
        k.unavailable = unavailable;
        self.kube_mut().karpenter = Some(k);
        launched
    }

    fn ask_of(
        &mut self,
        k: &Karpenter,
        claim: &NodeClaim,
        nodes: &[NodeView],
        at_start: bool,
        unavailable: &mut Unavailable,
    ) -> Result<Launched, LaunchError> {
        let (capacity, kinds) = (k.capacities[claim.pool], &k.kinds[claim.pool]);
        // EC2 is asked while the world is looked at: the texts are copied, which is cheap beside a launch.
        let symbols = self.kube().scheduler.symbols().clone();
        let zones: Vec<(Symbol, ZoneId)> = (0..self.plan.cluster.zones)
            .filter_map(|z| Some((symbols.get(&zone_name(&self.plan.cluster.region, ZoneId(z)))?, ZoneId(z))))
            .collect();
        let zone_of = |zone: Symbol| zones.iter().find(|(s, _)| *s == zone).map(|(_, z)| *z);
        // A launch looks at its claim, not at pods.
        let world = k.world((self.queue.now(), self.plan.simulation.start), &symbols, &[], nodes);
        let has = |of: usize, zone: Symbol, market: CapacityType| {
            let (Some(kind), Some(zone)) = (kinds.get(of).copied().flatten(), zone_of(zone)) else {
                return Depth::Empty;
            };
            let market = market_of(market);
            if at_start {
                let sells = self.group(capacity).is_some_and(|g| g.sells(kind, zone, market));
                return if sells { Depth::Deep } else { Depth::Empty };
            }
            if !self.has_capacity(capacity, kind, zone, market) {
                return Depth::Empty;
            }
            match market {
                Market::OnDemand => Depth::Deep,
                Market::Spot if self.spot_depth(capacity, kind, zone) > 1 => Depth::Deep,
                Market::Spot => Depth::Shallow,
            }
        };
        let won = launch(&world, claim, unavailable, has)?;
        let labels = node_labels(&world, claim, &won, symbols.get("").unwrap_or(k.known.hostname));
        let Launch { instance_type, zone, capacity_type, price, failed } = won;
        Ok(Launched {
            of: instance_type,
            kind: kinds.get(instance_type).copied().flatten().ok_or(LaunchError::NoOffering)?,
            zone: zone_of(zone).ok_or(LaunchError::NoOffering)?,
            market: market_of(capacity_type),
            labels,
            made_of: template_hash(&k.pools[claim.pool], &symbols),
            capacity_type,
            price: price.dollars(),
            refused: failed.len(),
        })
    }

    fn spot_depth(&self, capacity: CapacityId, kind: u32, zone: ZoneId) -> u32 {
        let now = self.queue.now();
        let Some(group) = self.group(capacity) else { return 0 };
        let pool = group.pools.iter().position(|p| p.kind == kind && p.zone == zone);
        pool.zip(group.market.as_ref()).map_or(0, |(at, m)| m.depth(at, now))
    }
}

const fn market_of(capacity_type: CapacityType) -> Market {
    match capacity_type {
        CapacityType::Spot => Market::Spot,
        CapacityType::OnDemand | CapacityType::Reserved => Market::OnDemand,
    }
}
