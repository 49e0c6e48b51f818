//! The two heaps of the event queue. Both are 4-ary: half the depth of a binary heap, and the four
//! children of a node lie in one or two cache lines, so the smallest child is chosen without a
//! branch that the processor has to guess.
//!
//! What is taken out leaves a hole at the top, which is only closed when the heap is asked again: most often something
//! new is put in before, and one way down the heap does for both.

/// A 4-ary min-heap of `(key, value)` pairs. Keys are expected to be unique; among equal keys the
/// order of removal is unspecified but deterministic.
#[derive(Clone, Debug)]
pub struct KeyedHeap<V> {
    items: Vec<(u128, V)>,
    /// The top has been taken out.
    hole: bool,
}

impl<V> Default for KeyedHeap<V> {
    fn default() -> Self {
        Self { items: Vec::new(), hole: false }
    }
}

impl<V: Copy> KeyedHeap<V> {
    /// How many entries are pending.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len() - usize::from(self.hole)
    }

    /// True when nothing is pending.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The smallest key, or `u128::MAX` when empty.
    #[inline]
    #[must_use]
    pub fn min_key(&self) -> u128 {
        match self.items.first() {
            Some(&(key, _)) if !self.hole => key,
            _ => self.items.iter().skip(1).take(4).map(|item| item.0).min().unwrap_or(u128::MAX),
        }
    }

    /// Closes the hole that the last removal has left, so that asking for the smallest key is cheap.
    #[inline]
    pub fn settle(&mut self) {
        if self.hole {
            self.hole = false;
            if let Some((key, value)) = self.items.pop()
                && !self.items.is_empty()
            {
                self.down(key, value);
            }
        }
    }

    /// Adds an entry.
    #[inline]
    pub fn push(&mut self, key: u128, value: V) {
        if self.hole {
            self.hole = false;
            self.down(key, value);
            return;
        }
        let mut hole = self.items.len();
        self.items.push((key, value));
        while hole > 0 {
            let parent = (hole - 1) / 4;
            if self.items[parent].0 <= key {
                break;
            }
            self.items[hole] = self.items[parent];
            hole = parent;
        }
        self.items[hole] = (key, value);
    }

    /// Removes and returns the entry with the smallest key.
    #[inline]
    pub fn pop(&mut self) -> Option<(u128, V)> {
        self.settle();
        let top = self.items.first().copied();
        self.hole = top.is_some();
        top
    }

    /// Puts an entry in at the top, where there is a hole.
    #[inline]
    fn down(&mut self, key: u128, value: V) {
        let items = &mut self.items[..];
        let len = items.len();
        let mut hole = 0;
        loop {
            let first = 4 * hole + 1;
            let child = if first + 4 <= len {
                let c = &items[first..first + 4];
                let a = usize::from(c[1].0 < c[0].0);
                let b = 2 + usize::from(c[3].0 < c[2].0);
                first + if c[b].0 < c[a].0 { b } else { a }
            } else if first < len {
                let mut child = first;
                for other in first + 1..len {
                    if items[other].0 < items[child].0 {
                        child = other;
                    }
                }
                child
            } else {
                break;
            };
            if key <= items[child].0 {
                break;
            }
            items[hole] = items[child];
            hole = child;
        }
        items[hole] = (key, value);
    }
}

const ABSENT: u32 = u32::MAX;

/// An indexed 4-ary min-heap: one deadline per small integer id, moved and removed in place.
///
/// This is the lane of the hot moving deadlines (the next completion of each task server); the
/// position array makes a move cost a few nanoseconds where a hash-indexed queue pays tens. The
/// heap itself holds the upper halves of the keys only, sixteen bytes an entry; the lower ones lie
/// apart and are looked at when two upper ones are equal.
#[derive(Clone, Debug, Default)]
pub struct DeadlineHeap {
    heap: Vec<(u64, u32)>,
    /// By id: where it is in the heap, and the lower half of its key.
    position: Vec<u32>,
    lower: Vec<u64>,
    /// The top has been taken out.
    hole: bool,
}

impl DeadlineHeap {
    /// How many ids have a deadline.
    #[must_use]
    pub fn len(&self) -> usize {
        self.heap.len() - usize::from(self.hole)
    }

    /// True when no id has a deadline.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[inline]
    fn key(&self, entry: (u64, u32)) -> u128 {
        (u128::from(entry.0) << 64) | u128::from(self.lower[entry.1 as usize])
    }

    /// The smallest key, or `u128::MAX` when empty.
    #[inline]
    #[must_use]
    pub fn min_key(&self) -> u128 {
        match self.heap.first() {
            Some(&first) if !self.hole => self.key(first),
            _ => self.heap.iter().skip(1).take(4).map(|&entry| self.key(entry)).min().unwrap_or(u128::MAX),
        }
    }

    /// Closes the hole that the last removal has left, so that asking for the smallest key is cheap.
    #[inline]
    pub fn settle(&mut self) {
        if self.hole {
            self.hole = false;
            if let Some(last) = self.heap.pop()
                && !self.heap.is_empty()
            {
                self.down(0, last);
            }
        }
    }

    /// The key of `id`, if it has one.
    #[must_use]
    pub fn key_of(&self, id: u32) -> Option<u128> {
        match self.position.get(id as usize) {
            Some(&at) if at != ABSENT => Some(self.key(self.heap[at as usize])),
            _ => None,
        }
    }

    /// Sets or moves the deadline of `id`.
    #[inline]
    pub fn set(&mut self, id: u32, key: u128) {
        let slot = id as usize;
        if slot >= self.position.len() {
            self.position.resize(slot + 1, ABSENT);
            self.lower.resize(slot + 1, 0);
        }
        let entry = ((key >> 64) as u64, id);
        if self.position[slot] == ABSENT {
            self.lower[slot] = key as u64;
            if self.hole {
                self.hole = false;
                self.down(0, entry);
            } else {
                self.heap.push(entry);
                self.up(self.heap.len() - 1, entry);
            }
        } else {
            self.settle();
            let at = self.position[slot] as usize;
            let earlier = key < self.key(self.heap[at]);
            self.lower[slot] = key as u64;
            if earlier {
                self.up(at, entry);
            } else {
                self.down(at, entry);
            }
        }
    }

    /// Removes the deadline of `id`; true if there was one.
    #[inline]
    pub fn remove(&mut self, id: u32) -> bool {
        let slot = id as usize;
        self.settle();
        let Some(&at) = self.position.get(slot) else { return false };
        if at == ABSENT {
            return false;
        }
        self.position[slot] = ABSENT;
        let at = at as usize;
        let Some(moved) = self.heap.pop() else { return false };
        if at < self.heap.len() {
            if self.before(moved, self.heap[at]) {
                self.up(at, moved);
            } else {
                self.down(at, moved);
            }
        }
        true
    }

    /// Removes and returns the earliest `(key, id)`.
    #[inline]
    pub fn pop(&mut self) -> Option<(u128, u32)> {
        self.settle();
        let &first = self.heap.first()?;
        self.position[first.1 as usize] = ABSENT;
        self.hole = true;
        Some((self.key(first), first.1))
    }

    /// Whether `a` comes before `b`.
    #[inline]
    fn before(&self, a: (u64, u32), b: (u64, u32)) -> bool {
        if a.0 == b.0 { self.tie(a.1, b.1) } else { a.0 < b.0 }
    }

    #[cold]
    #[inline(never)]
    fn tie(&self, a: u32, b: u32) -> bool {
        self.lower[a as usize] < self.lower[b as usize]
    }

    #[inline]
    fn place(&mut self, at: usize, entry: (u64, u32)) {
        self.heap[at] = entry;
        self.position[entry.1 as usize] = at as u32;
    }

    #[inline]
    fn up(&mut self, mut hole: usize, entry: (u64, u32)) {
        while hole > 0 {
            let parent = (hole - 1) / 4;
            let above = self.heap[parent];
            if !self.before(entry, above) {
                break;
            }
            self.place(hole, above);
            hole = parent;
        }
        self.place(hole, entry);
    }

    #[inline]
    fn down(&mut self, mut hole: usize, entry: (u64, u32)) {
        let len = self.heap.len();
        loop {
            let first = 4 * hole + 1;
            let child = if first + 4 <= len {
                let c = &self.heap[first..first + 4];
                let a = usize::from(c[1].0 < c[0].0);
                let b = 2 + usize::from(c[3].0 < c[2].0);
                if c[0].0 == c[1].0 || c[2].0 == c[3].0 || c[a].0 == c[b].0 {
                    self.least(first, first + 4)
                } else {
                    first + if c[b].0 < c[a].0 { b } else { a }
                }
            } else if first < len {
                self.least(first, len)
            } else {
                break;
            };
            let below = self.heap[child];
            if !self.before(below, entry) {
                break;
            }
            self.place(hole, below);
            hole = child;
        }
        self.place(hole, entry);
    }

    /// The earliest of a range that is not empty.
    #[cold]
    #[inline(never)]
    fn least(&self, first: usize, end: usize) -> usize {
        (first + 1..end)
            .fold(first, |best, other| if self.before(self.heap[other], self.heap[best]) { other } else { best })
    }
}
