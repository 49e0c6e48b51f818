//! Money without rounding errors: exact quantities, rounded once where a line is charged.

use crate::units::Usd;

/// `quantity * numerator / denominator`, rounded half to even, without overflow in between as long as
/// `denominator * numerator` fits. The denominator is positive.
pub(super) fn mul_div_half_even(quantity: i128, numerator: i128, denominator: i128) -> i128 {
    let (whole, rest) = (quantity.div_euclid(denominator), quantity.rem_euclid(denominator));
    let product = rest * numerator;
    let (quotient, remainder) = (product.div_euclid(denominator), product.rem_euclid(denominator));
    let total = whole.saturating_mul(numerator).saturating_add(quotient);
    // Compared by the distance to the next multiple, so that twice the remainder need not fit.
    let above = denominator - remainder;
    total.saturating_add(i128::from(remainder > above || (remainder == above && total % 2 != 0)))
}

/// Nano-dollars as money; an amount beyond nine billion dollars stays at the largest one.
pub(super) fn usd(nanos: i128) -> Usd {
    Usd::from_nanos(i64::try_from(nanos).unwrap_or(if nanos < 0 { i64::MIN } else { i64::MAX }))
}

/// What one charged line has cost so far. A quantity is an integer count of a small unit; `per` of them
/// make one priced unit. The remainder of each rounding is carried: the charges of any intervals sum to
/// the rounded exact cost of the whole.
#[derive(Clone, Debug)]
pub(super) struct Account {
    /// Small units that make one priced unit.
    per: i128,
    /// Nano-dollars for one small unit are `numerator / denominator`.
    numerator: i128,
    denominator: i128,
    quantity: i128,
    /// What is priced: the quantity itself where there is one price, else the quantity times its price of the moment.
    value: i128,
    closed: i128,
    charged: i128,
}

impl Account {
    /// An account at a price in pico-dollars for `per` small units.
    pub(super) fn new(picos: i64, per: i128) -> Self {
        Self::of_money(i128::from(picos), per * 1_000, per)
    }

    /// An account whose price changes: `per` small units make one priced unit, and each comes with its
    /// price in nano-dollars, see [`Account::add_at`].
    pub(super) fn at_prices(per: i128) -> Self {
        Self::of_money(1, per, per)
    }

    /// An account whose small unit is worth `sign` nano-dollars by `denominator`; `per` of them are a dollar.
    pub(super) fn of_money(sign: i128, denominator: i128, per: i128) -> Self {
        Self { per, numerator: sign, denominator, quantity: 0, value: 0, closed: 0, charged: 0 }
    }

    pub(super) fn add(&mut self, small_units: i128) {
        self.quantity += small_units;
        self.value += small_units;
    }

    /// Adds to an account of [`Account::at_prices`]: `value` is the small units times the price of each,
    /// in nano-dollars for a priced unit.
    pub(super) fn add_at(&mut self, small_units: i128, value: i128) {
        self.quantity += small_units;
        self.value += value;
    }

    /// Sets the whole quantity so far.
    pub(super) fn set(&mut self, small_units: i128) {
        self.quantity = small_units;
        self.value = small_units;
    }

    /// Forgets everything but the price.
    pub(super) fn clear(&mut self) {
        (self.quantity, self.value, self.closed, self.charged) = (0, 0, 0, 0);
    }

    /// Whether a cut found any use.
    pub(super) fn is_used(&self) -> bool {
        self.closed != 0
    }

    /// The quantity of all cuts, in priced units.
    pub(super) fn closed_quantity(&self) -> f64 {
        self.closed as f64 / self.per as f64
    }

    /// The cost of all cuts.
    pub(super) fn charged(&self) -> Usd {
        usd(self.charged)
    }

    /// The rounded exact cost so far.
    pub(super) fn total(&self) -> Usd {
        usd(self.cost())
    }

    fn cost(&self) -> i128 {
        mul_div_half_even(self.value, self.numerator, self.denominator)
    }

    /// Quantity and cost since the last cut, and cuts; `None` when nothing was used.
    pub(super) fn cut(&mut self) -> Option<(f64, Usd)> {
        let (quantity, cost) = (self.quantity - self.closed, self.cost());
        let line = (quantity as f64 / self.per as f64, usd(cost - self.charged));
        self.closed = self.quantity;
        self.charged = cost;
        (quantity != 0).then_some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_half_to_even() {
        for (quantity, numerator, denominator, expected) in [
            (1, 1, 2, 0),
            (3, 1, 2, 2),
            (5, 1, 2, 2),
            (-1, 1, 2, 0),
            (-3, 1, 2, -2),
            (7, 2, 4, 4),
            (2, 1, 3, 1),
            (1, -1, 3, 0),
            (-5, -3, 2, 8),
        ] {
            assert_eq!(
                mul_div_half_even(quantity, numerator, denominator),
                expected,
                "{quantity} {numerator} {denominator}"
            );
        }
    }

    #[test]
    fn remainders_are_carried() {
        let mut account = Account::new(1_500, 1);
        let cuts: Vec<i64> = (0..4)
            .map(|_| {
                account.add(1);
                account.cut().unwrap().1.nanos()
            })
            .collect();
        assert_eq!(cuts, [2, 1, 1, 2]);
        assert_eq!(account.total().nanos(), 6);
        assert_eq!(account.cut(), None);
    }
}
