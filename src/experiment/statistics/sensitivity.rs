//! How much each axis of a sweep moves a figure.

use super::{Moments, Refusal};
use serde::Serialize;

/// The main effect of one axis of a grid.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Influence {
    /// The share (0 to 1) of the variance of the figure over all runs that lies between the levels of this
    /// axis (η²). On a full grid the shares of all axes add up to at most 1; what is left is
    /// what axes do together (interactions) and the noise of replications.
    pub share: f64,
    /// The share that the same numbers of runs give on average to an axis without any influence.
    pub by_chance: f64,
    /// Distinct levels that occur.
    pub levels: usize,
}

/// The main effect of each axis. `axes` holds for each axis the level of every run, as any number that
/// names it; order and distance of levels do not matter. `figure` holds the figure of every run.
///
/// # Errors
/// Below two runs, when the figure does not vary or is not finite, or when an axis does not have one level per run.
pub fn main_effects(axes: &[Vec<usize>], figure: &[f64]) -> Result<Vec<Influence>, Refusal> {
    let whole = usable(axes.iter().map(Vec::len), figure)?;
    let total = whole.variance * (figure.len() - 1) as f64;
    Ok(axes
        .iter()
        .map(|levels| {
            let mut order: Vec<usize> = (0..figure.len()).collect();
            order.sort_by_key(|&run| (levels[run], run));
            let groups = order.chunk_by(|&a, &b| levels[a] == levels[b]);
            let (mut between, mut count) = (0.0, 0);
            for group in groups {
                let away = group.iter().map(|&run| figure[run] - whole.mean).sum::<f64>() / group.len() as f64;
                between += group.len() as f64 * away * away;
                count += 1;
            }
            Influence {
                share: (between / total).clamp(0.0, 1.0),
                by_chance: (count - 1) as f64 / (figure.len() - 1) as f64,
                levels: count,
            }
        })
        .collect())
}

fn usable(lengths: impl Iterator<Item = usize>, figure: &[f64]) -> Result<Moments, Refusal> {
    Refusal::unless_usable(figure, 2)?;
    for length in lengths {
        if length != figure.len() {
            return Err(Refusal::NotPaired { left: length, right: figure.len() });
        }
    }
    let whole = Moments::of(figure);
    if whole.variance > 0.0 { Ok(whole) } else { Err(Refusal::NoVariation) }
}

/// The linear regression of the ranks of a figure on the ranks of all axes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RankRegression {
    /// The standardised rank regression coefficient (SRRC) of each axis: by how many standard deviations the
    /// rank of the figure moves with one standard deviation of the rank of the axis, the others held. Its
    /// sign is the direction; near ±1 the axis alone decides. 0 for an axis that does not vary.
    pub coefficients: Vec<f64>,
    /// The share (0 to 1) of the variance of ranks that the axes explain together. Well below 1, the figure
    /// rises and falls again along an axis, axes act together, or noise is large: the coefficients then tell
    /// only part of the story.
    pub r_squared: f64,
}

/// The sensitivity of a figure to the axes of a sample (Latin hypercube or Sobol). `axes` holds for each axis
/// its value in every run, `figure` the figure of every run. Ties share their middle rank.
///
/// # Errors
/// With no more runs than axes plus one, when the figure does not vary, when something is not finite or differs
/// in length, or when one axis is a copy of others.
pub fn rank_regression(axes: &[Vec<f64>], figure: &[f64]) -> Result<RankRegression, Refusal> {
    usable(axes.iter().map(Vec::len), figure)?;
    for axis in axes {
        Refusal::unless_usable(axis, 2)?;
    }
    Refusal::unless_usable(figure, axes.len() + 2)?;
    let y = standard_ranks(figure).ok_or(Refusal::NoVariation)?;
    let columns: Vec<(usize, Vec<f64>)> =
        axes.iter().enumerate().filter_map(|(i, axis)| Some((i, standard_ranks(axis)?))).collect();
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
    // The normal equations: correlations among the axes, and of each axis with the figure.
    let mut rows: Vec<Vec<f64>> = columns
        .iter()
        .map(|(_, x)| columns.iter().map(|(_, z)| dot(x, z)).chain(std::iter::once(dot(x, &y))).collect())
        .collect();
    let with_figure: Vec<f64> = rows.iter().map(|row| row[columns.len()]).collect();
    let solved = solve(&mut rows).ok_or_else(|| Refusal::parameter("the axes", "different from each other"))?;
    let mut coefficients = vec![0.0; axes.len()];
    for ((at, _), value) in columns.iter().zip(&solved) {
        coefficients[*at] = *value;
    }
    Ok(RankRegression { coefficients, r_squared: dot(&solved, &with_figure).clamp(0.0, 1.0) })
}

/// Ranks with mean 0 and sum of squares 1; `None` when all values are equal.
fn standard_ranks(values: &[f64]) -> Option<Vec<f64>> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut before = 0;
    for ties in order.chunk_by(|&a, &b| values[a] == values[b]) {
        let middle = before as f64 + (ties.len() as f64 + 1.0) / 2.0;
        for &at in ties {
            ranks[at] = middle;
        }
        before += ties.len();
    }
    let mean = (values.len() as f64 + 1.0) / 2.0;
    let length = libm::sqrt(ranks.iter().map(|r| (r - mean) * (r - mean)).sum());
    (length > 0.0).then(|| ranks.iter().map(|r| (r - mean) / length).collect())
}

/// Gaussian elimination with row pivots; each row carries its right side at the end. `None` when singular.
fn solve(rows: &mut [Vec<f64>]) -> Option<Vec<f64>> {
    let n = rows.len();
    for column in 0..n {
        let pivot = (column..n).max_by(|&a, &b| rows[a][column].abs().total_cmp(&rows[b][column].abs()))?;
        if rows[pivot][column].abs() < 1e-9 {
            return None;
        }
        rows.swap(column, pivot);
        let top = rows[column].clone();
        for row in &mut rows[column + 1..] {
            let factor = row[column] / top[column];
            for (value, above) in row[column..].iter_mut().zip(&top[column..]) {
                *value -= factor * above;
            }
        }
    }
    let mut solution = vec![0.0; n];
    for at in (0..n).rev() {
        let known: f64 = (at + 1..n).map(|j| rows[at][j] * solution[j]).sum();
        solution[at] = (rows[at][n] - known) / rows[at][at];
    }
    Some(solution)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::statistics::{factorial, latin_hypercube};
    use crate::kernel::{StreamExt, Streams};

    #[test]
    fn main_effects_of_a_worked_grid() {
        // y = 3·a + b on a grid of 3 × 3: variances 9 and 1 times that of the levels, nothing else.
        let grid = factorial(&[3, 3, 2]).unwrap();
        let axes: Vec<Vec<usize>> = (0..3).map(|axis| grid.iter().map(|p| p[axis]).collect()).collect();
        let figure: Vec<f64> = grid.iter().map(|p| 3.0 * p[0] as f64 + p[1] as f64).collect();
        let got = main_effects(&axes, &figure).unwrap();
        assert!((got[0].share - 0.9).abs() < 1e-12 && (got[1].share - 0.1).abs() < 1e-12 && got[2].share < 1e-12);
        assert_eq!((got[0].levels, got[2].levels), (3, 2));
        assert!((got[0].by_chance - 2.0 / 17.0).abs() < 1e-15);
        assert_eq!(main_effects(&axes, &[1.0; 18]), Err(Refusal::NoVariation));
        assert!(main_effects(&axes, &figure[..9]).is_err());
    }

    #[test]
    fn rank_regression_sees_strength_and_direction() {
        let mut s = Streams::new(2, 0).stream("sensitivity");
        let rows = latin_hypercube(200, 4, &mut s).unwrap();
        let axes: Vec<Vec<f64>> = (0..4).map(|axis| rows.iter().map(|r| r[axis]).collect()).collect();
        // Monotone and far from linear in the first, falling in the second, nothing in the third and fourth.
        let figure: Vec<f64> = rows.iter().map(|r| libm::exp(6.0 * r[0]) * libm::exp(-2.0 * r[1])).collect();
        let got = rank_regression(&axes, &figure).unwrap();
        assert!(got.coefficients[0] > 0.85 && (-0.45..-0.2).contains(&got.coefficients[1]), "{got:?}");
        assert!(
            got.coefficients[2].abs() < 0.06 && got.coefficients[3].abs() < 0.06 && got.r_squared > 0.95,
            "{got:?}"
        );
        let noise: Vec<f64> = (0..200).map(|_| s.unit()).collect();
        assert!(rank_regression(&axes, &noise).unwrap().r_squared < 0.12);
    }

    #[test]
    fn axes_that_cannot_be_told_apart_are_refused() {
        let a: Vec<f64> = (0..10).map(f64::from).collect();
        let y: Vec<f64> = (0..10).map(|i| f64::from(i * i % 7)).collect();
        assert!(matches!(rank_regression(&[a.clone(), a.clone()], &y), Err(Refusal::BadParameter { .. })));
        let got = rank_regression(&[a.clone(), vec![1.0; 10]], &a).unwrap();
        assert!((got.coefficients[0] - 1.0).abs() < 1e-12 && got.coefficients[1] == 0.0);
        assert!(rank_regression(std::slice::from_ref(&a), &[1.0; 10]).is_err());
        assert!(rank_regression(&[a[..2].to_vec()], &y[..2]).is_err());
    }
}
