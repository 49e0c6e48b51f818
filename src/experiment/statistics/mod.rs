//! Statistics over replications: estimates with intervals, tests with corrected verdicts, designs of
//! sweeps and the step of a race.
//!
//! The unit of everything here is the replication: runs with other random streams are independent, and
//! what happens inside of one run is not. Functions are pure: the same input gives the same bits on every
//! machine, because every transcendental function comes from `libm` and what is random is drawn from a
//! stream that the caller names.
//!
//! | question | use | declared use, with the coverage of 95 % intervals in `tests/statistics.rs` |
//! | --- | --- | --- |
//! | a mean over runs | [`mean`] | ten runs or more: 93 to 97 % up to the skewness of an exponential law; five to nine: 91 to 98 % |
//! | a paired difference of means | [`paired`] | the same |
//! | a difference without pairs | [`welch`] | ten runs or more on each side: 93 to 97 % |
//! | a quantile of the pooled runs | [`pooled_quantile`], [`paired_quantile`], [`unpaired_quantile`] | 20 runs or more whose levels spread by a fifth or less: 93 to 97 %; refused below five runs or 100 values beyond |
//! | a share of runs | [`wilson`], [`at_least`] | any number of runs: 95 % on average over shares; at least the confidence |
//! | which of many differences are real | [`holm`], [`verdict`] | any number |
//! | is it the same, within a margin | [`equivalence`] | where the difference may be used |
//! | how many more runs | [`SequentialRule`] | ten runs or more: 93 to 97 % when it stops |
//!
//! A difference carries its [`Confidence`]: the interval, the p-value and the equivalence test are read
//! from that one law, so that an interval leaves out zero exactly when its test is significant.

mod bootstrap;
mod confidence;
mod design;
mod difference;
mod histogram;
mod means;
mod quantile;
mod race;
mod sensitivity;
mod sequential;
mod share;
mod sobol;
mod special;
mod verdict;
mod warm_up;

pub use bootstrap::{BOOTSTRAP_MINIMUM, RESAMPLES};
pub use confidence::{Confidence, Interval, Method};
pub use design::{POINTS_MAXIMUM, factorial, latin_hypercube};
pub use difference::{
    Difference, STUDENT_FROM, WILD_SKEWNESS, is_wild, paired, paired_bootstrap, paired_student, ratio_of_means, welch,
};
pub use histogram::SparseHistogram;
pub use means::{Estimate, Moments, correlation, mean, mean_student, variance_ratio};
pub use quantile::{
    BEYOND_MINIMUM, PooledQuantile, REPLICATIONS_MINIMUM, paired_quantile, pooled_quantile, unpaired_quantile,
};
pub use race::{Candidate, Outcome, RaceSpec, RaceStep, Standing, race_step};
pub use sensitivity::{Influence, RankRegression, main_effects, rank_regression};
pub use sequential::{Precision, SequentialRule, Step};
pub use share::{Share, at_least, at_most, clopper_pearson, wilson};
pub use sobol::{SOBOL_AXES, sobol};
pub use special::{beta_cdf, beta_quantile, normal_cdf, student_cdf, student_quantile};
pub use verdict::{Equivalence, Sense, Verdict, equivalence, holm, holm_rejects, verdict};
pub use warm_up::{Truncation, mser5};

use serde::{Deserialize, Serialize};

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case", tag = "why")]
pub enum Refusal {
    /// Fewer replications than the method may be used with.
    #[error("{got} replications are too few: {need} are needed")]
    TooFewReplications {
        /// How many there are.
        got: usize,
        /// How many it takes.
        need: usize,
    },
    /// Too few values lie beyond the quantile, all runs pooled, for its interval to mean anything.
    #[error("{got} values beyond the quantile {quantile} are too few: {need} are needed")]
    TooFewBeyond {
        /// The quantile that was asked for, between 0 and 1.
        quantile: f64,
        /// How many values lie on its thinner side.
        got: u64,
        /// How many it takes.
        need: u64,
    },
    /// Without one replication nothing is left to take a quantile of.
    #[error("replication {replication} holds every value")]
    OneHoldsAll {
        /// The index of that replication.
        replication: usize,
    },
    /// Pairs need as many replications on either side.
    #[error("{left} replications cannot be paired with {right}")]
    NotPaired {
        /// Replications of the base.
        left: usize,
        /// Replications of the other.
        right: usize,
    },
    /// A value is infinite, or not a number.
    #[error("the value of replication {replication} is not a finite number")]
    NotFinite {
        /// The index of the first such value.
        replication: usize,
    },
    /// A ratio needs values above zero.
    #[error("a ratio needs means above zero")]
    NotPositive,
    /// The values of a whole side are the same, where the question is how they vary.
    #[error("the values do not vary")]
    NoVariation,
    /// A parameter of the question is outside of its range.
    #[error("{what} must be {must}")]
    BadParameter {
        /// The name of the parameter.
        what: String,
        /// The values that it may have.
        must: String,
    },
}

impl Refusal {
    fn parameter(what: &str, must: &str) -> Self {
        Self::BadParameter { what: what.to_owned(), must: must.to_owned() }
    }

    /// Refuses fewer than `need` values, and values that are not finite.
    fn unless_usable(values: &[f64], need: usize) -> Result<(), Self> {
        if let Some(replication) = values.iter().position(|v| !v.is_finite()) {
            return Err(Self::NotFinite { replication });
        }
        if values.len() < need {
            return Err(Self::TooFewReplications { got: values.len(), need });
        }
        Ok(())
    }

    /// Refuses a level of confidence that is not strictly between 0 and 1.
    fn unless_level(level: f64) -> Result<(), Self> {
        if level > 0.0 && level < 1.0 { Ok(()) } else { Err(Self::parameter("the confidence", "between 0 and 1")) }
    }
}
