//! What nodes have to give, and what they cost.

use serde_json::{Value, json};
use simctl::catalog::Catalog;
use simctl::kubernetes::karpenter::instance::{
    Density, MIB, Machine, Overhead, adjusted_price, allocatable as left, eviction_threshold, kube_reserved,
    system_reserved,
};
use simctl::kubernetes::karpenter::pool::{AmiFamily, EvictionThreshold, Kubelet, NodeClass, Reserved};
use simctl::kubernetes::karpenter::table::{branch_interfaces, machine};
use simctl::kubernetes::object::{Resources, Symbols};
use simctl::units::{ByteNotation, parse_bytes};

use super::{Got, near, same};

fn int(of: &Value, key: &str) -> Option<i64> {
    of[key].as_i64()
}

pub(super) fn node_allocatable(case: &Value) -> Got {
    let n = |key: &str| int(case, key).ok_or_else(|| format!("no {key}"));
    let own = Machine {
        vcpus: n("vcpus")?,
        memory_mib: n("memory_mib")?,
        arm64: case["arch"] == "arm64",
        enis_default_card: n("enis_default_card")?,
        ipv4_per_eni: n("ipv4_per_eni")?,
        local_storage: 0,
    };
    let (capacity, overhead) = own.resources(&NodeClass::default(), None);
    let got = left(&capacity, &overhead, &Symbols::default());
    let expect = &case["expect"];
    same("cpu", int(expect, "allocatable_cpu_m"), Some(got.cpu_m))?;
    same("memory", int(expect, "allocatable_memory_mib").map(|m| m * MIB), Some(got.memory))?;
    same("pods", int(expect, "max_pods"), Some(got.pods))?;
    let name = case["instance_type"].as_str().ok_or("no instance_type")?;
    let listed = Catalog::embedded().instance_type(name).map_err(|e| e.to_string())?;
    same("pod-eni", int(expect, "pod_eni"), Some(branch_interfaces(listed)))
}

fn quantity(of: &Value) -> Option<i64> {
    let text = of.as_str()?;
    let bytes = parse_bytes(text, ByteNotation::Decimal, Some(1)).ok()?;
    i64::try_from(bytes.get()).ok()
}

fn cpu(of: &Value) -> Option<i64> {
    let text = of.as_str()?;
    match text.strip_suffix('m') {
        Some(m) => m.parse().ok(),
        None => text.parse::<i64>().ok().map(|c| c * 1_000),
    }
}

fn reserved(of: &Value) -> Reserved {
    let storage = quantity(&of["ephemeral"]).or_else(|| quantity(&of["ephemeral-storage"]));
    Reserved { cpu_m: cpu(&of["cpu"]), memory: quantity(&of["memory"]), ephemeral_storage: storage }
}

fn threshold(of: &Value) -> Option<EvictionThreshold> {
    let text = of.as_str()?;
    EvictionThreshold::percent(text).or_else(|| quantity(of).map(EvictionThreshold::Bytes))
}

/// Amounts named `cpu_m`, `memory_mib` and so on; anything with `hugepages` in its name is one.
fn amounts(of: &Value, symbols: &mut Symbols) -> Resources {
    let mut all = Resources::default();
    for (key, value) in of.as_object().into_iter().flatten() {
        let unit = if key.ends_with("_mib") || key.ends_with("mi_mib") { MIB } else { 1 };
        let amount = value.as_i64().map(|n| n * unit).or_else(|| quantity(value)).unwrap_or(0);
        match key.as_str() {
            "cpu_m" => all.cpu_m = amount,
            "memory_mib" | "memory_bytes" => all.memory = amount,
            "pods" => all.pods = amount,
            _ if key.contains("hugepages") => {
                let name = symbols.intern(&format!("hugepages-{key}"));
                all.set_extended(name, amount);
            }
            _ => {}
        }
    }
    all
}

pub(super) fn allocatable(case: &Value) -> Got {
    let expect = &case["expect"];
    let id = case["id"].as_str().unwrap_or_default();
    if !expect["max_pods"].is_null() {
        return max_pods(case);
    }
    if !expect["estimate_not_above_observed"].is_null() {
        let name = case["instance_type"].as_str().ok_or("no instance_type")?;
        let listed = Catalog::embedded().instance_type(name).map_err(|e| e.to_string())?;
        let (capacity, overhead) = machine(listed).resources(&NodeClass::default(), None);
        let got = left(&capacity, &overhead, &Symbols::default());
        let observed = &case["observed_node_allocatable"];
        let memory = int(observed, "memory_ki").map_or(i64::MAX, |k| k * 1_024);
        let cpu = int(observed, "cpu_m").unwrap_or(i64::MAX);
        return same("estimate above what was observed", false, got.memory > memory || got.cpu_m > cpu);
    }
    if !case["capacity"].is_null() {
        let mut symbols = Symbols::default();
        let capacity = amounts(&case["capacity"], &mut symbols);
        let mut overhead =
            Overhead { system_reserved: amounts(&case["overhead"], &mut symbols), ..Overhead::default() };
        for (key, value) in case["offering_override"].as_object().into_iter().flatten() {
            let memory = value.as_i64().map(|n| n * MIB);
            match key.as_str() {
                "system_reserved_memory_mib" => overhead.system_reserved.memory = memory.unwrap_or(0),
                "system_reserved_cpu_m" => overhead.system_reserved.cpu_m = value.as_i64().unwrap_or(0),
                _ => return Err(format!("unknown override {key}")),
            }
        }
        let got = left(&capacity, &overhead, &symbols);
        let expected = amounts(expect, &mut symbols);
        if !expect["cpu_m"].is_null() {
            same("cpu", expected.cpu_m, got.cpu_m)?;
        }
        return same("memory", expected.memory, got.memory);
    }
    if let Some(expected) = int(expect, "kube_reserved_cpu_m") {
        let vcpus = int(case, "vcpus").ok_or("no vcpus")?;
        let got = kube_reserved(vcpus, int(case, "max_pods").unwrap_or(0), &reserved(&case["kube_reserved"]));
        same("cpu", expected, got.cpu_m)?;
        same("memory", int(expect, "kube_reserved_memory_mib").map(|m| m * MIB), Some(got.memory))?;
        return same("storage", quantity(&expect["kube_reserved_ephemeral"]), Some(got.ephemeral_storage));
    }
    if !expect["kube_reserved"].is_null() {
        let (wanted, got) =
            (reserved(&expect["kube_reserved"]), kube_reserved(4, 58, &reserved(&case["kube_reserved"])));
        let got = Reserved {
            cpu_m: Some(got.cpu_m),
            memory: Some(got.memory),
            ephemeral_storage: Some(got.ephemeral_storage),
        };
        return same("kube-reserved", wanted, got);
    }
    if !expect["system_reserved"].is_null() {
        let got = system_reserved(&reserved(&case["system_reserved"]));
        let wanted = reserved(&expect["system_reserved"]);
        same("cpu", wanted.cpu_m, Some(got.cpu_m))?;
        same("memory", wanted.memory, Some(got.memory))?;
        return same("storage", wanted.ephemeral_storage, Some(got.ephemeral_storage));
    }
    let kubelet = Kubelet { eviction_hard_memory: threshold(&case["eviction_hard"]), ..Kubelet::default() };
    let capacity = int(case, "capacity_memory_mib").unwrap_or(16_384) * MIB;
    let got = eviction_threshold(capacity, 0, &kubelet).memory;
    if let Some(mib) = int(expect, "eviction_memory_mib") {
        return same("eviction threshold", mib * MIB, got);
    }
    if let Some(share) = expect["eviction_memory_fraction_of_capacity"].as_f64() {
        return near("eviction threshold", share, got as f64 / capacity as f64);
    }
    Err(format!("nothing is known of the kind of case {id}"))
}

fn max_pods(case: &Value) -> Got {
    let n = |key: &str| int(case, key).unwrap_or(0);
    let density = Density {
        enis: n("enis"),
        ipv4_per_eni: n("ipv4_per_eni"),
        reserved_enis: n("reserved_enis"),
        efa_only: n("efa_only_card0"),
        vcpus: n("vcpus"),
    };
    let family = match case["ami_family"].as_str() {
        Some(name) if name.starts_with("Windows") => AmiFamily::Windows,
        Some("Bottlerocket") => AmiFamily::Bottlerocket,
        Some("Custom") => AmiFamily::Custom,
        _ => AmiFamily::Al2023,
    };
    let kubelet =
        Kubelet { max_pods: int(case, "max_pods"), pods_per_core: int(case, "pods_per_core"), ..Kubelet::default() };
    let got = match case["expression"].as_str() {
        Some(expression) => density.by_expression(expression),
        None => density.max_pods(family, &kubelet),
    };
    same("pods", int(&case["expect"], "max_pods"), Some(got))
}

pub(super) fn price_adjust(case: &Value) -> Got {
    let base = case["base"].as_f64().ok_or("no base")?;
    let change = case["change"].as_str().ok_or("no change")?;
    match (adjusted_price(base, change), &case["expect"]) {
        (Some(got), expected) => near("price", expected.as_f64().ok_or("no expectation")?, got),
        (None, expected) if *expected == json!(null) => Ok(()),
        (None, _) => Err(format!("`{change}` is no change")),
    }
}
