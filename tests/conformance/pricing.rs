//! Worked pricing examples and the break-even of Fargate and EC2, by the simulator's billing rules.

use serde_json::Value;
use simctl::billing::{
    LcuHours, LcuUsage, TaskPrices, TaskSize, break_even_packing, counted_rule_evaluations, fargate_bill, fargate_hour,
    price_per_unit, quantity_times_price,
};
use simctl::catalog::Price;
use simctl::kernel::SimDuration;
use simctl::units::Usd;

use crate::Outcome;
use crate::published::{Measured, judge};

/// Runs a case of kind `cost` or `cost_crossover`.
pub(crate) fn run(case: &Value) -> Outcome {
    let inputs = Inputs(&case["inputs"]);
    let measured = if inputs.has("fargate_usd_per_vcpu_h") {
        crossover(&inputs)
    } else if inputs.has("usd_per_alb_h") {
        load_balancer(&inputs, case)
    } else if inputs.has("weight") {
        weighted_capacity(&inputs)
    } else if inputs.has("vcpu") {
        tasks(&inputs)
    } else {
        machines(&inputs)
    };
    match measured {
        Some(measured) => judge(case, &measured),
        None => Outcome::Failed("the inputs are not those of a kind of example that this runner knows".into()),
    }
}

struct Inputs<'a>(&'a Value);

impl Inputs<'_> {
    fn has(&self, name: &str) -> bool {
        self.0.get(name).is_some()
    }

    /// A number, written as one or as text, or as a fraction of two.
    fn number(&self, name: &str) -> Option<f64> {
        let text = self.text(name)?;
        match text.split_once('/') {
            Some((above, below)) => Some(above.parse::<f64>().ok()? / below.parse::<f64>().ok()?),
            None => text.parse().ok(),
        }
    }

    fn text(&self, name: &str) -> Option<String> {
        match self.0.get(name)? {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        }
    }

    /// A price for an hour, given for an hour or for a second.
    fn hourly(&self, resource: &str) -> Option<Price> {
        match self.text(&format!("usd_per_{resource}_h")) {
            Some(text) => text.parse().ok(),
            None => self.text(&format!("usd_per_{resource}_s"))?.parse::<Price>().ok()?.times(3_600),
        }
    }

    fn size(&self) -> Option<TaskSize> {
        Some(TaskSize {
            cpu_units: (self.number("vcpu")? * 1_024.0) as u64,
            memory_mib: (self.number("memory_gb")? * 1_024.0) as u64,
            ephemeral_mib: (self.number("ephemeral_gb").unwrap_or(20.0) * 1_024.0) as u64,
        })
    }
}

fn dollars(total: Usd) -> Measured {
    figures(&[("total_usd", total.dollars())])
}

fn figures(given: &[(&'static str, f64)]) -> Measured {
    Measured { figures: given.iter().copied().collect(), ..Measured::default() }
}

fn tasks(inputs: &Inputs<'_>) -> Option<Measured> {
    let prices = TaskPrices {
        vcpu_hour: inputs.hourly("vcpu")?,
        gb_hour: inputs.hourly("gb")?,
        ephemeral_gb_hour: inputs.hourly("ephemeral_gb").unwrap_or(Price::ZERO),
    };
    let (runs, run) = if let Some(runs) = inputs.number("runs") {
        // Runs that were billed the minimum lasted less.
        (runs as u64, SimDuration::from_secs_f64(inputs.number("billed_seconds")? / 2.0))
    } else if let Some(hours) = inputs.number("hours") {
        (1, SimDuration::from_secs_f64(hours * 3_600.0))
    } else if let Some(minutes) = inputs.number("minutes") {
        // A fractional number of runs a month: all of their time as one run.
        let runs = inputs.number("tasks_per_day")? * inputs.number("days")?;
        (1, SimDuration::from_secs_f64(runs * minutes * 60.0))
    } else {
        let runs = inputs.number("tasks")? * inputs.number("days")?;
        (runs as u64, SimDuration::from_secs_f64(inputs.number("seconds_per_day")?))
    };
    Some(dollars(fargate_bill(runs, run, inputs.size()?, prices).total()))
}

fn load_balancer(inputs: &Inputs<'_>, case: &Value) -> Option<Measured> {
    let rate = |name: &str| inputs.number(name).unwrap_or(0.0);
    let hours = if inputs.has("new_connections_per_s") {
        let connections = rate("new_connections_per_s") * 3_600.0;
        LcuUsage {
            new_connections: connections as u128,
            active_connection_millis: (connections * rate("connection_s") * 1_000.0) as u128,
            processed_bytes: (rate("bytes_per_s") * 3_600.0) as u128,
            rule_evaluations: u128::from(counted_rule_evaluations(
                (rate("requests_per_s") * 3_600.0) as u64,
                rate("rules") as u64,
            )),
        }
        .lcu_hours()
    } else {
        // The use is given by dimension.
        let dimension = |name: &str| case["lcu"][name].as_f64();
        LcuHours {
            new_connections: dimension("new_connections")?,
            active_connections: dimension("active_connections")?,
            processed_bytes: dimension("processed_bytes")?,
            rule_evaluations: dimension("rule_evaluations")?,
        }
    };
    let (lcu, time) = (hours.max(), inputs.text("hours")?);
    let total = quantity_times_price(&[&time], inputs.hourly("alb")?)?
        + quantity_times_price(&[&lcu.to_string(), &time], inputs.hourly("lcu")?)?;
    Some(figures(&[("total_usd", total.dollars()), ("lcu", lcu)]))
}

/// Clusters or instances by the hour.
fn machines(inputs: &Inputs<'_>) -> Option<Measured> {
    let (count, price) = match inputs.hourly("cluster") {
        Some(price) => (inputs.text("clusters"), price),
        None => (inputs.text("nodes"), inputs.hourly("node")?),
    };
    let count = count.unwrap_or_else(|| "1".to_owned());
    quantity_times_price(&[&count, &inputs.text("hours")?], price).map(dollars)
}

fn weighted_capacity(inputs: &Inputs<'_>) -> Option<Measured> {
    let price = inputs.text("usd_per_h")?.parse().ok()?;
    Some(figures(&[("usd_per_unit_h", price_per_unit(price, inputs.number("weight")? as u64)?.dollars())]))
}

fn crossover(inputs: &Inputs<'_>) -> Option<Measured> {
    let price = |name: &str| inputs.text(name)?.parse::<Price>().ok();
    let prices = TaskPrices {
        vcpu_hour: price("fargate_usd_per_vcpu_h")?,
        gb_hour: price("fargate_usd_per_gb_h")?,
        ephemeral_gb_hour: Price::ZERO,
    };
    let equivalent = fargate_hour(inputs.size()?, prices);
    let packing = break_even_packing(price("ec2_usd_per_h")?, equivalent);
    Some(figures(&[("fargate_equivalent_usd_per_h", equivalent.dollars()), ("break_even_packing_fraction", packing)]))
}
