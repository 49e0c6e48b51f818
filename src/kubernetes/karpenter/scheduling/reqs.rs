//! Requirements as numbers: every set that occurs is kept once, joins and masks over instance types are remembered.
//! A pass meets few different sets, however many pods it has.

use indexmap::{IndexMap, IndexSet};
use rustc_hash::FxBuildHasher;

use crate::kubernetes::karpenter::bits::Bits;
use crate::kubernetes::karpenter::instance::{CapacityType, Offering};
use crate::kubernetes::karpenter::labels::WellKnown;
use crate::kubernetes::karpenter::requirements::{Requirements, ValueSet};
use crate::kubernetes::karpenter::table::TypeTable;
use crate::kubernetes::object::{Symbol, Symbols};

/// A set of requirements of a [`ReqTable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct ReqId(u32);

type Map<K, V> = IndexMap<K, V, FxBuildHasher>;

/// All sets of requirements of one pass. Host names are not in them: a node that is not there yet has none.
pub(super) struct ReqTable<'a> {
    symbols: &'a Symbols,
    known: &'a WellKnown,
    tables: &'a [TypeTable],
    /// Offerings that can be had now, by table and type.
    offered: Vec<Vec<u64>>,
    sets: IndexSet<Requirements, FxBuildHasher>,
    joins: Map<(ReqId, ReqId), Result<ReqId, Symbol>>,
    key_masks: Map<(usize, Symbol, ValueSet), Bits>,
    label_masks: Map<(usize, ReqId), Bits>,
    masks: Map<(usize, ReqId), Bits>,
}

impl<'a> ReqTable<'a> {
    /// `available` says which offering of which table's type can be had.
    pub(super) fn new(
        symbols: &'a Symbols,
        known: &'a WellKnown,
        tables: &'a [TypeTable],
        available: impl Fn(Symbol, &Offering) -> bool,
    ) -> Self {
        let of = |table: &TypeTable| {
            let types = table.types().iter().enumerate();
            types.map(|(at, t)| table.offered(at, |o| o.available && available(t.name, o))).collect()
        };
        Self {
            symbols,
            known,
            tables,
            offered: tables.iter().map(of).collect(),
            sets: IndexSet::default(),
            joins: Map::default(),
            key_masks: Map::default(),
            label_masks: Map::default(),
            masks: Map::default(),
        }
    }

    pub(super) fn intern(&mut self, requirements: Requirements) -> ReqId {
        ReqId(u32::try_from(self.sets.insert_full(requirements).0).expect("fewer sets than 2^32"))
    }

    pub(super) fn get(&self, id: ReqId) -> &Requirements {
        self.sets.get_index(id.0 as usize).expect("ids are given by this table")
    }

    /// The set with one key.
    pub(super) fn single(&mut self, key: Symbol, set: ValueSet) -> ReqId {
        let mut one = Requirements::default();
        one.set(key, set);
        self.intern(one)
    }

    /// Both together, where `incoming` may be added to the requirements of a NodeClaim still to be launched; else the
    /// key that stands against it.
    pub(super) fn join(&mut self, own: ReqId, incoming: ReqId) -> Result<ReqId, Symbol> {
        if own == incoming {
            return Ok(own);
        }
        if let Some(known) = self.joins.get(&(own, incoming)) {
            return *known;
        }
        let (a, b) = (self.get(own), self.get(incoming));
        let joined = match a.incompatible(b, |key| self.known.is_well_known(key), self.symbols) {
            Some(key) => Err(key),
            None => {
                let mut both = a.clone();
                both.add_all(b, self.symbols);
                Ok(both)
            }
        };
        let result = joined.map(|both| self.intern(both));
        self.joins.insert((own, incoming), result);
        result
    }

    /// The types whose labels intersect the requirements.
    pub(super) fn label_mask(&mut self, table: usize, id: ReqId) -> &Bits {
        if self.label_masks.get(&(table, id)).is_none() {
            let types = self.tables[table].types();
            let mut mask = Bits::where_true(types.len(), |_| true);
            let sets: Vec<(Symbol, ValueSet)> = self.get(id).iter().map(|(k, s)| (k, s.clone())).collect();
            for (key, set) in sets {
                let symbols = self.symbols;
                let here = self.key_masks.entry((table, key, set.clone().with_min_values(None))).or_insert_with(|| {
                    Bits::where_true(types.len(), |at| {
                        types[at]
                            .requirements
                            .get(key)
                            .is_none_or(|own| own.intersects(&set, symbols) || (own.is_negative() && set.is_negative()))
                    })
                });
                mask.and(here);
            }
            self.label_masks.insert((table, id), mask);
        }
        self.label_masks.get(&(table, id)).expect("it was made above")
    }

    /// The types whose labels intersect the requirements and of which a compatible offering can be had.
    pub(super) fn mask(&mut self, table: usize, id: ReqId) -> &Bits {
        if self.masks.get(&(table, id)).is_none() {
            let wanted = self.offering_bits(table, id);
            let mut mask = self.label_mask(table, id).clone();
            let offered = &self.offered[table];
            mask.retain(|at| offered[at] & wanted != 0);
            self.masks.insert((table, id), mask);
        }
        self.masks.get(&(table, id)).expect("it was made above")
    }

    /// The zones and capacity types that requirements allow, as bits of offerings.
    fn offering_bits(&self, table: usize, id: ReqId) -> u64 {
        let requirements = self.get(id);
        let allows = |key, value| requirements.get(key).is_none_or(|set: &ValueSet| set.has(value, self.symbols));
        let mut bits = 0;
        for (at, zone) in self.tables[table].zones().iter().enumerate() {
            for capacity_type in CapacityType::ALL {
                if allows(self.known.zone, *zone)
                    && allows(self.known.capacity_type, self.known.value_of(capacity_type))
                {
                    bits |= TypeTable::bit(at, capacity_type);
                }
            }
        }
        bits
    }

    /// The bits of the offerings of a type that can be had and that requirements allow.
    pub(super) fn open_offerings(&self, table: usize, id: ReqId, at: usize) -> u64 {
        self.offered[table][at] & self.offering_bits(table, id)
    }

    /// The price in nano-dollars of the cheapest offering of a type that can be had and that requirements allow.
    pub(super) fn cheapest(&self, table: usize, id: ReqId, at: usize) -> i64 {
        let (open, table) = (self.open_offerings(table, id, at), &self.tables[table]);
        let is_open = |o: &&Offering| {
            let zone = table.zones().iter().position(|z| *z == o.zone);
            o.available && zone.is_some_and(|zone| open & TypeTable::bit(zone, o.capacity_type) != 0)
        };
        let prices = table.types()[at].offerings.iter().filter(is_open).map(|o| o.price.nanos());
        prices.min().unwrap_or(i64::MAX)
    }
}
