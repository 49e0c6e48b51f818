//! The smallest of many numbers that change one at a time: a tournament.

use std::cmp::Ordering;

/// No number.
pub(super) const NONE: u128 = u128::MAX;

/// Tournaments of many columns over the same positions, row by row: all columns of a position lie side by
/// side, since a change at one position is a change in many columns. The smallest number of a column is
/// known at once; a change costs a logarithm of the positions at most, and mostly far less: a match higher
/// up is played again only when its winner changes.
#[derive(Clone, Debug, Default)]
pub(super) struct Board {
    /// Positions, a power of two; 0 when empty.
    width: usize,
    /// Room for columns.
    stride: usize,
    columns: usize,
    /// Rows of winners: the roots in row 1, the numbers themselves from row `width` on.
    keys: Vec<u128>,
}

impl Board {
    /// One more column, without numbers.
    pub(super) fn add_column(&mut self) -> usize {
        if self.columns == self.stride {
            self.resize(self.width, (2 * self.stride).max(8));
        }
        self.columns += 1;
        self.columns - 1
    }

    /// The smallest number of a column, [`NONE`] without any.
    #[inline]
    pub(super) fn least(&self, column: usize) -> u128 {
        self.keys.get(self.stride + column).copied().unwrap_or(NONE)
    }

    /// The position of the smallest number of a column.
    pub(super) fn position(&self, column: usize) -> Option<usize> {
        let winner = self.least(column);
        if winner == NONE {
            return None;
        }
        let mut i = 1;
        while i < self.width {
            i *= 2;
            i += usize::from(self.keys[i * self.stride + column] != winner);
        }
        Some(i - self.width)
    }

    /// Sets the numbers of some columns at a position; [`NONE`] takes one out. `changes` is used up.
    pub(super) fn set(&mut self, at: usize, changes: &mut Vec<(u32, u128)>) {
        if at >= self.width {
            self.resize((at + 1).next_power_of_two().max(8), self.stride);
        }
        let stride = self.stride;
        let mut i = self.width + at;
        let row = &mut self.keys[i * stride..(i + 1) * stride];
        changes.retain(|(column, key)| std::mem::replace(&mut row[*column as usize], *key) != *key);
        while i > 1 && !changes.is_empty() {
            i /= 2;
            let (above, below) = self.keys[i * stride..].split_at_mut(i * stride);
            let (left, right) = below[..2 * stride].split_at(stride);
            changes.retain(|(column, _)| {
                let column = *column as usize;
                let winner = left[column].min(right[column]);
                std::mem::replace(&mut above[column], winner) != winner
            });
        }
        changes.clear();
    }

    fn resize(&mut self, width: usize, stride: usize) {
        let mut keys = vec![NONE; 2 * width * stride];
        for at in 0..self.width {
            let (from, to) = ((self.width + at) * self.stride, (width + at) * stride);
            keys[to..to + self.columns].copy_from_slice(&self.keys[from..from + self.columns]);
        }
        for i in (1..width).rev() {
            for column in 0..self.columns {
                let of = |row: usize| keys[row * stride + column];
                keys[i * stride + column] = of(2 * i).min(of(2 * i + 1));
            }
        }
        (self.width, self.stride, self.keys) = (width, stride, keys);
    }
}

/// One tournament that also knows how many positions hold the smallest number.
#[derive(Clone, Debug, Default)]
pub(super) struct CountedTree {
    width: usize,
    keys: Vec<u128>,
    equals: Vec<u32>,
}

impl CountedTree {
    /// The smallest number, [`NONE`] without any.
    #[inline]
    pub(super) fn least(&self) -> u128 {
        self.keys.get(1).copied().unwrap_or(NONE)
    }

    /// Positions that hold the smallest number.
    pub(super) fn equals(&self) -> u32 {
        self.equals.get(1).copied().unwrap_or(0)
    }

    /// Sets the number at a position; [`NONE`] takes it out.
    pub(super) fn set(&mut self, at: usize, key: u128) {
        if at >= self.width {
            if key == NONE {
                return;
            }
            self.widen(at + 1);
        }
        let mut i = self.width + at;
        if self.keys[i] == key {
            return;
        }
        (self.keys[i], self.equals[i]) = (key, u32::from(key != NONE));
        while i > 1 {
            i /= 2;
            let winner = play(&self.keys, &self.equals, i);
            if (self.keys[i], self.equals[i]) == winner {
                break;
            }
            (self.keys[i], self.equals[i]) = winner;
        }
    }

    /// The `nth` position, from 0, that holds the smallest number.
    pub(super) fn position(&self, mut nth: u32) -> Option<usize> {
        if nth >= self.equals() {
            return None;
        }
        let winner = self.least();
        let mut i = 1;
        while i < self.width {
            i *= 2;
            let left = if self.keys[i] == winner { self.equals[i] } else { 0 };
            if nth >= left {
                nth -= left;
                i += 1;
            }
        }
        Some(i - self.width)
    }

    fn widen(&mut self, positions: usize) {
        let width = positions.next_power_of_two().max(8);
        let mut next = Self { width, keys: vec![NONE; 2 * width], equals: vec![0; 2 * width] };
        for at in 0..self.width {
            next.keys[width + at] = self.keys[self.width + at];
            next.equals[width + at] = self.equals[self.width + at];
        }
        for i in (1..width).rev() {
            (next.keys[i], next.equals[i]) = play(&next.keys, &next.equals, i);
        }
        *self = next;
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
        fn knows_the_smallest_and_who_holds_it(
            sets in prop::collection::vec((0_usize..40, 0_u32..20, 0_u128..6), 1..200),
        ) {
            let mut board = Board::default();
            let mut counted = vec![CountedTree::default(); 20];
            let mut all = vec![[NONE; 40]; 20];
            let mut columns = 0;
            for (at, column, key) in sets {
                while columns <= column as usize {
                    prop_assert_eq!(board.add_column(), columns);
                    columns += 1;
                }
                let key = if key == 5 { NONE } else { key };
                all[column as usize][at] = key;
                // A second column changes with it.
                all[0][at] = key;
                board.set(at, &mut vec![(0, key), (column, key)]);
                counted[column as usize].set(at, key);
                counted[0].set(at, key);
                for c in 0..columns {
                    let least = all[c].iter().copied().min().unwrap();
                    prop_assert_eq!((board.least(c), counted[c].least()), (least, least));
                    let holders: Vec<usize> = (0..40).filter(|i| least != NONE && all[c][*i] == least).collect();
                    prop_assert_eq!(board.position(c), holders.first().copied());
                    prop_assert_eq!(counted[c].equals() as usize, holders.len());
                    for (nth, holder) in holders.iter().enumerate() {
                        prop_assert_eq!(counted[c].position(nth as u32), Some(*holder));
                    }
                    prop_assert_eq!(counted[c].position(holders.len() as u32), None);
                }
            }
        }
    }
}
