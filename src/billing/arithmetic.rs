//! The billing rules as functions of their own: for checks by hand, break-even questions and proof.

use super::exact::{Account, mul_div_half_even, usd};
use super::meter::{FREE_EPHEMERAL_MIB, TASK_PER, billed_time};
use crate::catalog::Price;
use crate::kernel::SimDuration;
use crate::units::Usd;

/// What one task reserves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TaskSize {
    /// CPU units, 1,024 to a vCPU.
    pub cpu_units: u64,
    /// Memory in MiB, 1,024 to a GB.
    pub memory_mib: u64,
    /// Ephemeral storage in MiB; the first 20 GB are included in the price.
    pub ephemeral_mib: u64,
}

/// Prices of one hour.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct TaskPrices {
    /// One vCPU.
    pub vcpu_hour: Price,
    /// One GB of memory.
    pub gb_hour: Price,
    /// One GB of ephemeral storage beyond the included.
    pub ephemeral_gb_hour: Price,
}

/// The bill of Fargate tasks, by line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TaskBill {
    /// vCPUs.
    pub vcpu: Usd,
    /// Memory.
    pub memory: Usd,
    /// Ephemeral storage beyond the included.
    pub ephemeral: Usd,
}

impl TaskBill {
    /// The sum of the lines.
    #[must_use]
    pub fn total(&self) -> Usd {
        self.vcpu + self.memory + self.ephemeral
    }
}

/// The bill of `runs` equal Linux tasks on Fargate that each last `run` from the start of the image pull
/// to the stop: per second, rounded up, at least one minute each. Every line is rounded once.
/// Source: AWS Fargate pricing page.
#[must_use]
pub fn fargate_bill(runs: u64, run: SimDuration, size: TaskSize, prices: TaskPrices) -> TaskBill {
    let time = i128::from(runs) * i128::from(billed_time(run).as_nanos());
    let line = |amount: u64, price: Price| {
        let mut account = Account::new(price.picos(), TASK_PER);
        account.add(time.saturating_mul(i128::from(amount)));
        account.total()
    };
    TaskBill {
        vcpu: line(size.cpu_units, prices.vcpu_hour),
        memory: line(size.memory_mib, prices.gb_hour),
        ephemeral: line(size.ephemeral_mib.saturating_sub(FREE_EPHEMERAL_MIB), prices.ephemeral_gb_hour),
    }
}

/// The price of one hour of a task's reservation.
#[must_use]
pub fn fargate_hour(size: TaskSize, prices: TaskPrices) -> Price {
    let picos = |amount: u64, price: Price| i128::from(amount) * i128::from(price.picos());
    let sum = picos(size.cpu_units, prices.vcpu_hour)
        + picos(size.memory_mib, prices.gb_hour)
        + picos(size.ephemeral_mib.saturating_sub(FREE_EPHEMERAL_MIB), prices.ephemeral_gb_hour);
    Price::from_picos(usd(mul_div_half_even(sum, 1, 1_024)).nanos())
}

/// The share of an instance that tasks must reserve on average for the instance to cost the same as
/// Fargate: above it the instance is cheaper. `fargate_equivalent` is the Fargate price of the whole
/// instance's CPU and memory. Infinite when that is free.
#[must_use]
pub fn break_even_packing(instance_hour: Price, fargate_equivalent: Price) -> f64 {
    instance_hour.picos() as f64 / fargate_equivalent.picos() as f64
}

/// A price divided among `units` equal parts, such as the hour of an instance among its weighted
/// capacity; rounded half to even to a pico-dollar. `None` for no units.
#[must_use]
pub fn price_per_unit(price: Price, units: u64) -> Option<Price> {
    let units = i128::from(units);
    (units > 0).then(|| Price::from_picos(usd(mul_div_half_even(i128::from(price.picos()), 1, units)).nanos()))
}

/// A quantity times a unit price, rounded once to nano-dollars. The quantity is a product of factors,
/// each a plain decimal number or a fraction of two: `["12", "730"]`, `["50", "730/24", "3"]`. `None`
/// when a factor is not a number, or the product has more digits than can be held.
#[must_use]
pub fn quantity_times_price(factors: &[&str], price: Price) -> Option<Usd> {
    let (mut numerator, mut denominator) = (i128::from(price.picos()), 1_000_i128);
    for factor in factors {
        let (above, below) = factor.split_once('/').unwrap_or((factor, "1"));
        let ((a, a_per), (b, b_per)) = (decimal(above)?, decimal(below)?);
        numerator = numerator.checked_mul(a)?.checked_mul(b_per)?;
        denominator = denominator.checked_mul(a_per)?.checked_mul(b)?;
        let common = gcd(numerator.unsigned_abs(), denominator.unsigned_abs());
        if common > 1 {
            numerator /= i128::try_from(common).ok()?;
            denominator /= i128::try_from(common).ok()?;
        }
    }
    (denominator > 0).then(|| usd(mul_div_half_even(numerator, 1, denominator)))
}

/// A plain decimal number as an integer and the power of ten that it is divided by.
fn decimal(text: &str) -> Option<(i128, i128)> {
    let text = text.trim();
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let fraction = fraction.trim_end_matches('0');
    let digits = format!("{whole}{fraction}");
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    let power = 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    plain.then(|| digits.parse().ok())?.map(|n| (n, power))
}

fn gcd(a: u128, b: u128) -> u128 {
    if b == 0 { a } else { gcd(b, a % b) }
}
