//! Capacity: what the APIs of EC2 Auto Scaling and ECS refuse, and what no task could run on.

use indexmap::IndexMap;

use super::Check;
use crate::catalog::{Catalog, CatalogError, InstanceType};
use crate::kernel::SimDuration;
use crate::scenario::diagnostic::Diagnostic;
use crate::scenario::instances::{allowed_types, arch_of, is_offered, is_sold, name_matches, takes};
use crate::scenario::lang::list;
use crate::scenario::model::{
    Capacity, CapacityOption, Ec2, Fargate, InstanceOutage, Instances, Interruptions, ManagedInstances, MarketScope,
    Orchestrator, Service, SpotMarket, SpotPrice, SpotStrategy, StrategyItem, Switch, WarmPool, WarmPoolState,
};
use crate::units::Bytes;

/// Most instance types of a mixed group. Source: EC2 Auto Scaling API, LaunchTemplate overrides.
const MOST_TYPES: usize = 40;
/// Largest EBS volume of general purpose. Source: EC2 user guide, EBS volume types.
const MOST_STORAGE: u64 = 16_384;

impl Check<'_> {
    pub(super) fn capacities(&mut self) {
        for (name, capacity) in &self.plan.capacity {
            self.within(&["capacity", name], |c| match capacity {
                Capacity::Fargate(fargate) => c.fargate(fargate),
                Capacity::FargateSpot(spot) => {
                    c.within(&["launch"], |c| c.fargate(&spot.launch));
                    c.at_least(&["interruptions_per_hour"], spot.interruptions_per_hour, 0.0);
                    for (i, reclaim) in spot.reclaims.iter().enumerate() {
                        c.within(&["reclaims", &format!("[{i}]")], |c| {
                            c.happens(&["at"], reclaim.at);
                            c.zones(&["zones"], &reclaim.zones);
                        });
                    }
                }
                Capacity::NodeGroup(_)
                | Capacity::NodePool(_)
                | Capacity::FargateProfile(_)
                | Capacity::SelfManaged(_) => {
                    c.kubernetes_capacity(name, capacity);
                }
                Capacity::Ec2(group) => {
                    c.group(name, group);
                    c.nodes(capacity);
                }
                Capacity::ManagedInstances(managed) => {
                    c.managed(name, managed);
                    c.nodes(capacity);
                }
            });
            if self.plan.cluster.orchestrator == Orchestrator::Eks {
                continue; // The scheduler finds out what pods may use.
            }
            let jobs = self.plan.jobs.values().any(|j| j.capacity.contains_key(name));
            if !jobs && !self.plan.services.values().any(|s| s.capacity.contains_key(name)) {
                let d = Diagnostic::warning("W0020", format!("no service and no job uses the capacity `{name}`"))
                    .at(self.key(&["capacity", name]))
                    .label("has no effect");
                self.report(&["capacity", name], d);
            }
        }
    }

    pub(super) fn fargate(&mut self, fargate: &Fargate) {
        self.above_zero(&["pull_bandwidth"], fargate.pull_bandwidth.get() as f64);
        self.above_zero(&["unpack_bandwidth"], fargate.unpack_bandwidth.get() as f64);
        if fargate.unavailable > 0.0 || !fargate.outages.is_empty() {
            self.not_zero(&["retry_delay"], fargate.retry_delay);
        }
        if fargate.unavailable >= 1.0 {
            self.warn("W0021", &["unavailable"], "no launch ever finds capacity", "every launch is refused");
        }
        for (i, outage) in fargate.outages.iter().enumerate() {
            self.within(&["outages", &format!("[{i}]")], |c| {
                c.happens(&["at"], outage.at);
                c.not_zero(&["duration"], outage.duration);
                c.zones(&["zones"], &outage.zones);
            });
        }
    }

    /// A strategy takes capacity providers of one kind.
    pub(super) fn one_kind(&mut self, strategy: &IndexMap<String, StrategyItem>) {
        let kinds = strategy.keys().filter_map(|n| self.plan.capacity.get_key_value(n));
        let kinds: Vec<(&String, &Capacity)> = kinds.collect();
        let Some((first, capacity)) = kinds.first() else { return };
        let Some((other, odd)) = kinds.iter().find(|(_, c)| c.kind() != capacity.kind()) else { return };
        let message = format!(
            "a strategy cannot mix {} and {}: ECS refuses capacity providers of several kinds",
            capacity.kind().name(),
            odd.kind().name(),
        );
        let d = Diagnostic::error("S1012", message)
            .at(self.key(&["capacity", other]))
            .label(format!("is {}", odd.kind().name()))
            .related(self.key(&["capacity", first]), format!("is {}", capacity.kind().name()))
            .help("run them as two services, or leave one kind out");
        self.report(&["capacity", other], d);
    }

    fn group(&mut self, name: &str, group: &Ec2) {
        self.types(name, &group.instance_types, &group.zones);
        let (min, max) = (group.min_size, group.max_size);
        self.ordered(&["min_size"], &["max_size"], min <= max);
        self.range(&["max_size"], u64::from(max), 1, 100_000, "a group that can hold tasks has a");
        if let Some(desired) = group.desired_capacity
            && min <= max
        {
            let who = "EC2 Auto Scaling takes, with these sizes, a";
            self.range(&["desired_capacity"], u64::from(desired), u64::from(min), u64::from(max), who);
        }
        let m = &group.mixed_instances;
        let spot = m.on_demand_base_capacity < max && m.on_demand_percentage_above_base_capacity < 100;
        self.within(&["mixed_instances"], |c| {
            let percent = u64::from(m.on_demand_percentage_above_base_capacity);
            c.range(&["on_demand_percentage_above_base_capacity"], percent, 0, 100, "EC2 Auto Scaling takes an");
            c.range(&["spot_instance_pools"], u64::from(m.spot_instance_pools), 1, 20, "EC2 Auto Scaling takes");
            if m.spot_allocation_strategy != SpotStrategy::LowestPrice && c.is_written(&["spot_instance_pools"]) {
                let label = "it belongs to `spot_allocation_strategy = \"lowest-price\"`";
                c.error("S1012", &["spot_instance_pools"], "this strategy has no number of pools", label);
            }
        });
        self.managed_scaling(group);
        self.time(&["draining_timeout"], group.draining_timeout, 1, 172_800, "a termination hook takes a");
        self.range(&["volume", "size"], group.volume.size.get() >> 30, 1, MOST_STORAGE, "in GiB, EBS takes a");
        if group.capacity_rebalance && !spot {
            self.warn(
                "W0061",
                &["capacity_rebalance"],
                "only Spot instances are rebalanced, and this group has none",
                "has no effect",
            );
        }
        if let Some(pool) = &group.warm_pool {
            self.within(&["warm_pool"], |c| c.warm_pool(group, pool, spot));
        }
        self.spot(&group.spot, spot);
        let types: Vec<&'static InstanceType> = self.known_types(group);
        if spot {
            self.on_spot(&["instance_types"], &types);
        }
        let agent = &group.ecs_agent;
        self.fits(name, &types, |ty, service| takes(ty, agent.reserved_memory, agent.awsvpc_trunking, &service.task));
        if group.managed_scaling.status == Switch::Enabled {
            self.guard(name, group, &types);
        }
    }

    fn managed_scaling(&mut self, group: &Ec2) {
        let s = &group.managed_scaling;
        self.within(&["managed_scaling"], |c| {
            let (least, most) = (s.minimum_scaling_step_size, s.maximum_scaling_step_size);
            c.range(&["target_capacity"], u64::from(s.target_capacity), 1, 100, "ECS takes a");
            c.range(&["minimum_scaling_step_size"], u64::from(least), 1, 10_000, "ECS takes a");
            c.range(&["maximum_scaling_step_size"], u64::from(most), 1, 10_000, "ECS takes a");
            c.ordered(&["minimum_scaling_step_size"], &["maximum_scaling_step_size"], least <= most);
            c.time(&["instance_warmup_period"], s.instance_warmup_period, 0, 10_000, "ECS takes an");
            let percent = u64::from(s.maximum_scale_in_percent);
            c.range(&["maximum_scale_in_percent"], percent, 1, 100, "a scale-in takes a");
        });
        if group.managed_termination_protection == Switch::Enabled && s.status == Switch::Disabled {
            let d = Diagnostic::error("S1012", "ECS protects instances from termination only with managed scaling")
                .at(self.at(&["managed_termination_protection"]))
                .label("ECS refuses it")
                .related(self.at(&["managed_scaling", "status"]), "managed scaling is off here");
            self.report(&["managed_termination_protection"], d);
        }
    }

    fn warm_pool(&mut self, group: &Ec2, pool: &WarmPool, spot: bool) {
        if pool.instance_reuse_policy.reuse_on_scale_in {
            let label = "leave it out: instances of ECS do not return to the pool";
            let path = ["instance_reuse_policy", "reuse_on_scale_in"];
            self.error("S1012", &path, "ECS does not support the reuse of instances at scale-in", label);
        }
        if spot {
            let message = "a warm pool cannot hold Spot instances";
            self.error("S1012", &[], message, "`mixed_instances` asks for Spot beyond the base");
        }
        let most = pool.max_group_prepared_capacity.unwrap_or(group.max_size);
        if let Some(prepared) = pool.max_group_prepared_capacity {
            self.ordered(&["min_size"], &["max_group_prepared_capacity"], pool.min_size <= prepared);
        } else if pool.min_size > most {
            let message = "the pool would hold more than the group may have";
            self.error("S1011", &["min_size"], message, format!("`max_size` of the group is {most}"));
        }
        if pool.pool_state == WarmPoolState::Hibernated {
            let too_small =
                self.known_types(group).into_iter().find(|t| Bytes::from_mib(t.memory_mib) > group.volume.size);
            if let Some(ty) = too_small {
                let message = format!("the root volume cannot take the memory of {} when it hibernates", ty.name);
                self.error("S1012", &["pool_state"], message, "raise `volume.size` of the group");
            }
        }
    }

    fn known_types(&self, group: &Ec2) -> Vec<&'static InstanceType> {
        let catalog = Catalog::embedded();
        group.instance_types.iter().filter_map(|n| catalog.instance_type(n).ok()).collect()
    }

    /// Names that exist, once each, and that the region and the zones of the group sell.
    pub(super) fn types(&mut self, name: &str, names: &[String], zones: &[u32]) {
        let region = self.plan.cluster.region.clone();
        if names.is_empty() {
            let d = Diagnostic::error("S1003", "the group has no instance type")
                .at(self.at(&["instance_types"]))
                .label("none")
                .help("for example `instance_types = [\"m7g.large\"]`");
            self.report(&["instance_types"], d);
        }
        if names.len() > MOST_TYPES {
            let message = format!("EC2 Auto Scaling takes at most {MOST_TYPES} instance types");
            self.error("S1012", &["instance_types"], message, "too many");
        }
        let zones: Vec<u32> = (0..self.plan.cluster.zones).filter(|z| zones.is_empty() || zones.contains(z)).collect();
        for (i, ty) in names.iter().enumerate() {
            let index = format!("[{i}]");
            let path = ["instance_types", index.as_str()];
            if names[..i].contains(ty) {
                self.error("S1012", &path, format!("`{ty}` is named twice"), "the second time");
                continue;
            }
            match Catalog::embedded().instance_type(ty) {
                Err(error) => self.unknown_type(&path, ty, &error),
                Ok(_) if self.plan.billing.prices.is_none() && !is_sold(&region, ty) => {
                    let message = format!("{region} does not offer `{ty}`");
                    self.error("S1012", &path, message, "choose another type or region");
                }
                Ok(_) if !zones.is_empty() && zones.iter().all(|z| !is_offered(&region, *z, ty)) => {
                    let offered = Catalog::embedded().offered(&region, ty).unwrap_or_default();
                    let letters: Vec<String> = offered.iter().map(|l| format!("{region}{l}")).collect();
                    let message = format!("no zone of `{name}` offers `{ty}`");
                    self.error("S1012", &path, message, format!("{} would", letters.join(", ")));
                }
                Ok(_) => {}
            }
        }
    }

    fn unknown_type(&mut self, path: &[&str], name: &str, error: &CatalogError) {
        let mut d = Diagnostic::error("S2020", format!("there is no instance type `{name}`")).at(self.at(path));
        d = d.label("not found");
        if let CatalogError::UnknownInstanceType { nearest, .. } = error
            && !nearest.is_empty()
        {
            let near: Vec<&str> = nearest.iter().map(String::as_str).collect();
            d = d.help(format!("there are {}", list(&near)));
        }
        self.report(path, d);
    }

    /// What an Auto Scaling group and Managed Instances have in common.
    fn nodes(&mut self, capacity: &Capacity) {
        let Some(nodes) = capacity.instances() else { return };
        self.zones(&["zones"], nodes.zones);
        self.above_zero(&["tasks", "pull_bandwidth"], nodes.tasks.pull_bandwidth.get() as f64);
        self.above_zero(&["tasks", "unpack_bandwidth"], nodes.tasks.unpack_bandwidth.get() as f64);
        self.above_zero(&["cpu_speed"], nodes.cpu_speed);
        for (key, speed) in nodes.cpu_speed_of {
            self.above_zero(&["cpu_speed_of", key], *speed);
            let of = |ty: &&InstanceType| ty.name == key || ty.family() == key;
            if !Catalog::embedded().instance_types().iter().any(|ty| of(&ty)) {
                let message = format!("there is no instance type or family `{key}`");
                self.error("S2020", &["cpu_speed_of", key], message, "for example \"m7g\" or \"m7g.large\"");
            }
        }
        if nodes.unavailable >= 1.0 {
            self.warn("W0021", &["unavailable"], "no launch ever finds capacity", "every launch is refused");
        }
        self.not_zero(&["retry_delay"], nodes.retry_delay);
        self.not_zero(&["provisioning_timeout"], nodes.provisioning_timeout);
        for (i, outage) in nodes.outages.iter().enumerate() {
            self.within(&["outages", &format!("[{i}]")], |c| c.instance_outage(capacity, &nodes, outage));
        }
        for (i, event) in nodes.spot.events.iter().enumerate() {
            self.within(&["spot", "events", &format!("[{i}]")], |c| {
                c.happens(&["at"], event.at);
                c.zones(&["zones"], &event.zones);
                c.launched(&["types"], capacity, &event.types);
            });
        }
    }

    pub(super) fn instance_outage(&mut self, capacity: &Capacity, nodes: &Instances<'_>, outage: &InstanceOutage) {
        self.happens(&["at"], outage.at);
        self.not_zero(&["duration"], outage.duration);
        self.zones(&["zones"], &outage.zones);
        self.launched(&["types"], capacity, &outage.types);
        let only = outage.market == MarketScope::Spot && nodes.spot == &SpotMarket::default();
        if only && !capacity.buys_spot() {
            self.warn("W0062", &["market"], "this capacity has no Spot instances", "has no effect");
        }
    }

    /// Types that the capacity launches.
    fn launched(&mut self, path: &[&str], capacity: &Capacity, types: &[String]) {
        let known: Vec<&str> = match capacity {
            Capacity::Ec2(e) => e.instance_types.iter().map(String::as_str).collect(),
            Capacity::NodeGroup(g) => g.instance_types.iter().map(String::as_str).collect(),
            Capacity::ManagedInstances(m) if !types.is_empty() => {
                let allowed = allowed_types(&m.instance_requirements, &self.plan.cluster.region);
                allowed.iter().map(|t| t.name).collect()
            }
            _ => return,
        };
        for (i, ty) in types.iter().enumerate() {
            let index = format!("[{i}]");
            let path: Vec<&str> = path.iter().copied().chain([index.as_str()]).collect();
            let span = self.at(&path);
            self.known(&path, span, "instance type of this capacity", ty, &known);
        }
    }

    /// The Spot market; `used` says whether the capacity has any Spot instance.
    pub(super) fn spot(&mut self, spot: &SpotMarket, used: bool) {
        if !used {
            if self.is_written(&["spot"]) {
                let message = "this capacity has no Spot instances";
                self.warn("W0062", &["spot"], message, "has no effect");
            }
            return;
        }
        self.within(&["spot"], |c| {
            match &spot.interruptions {
                Interruptions::Rate(rate) => {
                    c.at_least(&["interruptions", "interruptions_per_hour"], rate.interruptions_per_hour, 0.0);
                }
                Interruptions::Trace(trace) => c.above_zero(&["interruptions", "scale"], trace.scale),
                Interruptions::None(_) | Interruptions::Advisor(_) => {}
            }
            c.above_zero(&["reclaim_share"], spot.reclaim_share);
            c.at_least(&["burstiness"], spot.burstiness, 0.0);
            if spot.burstiness > 5.0 {
                c.error(
                    "S1010",
                    &["burstiness"],
                    "`burstiness` is at most 5: e to that power is a factor of 148",
                    "too large",
                );
            }
            if spot.burst_period < SimDuration::from_secs(60) {
                c.error("S1010", &["burst_period"], "`burst_period` is at least a minute", "too short");
            }
            if spot.zone_correlation + spot.family_correlation > 1.0 {
                let message = "`zone_correlation` and `family_correlation` are shares of the same interruptions";
                c.error("S1010", &["family_correlation"], message, "together more than 1");
            }
            if let SpotPrice::Discount(discount) = &spot.price
                && discount.percent >= 100.0
            {
                c.error("S1010", &["price", "percent"], "Spot is not given away", "below 100 %");
            }
            if spot.notice > SimDuration::from_secs(120) {
                let message = "EC2 gives a notice of two minutes, not more";
                c.warn("W0063", &["notice"], message, "longer than the real one");
            }
        });
    }

    /// Types that can be had as Spot.
    pub(super) fn on_spot(&mut self, path: &[&str], types: &[&'static InstanceType]) {
        if !types.is_empty() && types.iter().all(|t| !t.spot_supported) {
            let names: Vec<&str> = types.iter().map(|t| t.name).collect();
            let label = "choose other types, or On-Demand only";
            self.error("S1012", path, format!("there is no Spot market for {}", list(&names)), label);
        }
    }

    /// Services of this capacity whose task none of its types takes, and types that no task can use.
    fn fits(&mut self, name: &str, types: &[&'static InstanceType], takes: impl Fn(&InstanceType, &Service) -> bool) {
        let users = self.plan.services.iter().filter(|(_, s)| s.capacity.contains_key(name));
        let users: Vec<(&String, &Service)> = users.collect();
        if users.is_empty() || types.is_empty() {
            return;
        }
        for (user, service) in &users {
            // With one capacity the service says so itself.
            if service.capacity.len() > 1 && !types.iter().any(|t| takes(t, service)) {
                let message = format!("no instance of `{name}` takes a task of `{user}`");
                let d = Diagnostic::error("S1031", message)
                    .at(self.key(&[]))
                    .label("every type is too small, or has the other processor")
                    .help("its tasks would wait until they are stopped: choose larger types, or another strategy");
                self.report(&[], d);
            }
        }
        let useless = |t: &&&InstanceType| users.iter().all(|(_, s)| arch_of(s.task.architecture) != t.arch);
        let odd: Vec<&str> = types.iter().filter(useless).map(|t| t.name).collect();
        if !odd.is_empty() && odd.len() < types.len() {
            let message = format!("no task that runs here has the processor of {}", list(&odd));
            let label = "such an instance would stay empty: leave it out, or give it a service";
            self.error("S1031", &["instance_types"], message, label);
        }
    }

    /// Tasks that managed scaling leaves out, as they do not fit the smallest type of the group.
    fn guard(&mut self, name: &str, group: &Ec2, types: &[&'static InstanceType]) {
        let agent = &group.ecs_agent;
        for (user, service) in &self.plan.services {
            if !service.capacity.contains_key(name) {
                continue;
            }
            let fits = |t: &&&InstanceType| takes(t, agent.reserved_memory, agent.awsvpc_trunking, &service.task);
            let (some, all) = (types.iter().any(|t| fits(&t)), types.iter().all(|t| fits(&t)));
            if some && !all {
                let small: Vec<&str> = types.iter().filter(|t| !fits(t)).map(|t| t.name).collect();
                let message = format!(
                    "managed scaling never adds an instance for `{user}`: its task does not fit {}",
                    list(&small)
                );
                let label = "ECS leaves out tasks that do not fit every type of the group";
                self.warn("W0064", &["instance_types"], message, label);
            }
        }
    }

    fn managed(&mut self, name: &str, managed: &ManagedInstances) {
        let r = &managed.instance_requirements;
        let catalog = Catalog::embedded();
        self.within(&["instance_requirements"], |c| {
            for (key, patterns) in [
                ("allowed_instance_types", &r.allowed_instance_types),
                ("excluded_instance_types", &r.excluded_instance_types),
            ] {
                for (i, pattern) in patterns.iter().enumerate() {
                    let index = format!("[{i}]");
                    let path = [key, index.as_str()];
                    if catalog.instance_types().iter().any(|t| name_matches(pattern, t.name)) {
                        continue;
                    }
                    match catalog.instance_type(pattern) {
                        Err(error) if !pattern.contains('*') => c.unknown_type(&path, pattern, &error),
                        _ => c.error("S2020", &path, format!("no instance type is like `{pattern}`"), "not found"),
                    }
                }
            }
            if let Some(most) = r.vcpu_count.max {
                c.ordered(&["vcpu_count", "min"], &["vcpu_count", "max"], r.vcpu_count.min <= most);
            }
            if let Some(most) = r.memory.max {
                c.ordered(&["memory", "min"], &["memory", "max"], r.memory.min <= most);
            }
        });
        if let Some(after) = managed.infrastructure_optimization.scale_in_after
            && !(-1..=3_600).contains(&after)
        {
            let path = ["infrastructure_optimization", "scale_in_after"];
            let message = format!("ECS takes a `scale_in_after` from 0 to 3600 seconds, or -1 for never, not {after}");
            self.error("S1010", &path, message, "-1 to 3600");
        }
        self.range(&["storage_size"], managed.storage_size.get() >> 30, 1, MOST_STORAGE, "in GiB, EBS takes a");
        let is_spot = managed.capacity_option_type == CapacityOption::Spot;
        self.spot(&managed.spot, is_spot);
        let types = allowed_types(r, &self.plan.cluster.region);
        if types.is_empty() {
            let message = format!("no instance type that {} sells meets these requirements", self.plan.cluster.region);
            self.error("S1012", &["instance_requirements"], message, "widen them");
        }
        if is_spot {
            self.on_spot(&["instance_requirements"], &types);
        }
        for (user, service) in &self.plan.services {
            let uses = service.capacity.contains_key(name) && !types.is_empty();
            if uses && !types.iter().any(|t| takes(t, Bytes::ZERO, false, &service.task)) {
                let message = format!("no instance type that is allowed takes a task of `{user}`");
                let label = "every one is too small, or has the other processor";
                self.error("S1031", &["instance_requirements"], message, label);
            }
        }
    }
}
