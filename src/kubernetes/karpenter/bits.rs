//! A set of small integers as bits.

/// A fixed number of bits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Bits(Vec<u64>);

impl Bits {
    /// No bit of `len` set.
    pub(super) fn empty(len: usize) -> Self {
        Self(vec![0; len.div_ceil(64)])
    }

    /// The bits below `len` for which `holds` is true.
    pub(super) fn where_true(len: usize, mut holds: impl FnMut(usize) -> bool) -> Self {
        let mut bits = Self::empty(len);
        for at in 0..len {
            if holds(at) {
                bits.set(at);
            }
        }
        bits
    }

    /// These bits.
    pub(super) fn of(len: usize, set: impl IntoIterator<Item = usize>) -> Self {
        let mut bits = Self::empty(len);
        set.into_iter().for_each(|at| bits.set(at));
        bits
    }

    pub(super) fn set(&mut self, at: usize) {
        if at / 64 >= self.0.len() {
            self.0.resize(at / 64 + 1, 0);
        }
        self.0[at / 64] |= 1 << (at % 64);
    }

    pub(super) fn has(&self, at: usize) -> bool {
        self.0.get(at / 64).is_some_and(|word| word >> (at % 64) & 1 == 1)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    pub(super) fn count(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Keeps what is in `other` too.
    pub(super) fn and(&mut self, other: &Self) {
        for (at, word) in self.0.iter_mut().enumerate() {
            *word &= other.0.get(at).copied().unwrap_or(0);
        }
    }

    /// Keeps the bits for which `holds` is true.
    pub(super) fn retain(&mut self, mut holds: impl FnMut(usize) -> bool) {
        for (at, word) in self.0.iter_mut().enumerate() {
            let mut rest = *word;
            while rest != 0 {
                let bit = rest.trailing_zeros() as usize;
                rest &= rest - 1;
                if !holds(at * 64 + bit) {
                    *word &= !(1 << bit);
                }
            }
        }
    }

    /// The set bits, ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.0.iter().enumerate().flat_map(|(at, &word)| {
            let mut rest = word;
            std::iter::from_fn(move || {
                let bit = (rest != 0).then(|| rest.trailing_zeros() as usize)?;
                rest &= rest - 1;
                Some(at * 64 + bit)
            })
        })
    }
}
