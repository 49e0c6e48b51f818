//! Reserved Instances and Savings Plans: what is paid whatever happens, and the use that it pays for.
//!
//! Rule, clock hour by clock hour: Reserved Instances first, each for an hour of an instance of its family
//! (within a family the smallest sizes first, by normalized units), then EC2 Instance Savings Plans for the
//! rest of their family, then the Compute Savings Plan for what is left on EC2 and on Fargate, the use with
//! the highest saving first. A plan pays at its own lower rates for as much use as its commitment reaches;
//! what is not used up in an hour is lost. Spot is never covered, a management fee or a volume neither.
//!
//! Sources: AWS Savings Plans user guide, how Savings Plans apply; EC2 user guide, how Reserved Instances
//! are applied and instance size flexibility.

use super::exact::mul_div_half_even;
use super::meter::{HOUR_NS, TASK_PER};

/// Use is valued in pico-dollars times this, so that CPU units, MiB and whole instances have one unit.
const PER: i128 = TASK_PER / HOUR_NS;

/// Families whose Reserved Instances hold for the very size only. Source: EC2 user guide, instance size flexibility.
const INFLEXIBLE: [&str; 11] = ["g4ad", "g4dn", "g5", "g5g", "g6", "g6e", "gr6", "hpc7a", "hpc7g", "inf1", "inf2"];

/// The normalization factor of a size times four, so that `nano` is a whole number. `vcpus` stands in for
/// bare metal, which has the factor of the largest size. Source: EC2 user guide, normalization factors.
pub(super) fn normalized_units(size: &str, vcpus: u32) -> u64 {
    match size {
        "nano" => 1,
        "micro" => 2,
        "small" => 4,
        "medium" => 8,
        "large" => 16,
        "xlarge" => 32,
        _ => match size.strip_suffix("xlarge").and_then(|n| n.parse::<u64>().ok()) {
            Some(n) => 32 * n,
            None => 8 * u64::from(vcpus),
        },
    }
}

/// An instance type that is used on demand.
#[derive(Clone, Debug)]
struct Used {
    name: &'static str,
    family: &'static str,
    units: i128,
    /// Nano-dollars of an hour.
    nanos: i128,
    /// Instances that run.
    running: i128,
    /// Nanoseconds used in the hour that runs.
    ns: i128,
}

/// Reserved Instances of one type.
#[derive(Clone, Debug)]
struct Reserved {
    name: String,
    family: String,
    units: i128,
    count: i128,
}

/// A commitment in dollars an hour.
#[derive(Clone, Debug)]
struct Plan {
    /// The family that it holds for; absent for a Compute Savings Plan.
    family: Option<String>,
    /// Pico-dollars an hour.
    commitment: i128,
    /// Share off on demand for instances, in millionths, below one million.
    on_instances: i128,
    /// The same for Fargate.
    on_fargate: i128,
}

/// On-demand cost that is covered, in pico-dollars times [`PER`] times nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Covered {
    /// By Reserved Instances.
    pub(super) reserved: i128,
    /// By EC2 Instance Savings Plans.
    pub(super) ec2_plans: i128,
    /// By the Compute Savings Plan.
    pub(super) compute_plan: i128,
}

impl Covered {
    fn plus(self, other: Self) -> Self {
        Self {
            reserved: self.reserved + other.reserved,
            ec2_plans: self.ec2_plans + other.ec2_plans,
            compute_plan: self.compute_plan + other.compute_plan,
        }
    }
}

/// All commitments of an account, and the use of the hour that runs.
#[derive(Clone, Debug, Default)]
pub(super) struct Commitments {
    reserved: Vec<Reserved>,
    /// EC2 Instance Savings Plans first.
    plans: Vec<Plan>,
    used: Vec<Used>,
    fargate: i128,
    counted_ns: i128,
    past: Covered,
}

impl Commitments {
    /// Whether there is any.
    pub(super) fn is_empty(&self) -> bool {
        self.reserved.is_empty() && self.plans.is_empty()
    }

    pub(super) fn reserve(&mut self, name: &str, vcpus: u32, count: u32) {
        let (family, size) = name.split_once('.').unwrap_or((name, ""));
        let units = i128::from(normalized_units(size, vcpus));
        self.reserved.push(Reserved { name: name.into(), family: family.into(), units, count: i128::from(count) });
    }

    /// A Compute Savings Plan, or with a family an EC2 Instance Savings Plan. Discounts in millionths.
    pub(super) fn commit(&mut self, family: Option<&str>, picos: i128, on_instances: u32, on_fargate: u32) {
        let plan = Plan {
            family: family.map(str::to_string),
            commitment: picos,
            on_instances: i128::from(on_instances),
            on_fargate: i128::from(on_fargate),
        };
        let at = if family.is_some() {
            self.plans.iter().take_while(|p| p.family.is_some()).count()
        } else {
            self.plans.len()
        };
        self.plans.insert(at, plan);
    }

    /// Begins an hour of which `counted_ns` nanoseconds are charged.
    pub(super) fn open_hour(&mut self, counted_ns: i128) {
        self.past = self.covered();
        self.fargate = 0;
        for used in &mut self.used {
            used.ns = 0;
        }
        self.counted_ns = counted_ns;
    }

    /// Forgets all use, but not which instances run.
    pub(super) fn clear(&mut self) {
        (self.past, self.fargate, self.counted_ns) = (Covered::default(), 0, 0);
        for used in &mut self.used {
            used.ns = 0;
        }
    }

    /// Adds on-demand cost of Fargate.
    pub(super) fn add_fargate(&mut self, value: i128) {
        self.fargate += value;
    }

    /// The slot of an instance type, for [`Commitments::run`]. `nanos` is its on-demand price of an hour.
    pub(super) fn slot(&mut self, name: &'static str, vcpus: u32, nanos: i128) -> usize {
        if let Some(at) = self.used.iter().position(|u| u.name == name) {
            return at;
        }
        let (family, size) = name.split_once('.').unwrap_or((name, ""));
        let units = i128::from(normalized_units(size, vcpus));
        self.used.push(Used { name, family, units, nanos, running: 0, ns: 0 });
        self.used.len() - 1
    }

    /// Instances of a slot begin (+1) or end (-1) to run.
    pub(super) fn run(&mut self, slot: usize, change: i128) {
        self.used[slot].running += change;
    }

    /// One more instance-time of a slot: the rest of a first minute.
    pub(super) fn add_instance(&mut self, slot: usize, ns: i128) {
        self.used[slot].ns += ns;
    }

    /// Time passes.
    pub(super) fn accrue(&mut self, ns: i128) {
        for used in &mut self.used {
            used.ns += used.running * ns;
        }
    }

    /// What is covered since the beginning.
    pub(super) fn covered(&self) -> Covered {
        self.past.plus(self.hour())
    }

    /// What is covered of the use of the hour that runs.
    fn hour(&self) -> Covered {
        let mut covered = Covered::default();
        if self.is_empty() {
            return covered;
        }
        let mut left: Vec<i128> = self.used.iter().map(|u| u.ns).collect();
        let mut order: Vec<usize> = (0..self.used.len()).collect();
        order.sort_by_key(|i| (self.used[*i].units, self.used[*i].name));
        for reserved in &self.reserved {
            // One reserved instance pays for an hour of instance-time in the hour, whoever uses it.
            let mut pool = reserved.count * self.counted_ns * reserved.units;
            let flexible = !INFLEXIBLE.contains(&reserved.family.as_str());
            for i in order.iter().copied() {
                let used = &self.used[i];
                if used.family == reserved.family && (flexible || used.name == reserved.name) {
                    let ns = left[i].min(pool / used.units);
                    left[i] -= ns;
                    pool -= ns * used.units;
                    covered.reserved += used.value(ns);
                }
            }
        }
        let mut fargate = self.fargate;
        for plan in &self.plans {
            let mut commitment = plan.commitment * PER * self.counted_ns;
            let mut on_instances = |commitment: &mut i128| {
                let mut sum = 0;
                for (used, left) in self.used.iter().zip(&mut left) {
                    if plan.family.as_ref().is_none_or(|f| f == used.family) {
                        let value = used.value(*left);
                        let paid = pay(value, plan.on_instances, commitment);
                        sum += paid;
                        // What is paid in part leaves the rest of the time to the next plan.
                        *left -= if paid == value { *left } else { paid / used.value(1) };
                    }
                }
                sum
            };
            match plan.family {
                Some(_) => covered.ec2_plans += on_instances(&mut commitment),
                None if plan.on_instances >= plan.on_fargate => {
                    covered.compute_plan += on_instances(&mut commitment);
                    let paid = pay(fargate, plan.on_fargate, &mut commitment);
                    covered.compute_plan += paid;
                    fargate -= paid;
                }
                None => {
                    let paid = pay(fargate, plan.on_fargate, &mut commitment);
                    fargate -= paid;
                    covered.compute_plan += paid + on_instances(&mut commitment);
                }
            }
        }
        covered
    }
}

impl Used {
    fn value(&self, ns: i128) -> i128 {
        ns * self.nanos * 1_000 * PER
    }
}

/// How much of a use of this on-demand value a commitment pays at a discount in millionths; takes what it
/// costs off the commitment.
fn pay(value: i128, discount: i128, commitment: &mut i128) -> i128 {
    let rest = 1_000_000 - discount;
    let cost = mul_div_half_even(value, rest, 1_000_000);
    if cost <= *commitment {
        *commitment -= cost;
        return value;
    }
    let reach = mul_div_half_even(*commitment, 1_000_000, rest).min(value);
    *commitment = 0;
    reach
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOLLAR: i128 = 1_000_000_000_000;

    fn dollars(value: i128) -> f64 {
        value as f64 / (PER * DOLLAR) as f64 / HOUR_NS as f64
    }

    #[test]
    fn sizes_have_the_factors_of_the_guide() {
        for (size, quarter) in
            [("nano", 1), ("medium", 8), ("large", 16), ("xlarge", 32), ("2xlarge", 64), ("24xlarge", 768)]
        {
            assert_eq!(normalized_units(size, 0), quarter, "{size}");
        }
        assert_eq!(normalized_units("metal", 96), 768);
    }

    #[test]
    fn a_reservation_pays_for_its_family_the_smallest_size_first() {
        // The guide's example: one reserved t2.large pays for two t2.medium, or for half of a t2.xlarge.
        let mut c = Commitments::default();
        c.reserve("t2.large", 2, 1);
        let medium = c.slot("t2.medium", 2, 46_400_000);
        let xlarge = c.slot("t2.xlarge", 4, 185_600_000);
        c.open_hour(HOUR_NS);
        c.run(xlarge, 1);
        c.accrue(HOUR_NS);
        assert!((dollars(c.covered().reserved) - 0.0928).abs() < 1e-12);
        c.run(xlarge, -1);
        c.run(medium, 3);
        c.open_hour(HOUR_NS);
        c.accrue(HOUR_NS);
        assert!((dollars(c.covered().reserved) - 0.0928 - 0.0928).abs() < 1e-12);
        // Bursts share an hour of instance-time: four instances for a quarter of it.
        c.run(medium, 1);
        c.open_hour(HOUR_NS);
        c.accrue(HOUR_NS / 2);
        assert!((dollars(c.covered().reserved) - 0.1856 - 0.0928).abs() < 1e-12);
        // No flexibility where the guide says so.
        let mut c = Commitments::default();
        c.reserve("g5.xlarge", 4, 1);
        let other = c.slot("g5.2xlarge", 8, 1_212_000_000);
        c.run(other, 1);
        c.open_hour(HOUR_NS);
        c.accrue(HOUR_NS);
        assert_eq!(c.covered().reserved, 0);
    }

    #[test]
    fn reservations_come_before_instance_plans_and_those_before_the_compute_plan() {
        let mut c = Commitments::default();
        c.commit(None, DOLLAR / 10, 250_000, 200_000);
        c.commit(Some("m5"), DOLLAR / 10, 400_000, 0);
        c.reserve("m5.large", 2, 1);
        let m5 = c.slot("m5.large", 2, 96_000_000);
        let c5 = c.slot("c5.large", 2, 85_000_000);
        c.run(m5, 3);
        c.run(c5, 1);
        c.open_hour(HOUR_NS);
        c.accrue(HOUR_NS);
        c.add_fargate(DOLLAR / 10 * PER * HOUR_NS);
        let covered = c.covered();
        assert!((dollars(covered.reserved) - 0.096).abs() < 1e-12);
        // $0.10 at 40 % off reaches $0.1667 of the $0.192 that are left.
        assert!((dollars(covered.ec2_plans) - 0.1 / 0.6).abs() < 1e-12);
        // Then 25 % off on EC2 before 20 % off on Fargate: 0.02533 and 0.085 cost 0.08275, the rest reaches 0.0216 of Fargate.
        let ec2 = 0.192 - 0.1 / 0.6 + 0.085;
        assert!((dollars(covered.compute_plan) - ec2 - (0.1 - ec2 * 0.75) / 0.8).abs() < 1e-10, "{covered:?}");
        // What an hour does not use is lost.
        c.run(m5, -3);
        c.run(c5, -1);
        c.open_hour(HOUR_NS);
        c.accrue(HOUR_NS);
        assert_eq!(c.covered(), covered);
    }
}
