//! The instances of a cluster, kept ordered so that a choice needs no look at all of them.
//!
//! Every kind of task ([`PlacementSpec`]) has a tournament in each cell, a cell being the instances of one
//! capacity in one zone. Instances that can take the task play with what the strategies compare on a
//! single instance (tasks of the group, CPU left, memory left, id), packed into one number; the others
//! stand aside. A choice compares the winners of a few cells. A reservation touches one instance, and of
//! the kinds only those for which its number or its ability to take the task changes.
//!
//! The answers are those of [`super::choice`], which looks at every instance (tested against random
//! clusters). Equal instances are told apart by the lowest id, or at random by their order in the pool.

use std::borrow::Cow;
use std::ops::Range;

use indexmap::IndexMap;
use jiff::Timestamp;

use super::choice::{self, Candidate, Choice, Obstacle, WhyNot};
use super::spec::{GroupId, Packing, PlacementSpec};
use super::tree::{Board, CountedTree, NONE};
use crate::cluster::nodes::{Needs, Resources};
use crate::scenario::expression::{Expression, Instance};
use crate::scenario::model::Architecture;
use crate::units::{CapacityId, NodeId, ZoneId};

/// What instances of one capacity, zone and type have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeClass {
    /// Whose instances they are.
    pub capacity: CapacityId,
    /// Where they stand.
    pub zone: ZoneId,
    /// What their agents register, reservations of the agent taken off.
    pub offers: Resources,
    /// Their processor.
    pub architecture: Architecture,
    /// Their attributes, `ecs.instance-type`, `ecs.availability-zone`, `ecs.os-type`,
    /// `ecs.cpu-architecture` and `ecs.ami-id` included.
    pub attributes: IndexMap<String, String>,
}

/// A class of instances: a position in the pool's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClassId(pub u32);

/// A kind of task: a position in the pool's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ShapeId(pub u32);

/// Where to look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Within {
    /// Only instances of this capacity; else of all that the kind of task allows.
    pub capacity: Option<CapacityId>,
    /// Only instances in this zone.
    pub zone: Option<ZoneId>,
}

/// The EC2 instance id under which expressions know an instance: `i-` and its number in hexadecimal.
#[must_use]
pub fn instance_id(node: NodeId) -> String {
    format!("i-{:017x}", node.0)
}

/// The instances of a cluster and what is reserved on them.
#[derive(Clone, Debug, Default)]
pub struct NodePool {
    classes: Vec<NodeClass>,
    /// By class: the kinds that it may take, one bit each.
    admitted: Vec<Vec<u64>>,
    groups: Vec<Group>,
    shapes: Vec<Shape>,
    /// Of each kind what every reservation asks.
    quick: Vec<Quick>,
    cells: Vec<Cell>,
    /// By node id: cell and slot.
    places: Vec<Option<(u32, u32)>>,
    zones: usize,
    /// Changes of one instance, kept for its allocation.
    changes: Vec<(u32, u128)>,
}

#[derive(Clone, Debug)]
struct Group {
    name: String,
    /// Tasks by zone.
    zones: Vec<u32>,
}

#[derive(Clone, Debug)]
struct Shape {
    spec: PlacementSpec,
    /// Expressions that must be asked of each instance again and again.
    live: Vec<Expression>,
}

/// What of a kind of task decides whether a change of an instance matters to it.
#[derive(Clone, Copy, Debug)]
struct Quick {
    need: Resources,
    group: GroupId,
    /// The key changes with what is left.
    packs: bool,
    /// Tasks of the group on the instance matter.
    counts: bool,
    /// No two tasks of the group on one instance.
    distinct: bool,
    /// Ports or live expressions: whether the task fits cannot be seen from what is left.
    special: bool,
    packing: Packing,
}

/// Where the tournament of a kind of task is in a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seat {
    /// The kind does not stand on instances of this capacity.
    Nowhere,
    /// A column of the board.
    Column(u32),
    /// A tree of its own, for a kind that chooses at random.
    Tree(u32),
}

#[derive(Clone, Debug)]
struct Cell {
    capacity: CapacityId,
    zone: ZoneId,
    slots: Vec<Option<Entry>>,
    free: Vec<u32>,
    /// By kind of task.
    seats: Vec<Seat>,
    board: Board,
    trees: Vec<CountedTree>,
}

impl Cell {
    fn least(&self, shape: usize) -> u128 {
        match self.seats[shape] {
            Seat::Nowhere => NONE,
            Seat::Column(c) => self.board.least(c as usize),
            Seat::Tree(t) => self.trees[t as usize].least(),
        }
    }

    /// Instances that are equally good at random; else one.
    fn equals(&self, shape: usize) -> u32 {
        match self.seats[shape] {
            Seat::Tree(t) => self.trees[t as usize].equals(),
            Seat::Nowhere | Seat::Column(_) => 1,
        }
    }

    fn winner(&self, shape: usize, nth: u32) -> Option<&Entry> {
        let slot = match self.seats[shape] {
            Seat::Nowhere => None,
            Seat::Column(c) => self.board.position(c as usize),
            Seat::Tree(t) => self.trees[t as usize].position(nth),
        };
        self.slots.get(slot?)?.as_ref()
    }

    /// A seat for the next kind of task.
    fn seat(&mut self, spec: &PlacementSpec) {
        let seat = if !spec.capacities.contains(&self.capacity) {
            Seat::Nowhere
        } else if spec.chain.is_random() {
            self.trees.push(CountedTree::default());
            Seat::Tree(self.trees.len() as u32 - 1)
        } else {
            Seat::Column(self.board.add_column() as u32)
        };
        self.seats.push(seat);
    }
}

/// An instance in its slot.
#[derive(Clone, Debug)]
struct Entry {
    id: NodeId,
    class: ClassId,
    left: Resources,
    active: bool,
    tasks: u32,
    /// Tasks by group, sorted by group.
    groups: Vec<(GroupId, u32)>,
    /// Host ports that are taken, sorted.
    ports: Vec<u16>,
    registered_at: Timestamp,
}

impl Entry {
    fn of_group(&self, group: GroupId) -> u32 {
        self.groups.binary_search_by_key(&group, |g| g.0).map_or(0, |at| self.groups[at].1)
    }

    fn takes(&self, needs: &Needs) -> bool {
        fits(self.left, needs.resources) && !needs.ports.iter().any(|p| self.ports.binary_search(p).is_ok())
    }
}

#[inline]
fn fits(left: Resources, need: Resources) -> bool {
    // Without branches: most instances fail or pass in no order that a processor could learn.
    (left.cpu >= need.cpu) & (left.memory >= need.memory) & (left.gpus >= need.gpus) & (left.enis >= need.enis)
}

/// An instance as the query language sees it.
struct Seen<'a> {
    class: &'a NodeClass,
    entry: Option<&'a Entry>,
    groups: &'a [Group],
}

impl Instance for Seen<'_> {
    fn attribute(&self, name: &str) -> Option<&str> {
        self.class.attributes.get(name).map(String::as_str)
    }

    fn instance_id(&self) -> Cow<'_, str> {
        self.entry.map_or(Cow::Borrowed(""), |e| Cow::Owned(instance_id(e.id)))
    }

    fn registered_at(&self) -> Timestamp {
        self.entry.map_or(Timestamp::UNIX_EPOCH, |e| e.registered_at)
    }

    fn running_tasks(&self) -> u64 {
        self.entry.map_or(0, |e| u64::from(e.tasks))
    }

    fn has_group(&self, test: &dyn Fn(&str) -> bool) -> bool {
        self.entry.is_some_and(|e| e.groups.iter().any(|(g, _)| test(&self.groups[g.0 as usize].name)))
    }
}

impl NodePool {
    /// An empty pool over the zones of a cluster.
    #[must_use]
    pub fn new(zones: u32) -> Self {
        Self { zones: zones as usize, ..Self::default() }
    }

    /// The group of this name: `service:web` for the tasks of a service, `family:job` for standalone ones.
    pub fn group(&mut self, name: &str) -> GroupId {
        let at = self.groups.iter().position(|g| g.name == name).unwrap_or_else(|| {
            self.groups.push(Group { name: name.to_owned(), zones: vec![0; self.zones] });
            self.groups.len() - 1
        });
        GroupId(at as u32)
    }

    /// A kind of task; equal ones are one.
    pub fn shape(&mut self, spec: PlacementSpec) -> ShapeId {
        if let Some(at) = self.shapes.iter().position(|s| s.spec == spec) {
            return ShapeId(at as u32);
        }
        let live: Vec<Expression> = spec.expressions.iter().filter(|e| is_live(e)).cloned().collect();
        let packing = Packing::new(&spec.chain);
        self.quick.push(Quick {
            need: spec.needs.resources,
            group: spec.group,
            packs: packing.packs(),
            counts: packing.counts() || spec.needs.distinct,
            distinct: spec.needs.distinct,
            packing,
            special: !live.is_empty() || !spec.needs.ports.is_empty(),
        });
        let at = self.shapes.len();
        self.cells.iter_mut().for_each(|cell| cell.seat(&spec));
        self.shapes.push(Shape { spec, live });
        for class in 0..self.classes.len() {
            let admitted = self.admits(class, at);
            set_bit(&mut self.admitted[class], at, admitted);
        }
        for cell in 0..self.cells.len() {
            for slot in 0..self.cells[cell].slots.len() {
                self.play(cell, slot, at..at + 1);
            }
        }
        ShapeId(at as u32)
    }

    /// A class of instances; equal ones are one.
    pub fn class(&mut self, class: NodeClass) -> ClassId {
        if let Some(at) = self.classes.iter().position(|c| *c == class) {
            return ClassId(at as u32);
        }
        self.classes.push(class);
        let at = self.classes.len() - 1;
        let mut bits = Vec::new();
        for shape in 0..self.shapes.len() {
            set_bit(&mut bits, shape, self.admits(at, shape));
        }
        self.admitted.push(bits);
        ClassId(at as u32)
    }

    /// An instance registers, ACTIVE and empty. One that is there already is left as it is.
    ///
    /// # Panics
    /// On a class that this pool has not made.
    pub fn insert(&mut self, id: NodeId, class: ClassId, registered_at: Timestamp) {
        if self.place(id).is_some() {
            return;
        }
        let of = &self.classes[class.0 as usize];
        let (capacity, zone, left) = (of.capacity, of.zone, of.offers);
        let cell = self.cells.iter().position(|c| (c.capacity, c.zone) == (capacity, zone)).unwrap_or_else(|| {
            let mut cell = Cell {
                capacity,
                zone,
                slots: Vec::new(),
                free: Vec::new(),
                seats: Vec::new(),
                board: Board::default(),
                trees: Vec::new(),
            };
            self.shapes.iter().for_each(|s| cell.seat(&s.spec));
            self.cells.push(cell);
            self.cells.len() - 1
        });
        if zone.index() >= self.zones {
            self.zones = zone.index() + 1;
            self.groups.iter_mut().for_each(|g| g.zones.resize(self.zones, 0));
        }
        let entry =
            Entry { id, class, left, active: true, tasks: 0, groups: Vec::new(), ports: Vec::new(), registered_at };
        let slots = &mut self.cells[cell];
        let slot = slots.free.pop().map_or(slots.slots.len(), |s| s as usize);
        match slots.slots.get_mut(slot) {
            Some(free) => *free = Some(entry),
            None => slots.slots.push(Some(entry)),
        }
        if id.index() >= self.places.len() {
            self.places.resize(id.index() + 1, None);
        }
        self.places[id.index()] = Some((cell as u32, slot as u32));
        self.play(cell, slot, 0..self.shapes.len());
    }

    /// An instance is gone, with whatever was still reserved on it.
    pub fn remove(&mut self, id: NodeId) {
        let Some((cell, slot)) = self.place(id) else { return };
        self.places[id.index()] = None;
        let zone = self.cells[cell].zone.index();
        if let Some(entry) = self.cells[cell].slots[slot].take() {
            for (group, tasks) in entry.groups {
                let count = &mut self.groups[group.0 as usize].zones[zone];
                *count = count.saturating_sub(tasks);
            }
        }
        self.cells[cell].free.push(slot as u32);
        self.play(cell, slot, 0..self.shapes.len());
    }

    /// An instance takes tasks (ACTIVE) or does not (DRAINING).
    pub fn set_active(&mut self, id: NodeId, active: bool) {
        let Some((cell, slot)) = self.place(id) else { return };
        if let Some(entry) = self.cells[cell].slots[slot].as_mut().filter(|e| e.active != active) {
            entry.active = active;
            self.play(cell, slot, 0..self.shapes.len());
        }
    }

    /// A task is placed on an instance, whether by [`choose`](Self::choose) or because it is told to be there.
    ///
    /// # Errors
    /// What speaks against it; nothing is reserved then. A DRAINING instance and unmet constraints do not.
    ///
    /// # Panics
    /// On a kind of task that this pool has not made.
    pub fn reserve(&mut self, id: NodeId, shape: ShapeId) -> Result<(), Obstacle> {
        let Some((cell, slot)) = self.place(id) else { return Err(Obstacle::Inactive) };
        let needs = &self.shapes[shape.0 as usize].spec.needs;
        let group = self.quick[shape.0 as usize].group;
        let zone = self.cells[cell].zone;
        let Some(entry) = self.cells[cell].slots[slot].as_mut() else { return Err(Obstacle::Inactive) };
        if !entry.takes(needs) || needs.distinct && entry.of_group(group) > 0 {
            let seen = Candidate {
                id,
                zone,
                left: entry.left,
                ports: &entry.ports,
                group_tasks: entry.of_group(group),
                active: true,
                matches: true,
            };
            return Err(choice::obstacle(needs, &seen).unwrap_or(Obstacle::Inactive));
        }
        let before = entry.left;
        entry.left = before.minus(needs.resources);
        entry.tasks += 1;
        for port in &needs.ports {
            if let Err(at) = entry.ports.binary_search(port) {
                entry.ports.insert(at, *port);
            }
        }
        match entry.groups.binary_search_by_key(&group, |g| g.0) {
            Ok(at) => entry.groups[at].1 += 1,
            Err(at) => entry.groups.insert(at, (group, 1)),
        }
        self.groups[group.0 as usize].zones[zone.index()] += 1;
        self.changed(cell, slot, before, group);
        Ok(())
    }

    /// A task gives back what it held. Nothing happens when none of its group is there.
    ///
    /// # Panics
    /// On a kind of task that this pool has not made.
    pub fn release(&mut self, id: NodeId, shape: ShapeId) {
        let Some((cell, slot)) = self.place(id) else { return };
        let needs = &self.shapes[shape.0 as usize].spec.needs;
        let group = self.quick[shape.0 as usize].group;
        let zone = self.cells[cell].zone.index();
        let Some(entry) = self.cells[cell].slots[slot].as_mut() else { return };
        let Ok(at) = entry.groups.binary_search_by_key(&group, |g| g.0) else { return };
        entry.groups[at].1 -= 1;
        if entry.groups[at].1 == 0 {
            entry.groups.remove(at);
        }
        let before = entry.left;
        entry.left = before.plus(needs.resources);
        entry.tasks -= 1;
        entry.ports.retain(|p| needs.ports.binary_search(p).is_err());
        let count = &mut self.groups[group.0 as usize].zones[zone];
        *count = count.saturating_sub(1);
        self.changed(cell, slot, before, group);
    }

    /// The instance for the next task of a kind; `None` when there is none, see [`why_not`](Self::why_not).
    /// `draw` decides among equals where the strategies leave it to chance. Nothing is reserved.
    #[must_use]
    pub fn choose(&self, shape: ShapeId, within: Within, draw: u64) -> Option<Choice> {
        let at = shape.0 as usize;
        let (s, packing) = (self.shapes.get(at)?, self.quick[at].packing);
        let zones = &self.groups[s.spec.group.0 as usize].zones;
        let open = self.cells.iter().filter(|cell| {
            within.zone.is_none_or(|z| z == cell.zone) && within.capacity.is_none_or(|c| c == cell.capacity)
        });
        let key = |cell: &Cell| match cell.least(at) {
            NONE => None,
            key => Some(packing.across(key, zones[cell.zone.index()])),
        };
        let (mut best, mut winner) = (None, None);
        for cell in open.clone() {
            let of = key(cell);
            if of.is_some() && (best.is_none() || of < best) {
                (best, winner) = (of, Some(cell));
            }
        }
        let (mut cell, mut nth) = (winner?, 0);
        if s.spec.chain.is_random() {
            let equal = || open.clone().filter(|cell| key(cell) == best);
            let mut left = choice::pick(draw, equal().map(|cell| u64::from(cell.equals(at))).sum());
            for other in equal() {
                let n = u64::from(other.equals(at));
                if left < n {
                    (cell, nth) = (other, left as u32);
                    break;
                }
                left -= n;
            }
        }
        let entry = cell.winner(at, nth)?;
        Some(Choice {
            node: entry.id,
            zone: cell.zone,
            zone_tasks: zones[cell.zone.index()],
            node_tasks: entry.of_group(s.spec.group),
            cpu_left: entry.left.cpu.units(),
            memory_left: entry.left.memory.get() >> 20,
        })
    }

    /// Every instance that [`choose`](Self::choose) has to do with, as the plain rule takes them.
    pub fn candidates(&self, shape: ShapeId, within: Within) -> impl Iterator<Item = Candidate<'_>> {
        let s = &self.shapes[shape.0 as usize];
        let cells = (0..self.cells.len()).filter(move |at| self.is_within(*at, s, within));
        cells.flat_map(move |at| {
            let cell = &self.cells[at];
            cell.slots.iter().flatten().map(move |e| self.candidate(e, cell.zone, s))
        })
    }

    /// What speaks against each instance. This looks at all of them.
    #[must_use]
    pub fn why_not(&self, shape: ShapeId, within: Within) -> WhyNot {
        let needs = &self.shapes[shape.0 as usize].spec.needs;
        let mut why = WhyNot::default();
        for c in self.candidates(shape, within) {
            if let Some(obstacle) = choice::obstacle(needs, &c) {
                why.count(obstacle);
            }
        }
        why
    }

    /// Whether a task of this kind could stand on an empty, ACTIVE instance of a class.
    #[must_use]
    pub fn suits(&self, shape: ShapeId, class: ClassId) -> bool {
        let (s, c) = (&self.shapes[shape.0 as usize], &self.classes[class.0 as usize]);
        has_bit(&self.admitted[class.0 as usize], shape.0 as usize) && fits(c.offers, s.spec.needs.resources)
    }

    /// Whether a task of this kind may stand on this instance now: what a DAEMON service asks of each.
    #[must_use]
    pub fn obstacle(&self, id: NodeId, shape: ShapeId) -> Option<Obstacle> {
        let s = &self.shapes[shape.0 as usize];
        let Some((cell, entry)) = self.entry(id) else { return Some(Obstacle::Inactive) };
        choice::obstacle(&s.spec.needs, &self.candidate(entry, cell.zone, s))
    }

    /// Whether constraints and architecture admit this kind of task on this instance, room aside.
    #[must_use]
    pub fn admits_on(&self, id: NodeId, shape: ShapeId) -> bool {
        let s = &self.shapes[shape.0 as usize];
        self.entry(id).is_some_and(|(cell, e)| {
            s.spec.capacities.contains(&cell.capacity) && self.candidate(e, cell.zone, s).matches
        })
    }

    /// What is left on an instance.
    #[must_use]
    pub fn left(&self, id: NodeId) -> Option<Resources> {
        self.entry(id).map(|(_, e)| e.left)
    }

    /// Tasks of a group by zone.
    #[must_use]
    pub fn zone_tasks(&self, group: GroupId) -> &[u32] {
        &self.groups[group.0 as usize].zones
    }

    /// The kind of task behind an id.
    #[must_use]
    pub fn spec(&self, shape: ShapeId) -> &PlacementSpec {
        &self.shapes[shape.0 as usize].spec
    }

    fn place(&self, id: NodeId) -> Option<(usize, usize)> {
        self.places.get(id.index()).copied().flatten().map(|(cell, slot)| (cell as usize, slot as usize))
    }

    fn entry(&self, id: NodeId) -> Option<(&Cell, &Entry)> {
        let (cell, slot) = self.place(id)?;
        let cell = &self.cells[cell];
        Some((cell, cell.slots[slot].as_ref()?))
    }

    fn is_within(&self, at: usize, s: &Shape, within: Within) -> bool {
        let cell = &self.cells[at];
        within.zone.is_none_or(|z| z == cell.zone)
            && within.capacity.is_none_or(|c| c == cell.capacity)
            && s.spec.capacities.contains(&cell.capacity)
    }

    fn candidate<'a>(&'a self, e: &'a Entry, zone: ZoneId, s: &Shape) -> Candidate<'a> {
        Candidate {
            id: e.id,
            zone,
            left: e.left,
            ports: &e.ports,
            group_tasks: e.of_group(s.spec.group),
            active: e.active,
            matches: {
                let class = &self.classes[e.class.0 as usize];
                let seen = Seen { class, entry: Some(e), groups: &self.groups };
                class.architecture == s.spec.architecture && s.spec.expressions.iter().all(|x| x.holds(&seen))
            },
        }
    }

    /// Whether a class may take a kind of task, as far as that never changes.
    fn admits(&self, class: usize, shape: usize) -> bool {
        let (class, spec) = (&self.classes[class], &self.shapes[shape].spec);
        let seen = Seen { class, entry: None, groups: &self.groups };
        class.architecture == spec.architecture
            && spec.capacities.contains(&class.capacity)
            && spec.expressions.iter().filter(|e| !is_live(e)).all(|e| e.holds(&seen))
    }

    /// Plays again in one slot, for some kinds of task.
    fn play(&mut self, cell: usize, slot: usize, shapes: Range<usize>) {
        let mut changes = std::mem::take(&mut self.changes);
        for shape in shapes {
            let key = self.key(cell, slot, shape);
            match self.cells[cell].seats[shape] {
                Seat::Nowhere => {}
                Seat::Column(c) => changes.push((c, key)),
                Seat::Tree(t) => self.cells[cell].trees[t as usize].set(slot, key),
            }
        }
        if !changes.is_empty() {
            self.cells[cell].board.set(slot, &mut changes);
        }
        self.changes = changes;
    }

    fn key(&self, cell: usize, slot: usize, shape: usize) -> u128 {
        let (s, of) = (&self.shapes[shape], &self.cells[cell]);
        let Some(e) = &of.slots[slot] else { return NONE };
        if !e.active || !has_bit(&self.admitted[e.class.0 as usize], shape) || !e.takes(&s.spec.needs) {
            return NONE;
        }
        let tasks = if self.quick[shape].counts { e.of_group(s.spec.group) } else { 0 };
        if s.spec.needs.distinct && tasks > 0 {
            return NONE;
        }
        let seen = Seen { class: &self.classes[e.class.0 as usize], entry: Some(e), groups: &self.groups };
        if !s.live.iter().all(|x| x.holds(&seen)) {
            return NONE;
        }
        self.quick[shape].packing.key(tasks, e.left, e.id.0)
    }

    /// A task of `group` came or went, and `before` was left: plays where that matters.
    fn changed(&mut self, cell: usize, slot: usize, before: Resources, group: GroupId) {
        let mut changes = std::mem::take(&mut self.changes);
        let Some(entry) = &self.cells[cell].slots[slot] else { return };
        if !entry.active {
            return;
        }
        let (left, id, class) = (entry.left, entry.id.0, entry.class.0 as usize);
        for word in 0..self.admitted[class].len() {
            let mut bits = self.admitted[class][word];
            while bits != 0 {
                let shape = word * 64 + bits.trailing_zeros() as usize;
                bits &= bits - 1;
                let q = &self.quick[shape];
                let (was, is) = (fits(before, q.need), fits(left, q.need));
                let moved = (was != is) | (is & (q.packs | (q.counts & (q.group == group)))) | (q.special & (was | is));
                if !moved {
                    continue;
                }
                let key = if q.special {
                    self.key(cell, slot, shape)
                } else if !is {
                    NONE
                } else {
                    let entry = self.cells[cell].slots[slot].as_ref();
                    let tasks = if q.counts { entry.map_or(0, |e| e.of_group(q.group)) } else { 0 };
                    if q.distinct && tasks > 0 { NONE } else { q.packing.key(tasks, left, id) }
                };
                match self.cells[cell].seats[shape] {
                    Seat::Nowhere => {}
                    Seat::Column(c) => changes.push((c, key)),
                    Seat::Tree(t) => self.cells[cell].trees[t as usize].set(slot, key),
                }
            }
        }
        if !changes.is_empty() {
            self.cells[cell].board.set(slot, &mut changes);
        }
        self.changes = changes;
    }
}

/// Whether instances of one class can differ in it, or one instance from moment to moment.
fn is_live(expression: &Expression) -> bool {
    expression.depends_on_tasks() || expression.depends_on_instance()
}

fn set_bit(bits: &mut Vec<u64>, at: usize, on: bool) {
    if bits.len() <= at / 64 {
        bits.resize(at / 64 + 1, 0);
    }
    bits[at / 64] |= u64::from(on) << (at % 64);
}

fn has_bit(bits: &[u64], at: usize) -> bool {
    bits.get(at / 64).is_some_and(|w| w >> (at % 64) & 1 == 1)
}

#[cfg(test)]
mod tests;
