//! The smallest of many numbers that change one at a time: a tournament.

use std::cmp::Ordering;

/// No number.
pub(super) const NONE: u128 = u128::MAX;

/// Numbers by position; the smallest is known at once, a change costs a logarithm of their count at
/// most, and mostly far less: a match higher up is played again only when its winner changes.
#[derive(Clone, Debug, Default)]
pub(super) struct MinTree {
    /// Positions, a power of two; 0 when empty.
    width: usize,
    /// Winners: the root at 1, the numbers themselves from `width` on.
    keys: Vec<u128>,
    /// How many positions hold the winner, where that is asked for.
    equals: Option<Vec<u32>>,
}

impl MinTree {
    /// Without numbers; `equals` says whether positions with equal numbers are to be counted.
    pub(super) fn new(equals: bool) -> Self {
        Self { width: 0, keys: Vec::new(), equals: equals.then(Vec::new) }
    }

    /// The smallest number, [`NONE`] without any.
    #[inline]
    pub(super) fn least(&self) -> u128 {
        self.keys.get(1).copied().unwrap_or(NONE)
    }

    /// Positions that hold the smallest number. Only where they are counted.
    pub(super) fn equals(&self) -> u32 {
        self.equals.as_ref().and_then(|e| e.get(1)).copied().unwrap_or(0)
    }

    /// The number at a position.
    #[cfg(test)]
    fn get(&self, at: usize) -> u128 {
        if at < self.width { self.keys[self.width + at] } else { NONE }
    }

    /// Sets the number at a position; [`NONE`] takes it out.
    #[inline]
    pub(super) fn set(&mut self, at: usize, key: u128) {
        if at >= self.width {
            if key == NONE {
                return;
            }
            self.widen(at + 1);
        }
        let mut i = self.width + at;
        self.keys[i] = key;
        match &mut self.equals {
            None => {
                while i > 1 {
                    i /= 2;
                    let winner = self.keys[2 * i].min(self.keys[2 * i + 1]);
                    if self.keys[i] == winner {
                        break;
                    }
                    self.keys[i] = winner;
                }
            }
            Some(equals) => {
                equals[i] = u32::from(key != NONE);
                while i > 1 {
                    i /= 2;
                    (self.keys[i], equals[i]) = play(&self.keys, equals, i);
                }
            }
        }
    }

    /// The position of the smallest number; with counts, of the `nth` such position from 0.
    pub(super) fn position(&self, nth: u32) -> Option<usize> {
        let winner = self.least();
        if winner == NONE {
            return None;
        }
        let (mut i, mut nth) = (1, nth);
        while i < self.width {
            i *= 2;
            let left = match &self.equals {
                _ if self.keys[i] != winner => 0,
                Some(equals) => equals[i],
                None => u32::MAX,
            };
            if nth >= left {
                nth -= left;
                i += 1;
            }
        }
        Some(i - self.width)
    }

    fn widen(&mut self, positions: usize) {
        let width = positions.next_power_of_two().max(8);
        let mut keys = vec![NONE; 2 * width];
        keys[width..width + self.width].copy_from_slice(&self.keys[self.width..]);
        let mut equals = self.equals.as_ref().map(|_| {
            let mut e = vec![0; 2 * width];
            (width..2 * width).for_each(|i| e[i] = u32::from(keys[i] != NONE));
            e
        });
        for i in (1..width).rev() {
            match &mut equals {
                Some(e) => (keys[i], e[i]) = play(&keys, e, i),
                None => keys[i] = keys[2 * i].min(keys[2 * i + 1]),
            }
        }
        *self = Self { width, keys, equals };
    }
}

fn play(keys: &[u128], equals: &[u32], i: usize) -> (u128, u32) {
    let (left, right) = (keys[2 * i], keys[2 * i + 1]);
    match left.cmp(&right) {
        Ordering::Less => (left, equals[2 * i]),
        Ordering::Equal => (left, equals[2 * i] + equals[2 * i + 1]),
        Ordering::Greater => (right, equals[2 * i + 1]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn knows_the_smallest_and_who_holds_it(sets in prop::collection::vec((0_usize..40, 0_u128..6), 1..120)) {
            let (mut plain, mut counted) = (MinTree::new(false), MinTree::new(true));
            let mut all = vec![NONE; 40];
            for (at, key) in sets {
                let key = if key == 5 { NONE } else { key };
                all[at] = key;
                plain.set(at, key);
                counted.set(at, key);
                let least = all.iter().copied().min().unwrap();
                prop_assert_eq!(plain.least(), least);
                prop_assert_eq!(counted.least(), least);
                let holders: Vec<usize> = (0..40).filter(|i| least != NONE && all[*i] == least).collect();
                prop_assert_eq!(plain.position(0), holders.first().copied());
                prop_assert_eq!(counted.equals() as usize, holders.len());
                for (nth, holder) in holders.iter().enumerate() {
                    prop_assert_eq!(counted.position(nth as u32), Some(*holder));
                }
                prop_assert_eq!(plain.get(at), key);
            }
        }
    }
}
