//! From p-values to words: correction for many comparisons, verdicts, equivalence.

use super::{Difference, Interval, Refusal};
use serde::{Deserialize, Serialize};

/// The p-values of one family, corrected after Holm (1979), in the order given.
///
/// The smallest of m values is multiplied by m, the next by m − 1, and so on, none made smaller than the one
/// before it and none larger than 1. Whatever holds in truth and however the figures depend on each other,
/// the chance that any true "no difference" has a corrected value of at most α is at most α. A value that is
/// not a number is left out of the family and stays as it is.
#[must_use]
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).filter(|&i| !p[i].is_nan()).collect();
    order.sort_by(|&a, &b| p[a].total_cmp(&p[b]));
    let mut corrected = p.to_vec();
    let mut floor = 0.0_f64;
    for (rank, &i) in order.iter().enumerate() {
        floor = floor.max((p[i] * (order.len() - rank) as f64).clamp(0.0, 1.0));
        corrected[i] = floor;
    }
    corrected
}

/// Which hypotheses of a family fall at the family-wise level `alpha` (such as 0.05), after [`holm`].
#[must_use]
pub fn holm_rejects(p: &[f64], alpha: f64) -> Vec<bool> {
    holm(p).into_iter().map(|corrected| corrected <= alpha).collect()
}

/// Which direction of a figure is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sense {
    /// Less is better: latency, errors, dollars.
    LowerIsBetter,
    /// More is better: availability.
    HigherIsBetter,
    /// Neither is good in itself: scaling actions, tasks.
    Neither,
}

/// What a comparison says about one figure of the other variant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "verdict")]
pub enum Verdict {
    /// It differs for the better.
    Better,
    /// It differs for the worse.
    Worse,
    /// It is higher, and the figure has no good direction.
    Higher,
    /// It is lower, and the figure has no good direction.
    Lower,
    /// The data do not show a difference. This does not say that there is none: see [`equivalence`].
    NoDifferenceShown,
    /// There is not enough to say anything.
    NotEnough(Refusal),
}

impl Verdict {
    /// The verdict in words.
    #[must_use]
    pub fn words(&self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::Worse => "worse",
            Self::Higher => "higher",
            Self::Lower => "lower",
            Self::NoDifferenceShown => "no difference shown",
            Self::NotEnough(_) => "not enough to say",
        }
    }

    /// Whether a difference is shown.
    #[must_use]
    pub fn is_shown(&self) -> bool {
        !matches!(self, Self::NoDifferenceShown | Self::NotEnough(_))
    }
}

/// The verdict on a `difference` (other minus base) whose p-value, corrected for its family, is `corrected_p`,
/// at the family-wise level `alpha`.
#[must_use]
pub fn verdict(sense: Sense, difference: f64, corrected_p: f64, alpha: f64) -> Verdict {
    // A p-value or a difference that is not a number shows nothing.
    if corrected_p > alpha || corrected_p.is_nan() || difference.is_nan() || difference == 0.0 {
        return Verdict::NoDifferenceShown;
    }
    match (sense, difference > 0.0) {
        (Sense::Neither, true) => Verdict::Higher,
        (Sense::Neither, false) => Verdict::Lower,
        (Sense::HigherIsBetter, true) | (Sense::LowerIsBetter, false) => Verdict::Better,
        (Sense::HigherIsBetter, false) | (Sense::LowerIsBetter, true) => Verdict::Worse,
    }
}

/// The answer of an equivalence test.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Equivalence {
    /// The margin within which two figures count as the same.
    pub margin: f64,
    /// The larger of the p-values of two one-sided tests.
    pub p: f64,
    /// Whether the difference is shown to lie within the margin at the level asked for.
    pub shown: bool,
    /// The interval at confidence 1 − 2α: equivalence is shown exactly when it lies within the margin.
    pub interval: Interval,
}

/// Two one-sided tests (Schuirmann 1987) at level `alpha` that the truth lies within ±`margin` of no
/// difference. The test uses the law of the difference, whichever method that came from.
///
/// # Errors
/// When `margin` is not above zero and finite, or `alpha` is not between 0 and 0.5.
pub fn equivalence(difference: &Difference, margin: f64, alpha: f64) -> Result<Equivalence, Refusal> {
    if !(margin > 0.0 && margin.is_finite()) {
        return Err(Refusal::parameter("the margin", "above zero"));
    }
    if !(alpha > 0.0 && alpha < 0.5) {
        return Err(Refusal::parameter("the level of an equivalence test", "between 0 and 0.5"));
    }
    let p = difference.confidence.within(margin);
    Ok(Equivalence { margin, p, shown: p <= alpha, interval: difference.confidence.interval(1.0 - 2.0 * alpha) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::statistics::paired_student;

    fn close(got: &[f64], expected: &[f64]) {
        assert_eq!(got.len(), expected.len());
        for (a, b) in got.iter().zip(expected) {
            assert!((a - b).abs() < 1e-12, "{got:?} {expected:?}");
        }
    }

    #[test]
    fn holm_by_hand() {
        close(&holm(&[0.01, 0.04, 0.03, 0.005]), &[0.03, 0.06, 0.06, 0.02]);
        close(&holm(&[0.01, 0.02, 0.03]), &[0.03, 0.04, 0.04]);
        close(&holm(&[0.5, 0.9, 0.4]), &[1.0, 1.0, 1.0]);
        close(&holm(&[0.04]), &[0.04]);
        assert!(holm(&[]).is_empty());
        assert_eq!(holm_rejects(&[0.01, 0.04, 0.03, 0.005], 0.05), [true, false, false, true]);
        let with_nan = holm(&[0.02, f64::NAN, 0.04]);
        close(&[with_nan[0], with_nan[2]], &[0.04, 0.04]);
        assert!(with_nan[1].is_nan());
    }

    #[test]
    fn verdicts_follow_the_sense() {
        let of = |sense, d| verdict(sense, d, 0.01, 0.05);
        assert_eq!(of(Sense::LowerIsBetter, -3.0), Verdict::Better);
        assert_eq!(of(Sense::LowerIsBetter, 3.0), Verdict::Worse);
        assert_eq!(of(Sense::HigherIsBetter, 3.0), Verdict::Better);
        assert_eq!(of(Sense::HigherIsBetter, -3.0), Verdict::Worse);
        assert_eq!((of(Sense::Neither, 3.0), of(Sense::Neither, -3.0)), (Verdict::Higher, Verdict::Lower));
        assert_eq!(verdict(Sense::Neither, 3.0, 0.06, 0.05), Verdict::NoDifferenceShown);
        assert_eq!(verdict(Sense::Neither, 3.0, f64::NAN, 0.05), Verdict::NoDifferenceShown);
        assert_eq!(of(Sense::LowerIsBetter, 0.0), Verdict::NoDifferenceShown);
        let text = serde_json::to_string(&Verdict::NotEnough(Refusal::NotPositive)).unwrap();
        assert_eq!(text, r#"{"verdict":"not_enough","why":"not_positive"}"#);
        assert_eq!(serde_json::from_str::<Verdict>(&text).unwrap(), Verdict::NotEnough(Refusal::NotPositive));
    }

    #[test]
    fn equivalence_is_the_interval_within_the_margin() {
        let base: Vec<f64> = (0..30).map(|i| f64::from(i * 7 % 11)).collect();
        let other: Vec<f64> = base.iter().enumerate().map(|(i, v)| v + f64::from(i as u32 % 3) - 1.0).collect();
        let d = paired_student(&base, &other, 0.95).unwrap();
        let narrow = equivalence(&d, 0.2, 0.05).unwrap();
        let wide = equivalence(&d, 0.5, 0.05).unwrap();
        assert!(!narrow.shown && wide.shown, "{narrow:?} {wide:?}");
        assert!(wide.interval.low > -0.5 && wide.interval.high < 0.5);
        assert!(narrow.interval.high > 0.2);
        assert!(equivalence(&d, 0.0, 0.05).is_err() && equivalence(&d, 1.0, 0.7).is_err());
    }
}
