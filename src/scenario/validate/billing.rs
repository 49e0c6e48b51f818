//! Billing: commitments must be for instance types that exist.

use super::Check;
use crate::catalog::Catalog;

impl Check<'_> {
    pub(super) fn billing(&mut self) {
        let billing = &self.plan.billing;
        if self.plan.services.contains_key("idle") {
            self.error(
                "S1004",
                &["services", "idle"],
                "a service cannot be called `idle`",
                "the bill uses that word for capacity that nobody reserves",
            );
        }
        for (i, reserved) in billing.reserved_instances.iter().enumerate() {
            self.within(&["billing", "reserved_instances", &format!("[{i}]")], |c| {
                if let Err(e) = Catalog::embedded().instance_type(&reserved.instance_type) {
                    c.error("S1033", &["instance_type"], e.to_string(), "no such instance type");
                }
            });
        }
        for (i, plan) in billing.ec2_instance_savings_plans.iter().enumerate() {
            self.within(&["billing", "ec2_instance_savings_plans", &format!("[{i}]")], |c| {
                let mut families: Vec<&str> = Catalog::embedded().instance_types().iter().map(|t| t.family()).collect();
                families.dedup();
                families.sort_unstable();
                families.dedup();
                let span = c.at(&["instance_family"]);
                c.known(&["instance_family"], span, "instance family", &plan.instance_family, &families);
            });
        }
    }
}
