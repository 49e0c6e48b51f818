//! Where a sweep puts its points: grids and Latin hypercubes.

use super::Refusal;
use crate::kernel::{Stream, StreamExt};
use rand::Rng;

/// The most points that a design may have.
pub const POINTS_MAXIMUM: usize = 1 << 20;

pub(super) fn unless_designable(points: usize, axes: usize, axes_maximum: usize) -> Result<(), Refusal> {
    if points == 0 || points > POINTS_MAXIMUM {
        return Err(Refusal::parameter("the points of a design", &format!("1 to {POINTS_MAXIMUM}")));
    }
    if axes == 0 || axes > axes_maximum {
        return Err(Refusal::parameter("the axes of this design", &format!("1 to {axes_maximum}")));
    }
    Ok(())
}

/// Every combination of levels, the last axis turning fastest: for each point the index of its level on each
/// axis. `levels` holds the number of levels of each axis.
///
/// # Errors
/// Without an axis, when an axis has no level, or above [`POINTS_MAXIMUM`] points.
pub fn factorial(levels: &[usize]) -> Result<Vec<Vec<usize>>, Refusal> {
    let points = levels.iter().try_fold(1_usize, |n, &l| n.checked_mul(l)).unwrap_or(usize::MAX);
    unless_designable(points, levels.len(), usize::MAX)?;
    let mut at = vec![0; levels.len()];
    Ok((0..points)
        .map(|_| {
            let point = at.clone();
            for (index, &n) in at.iter_mut().zip(levels).rev() {
                *index += 1;
                if *index < n {
                    break;
                }
                *index = 0;
            }
            point
        })
        .collect())
}

/// A Latin hypercube (McKay, Beckman and Conover 1979): on each axis, cut into as many equal parts as there
/// are points, each part holds one point, at a random place inside of it. Coordinates lie strictly between
/// 0 and 1; one row per point.
///
/// # Errors
/// Without a point or an axis, or above [`POINTS_MAXIMUM`] points.
pub fn latin_hypercube(points: usize, axes: usize, stream: &mut Stream) -> Result<Vec<Vec<f64>>, Refusal> {
    unless_designable(points, axes, 4_096)?;
    let mut rows = vec![vec![0.0; axes]; points];
    let mut parts: Vec<usize> = (0..points).collect();
    for axis in 0..axes {
        for last in (1..points).rev() {
            let other = ((u128::from(stream.next_u64()) * (last as u128 + 1)) >> 64) as usize;
            parts.swap(last, other);
        }
        for (row, &part) in rows.iter_mut().zip(&parts) {
            row[axis] = (part as f64 + stream.unit()) / points as f64;
        }
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Streams;

    #[test]
    fn a_grid_has_every_combination_once() {
        let grid = factorial(&[2, 3]).unwrap();
        assert_eq!(grid, [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]]);
        assert!(factorial(&[]).is_err() && factorial(&[3, 0]).is_err() && factorial(&[usize::MAX, 3]).is_err());
    }

    #[test]
    fn a_latin_hypercube_has_one_point_in_each_part_of_each_axis() {
        let mut s = Streams::new(1, 0).stream("sweep/design");
        let rows = latin_hypercube(37, 5, &mut s).unwrap();
        for axis in 0..5 {
            let mut parts: Vec<usize> = rows.iter().map(|r| (r[axis] * 37.0) as usize).collect();
            parts.sort_unstable();
            assert!(parts.into_iter().eq(0..37));
        }
        assert!(rows.iter().flatten().all(|&x| x > 0.0 && x < 1.0));
        let again = latin_hypercube(37, 5, &mut Streams::new(1, 0).stream("sweep/design")).unwrap();
        assert_eq!(rows, again);
        assert!(latin_hypercube(0, 1, &mut s).is_err() && latin_hypercube(1, 0, &mut s).is_err());
    }
}
