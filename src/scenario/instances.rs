//! Instance types that a capacity may launch, as the catalog has them.

use super::model::{Architecture, Inclusion, InstanceRequirements, NetworkMode, Task};
use crate::catalog::{Arch, Catalog, InstanceType};
use crate::units::{Bytes, Cpu};

/// Families from which ECS Managed Instances choose when nothing is said: compute, general purpose, memory.
const USUAL: [char; 3] = ['c', 'm', 'r'];

/// Whether a name fits a pattern in which `*` stands for anything, also for nothing.
#[must_use]
pub fn name_matches(pattern: &str, name: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut left) = name.strip_prefix(head) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let tail = parts.pop().unwrap_or_default();
    for part in parts {
        match left.find(part) {
            Some(at) => left = &left[at + part.len()..],
            None => return false,
        }
    }
    left.len() >= tail.len() && left.ends_with(tail)
}

/// The instance types that meet the requirements of ECS Managed Instances and are sold in the region, by
/// name. Without any name allowed these are the current general-purpose, compute and memory families
/// without GPUs.
#[must_use]
pub fn allowed_types(requirements: &InstanceRequirements, region: &str) -> Vec<&'static InstanceType> {
    let catalog = Catalog::embedded();
    let r = requirements;
    let included = |rule: Inclusion, is: bool| match rule {
        Inclusion::Included => true,
        Inclusion::Required => is,
        Inclusion::Excluded => !is,
    };
    let named = |ty: &InstanceType| match r.allowed_instance_types.is_empty() {
        true => ty.current_generation && ty.gpus == 0 && USUAL.iter().any(|u| ty.family().starts_with(*u)),
        false => r.allowed_instance_types.iter().any(|p| name_matches(p, ty.name)),
    };
    let memory = |ty: &InstanceType| Bytes::from_mib(ty.memory_mib);
    catalog
        .instance_types()
        .iter()
        .filter(|ty| named(ty) && !r.excluded_instance_types.iter().any(|p| name_matches(p, ty.name)))
        .filter(|ty| ty.vcpus >= r.vcpu_count.min && r.vcpu_count.max.is_none_or(|most| ty.vcpus <= most))
        .filter(|ty| memory(ty) >= r.memory.min && r.memory.max.is_none_or(|most| memory(ty) <= most))
        .filter(|ty| included(r.burstable_performance, ty.burst.is_some()) && included(r.bare_metal, ty.bare_metal))
        .filter(|ty| is_sold(region, ty.name))
        .collect()
}

/// Whether a region sells a type: it has a price, and where the catalog knows the zones some zone offers it.
#[must_use]
pub fn is_sold(region: &str, instance_type: &str) -> bool {
    let catalog = Catalog::embedded();
    match catalog.offered(region, instance_type) {
        Some(zones) => !zones.is_empty(),
        None => catalog.on_demand(region, instance_type).is_some(),
    }
}

/// Whether a zone, by number from 0, offers a type. Where the catalog does not know the zones of a region,
/// each offers what the region sells.
#[must_use]
pub fn is_offered(region: &str, zone: u32, instance_type: &str) -> bool {
    match Catalog::embedded().offered(region, instance_type) {
        Some(zones) => u8::try_from(zone).is_ok_and(|z| zones.contains(&char::from(b'a'.saturating_add(z)))),
        None => is_sold(region, instance_type),
    }
}

/// The catalog's word for an architecture.
#[must_use]
pub const fn arch_of(architecture: Architecture) -> Arch {
    match architecture {
        Architecture::X86 => Arch::X86,
        Architecture::Arm => Arch::Arm,
    }
}

/// Whether an empty instance of a type takes a task, with what its agent keeps back and whether
/// interfaces are trunked.
#[must_use]
pub fn takes(ty: &InstanceType, reserved_memory: Bytes, trunking: bool, task: &Task) -> bool {
    let memory = Bytes::from_mib(ty.registered_memory_mib()).saturating_sub(reserved_memory);
    ty.arch == arch_of(task.architecture)
        && Cpu::from_units(ty.cpu_units()) >= task.cpu
        && memory >= task.memory_reservation.unwrap_or(task.memory)
        && ty.gpus >= task.gpus
        && (task.network_mode != NetworkMode::Awsvpc || ty.task_limit(trunking) > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_anything() {
        for (pattern, name, fits) in [
            ("m7g.large", "m7g.large", true),
            ("m7g.*", "m7g.large", true),
            ("m7g.*", "m7gd.large", false),
            ("*7*", "m7gd.large", true),
            ("m*.large", "m7gd.large", true),
            ("m*.large", "m7gd.xlarge", false),
            ("*.large*", "m.large", true),
            ("a*a", "a", false),
            ("", "a", false),
        ] {
            assert_eq!(name_matches(pattern, name), fits, "{pattern} {name}");
        }
    }

    #[test]
    fn requirements_narrow_the_catalog() {
        let all = allowed_types(&InstanceRequirements::default(), "us-east-1");
        assert!(all.len() > 200 && all.iter().all(|t| t.current_generation && t.gpus == 0 && t.burst.is_none()));
        let mut r = InstanceRequirements {
            allowed_instance_types: vec!["m7g.*".to_owned()],
            excluded_instance_types: vec!["*.metal".to_owned()],
            ..InstanceRequirements::default()
        };
        r.vcpu_count.max = Some(4);
        r.memory.min = Bytes::from_gib(8);
        let names: Vec<&str> = allowed_types(&r, "us-east-1").iter().map(|t| t.name).collect();
        assert_eq!(names, ["m7g.large", "m7g.xlarge"]);
    }

    #[test]
    fn an_instance_takes_what_it_registers() {
        let ty = Catalog::embedded().instance_type("m4.large").expect("it is in the catalog");
        let mut task = Task { cpu: Cpu::from_vcpus(2), memory: Bytes::from_mib(7_985), ..task() };
        assert!(takes(ty, Bytes::ZERO, false, &task));
        assert!(!takes(ty, Bytes::from_mib(1), false, &task));
        task.architecture = Architecture::Arm;
        assert!(!takes(ty, Bytes::ZERO, false, &task));
    }

    fn task() -> Task {
        let text = r#"
            simulation.duration = "1h"
            [services.web.task]
            cpu = 256
            memory = 512
        "#;
        let plan = crate::scenario::from_text("task", text).expect("it is right");
        plan.services["web"].task.clone()
    }
}
