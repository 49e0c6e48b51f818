//! Distribution functions and their inverses, from `libm` alone: the same bits on every machine.

use crate::kernel::standard_normal_quantile;

/// The distribution function of the standard normal law.
#[must_use]
pub fn normal_cdf(z: f64) -> f64 {
    0.5 * libm::erfc(-z * std::f64::consts::FRAC_1_SQRT_2)
}

/// The quantile of the standard normal law, infinite at 0 and 1.
pub(super) fn normal_quantile(p: f64) -> f64 {
    if p <= 0.0 {
        f64::NEG_INFINITY
    } else if p >= 1.0 {
        f64::INFINITY
    } else {
        standard_normal_quantile(p)
    }
}

/// The distribution function of the beta law with shapes `a` and `b` above zero: the regularised
/// incomplete beta function, from its continued fraction (modified Lentz, DLMF 8.17.22).
#[must_use]
pub fn beta_cdf(a: f64, b: f64, x: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if x >= 1.0 {
        return 1.0;
    }
    let front = libm::exp(a * libm::log(x) + b * libm::log1p(-x) - log_beta(a, b));
    // The fraction converges fast on the lower side of the mean; the other side is its mirror image.
    if x < (a + 1.0) / (a + b + 2.0) {
        front * beta_fraction(a, b, x) / a
    } else {
        1.0 - front * beta_fraction(b, a, 1.0 - x) / b
    }
}

/// The logarithm of the beta function.
fn log_beta(a: f64, b: f64) -> f64 {
    libm::lgamma(a) + libm::lgamma(b) - libm::lgamma(a + b)
}

fn beta_fraction(a: f64, b: f64, x: f64) -> f64 {
    const TINY: f64 = 1e-300;
    let away = |v: f64| if v.abs() < TINY { TINY } else { v };
    let mut c = 1.0;
    let mut d = 1.0 / away(1.0 - (a + b) * x / (a + 1.0));
    let mut value = d;
    let mut m = 1.0;
    // The number of terms grows with the root of the shapes: enough for shapes of a hundred million.
    while m < 20_000.0 {
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        d = 1.0 / away(1.0 + even * d);
        c = away(1.0 + even / c);
        value *= d * c;
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        d = 1.0 / away(1.0 + odd * d);
        c = away(1.0 + odd / c);
        let step = d * c;
        value *= step;
        if (step - 1.0).abs() < 1e-16 {
            break;
        }
        m += 1.0;
    }
    value
}

/// The quantile `p` (0 to 1) of the beta law with shapes `a` and `b` above zero: the inverse of [`beta_cdf`].
#[must_use]
pub fn beta_quantile(a: f64, b: f64, p: f64) -> f64 {
    let scale = log_beta(a, b);
    let density = |x: f64| libm::exp((a - 1.0) * libm::log(x) + (b - 1.0) * libm::log1p(-x) - scale);
    inverse(p, 0.0, 1.0, |x| beta_cdf(a, b, x), density)
}

/// The distribution function of Student's law with `df` (above 0) degrees of freedom. Above ten million
/// degrees it is the normal law, from which it then differs by less than 1e-8.
#[must_use]
pub fn student_cdf(df: f64, t: f64) -> f64 {
    if t.is_nan() {
        return f64::NAN;
    }
    if df > 1e7 || t.is_infinite() {
        return normal_cdf(t);
    }
    let tail = 0.5 * beta_cdf(df / 2.0, 0.5, df / (df + t * t));
    if t < 0.0 { tail } else { 1.0 - tail }
}

/// The quantile `p` (0 to 1, infinite at the ends) of Student's law with `df` (above 0) degrees of
/// freedom: the inverse of [`student_cdf`], found on the lower tail, where that keeps its digits.
#[must_use]
pub fn student_quantile(df: f64, p: f64) -> f64 {
    if p.is_nan() {
        return f64::NAN;
    }
    if p <= 0.0 {
        return f64::NEG_INFINITY;
    }
    if p >= 1.0 {
        return f64::INFINITY;
    }
    if df > 1e7 {
        return normal_quantile(p);
    }
    if p == 0.5 {
        return 0.0;
    }
    let tail = p.min(1.0 - p);
    // The quantile lies below the normal one; its distance is doubled until it is enclosed.
    let near = normal_quantile(tail);
    let mut far = near * 2.0 - 1.0;
    while student_cdf(df, far) > tail && far > -1e300 {
        far *= 2.0;
    }
    let scale = log_beta(df / 2.0, 0.5) + 0.5 * libm::log(df);
    let density = |t: f64| libm::exp(-0.5 * (df + 1.0) * libm::log1p(t * t / df) - scale);
    let t = inverse(tail, far, near, |t| student_cdf(df, t), density);
    if p < 0.5 { t } else { -t }
}

/// The argument between `low` and `high` where the increasing function `cdf` reaches `p`: Newton's steps with
/// its `density`, and the middle of what is left whenever a step would leave it or does not halve it in time.
fn inverse(p: f64, mut low: f64, mut high: f64, cdf: impl Fn(f64) -> f64, density: impl Fn(f64) -> f64) -> f64 {
    if p <= 0.0 {
        return low;
    }
    if p >= 1.0 {
        return high;
    }
    let mut x = f64::midpoint(low, high);
    for round in 0..200 {
        let error = cdf(x) - p;
        if error < 0.0 {
            low = x;
        } else {
            high = x;
        }
        let step = x - error / density(x);
        let next = if step > low && step < high && round % 8 != 7 { step } else { f64::midpoint(low, high) };
        if (next - x).abs() <= 2.0 * f64::EPSILON * x.abs() || next <= low || next >= high {
            return next;
        }
        x = next;
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;
    use statrs::distribution::{Beta, ContinuousCDF, Normal, StudentsT};

    fn close(a: f64, b: f64, rel: f64) -> bool {
        (a - b).abs() <= rel * b.abs().max(1e-300)
    }

    #[test]
    fn student_quantiles_of_the_tables() {
        for (df, p, t) in [
            (9.0, 0.975, 2.262_157),
            (29.0, 0.975, 2.045_230),
            (1.0, 0.975, 12.706_205),
            (2.0, 0.995, 9.924_843),
            (4.0, 0.9, 1.533_206),
            (120.0, 0.975, 1.979_930),
        ] {
            assert!((student_quantile(df, p) - t).abs() < 5e-7, "{df} {p} {}", student_quantile(df, p));
            assert!((student_quantile(df, 1.0 - p) + t).abs() < 5e-7);
        }
        assert_eq!(student_quantile(7.0, 0.5), 0.0);
        assert_eq!(student_quantile(7.0, 1.0), f64::INFINITY);
        assert!((student_quantile(1e9, 0.975) - 1.959_963_985).abs() < 1e-8);
    }

    #[test]
    fn student_and_beta_agree_with_statrs() {
        for df in [1.0, 1.7, 2.0, 4.0, 9.0, 29.0, 57.3, 199.0, 5_000.0] {
            let law = StudentsT::new(0.0, 1.0, df).unwrap();
            for t in [-40.0, -6.0, -2.3, -1.0, -0.01, 0.0, 0.4, 1.9, 8.0] {
                assert!(close(student_cdf(df, t), law.cdf(t), 1e-9), "{df} {t}");
            }
            for p in [1e-6, 0.0005, 0.025, 0.3, 0.77, 0.95, 0.9999] {
                let t = student_quantile(df, p);
                assert!(close(law.cdf(t), p, 1e-9), "{df} {p} {t}");
            }
        }
        for (a, b) in [(0.5, 0.5), (1.0, 30.0), (29.0, 2.0), (12.5, 800.0), (3_000.0, 7_000.0)] {
            let law = Beta::new(a, b).unwrap();
            for p in [1e-4, 0.025, 0.5, 0.9, 0.999] {
                let x = beta_quantile(a, b, p);
                assert!(close(law.cdf(x), p, 1e-8), "{a} {b} {p} {x} {}", law.cdf(x));
            }
        }
        let normal = Normal::new(0.0, 1.0).unwrap();
        for z in [-8.0, -3.0, -0.5, 0.0, 1.2, 5.0] {
            assert!(close(normal_cdf(z), normal.cdf(z), 1e-9), "{z}");
        }
    }

    #[test]
    fn quantiles_invert_the_distribution_functions() {
        for df in [1.0, 3.5, 30.0, 1e4] {
            for p in [1e-9, 0.01, 0.2, 0.6] {
                assert!(close(student_cdf(df, student_quantile(df, p)), p, 1e-11), "{df} {p}");
            }
        }
        // With two degrees of freedom there is a closed form.
        for p in [0.6, 0.9, 0.999] {
            let exact = (2.0 * p - 1.0) / libm::sqrt(2.0 * p * (1.0 - p));
            assert!(close(student_quantile(2.0, p), exact, 1e-12), "{p}");
        }
    }
}
