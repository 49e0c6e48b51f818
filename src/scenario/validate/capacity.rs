//! Capacity: what the APIs of EC2 Auto Scaling and ECS refuse, and what no task could run on.

use super::Check;
use crate::scenario::diagnostic::Diagnostic;
use crate::scenario::model::{Capacity, Fargate};

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
                Capacity::Ec2(_) | Capacity::ManagedInstances(_) => {
                    let kind = capacity.kind().name();
                    c.error("S1030", &["type"], format!("a run on {kind} is not possible"), "only on Fargate");
                }
            });
            let jobs = self.plan.jobs.values().any(|j| j.capacity.contains_key(name));
            if !jobs && !self.plan.services.values().any(|s| s.capacity.contains_key(name)) {
                let d = Diagnostic::warning("W0020", format!("no service and no job uses the capacity `{name}`"))
                    .at(self.key(&["capacity", name]))
                    .label("has no effect");
                self.report(&["capacity", name], d);
            }
        }
    }

    fn fargate(&mut self, fargate: &Fargate) {
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
}
