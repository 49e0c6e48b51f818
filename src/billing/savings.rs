//! A Compute Savings Plan. Source: AWS Savings Plans user guide: each hour the commitment pays, at the
//! plan's lower rates, for as much of the on-demand use as it reaches; the rest is on demand; what is
//! not used up is lost.

use super::exact::mul_div_half_even;

/// On-demand dollars that one hour of commitment covers, hour by hour.
#[derive(Clone, Debug)]
pub(super) struct Coverage {
    /// On-demand cost that a nanosecond of commitment covers, as `numerator / denominator` of the unit
    /// in which use is valued.
    numerator: i128,
    denominator: i128,
    past: i128,
    hour: i128,
    limit: i128,
}

impl Coverage {
    /// `commitment_picos` an hour, at `discount_millionths` off on-demand (below one million), with use
    /// valued in pico-dollars by `value_per`.
    pub(super) fn new(commitment_picos: i128, discount_millionths: u32, value_per: i128) -> Self {
        // picos/hour * hours * value_per / (1 - discount), with hours = ns / 3.6e12: `value_per` is a
        // multiple of 3.6e12, so the division is exact.
        Self {
            numerator: commitment_picos * (value_per / super::meter::HOUR_NS) * 1_000_000,
            denominator: i128::from(1_000_000 - discount_millionths),
            past: 0,
            hour: 0,
            limit: 0,
        }
    }

    /// Begins an hour of which `counted_ns` nanoseconds are charged.
    pub(super) fn open_hour(&mut self, counted_ns: i128) {
        self.past += self.hour.min(self.limit);
        self.hour = 0;
        self.limit = mul_div_half_even(counted_ns, self.numerator, self.denominator);
    }

    /// Adds on-demand cost.
    pub(super) fn add(&mut self, value: i128) {
        self.hour += value;
    }

    /// What is covered so far.
    pub(super) fn covered(&self) -> i128 {
        self.past + self.hour.min(self.limit)
    }
}
