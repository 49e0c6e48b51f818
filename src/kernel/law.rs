//! Probability laws of non-negative quantities, sampled by inverting the distribution function.
//!
//! One uniform number gives one variate, so two runs that differ in one law stay aligned draw by
//! draw. All transforms use the `libm` crate: the same bits on every platform.

use std::sync::Arc;

/// A law of a non-negative real quantity. The unit is the caller's (seconds, bytes, vCPU-seconds).
#[derive(Clone, Debug, PartialEq)]
pub enum Law {
    /// Always the same value.
    Constant(f64),
    /// Uniform between two bounds.
    Uniform {
        /// Smallest value.
        min: f64,
        /// Largest value.
        max: f64,
    },
    /// Exponential with the given mean.
    Exponential {
        /// Mean.
        mean: f64,
    },
    /// Log-normal: `exp(mu + sigma * Z)`.
    Lognormal {
        /// Mean of the logarithm.
        mu: f64,
        /// Standard deviation of the logarithm.
        sigma: f64,
    },
    /// Normal, with zero in the place of every negative value.
    Normal {
        /// Mean before the negative values are replaced.
        mean: f64,
        /// Standard deviation before the negative values are replaced.
        sd: f64,
    },
    /// Weibull with `P(X > x) = exp(-(x/scale)^shape)`.
    Weibull {
        /// Scale.
        scale: f64,
        /// Shape.
        shape: f64,
    },
    /// Pareto (type I), optionally cut at `max`: `P(X > x) = (min/x)^alpha`.
    Pareto {
        /// Smallest value.
        min: f64,
        /// Tail exponent.
        alpha: f64,
        /// Upper cut; infinite for none.
        max: f64,
    },
    /// Triangular on `[min, max]` with its peak at `mode`.
    Triangular {
        /// Smallest value.
        min: f64,
        /// Most likely value.
        mode: f64,
        /// Largest value.
        max: f64,
    },
    /// A mixture of exponentials (hyperexponential): pairs of probability and mean.
    Hyperexponential(Arc<[(f64, f64)]>),
    /// A law given by its quantile function as a table: gamma, Erlang and empirical laws.
    Table(Arc<QuantileTable>),
}

/// Why a law was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct LawError(pub String);

impl Law {
    /// Log-normal with the given mean and coefficient of variation.
    #[must_use]
    pub fn lognormal_mean_cv(mean: f64, cv: f64) -> Self {
        if cv == 0.0 || mean == 0.0 {
            return Self::Constant(mean);
        }
        let s2 = libm::log1p(cv * cv);
        Self::Lognormal { mu: libm::log(mean) - s2 / 2.0, sigma: libm::sqrt(s2) }
    }

    /// Gamma with the given shape and mean; Erlang when the shape is a whole number.
    ///
    /// # Errors
    /// When shape or mean is not positive and finite.
    pub fn gamma(shape: f64, mean: f64) -> Result<Self, LawError> {
        if !(shape > 0.0 && shape.is_finite() && mean >= 0.0 && mean.is_finite()) {
            return Err(LawError(format!("a gamma law needs a positive shape and mean, not {shape} and {mean}")));
        }
        Ok(Self::Table(Arc::new(QuantileTable::gamma(shape, mean / shape))))
    }

    /// Balanced-means hyperexponential with two branches for a squared coefficient of variation
    /// above one.
    ///
    /// # Errors
    /// When `cv` is below one or not finite.
    pub fn hyperexponential_mean_cv(mean: f64, cv: f64) -> Result<Self, LawError> {
        let scv = cv * cv;
        if !(scv >= 1.0 && scv.is_finite()) {
            return Err(LawError(format!(
                "a hyperexponential law has a coefficient of variation of at least 1, not {cv}"
            )));
        }
        let p = 0.5 * (1.0 + libm::sqrt((scv - 1.0) / (scv + 1.0)));
        Ok(Self::Hyperexponential(Arc::from([(p, mean / (2.0 * p)), (1.0 - p, mean / (2.0 * (1.0 - p)))].as_slice())))
    }

    /// The law of the given observations, each equally likely, joined by straight lines, with their mean
    /// and nothing outside their range.
    ///
    /// # Errors
    /// When there is none, or one is negative or not finite.
    pub fn empirical(mut values: Vec<f64>) -> Result<Self, LawError> {
        if values.is_empty() {
            return Err(LawError("an empirical law needs at least one value".into()));
        }
        if let Some(bad) = values.iter().find(|v| !(v.is_finite() && **v >= 0.0)) {
            return Err(LawError(format!("an empirical law takes finite values of at least 0, not {bad}")));
        }
        values.sort_by(f64::total_cmp);
        Ok(Self::Table(Arc::new(QuantileTable::from_sorted(values))))
    }

    /// The variate that belongs to the uniform number `u`, strictly between 0 and 1.
    ///
    /// It is the value below which a share `u` of the law lies, except for the hyperexponential,
    /// where `u` first chooses the branch and then, stretched, the value inside the branch.
    #[inline]
    #[must_use]
    pub fn quantile(&self, u: f64) -> f64 {
        match self {
            Self::Constant(v) => *v,
            Self::Uniform { min, max } => min + (max - min) * u,
            Self::Exponential { mean } => -mean * libm::log(1.0 - u),
            Self::Lognormal { mu, sigma } => libm::exp(mu + sigma * standard_normal_quantile(u)),
            Self::Normal { mean, sd } => (mean + sd * standard_normal_quantile(u)).max(0.0),
            Self::Weibull { scale, shape } => scale * libm::pow(-libm::log(1.0 - u), 1.0 / shape),
            Self::Pareto { min, alpha, max } => {
                let cut = if max.is_finite() { libm::pow(min / max, *alpha) } else { 0.0 };
                min * libm::pow(cut + (1.0 - u) * (1.0 - cut), -1.0 / alpha)
            }
            Self::Triangular { min, mode, max } => {
                let width = max - min;
                if width <= 0.0 {
                    return *min;
                }
                let split = (mode - min) / width;
                if u < split {
                    min + libm::sqrt(u * width * (mode - min))
                } else {
                    max - libm::sqrt((1.0 - u) * width * (max - mode))
                }
            }
            Self::Hyperexponential(branches) => {
                let mut rest = u;
                for &(p, mean) in branches.iter() {
                    if rest < p {
                        // What is left of the uniform inside its branch is uniform again.
                        return -mean * libm::log((1.0 - rest / p).max(f64::EPSILON / 4.0));
                    }
                    rest -= p;
                }
                branches.last().map_or(0.0, |b| b.1)
            }
            Self::Table(t) => t.quantile(u),
        }
    }

    /// The mean of the law.
    #[must_use]
    pub fn mean(&self) -> f64 {
        match self {
            Self::Constant(v) => *v,
            Self::Uniform { min, max } => f64::midpoint(*min, *max),
            Self::Exponential { mean } => *mean,
            Self::Lognormal { mu, sigma } => libm::exp(mu + sigma * sigma / 2.0),
            Self::Normal { mean, sd } => {
                if *sd == 0.0 {
                    return mean.max(0.0);
                }
                let z = mean / sd;
                let density = libm::exp(-z * z / 2.0) / libm::sqrt(std::f64::consts::TAU);
                mean * 0.5 * libm::erfc(-z * std::f64::consts::FRAC_1_SQRT_2) + sd * density
            }
            Self::Weibull { scale, shape } => scale * libm::tgamma(1.0 + 1.0 / shape),
            Self::Pareto { min, alpha, max } => {
                if max.is_finite() {
                    let cut = libm::pow(min / max, *alpha);
                    if (*alpha - 1.0).abs() < 1e-12 {
                        min * libm::log(max / min) / (1.0 - cut)
                    } else {
                        alpha / (alpha - 1.0) * (min - max * cut) / (1.0 - cut)
                    }
                } else if *alpha > 1.0 {
                    alpha * min / (alpha - 1.0)
                } else {
                    f64::INFINITY
                }
            }
            Self::Triangular { min, mode, max } => (min + mode + max) / 3.0,
            Self::Hyperexponential(b) => b.iter().map(|(p, m)| p * m).sum(),
            Self::Table(t) => t.mean,
        }
    }

    /// The law of this quantity multiplied by `factor` (at least 0).
    #[must_use]
    pub fn scaled(&self, factor: f64) -> Self {
        match self {
            Self::Constant(v) => Self::Constant(v * factor),
            Self::Uniform { min, max } => Self::Uniform { min: min * factor, max: max * factor },
            Self::Exponential { mean } => Self::Exponential { mean: mean * factor },
            Self::Lognormal { mu, sigma } if factor > 0.0 => {
                Self::Lognormal { mu: mu + libm::log(factor), sigma: *sigma }
            }
            Self::Lognormal { .. } => Self::Constant(0.0),
            Self::Normal { mean, sd } => Self::Normal { mean: mean * factor, sd: sd * factor },
            Self::Weibull { scale, shape } => Self::Weibull { scale: scale * factor, shape: *shape },
            Self::Pareto { min, alpha, max } => Self::Pareto { min: min * factor, alpha: *alpha, max: max * factor },
            Self::Triangular { min, mode, max } => {
                Self::Triangular { min: min * factor, mode: mode * factor, max: max * factor }
            }
            Self::Hyperexponential(b) => Self::Hyperexponential(b.iter().map(|&(p, m)| (p, m * factor)).collect()),
            Self::Table(t) => Self::Table(Arc::new(t.scaled(factor))),
        }
    }
}

/// A quantile function as a table with straight lines between its knots.
///
/// A gamma table has 128 knots in each halving of the smaller of `u` and `1 - u`, down to 2^-53, the
/// smallest that a draw can be. Its relative error is below 0.1 % for shapes of at least 0.1 (below
/// 0.001 % for shapes of at least 1), at every `u`; the mean it reports is the exact one. An empirical
/// table has one knot an observation, evenly spaced, and the mean of the observations.
#[derive(Clone, Debug, PartialEq)]
pub struct QuantileTable {
    knots: Vec<f64>,
    /// Where the knots of the upper half begin; 0 when the knots are evenly spaced.
    upper: usize,
    mean: f64,
}

const STEP_BITS: u32 = 7;
const STEPS: usize = 1 << STEP_BITS;
const HALVINGS: usize = 52;
/// Knots of one half, with one more beyond the middle so that `u` = 0.5 needs no special case.
const HALF: usize = HALVINGS * STEPS + 2;
/// 2^-53.
const SMALLEST: f64 = f64::EPSILON / 2.0;

impl QuantileTable {
    fn from_sorted(values: Vec<f64>) -> Self {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        // Each observation is the middle of its share; the outer halves of the first and the last
        // are level. The mean of the table is then the mean of the observations.
        let mut knots = Vec::with_capacity(values.len() + 2);
        knots.push(values[0]);
        knots.extend_from_slice(&values);
        knots.push(values[values.len() - 1]);
        Self { knots, upper: 0, mean }
    }

    fn gamma(shape: f64, scale: f64) -> Self {
        let mut knots = vec![0.0; 2 * HALF];
        let middle = gamma_median_log(shape);
        for (upper, half) in knots.chunks_exact_mut(HALF).enumerate() {
            let mut y = middle;
            for i in (0..HALF - 1).rev() {
                let share = libm::ldexp(1.0 + (i % STEPS) as f64 / STEPS as f64, (i / STEPS) as i32 - 53);
                y = gamma_quantile_log(shape, share, upper == 1, y);
                half[i] = scale * libm::exp(y);
            }
            half[HALF - 1] = half[HALF - 2];
        }
        Self { knots, upper: HALF, mean: shape * scale }
    }

    fn scaled(&self, factor: f64) -> Self {
        Self { knots: self.knots.iter().map(|x| x * factor).collect(), upper: self.upper, mean: self.mean * factor }
    }

    #[inline]
    fn quantile(&self, u: f64) -> f64 {
        let (i, f) = if self.upper > 0 {
            // The exponent and the first bits of the fraction of a double are the number of its cell.
            let (share, from) = if u < 0.5 { (u, 0) } else { (1.0 - u, self.upper) };
            let steps = share.max(SMALLEST).to_bits() - SMALLEST.to_bits();
            let rest = steps & ((1 << (52 - STEP_BITS)) - 1);
            (from + (steps >> (52 - STEP_BITS)) as usize, rest as f64 / (1u64 << (52 - STEP_BITS)) as f64)
        } else {
            let x = u * (self.knots.len() - 2) as f64 + 0.5;
            (x as usize, x - libm::floor(x))
        };
        self.knots[i] + f * (self.knots[i + 1] - self.knots[i])
    }
}

/// The regularised lower and upper incomplete gamma functions P(a, x) and Q(a, x).
fn incomplete_gamma(a: f64, x: f64) -> (f64, f64) {
    if x <= 0.0 {
        return (0.0, 1.0);
    }
    let front = libm::exp(-x + a * libm::log(x) - libm::lgamma(a));
    if x < a + 1.0 {
        let (mut term, mut sum, mut n) = (1.0 / a, 1.0 / a, a);
        for _ in 0..10_000 {
            n += 1.0;
            term *= x / n;
            sum += term;
            if term < sum * 1e-16 {
                break;
            }
        }
        let p = (sum * front).min(1.0);
        (p, 1.0 - p)
    } else {
        // Lentz's continued fraction for Q.
        let tiny = 1e-300;
        let mut b = x + 1.0 - a;
        let mut c = 1.0 / tiny;
        let mut d = 1.0 / b;
        let mut h = d;
        for i in 1..10_000 {
            let an = -f64::from(i) * (f64::from(i) - a);
            b += 2.0;
            d = an * d + b;
            if d.abs() < tiny {
                d = tiny;
            }
            c = b + an / c;
            if c.abs() < tiny {
                c = tiny;
            }
            d = 1.0 / d;
            let delta = d * c;
            h *= delta;
            if (delta - 1.0).abs() < 1e-16 {
                break;
            }
        }
        let q = (front * h).min(1.0);
        (1.0 - q, q)
    }
}

/// The logarithm of the median of the gamma law of unit scale, by bisection.
fn gamma_median_log(shape: f64) -> f64 {
    let (mut lo, mut hi) = (-745.0_f64, libm::log(shape + 1.0));
    for _ in 0..80 {
        let mid = f64::midpoint(lo, hi);
        if incomplete_gamma(shape, libm::exp(mid)).0 < 0.5 {
            lo = mid;
        } else {
            hi = mid;
        }
    }
    f64::midpoint(lo, hi)
}

/// The logarithm of the point that leaves the share `share` below it (or above, if `upper`) in the
/// gamma law of unit scale: Newton's method on the logarithms of both, from a near guess `y`.
fn gamma_quantile_log(shape: f64, share: f64, upper: bool, mut y: f64) -> f64 {
    let target = libm::log(share);
    for _ in 0..60 {
        let x = libm::exp(y);
        let (below, above) = incomplete_gamma(shape, x);
        let got = if upper { above } else { below };
        let slope = libm::exp(shape * y - x - libm::lgamma(shape)) / got;
        let step = (libm::log(got) - target) / slope * if upper { -1.0 } else { 1.0 };
        if !step.is_finite() {
            // The point lies below the smallest positive double.
            return f64::NEG_INFINITY;
        }
        y -= step.clamp(-1.0, 1.0);
        if step.abs() < 1e-13 {
            break;
        }
    }
    y
}

/// The quantile function of the standard normal law (Wichura's algorithm AS 241, PPND16: about 16
/// digits).
#[inline]
#[must_use]
pub fn standard_normal_quantile(u: f64) -> f64 {
    let q = u - 0.5;
    if q.abs() <= 0.425 {
        let r = 0.180_625 - q * q;
        let num = ((((((2.509_080_928_730_122_7e3 * r + 3.343_057_558_358_813e4) * r + 6.726_577_092_700_87e4) * r
            + 4.592_195_393_154_987e4)
            * r
            + 1.373_169_376_550_946e4)
            * r
            + 1.971_590_950_306_551_3e3)
            * r
            + 1.331_416_678_917_843_8e2)
            * r
            + 3.387_132_872_796_366_5;
        let den = ((((((5.226_495_278_852_545e3 * r + 2.872_908_573_572_194_3e4) * r + 3.930_789_580_009_271e4) * r
            + 2.121_379_430_158_659_7e4)
            * r
            + 5.394_196_021_424_751e3)
            * r
            + 6.871_870_074_920_579e2)
            * r
            + 4.231_333_070_160_091e1)
            * r
            + 1.0;
        return q * num / den;
    }
    let tail = if q < 0.0 { u } else { 1.0 - u };
    let r = libm::sqrt(-libm::log(tail));
    let value = if r <= 5.0 {
        let r = r - 1.6;
        let num = ((((((7.745_450_142_783_414e-4 * r + 2.272_384_498_926_918_4e-2) * r + 2.417_807_251_774_506e-1)
            * r
            + 1.270_458_252_452_368_4)
            * r
            + 3.647_848_324_763_204_5)
            * r
            + 5.769_497_221_460_691)
            * r
            + 4.630_337_846_156_546)
            * r
            + 1.423_437_110_749_683_5;
        let den =
            ((((((1.050_750_071_644_416_9e-9 * r + 5.475_938_084_995_345e-4) * r + 1.519_866_656_361_645_7e-2) * r
                + 1.481_039_764_274_800_8e-1)
                * r
                + 6.897_673_349_851e-1)
                * r
                + 1.676_384_830_183_803_8)
                * r
                + 2.053_191_626_637_759)
                * r
                + 1.0;
        num / den
    } else {
        let r = r - 5.0;
        let num = ((((((2.010_334_399_292_288_1e-7 * r + 2.711_555_568_743_487_6e-5) * r
            + 1.242_660_947_388_078_4e-3)
            * r
            + 2.653_218_952_657_612_3e-2)
            * r
            + 2.965_605_718_285_048_7e-1)
            * r
            + 1.784_826_539_917_291_3)
            * r
            + 5.463_784_911_164_114)
            * r
            + 6.657_904_643_501_103;
        let den =
            ((((((2.044_263_103_389_939_8e-15 * r + 1.421_511_758_316_446e-7) * r + 1.846_318_317_510_054_8e-5) * r
                + 7.868_691_311_456_133e-4)
                * r
                + 1.487_536_129_085_061_5e-2)
                * r
                + 1.369_298_809_227_358e-1)
                * r
                + 5.998_322_065_558_88e-1)
                * r
                + 1.0;
        num / den
    };
    if q < 0.0 { -value } else { value }
}
