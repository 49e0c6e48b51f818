//! Rounds of provisioning: pods to nodes, limits and weights, spreading, affinity.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use simctl::kubernetes::karpenter::launch::{Depth, Unavailable, launch, node_labels};
use simctl::kubernetes::karpenter::scheduling::{Scheduler, Target};
use simctl::kubernetes::karpenter::world::{NodeView, PendingPod, PodView};
use simctl::kubernetes::object::{Resources, Symbol};

use super::spec::{COMMON, Parts, pool_requirements, resources};
use super::{Got, same};

struct Placed {
    group: String,
    round: usize,
    node: Option<usize>,
}

struct Rounds {
    parts: Parts,
    pods: Vec<Placed>,
    /// The round in which each node was made.
    made: Vec<usize>,
    /// Of the claims of the current round: types that were passed on, requests.
    claims: Vec<(BTreeSet<String>, Resources)>,
}

pub(super) fn run(case: &Value) -> Got {
    let mut parts = Parts::new();
    parts.catalog(case)?;
    parts.pools(case)?;
    for daemon in case["daemonsets"].as_array().into_iter().flatten() {
        let shape = parts.shape(daemon)?;
        parts.daemons.push(shape);
    }
    let made = vec![usize::MAX; parts.nodes.len()];
    let mut rounds = Rounds { parts, pods: Vec::new(), made, claims: Vec::new() };
    let list = case["rounds"].as_array().ok_or("no rounds")?;
    for (at, round) in list.iter().enumerate() {
        rounds.before(round)?;
        rounds.provision(at, round)?;
        rounds.check(at, round, &round["expect"]).map_err(|e| format!("round {at}: {e}"))?;
    }
    match list.last() {
        Some(last) if !case["expect_after_all"].is_null() => {
            rounds.check(list.len() - 1, last, &case["expect_after_all"]).map_err(|e| format!("after all: {e}"))
        }
        _ => Ok(()),
    }
}

impl Rounds {
    fn before(&mut self, round: &Value) -> Got {
        if !round["nodepool_requirements"].is_null() {
            let requirements = pool_requirements(&round["nodepool_requirements"], &mut self.parts.symbols)?;
            self.parts.pools.iter_mut().for_each(|p| p.requirements = requirements.clone());
        }
        let Some(words) = round["before"].as_str() else { return Ok(()) };
        if let Some(number) = words.strip_prefix("delete node of round ") {
            let number: usize = number.trim().parse().map_err(|_| format!("`{words}`"))?;
            for (node, made) in self.parts.nodes.iter_mut().zip(&self.made) {
                node.deleting |= *made == number;
                if node.deleting {
                    node.pods.clear();
                }
            }
        } else if let Some(zone) = words.strip_prefix("delete the pods outside ") {
            let zone = self.parts.symbols.intern(zone.trim());
            for (at, node) in self.parts.nodes.iter_mut().enumerate() {
                if node.labels.get(self.parts.known.zone) != Some(zone) {
                    node.pods.clear();
                    self.pods.retain(|p| p.node != Some(at));
                }
            }
        } else if words != "remove unscheduled pods" {
            return Err(format!("what is `{words}`?"));
        }
        self.pods.retain(|p| p.node.is_some());
        Ok(())
    }

    fn provision(&mut self, round: usize, of: &Value) -> Got {
        let mut pending = Vec::new();
        let first = self.pods.len();
        for (at, group) in of["pods"].as_array().into_iter().flatten().enumerate() {
            let shape = self.parts.shape(group)?;
            let name = group["name"].as_str().map_or_else(|| format!("#{at}"), str::to_owned);
            for _ in 0..group["count"].as_u64().unwrap_or(1) {
                let uid = u64::try_from(round * 1_000_000 + pending.len()).unwrap_or(0);
                pending.push(PendingPod { uid, shape, created: self.parts.now });
                self.pods.push(Placed { group: name.clone(), round, node: None });
            }
        }
        let (mut new_nodes, mut targets) = (Vec::new(), Vec::new());
        let mut names = Vec::new();
        for n in 0..pending.len() {
            names.push(self.parts.symbols.intern(&format!("node-{:05}", self.parts.nodes.len() + n)));
        }
        let world = self.parts.world();
        let mut unavailable = Unavailable::default();
        let simulation = Scheduler::new(world, &unavailable).provision(&pending);
        self.claims.clear();
        for (claim, name) in simulation.claims.iter().zip(names) {
            let types = world.tables[0].types();
            let text = |at: &usize| self.parts.symbols.text(types[*at].name).to_owned();
            self.claims.push((claim.types.iter().map(text).collect(), claim.requests.clone()));
            let got = launch(&world, claim, &mut unavailable, |_, _, _| Depth::Deep);
            let got = got.map_err(|e| format!("launch: {e:?}"))?;
            let mut node = NodeView::new(name);
            node.labels = node_labels(&world, claim, &got, name);
            node.capacity = types[got.instance_type].capacity.clone();
            node.allocatable = types[got.instance_type].allocatable().clone();
            (node.managed, node.pool, node.taints) = (true, Some(claim.pool), claim.taints.clone());
            (node.instance_type, node.capacity_type) = (Some(got.instance_type), got.capacity_type);
            node.initialized = Some(world.now);
            new_nodes.push(node);
        }
        for target in &simulation.targets {
            targets.push(match target {
                None => None,
                Some(Target::Node(n)) => Some(*n),
                Some(Target::Claim(c)) => Some(self.parts.nodes.len() + c),
            });
        }
        for (at, target) in targets.iter().enumerate() {
            let told = simulation.unplaced.iter().any(|(pod, _)| *pod == at);
            same("a reason for each pod without a place", target.is_none(), told)?;
        }
        self.made.extend(new_nodes.iter().map(|_| round));
        self.parts.nodes.extend(new_nodes);
        for (at, (pod, target)) in pending.iter().zip(targets).enumerate() {
            self.pods[first + at].node = target;
            if let Some(node) = target {
                self.parts.nodes[node].pods.push(PodView::new(pod.uid, pod.shape, pod.created));
            }
        }
        Ok(())
    }

    fn label(&self, node: usize, key: Symbol) -> Option<&str> {
        self.parts.nodes[node].labels.get(key).map(|v| self.parts.symbols.text(v))
    }

    /// The nodes of a group's pods in a round.
    fn nodes_of(&self, group: &str) -> BTreeSet<usize> {
        self.pods.iter().filter(|p| p.group == group).filter_map(|p| p.node).collect()
    }

    /// A multiset of pods by a label of their node.
    fn counts(&self, key: Symbol, counted: impl Fn(&Self, usize) -> bool) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for (n, node) in self.parts.nodes.iter().enumerate() {
            for pod in &node.pods {
                if counted(self, pod.shape)
                    && let Some(value) = self.label(n, key)
                {
                    *counts.entry(value.to_owned()).or_default() += 1;
                }
            }
        }
        counts
    }

    fn check(&self, round: usize, of: &Value, expect: &Value) -> Got {
        let parts = &self.parts;
        let now: Vec<&Placed> = self.pods.iter().filter(|p| p.round == round).collect();
        let used: BTreeSet<usize> = now.iter().filter_map(|p| p.node).collect();
        let find = |text: &str| parts.symbols.get(text);
        let type_of = |n: usize| self.label(n, parts.known.instance_type).unwrap_or_default().to_owned();
        let placed = |group: Option<&str>, yes: bool| {
            let here = now.iter().filter(|p| group.is_none_or(|g| p.group == g) && p.node.is_some() == yes);
            here.count() as u64
        };
        let selected = |rounds: &Self, shape: usize, constraint: &Value| {
            let labels = &rounds.parts.shapes[shape].labels;
            let has = |k: &str, v: &str| find(k).and_then(|k| labels.get(k)).is_some_and(|own| Some(own) == find(v));
            match constraint["selector"].as_object() {
                Some(pairs) => pairs.iter().all(|(k, v)| has(k, v.as_str().unwrap_or_default())),
                None => has(COMMON.0, COMMON.1),
            }
        };
        let groups = of["pods"].as_array().into_iter().flatten();
        let constraint = groups.clone().find_map(|g| g["spread"].as_array().and_then(|l| l.first()));
        for (key, want) in expect.as_object().into_iter().flatten() {
            let number = want.as_u64();
            match (key.as_str(), want) {
                ("scheduled" | "unscheduled", Value::Object(by_group)) => {
                    for (group, n) in by_group {
                        same(key, n.as_u64(), Some(placed(Some(group), key == "scheduled")))?;
                    }
                }
                ("scheduled", _) => same(key, number, Some(placed(None, true)))?,
                ("unscheduled", _) => same(key, number, Some(placed(None, false)))?,
                ("nodes", _) => same(key, number, Some(used.len() as u64))?,
                ("instance_types", Value::Array(list)) => {
                    let wanted: BTreeSet<String> = list.iter().filter_map(|v| v.as_str().map(str::to_owned)).collect();
                    same(key, wanted, used.iter().map(|n| type_of(*n)).collect())?;
                }
                ("distinct_instance_types", _) => {
                    let types: BTreeSet<String> = used.iter().map(|n| type_of(*n)).collect();
                    same(key, number, Some(types.len() as u64))?;
                }
                ("candidate_types", Value::Array(list)) => {
                    let wanted: BTreeSet<String> = list.iter().filter_map(|v| v.as_str().map(str::to_owned)).collect();
                    for (types, _) in &self.claims {
                        same(key, &wanted, types)?;
                    }
                }
                ("reuses_node_of_round", _) => {
                    let rounds: BTreeSet<usize> = used.iter().map(|n| self.made[*n]).collect();
                    same(key, number.map(|n| vec![n as usize]), Some(rounds.into_iter().collect()))?;
                }
                ("new_node", _) => same(key, want.as_bool(), Some(used.iter().all(|n| self.made[*n] == round)))?,
                ("node_capacity", _) => {
                    for n in &used {
                        let capacity = &parts.nodes[*n].capacity;
                        let pairs =
                            [("cpu_m", capacity.cpu_m), ("memory_bytes", capacity.memory), ("pods", capacity.pods)];
                        for (name, got) in pairs.iter().filter(|(name, _)| !want[*name].is_null()) {
                            same(key, want[*name].as_i64(), Some(*got))?;
                        }
                    }
                }
                ("nodeclaim_requests", _) => {
                    let mut symbols = parts.symbols.clone();
                    let wanted = resources(want, &mut symbols);
                    for (_, requests) in &self.claims {
                        for (name, wanted, got) in [
                            ("cpu_m", wanted.cpu_m, requests.cpu_m),
                            ("memory_bytes", wanted.memory, requests.memory),
                            ("pods", wanted.pods, requests.pods),
                        ] {
                            if !want[name].is_null() {
                                same(name, wanted, got)?;
                            }
                        }
                    }
                }
                ("nodepool", _) => {
                    for n in &used {
                        same(key, want.as_str(), self.label(*n, parts.known.node_pool))?;
                    }
                }
                ("counts", Value::Array(list)) => {
                    let constraint = constraint.ok_or("no constraint to count by")?;
                    let domain = constraint["key"].as_str().and_then(find).ok_or("no such label")?;
                    let got = self.counts(domain, |r, shape| selected(r, shape, constraint));
                    let mut got: Vec<u64> = got.into_values().collect();
                    let mut wanted: Vec<u64> = list.iter().filter_map(Value::as_u64).collect();
                    got.sort_unstable();
                    wanted.sort_unstable();
                    same(key, wanted, got)?;
                }
                ("zone_counts" | "capacity_type_counts", _) => {
                    let domain = if key == "zone_counts" { parts.known.zone } else { parts.known.capacity_type };
                    let got = self.counts(domain, |_, _| true);
                    match want {
                        Value::Array(list) => {
                            let mut got: Vec<u64> = got.into_values().collect();
                            let mut wanted: Vec<u64> = list.iter().filter_map(Value::as_u64).collect();
                            got.sort_unstable();
                            wanted.sort_unstable();
                            same(key, wanted, got)?;
                        }
                        _ => {
                            let pairs = want.as_object().into_iter().flatten();
                            let wanted = pairs.map(|(k, v)| (k.clone(), v.as_u64().unwrap_or(0))).collect();
                            same(key, wanted, got)?;
                        }
                    }
                }
                ("max_per_domain", Value::Object(bounds)) => {
                    for (domain, most) in bounds {
                        let got = self.counts(find(domain).ok_or("no such label")?, |_, _| true);
                        let over = got.values().any(|n| Some(*n) > most.as_u64());
                        same(&format!("{domain} above {most}: {got:?}"), false, over)?;
                    }
                }
                ("max_per_host", _) => {
                    let got = self.counts(parts.known.hostname, |_, _| true);
                    same(&format!("a host above {want}: {got:?}"), false, got.values().any(|n| Some(*n) > number))?;
                }
                ("max_skew", _) => {
                    let constraint = constraint.ok_or("no constraint to count by")?;
                    let domain = constraint["key"].as_str().and_then(find).ok_or("no such label")?;
                    let got = self.counts(domain, |r, shape| selected(r, shape, constraint));
                    let skew = got.values().max().unwrap_or(&0) - got.values().min().unwrap_or(&0);
                    same(&format!("skew above {want}: {got:?}"), false, Some(skew) > number)?;
                }
                ("same_node" | "different_nodes" | "different_zones", Value::Array(list)) => {
                    let names = list.iter().filter_map(Value::as_str);
                    let zone = |n: &usize| self.label(*n, parts.known.zone).map(str::to_owned);
                    let sets: Vec<BTreeSet<String>> = names
                        .map(|g| match key.as_str() {
                            "different_zones" => self.nodes_of(g).iter().filter_map(zone).collect(),
                            _ => self.nodes_of(g).iter().map(usize::to_string).collect(),
                        })
                        .collect();
                    for (at, a) in sets.iter().enumerate() {
                        for b in &sets[at + 1..] {
                            match key.as_str() {
                                "same_node" => same(key, a, b)?,
                                _ => same(key, true, a.is_disjoint(b) && !a.is_empty() && !b.is_empty())?,
                            }
                        }
                    }
                }
                ("zone", _) => {
                    for n in &used {
                        same(key, want.as_str(), self.label(*n, parts.known.zone))?;
                    }
                }
                ("zones", Value::Object(by_group)) => {
                    for (group, zone) in by_group {
                        for n in self.nodes_of(group) {
                            same(key, zone.as_str(), self.label(n, parts.known.zone))?;
                        }
                    }
                }
                ("capacity_type", _) => {
                    for n in &used {
                        same(key, want.as_str(), self.label(*n, parts.known.capacity_type))?;
                    }
                }
                _ => return Err(format!("what is `{key}`?")),
            }
        }
        Ok(())
    }
}
