//! Sobol points with a random scramble.
//!
//! Own code instead of the crate `sobol_burley`: that one yields 32-bit floats and stops at 65,536 points,
//! and a table of twenty rows is all that a sweep needs.

use super::Refusal;
use super::design::unless_designable;
use crate::kernel::{Draw, Stream};
use rand::Rng;

/// The most axes.
pub const SOBOL_AXES: usize = 21;

const BITS: usize = 32;

/// Direction numbers of the axes after the first, by S. Joe and F. Y. Kuo ("Constructing Sobol sequences with
/// better two-dimensional projections", SIAM J. Sci. Comput. 30, 2008; their set new-joe-kuo-6.21201): the
/// inner coefficients of the primitive polynomial, whose degree is the number of initial values, and those.
const DIRECTIONS: [(u32, &[u32]); SOBOL_AXES - 1] = [
    (0, &[1]),
    (1, &[1, 3]),
    (1, &[1, 3, 1]),
    (2, &[1, 1, 1]),
    (1, &[1, 1, 3, 3]),
    (4, &[1, 3, 5, 13]),
    (2, &[1, 1, 5, 5, 17]),
    (4, &[1, 1, 5, 5, 5]),
    (7, &[1, 1, 7, 11, 19]),
    (11, &[1, 1, 5, 1, 1]),
    (13, &[1, 1, 1, 3, 11]),
    (14, &[1, 3, 5, 5, 31]),
    (1, &[1, 3, 3, 9, 7, 49]),
    (13, &[1, 1, 1, 15, 21, 21]),
    (16, &[1, 3, 1, 13, 27, 49]),
    (19, &[1, 1, 1, 15, 7, 5]),
    (22, &[1, 3, 1, 15, 13, 25]),
    (25, &[1, 1, 5, 5, 19, 61]),
    (1, &[1, 3, 7, 11, 23, 15, 103]),
    (4, &[1, 3, 7, 13, 13, 15, 69]),
];

/// The 32 direction vectors of an axis, as binary fractions of 32 bits.
fn directions(axis: usize) -> [u32; BITS] {
    let mut v = [0_u32; BITS];
    let Some(&(inner, initial)) = axis.checked_sub(1).and_then(|row| DIRECTIONS.get(row)) else {
        // The first axis is the van der Corput sequence in base 2.
        for (k, v) in v.iter_mut().enumerate() {
            *v = 1 << (BITS - 1 - k);
        }
        return v;
    };
    let degree = initial.len();
    for k in 0..BITS {
        v[k] = match initial.get(k) {
            Some(m) => m << (BITS - 1 - k),
            None => {
                let mut next = v[k - degree] ^ (v[k - degree] >> degree);
                for j in 1..degree {
                    if (inner >> (degree - 1 - j)) & 1 == 1 {
                        next ^= v[k - j];
                    }
                }
                next
            }
        };
    }
    v
}

/// Flips each bit by a coin that depends on all bits before it: Owen's nested scramble (1995). It keeps how
/// evenly the points lie, makes each of them uniform, and breaks the regular patterns of axes that share many
/// of their bits.
fn scrambled(bits: u32, coins: Draw) -> u32 {
    let mut flips = 0;
    for k in 0..BITS {
        // The bits before this one, after a leading one that tells their number.
        let before = (1_u64 << k) | (u64::from(bits) >> (BITS - k));
        flips |= ((coins.of(before).bits() >> 63) as u32) << (BITS - 1 - k);
    }
    bits ^ flips
}

/// The first `points` Sobol points on `axes` axes, scrambled with one number from `stream`. Coordinates lie
/// strictly between 0 and 1; one row per point. The points lie most evenly when their number is a power of two.
///
/// # Errors
/// Without a point or an axis, above [`SOBOL_AXES`] axes or [`super::POINTS_MAXIMUM`] points.
pub fn sobol(points: usize, axes: usize, stream: &mut Stream) -> Result<Vec<Vec<f64>>, Refusal> {
    unless_designable(points, axes, SOBOL_AXES)?;
    let root = Draw::new(stream.next_u64());
    let tables: Vec<([u32; BITS], Draw)> = (0..axes).map(|axis| (directions(axis), root.of(axis as u64))).collect();
    Ok((0..points)
        .map(|point| {
            tables
                .iter()
                .map(|(table, coins)| {
                    let bits =
                        table.iter().enumerate().filter(|(k, _)| (point >> k) & 1 == 1).fold(0, |x, (_, v)| x ^ v);
                    (f64::from(scrambled(bits, *coins)) + 0.5) / 4_294_967_296.0
                })
                .collect()
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Streams;

    fn points(n: usize, axes: usize, seed: u64) -> Vec<Vec<f64>> {
        sobol(n, axes, &mut Streams::new(seed, 0).stream("sweep/design")).unwrap()
    }

    #[test]
    fn the_unscrambled_points_are_those_of_the_literature() {
        // Point 6 comes fourth in the order of Gray's code, in which they are mostly printed.
        let at = |axis: usize, i: usize| {
            let bits =
                directions(axis).iter().enumerate().filter(|(k, _)| (i >> k) & 1 == 1).fold(0, |x, (_, v)| x ^ v);
            f64::from(bits) / 4_294_967_296.0
        };
        let row = |i| [at(0, i), at(1, i), at(2, i), at(3, i)];
        assert_eq!(row(1), [0.5, 0.5, 0.5, 0.5]);
        assert_eq!(row(2), [0.25, 0.75, 0.75, 0.75]);
        assert_eq!(row(3), [0.75, 0.25, 0.25, 0.25]);
        assert_eq!(row(6), [0.375, 0.375, 0.625, 0.875]);
    }

    #[test]
    fn the_table_is_sound() {
        for (inner, initial) in DIRECTIONS {
            let degree = initial.len() as u32;
            for (k, m) in initial.iter().enumerate() {
                assert!(m % 2 == 1 && *m < 2 << k, "{inner} {initial:?}");
            }
            // The polynomial is primitive: x has the order 2^degree − 1 modulo it.
            let polynomial = (1 << degree) | (inner << 1) | 1;
            let (mut power, mut order) = (1_u32, 0);
            loop {
                power <<= 1;
                if power >> degree == 1 {
                    power ^= polynomial;
                }
                order += 1;
                if power == 1 {
                    break;
                }
            }
            assert_eq!(order, (1 << degree) - 1, "{inner} {initial:?}");
        }
    }

    #[test]
    fn every_axis_has_one_point_in_each_part() {
        let rows = points(256, SOBOL_AXES, 9);
        for axis in 0..SOBOL_AXES {
            let mut parts: Vec<usize> = rows.iter().map(|r| (r[axis] * 256.0) as usize).collect();
            parts.sort_unstable();
            assert!(parts.into_iter().eq(0..256), "{axis}");
        }
        // The first two axes fill every elementary box of 1/256.
        for cut in 0..=8 {
            let (across, down) = (1 << cut, 256 >> cut);
            let mut boxes: Vec<usize> = rows
                .iter()
                .map(|r| (r[0] * f64::from(across)) as usize * down as usize + (r[1] * f64::from(down)) as usize)
                .collect();
            boxes.sort_unstable();
            assert!(boxes.into_iter().eq(0..256), "{cut}");
        }
    }

    #[test]
    fn a_seed_gives_its_points_and_longer_designs_begin_with_shorter_ones() {
        assert_eq!(points(16, 3, 1), points(16, 3, 1));
        assert_ne!(points(16, 3, 1), points(16, 3, 2));
        assert_eq!(points(64, 3, 1)[..16], points(16, 3, 1));
        // The mean of a smooth function is far closer than that of random points.
        let worst = (0..20)
            .map(|seed| {
                let sum: f64 = points(256, 4, seed).iter().map(|r| r.iter().sum::<f64>()).sum();
                (sum / 256.0 - 2.0).abs()
            })
            .fold(0.0, f64::max);
        assert!(worst < 0.002, "{worst}");
    }
}
