//! NodePools and their node classes, from the language to what Karpenter decides on.

use super::super::shapes::{self, millicores};
use crate::catalog::{Catalog, InstanceType};
use crate::kernel::{SimDuration, SimTime};
use crate::kubernetes::karpenter::labels::WellKnown;
use crate::kubernetes::karpenter::pool::{
    Budget, ConsolidationPolicy, Disruption, EvictionThreshold, Kubelet, Limits, NodeClass, NodePool, PoolRequirement,
    Reason, Reserved,
};
use crate::kubernetes::karpenter::table::{ObservedMemory, catalog_types};
use crate::kubernetes::object::Symbols;
use crate::scenario::model::{
    Action, ConsolidationPolicy as Policy, DisruptionReason, IntOrPercent, Kubelet as WrittenKubelet, Never,
    NodePool as Written, Plan, UpdateNodePoolAction,
};

fn after(time: Never) -> Option<SimDuration> {
    match time {
        Never::After(time) => Some(time),
        Never::Never => None,
    }
}

fn percent_or_number(value: IntOrPercent) -> String {
    match value {
        IntOrPercent::Int(n) => n.to_string(),
        IntOrPercent::Percent(p) => format!("{p}%"),
    }
}

fn kubelet(k: &WrittenKubelet) -> Kubelet {
    let bytes = |b: crate::units::Bytes| i64::try_from(b.get()).unwrap_or(i64::MAX);
    Kubelet {
        max_pods: k.max_pods.map(i64::from),
        pods_per_core: None,
        kube_reserved: Reserved {
            cpu_m: k.kube_reserved_cpu.map(millicores),
            memory: k.kube_reserved_memory.map(bytes),
            ephemeral_storage: None,
        },
        system_reserved: Reserved {
            cpu_m: Some(millicores(k.system_reserved_cpu)),
            memory: Some(bytes(k.system_reserved_memory)),
            ephemeral_storage: None,
        },
        eviction_hard_memory: Some(EvictionThreshold::Bytes(bytes(k.eviction_hard_memory))),
        eviction_hard_storage: None,
    }
}

pub(super) fn pool_of(name: &str, p: &Written, table: usize, symbols: &mut Symbols) -> NodePool {
    let bytes = |b: crate::units::Bytes| i64::try_from(b.get()).unwrap_or(i64::MAX);
    let mut pool = NodePool::new(symbols.intern(name), table);
    pool.weight = i32::try_from(p.weight).unwrap_or(100);
    pool.requirements = p
        .requirements
        .iter()
        .map(|r| PoolRequirement { requirement: shapes::requirement(r, symbols), min_values: r.min_values })
        .collect();
    pool.labels = p.labels.iter().map(|(k, v)| (symbols.intern(k), symbols.intern(v))).collect();
    pool.taints = p.taints.iter().map(|t| shapes::taint(t, symbols)).collect();
    pool.expire_after = after(p.expire_after);
    pool.termination_grace_period = p.termination_grace_period;
    pool.limits = Limits {
        cpu_m: p.limits.cpu.map(millicores),
        memory: p.limits.memory.map(bytes),
        nodes: p.limits.nodes.map(i64::from),
        ..Limits::default()
    };
    pool.disruption = Disruption {
        consolidation_policy: match p.disruption.consolidation_policy {
            Policy::WhenEmpty => ConsolidationPolicy::WhenEmpty,
            Policy::WhenEmptyOrUnderutilized => ConsolidationPolicy::WhenEmptyOrUnderutilized,
            Policy::Balanced => ConsolidationPolicy::Balanced,
        },
        consolidate_after: after(p.disruption.consolidate_after),
        budgets: p
            .disruption
            .budgets
            .iter()
            .map(|b| Budget {
                nodes: percent_or_number(b.nodes),
                reasons: b
                    .reasons
                    .iter()
                    .map(|r| match r {
                        DisruptionReason::Underutilized => Reason::Underutilized,
                        DisruptionReason::Empty => Reason::Empty,
                        DisruptionReason::Drifted => Reason::Drifted,
                    })
                    .collect(),
                schedule: b.schedule.clone(),
                duration: b.duration,
            })
            .collect(),
    };
    pool
}

pub(super) fn zone_names(plan: &Plan, pool: &Written) -> Vec<String> {
    let here = |z: &u32| pool.zones.is_empty() || pool.zones.contains(z);
    (0..plan.cluster.zones)
        .filter(here)
        .map(|z| format!("{}{}", plan.cluster.region, char::from(b'a' + z.min(25) as u8)))
        .collect()
}

pub(super) fn class_of(plan: &Plan, pool: &Written) -> NodeClass {
    NodeClass {
        kubelet: kubelet(&pool.kubelet),
        root_volume: i64::try_from(pool.nodes.volume.size.get()).unwrap_or(i64::MAX),
        vm_memory_overhead_millionths: (plan.cluster.eks.karpenter.vm_memory_overhead_percent * 1e6).round() as i64,
        ..NodeClass::default()
    }
}

/// A NodePool after a change: what the change does not name stays.
pub(super) fn changed(pool: &Written, change: &UpdateNodePoolAction) -> Written {
    let mut pool = pool.clone();
    let UpdateNodePoolAction { requirements, labels, taints, limits, weight, disruption, expire_after, .. } =
        change.clone();
    pool.requirements = requirements.unwrap_or(pool.requirements);
    pool.labels = labels.unwrap_or(pool.labels);
    pool.taints = taints.unwrap_or(pool.taints);
    pool.limits = limits.unwrap_or(pool.limits);
    pool.weight = weight.unwrap_or(pool.weight);
    pool.disruption = disruption.unwrap_or(pool.disruption);
    pool.expire_after = expire_after.unwrap_or(pool.expire_after);
    pool
}

/// The types of which a NodePool may make nodes, before and after each change that the plan has for it.
pub(in crate::simulation) fn types_of_pool(
    plan: &Plan,
    catalog: &Catalog,
    name: &str,
    pool: &Written,
) -> Vec<&'static InstanceType> {
    let mut symbols = Symbols::default();
    let known = WellKnown::new(&mut symbols);
    let zones = zone_names(plan, pool);
    let zones: Vec<&str> = zones.iter().map(String::as_str).collect();
    let seen = (&ObservedMemory::default(), SimTime::ZERO);
    let table = catalog_types(catalog, &plan.cluster.region, &zones, &class_of(plan, pool), seen, &known, &mut symbols);
    let mut changes: Vec<&UpdateNodePoolAction> = plan
        .actions
        .values()
        .filter_map(|a| match a {
            Action::UpdateNodePool(change) if change.capacity == name => Some(change),
            _ => None,
        })
        .collect();
    changes.sort_by_key(|c| c.at);
    let mut states = vec![pool.clone()];
    for change in changes {
        states.push(changed(&states[states.len() - 1], change));
    }
    let wanted: Vec<_> =
        states.iter().map(|p| pool_of(name, p, 0, &mut symbols).node_requirements(&known, &symbols)).collect();
    let fits = |t: &&crate::kubernetes::karpenter::instance::InstanceType| {
        wanted.iter().any(|w| w.conflict(&t.requirements, &symbols).is_none())
    };
    let names = table.types().iter().filter(fits).map(|t| symbols.text(t.name).to_string());
    names.filter_map(|n| catalog.instance_type(&n).ok()).collect()
}
