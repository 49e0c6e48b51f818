//! The algebra of requirements: sets of label values, possibly complemented, with integer bounds.
//!
//! Source: `kubernetes-sigs/karpenter`, `pkg/scheduling` (v1.14). The universe of values is unbounded, so a
//! set is either a list of values or everything but a list; bounds hold for complemented sets only, as a list
//! is cut to its bounds at once.

use super::labels::WellKnown;
use crate::kubernetes::object::{Labels, NodeSelectorTerm, Operator, Requirement, Symbol, Symbols};

/// The values that one key may take.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ValueSet {
    complement: bool,
    values: Vec<Symbol>,
    gte: Option<i64>,
    lte: Option<i64>,
    min_values: Option<u32>,
}

impl ValueSet {
    /// Every value: operator `Exists`.
    #[must_use]
    pub const fn any() -> Self {
        Self { complement: true, values: Vec::new(), gte: None, lte: None, min_values: None }
    }

    /// No value: operator `DoesNotExist`.
    #[must_use]
    pub const fn none() -> Self {
        Self { complement: false, values: Vec::new(), gte: None, lte: None, min_values: None }
    }

    /// Exactly these values: operator `In`.
    #[must_use]
    pub fn of(values: impl IntoIterator<Item = Symbol>) -> Self {
        let mut values: Vec<Symbol> = values.into_iter().collect();
        values.sort_unstable();
        values.dedup();
        Self { values, ..Self::none() }
    }

    /// A set from its parts: `complement` turns the list around, bounds are inclusive and count for
    /// complemented sets, `min_values` is the number of values that must remain to choose from.
    #[must_use]
    pub fn from_parts(
        complement: bool,
        values: impl IntoIterator<Item = Symbol>,
        gte: Option<i64>,
        lte: Option<i64>,
        min_values: Option<u32>,
    ) -> Self {
        Self { complement, gte, lte, min_values, ..Self::of(values) }
    }

    /// The set that an operator with values means. `Gt` and its like without one integer mean no value.
    #[must_use]
    pub fn from_operator(operator: Operator, values: &[Symbol], symbols: &Symbols) -> Self {
        let bound = || match values {
            [one] => symbols.integer(*one),
            _ => None,
        };
        let from = |gte: Option<i64>, lte: Option<i64>| match (gte, lte) {
            (None, None) => Self::none(),
            _ => Self { gte, lte, ..Self::any() },
        };
        match operator {
            Operator::In => Self::of(values.iter().copied()),
            Operator::NotIn => Self { complement: true, ..Self::of(values.iter().copied()) },
            Operator::Exists => Self::any(),
            Operator::DoesNotExist => Self::none(),
            Operator::Gt => from(bound().and_then(|b| b.checked_add(1)), None),
            Operator::Gte => from(bound(), None),
            Operator::Lt => from(None, bound().and_then(|b| b.checked_sub(1))),
            Operator::Lte => from(None, bound()),
        }
    }

    /// The same set with a demand for flexibility.
    #[must_use]
    pub fn with_min_values(mut self, min_values: Option<u32>) -> Self {
        self.min_values = min_values;
        self
    }

    /// Whether `values` tells what is left out rather than what is in.
    #[must_use]
    pub const fn is_complement(&self) -> bool {
        self.complement
    }

    /// The listed values, in the order of their symbols.
    #[must_use]
    pub fn values(&self) -> &[Symbol] {
        &self.values
    }

    /// The inclusive bounds.
    #[must_use]
    pub const fn bounds(&self) -> (Option<i64>, Option<i64>) {
        (self.gte, self.lte)
    }

    /// How many values must remain.
    #[must_use]
    pub const fn min_values(&self) -> Option<u32> {
        self.min_values
    }

    /// The only value, where there is exactly one.
    #[must_use]
    pub fn single(&self) -> Option<Symbol> {
        match self.values[..] {
            [one] if !self.complement => Some(one),
            _ => None,
        }
    }

    /// Whether no value is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.complement && self.values.is_empty()
    }

    /// What the set is called as an operator. Bounds alone count as `Exists`.
    #[must_use]
    pub fn operator(&self) -> Operator {
        match (self.complement, self.values.is_empty()) {
            (true, true) => Operator::Exists,
            (true, false) => Operator::NotIn,
            (false, false) => Operator::In,
            (false, true) => Operator::DoesNotExist,
        }
    }

    /// Whether it only says what must not be: `NotIn` or `DoesNotExist`.
    #[must_use]
    pub fn is_negative(&self) -> bool {
        self.complement != self.values.is_empty()
    }

    /// Whether a value is in it.
    #[must_use]
    pub fn has(&self, value: Symbol, symbols: &Symbols) -> bool {
        let listed = self.values.binary_search(&value).is_ok();
        listed != self.complement && within(value, self.gte, self.lte, symbols)
    }

    /// The values in both. The larger demand for flexibility stays.
    #[must_use]
    pub fn intersection(&self, other: &Self, symbols: &Symbols) -> Self {
        let gte = self.gte.max(other.gte);
        let lte = match (self.lte, other.lte) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        let min_values = self.min_values.max(other.min_values);
        if gte.zip(lte).is_some_and(|(gte, lte)| gte > lte) {
            return Self::none().with_min_values(min_values);
        }
        let fits = |v: &&Symbol| within(**v, gte, lte, symbols);
        let not_in = |of: &Self| {
            let of = of.values.clone();
            move |v: &&Symbol| of.binary_search(v).is_err()
        };
        let (complement, values): (bool, Vec<Symbol>) = match (self.complement, other.complement) {
            (true, true) => (true, self.values.iter().chain(&other.values).filter(fits).copied().collect()),
            (true, false) => (false, other.values.iter().filter(not_in(self)).filter(fits).copied().collect()),
            (false, true) => (false, self.values.iter().filter(not_in(other)).filter(fits).copied().collect()),
            (false, false) => {
                let both = |v: &&Symbol| other.values.binary_search(v).is_ok();
                (false, self.values.iter().filter(both).filter(fits).copied().collect())
            }
        };
        match complement {
            true => Self { complement, gte, lte, min_values, ..Self::of(values) },
            false => Self::of(values).with_min_values(min_values),
        }
    }

    /// Whether some value is in both.
    #[must_use]
    pub fn intersects(&self, other: &Self, symbols: &Symbols) -> bool {
        match (self.complement, other.complement) {
            (true, true) => {
                let (gte, lte) = (self.gte.max(other.gte), self.lte.into_iter().chain(other.lte).min());
                gte.zip(lte).is_none_or(|(gte, lte)| gte <= lte)
            }
            (true, false) => other.values.iter().any(|v| self.has(*v, symbols)),
            _ => self.values.iter().any(|v| other.has(*v, symbols)),
        }
    }
}

fn within(value: Symbol, gte: Option<i64>, lte: Option<i64>, symbols: &Symbols) -> bool {
    if gte.is_none() && lte.is_none() {
        return true;
    }
    symbols.integer(value).is_some_and(|n| gte.is_none_or(|b| n >= b) && lte.is_none_or(|b| n <= b))
}

/// Requirements on several keys, each key once, in the order of the keys' symbols.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Requirements(Vec<(Symbol, ValueSet)>);

impl Requirements {
    /// The set for a key; `None` where nothing is said about it.
    #[must_use]
    pub fn get(&self, key: Symbol) -> Option<&ValueSet> {
        self.0.binary_search_by_key(&key, |(k, _)| *k).ok().map(|at| &self.0[at].1)
    }

    /// All keys with their sets.
    pub fn iter(&self) -> impl Iterator<Item = (Symbol, &ValueSet)> + '_ {
        self.0.iter().map(|(key, set)| (*key, set))
    }

    /// Number of keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing is required.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a requirement: the key's set becomes its intersection with the one that was there.
    pub fn add(&mut self, key: Symbol, set: ValueSet, symbols: &Symbols) {
        match self.0.binary_search_by_key(&key, |(k, _)| *k) {
            Ok(at) => self.0[at].1 = self.0[at].1.intersection(&set, symbols),
            Err(at) => self.0.insert(at, (key, set)),
        }
    }

    /// Adds all requirements of another set.
    pub fn add_all(&mut self, other: &Self, symbols: &Symbols) {
        for (key, set) in other.iter() {
            self.add(key, set.clone(), symbols);
        }
    }

    /// Sets a key, in place of what was there.
    pub fn set(&mut self, key: Symbol, set: ValueSet) {
        match self.0.binary_search_by_key(&key, |(k, _)| *k) {
            Ok(at) => self.0[at].1 = set,
            Err(at) => self.0.insert(at, (key, set)),
        }
    }

    /// Takes a key away and gives what was there.
    pub fn remove(&mut self, key: Symbol) -> Option<ValueSet> {
        self.0.binary_search_by_key(&key, |(k, _)| *k).ok().map(|at| self.0.remove(at).1)
    }

    /// Requirements as labels make them: each `In` its one value.
    #[must_use]
    pub fn from_labels(labels: &Labels) -> Self {
        let mut own = Self::default();
        for (key, value) in labels.iter() {
            own.set(key, ValueSet::of([value]));
        }
        own
    }

    /// Requirements as a list of API requirements means them; deprecated keys become those that took their place.
    #[must_use]
    pub fn from_list<'a>(
        list: impl IntoIterator<Item = &'a Requirement>,
        known: &WellKnown,
        symbols: &Symbols,
    ) -> Self {
        let mut own = Self::default();
        for r in list {
            own.add(known.current(r.key), ValueSet::from_operator(r.operator, &r.values, symbols), symbols);
        }
        own
    }

    /// Adds the expressions of a term of node affinity; its field selectors name nodes and so the host name.
    pub fn add_term(&mut self, term: &NodeSelectorTerm, known: &WellKnown, symbols: &Symbols) {
        self.add_all(&Self::from_list(&term.expressions, known, symbols), symbols);
        for r in &term.names {
            self.add(known.hostname, ValueSet::from_operator(r.operator, &r.values, symbols), symbols);
        }
    }

    /// The first key of both whose sets share no value, unless both only say what must not be.
    #[must_use]
    pub fn conflict(&self, incoming: &Self, symbols: &Symbols) -> Option<Symbol> {
        let (mut a, mut b) = (self.0.iter().peekable(), incoming.0.iter().peekable());
        while let (Some((ka, sa)), Some((kb, sb))) = (a.peek(), b.peek()) {
            match ka.cmp(kb) {
                std::cmp::Ordering::Less => {
                    a.next();
                }
                std::cmp::Ordering::Greater => {
                    b.next();
                }
                std::cmp::Ordering::Equal => {
                    let both_negative = sa.is_negative() && sb.is_negative();
                    if !both_negative && !sa.intersects(sb, symbols) {
                        return Some(*ka);
                    }
                    a.next();
                    b.next();
                }
            }
        }
        None
    }

    /// The first key of `incoming` that stands against its being added: one that is not defined here, not
    /// `exempt` and positive, or one without a common value. `None` where the two are compatible.
    #[must_use]
    pub fn incompatible(&self, incoming: &Self, exempt: impl Fn(Symbol) -> bool, symbols: &Symbols) -> Option<Symbol> {
        let undefined =
            incoming.iter().find(|(key, set)| !exempt(*key) && self.get(*key).is_none() && !set.is_negative());
        undefined.map(|(key, _)| key).or_else(|| self.conflict(incoming, symbols))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_cut_lists_and_join() {
        let mut s = Symbols::default();
        let (one, two, nine, word) = (s.intern("1"), s.intern("2"), s.intern("9"), s.intern("A"));
        let above_one = ValueSet::from_operator(Operator::Gt, &[one], &s);
        assert_eq!(above_one.intersection(&ValueSet::of([one, two, nine, word]), &s), ValueSet::of([two, nine]));
        let below_two = ValueSet::from_operator(Operator::Lt, &[two], &s);
        assert!(above_one.intersection(&below_two, &s).is_empty() && !above_one.intersects(&below_two, &s));
        assert_eq!(above_one.operator(), Operator::Exists);
        assert!(
            ValueSet::from_operator(Operator::Gt, &[word], &s).is_empty(),
            "a bound that is no integer allows nothing"
        );
    }

    #[test]
    fn undefined_keys_count_against_positive_demands_only() {
        let mut s = Symbols::default();
        let (team, red) = (s.intern("team"), s.intern("red"));
        let (mut wants, mut avoids) = (Requirements::default(), Requirements::default());
        wants.set(team, ValueSet::of([red]));
        avoids.set(team, ValueSet::from_operator(Operator::NotIn, &[red], &s));
        let nothing = Requirements::default();
        assert_eq!(nothing.incompatible(&wants, |_| false, &s), Some(team));
        assert_eq!(nothing.incompatible(&wants, |_| true, &s), None);
        assert_eq!(nothing.incompatible(&avoids, |_| false, &s), None);
        assert_eq!(wants.incompatible(&avoids, |_| false, &s), Some(team));
    }
}
