//! The configurations that some axes span, loaded and checked.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::runner::Point;
use super::sweep::label;
use crate::scenario::Loaded;
use crate::scenario::axis::Axis;
use crate::scenario::check::arithmetic;
use crate::scenario::diagnostic::{Diagnostics, Severity};

/// Axes, the configurations on them, and which of these can run.
#[derive(Clone, Debug)]
pub struct Space {
    /// The axes.
    pub axes: Vec<Axis>,
    /// Of each configuration the value on each axis.
    pub values: Vec<Vec<String>>,
    /// The configurations that can run, in their order.
    pub points: Vec<Point>,
    /// Of each of these its place in `values`.
    pub of_point: Vec<usize>,
    /// Of each configuration why it cannot run, if so.
    pub invalid: Vec<Option<String>>,
}

/// Why a space cannot be used at all.
#[derive(Debug)]
pub enum SpaceError {
    /// An address or the kind of a value is wrong, or no configuration is a valid scenario.
    Scenario(Diagnostics),
    /// No configuration can meet its objectives, whatever happens: why the first cannot.
    Hopeless(String),
}

/// What comes of one configuration.
enum Read {
    Point(Box<Point>),
    Invalid(String, Option<Diagnostics>),
    Wrong(Diagnostics),
}

impl Space {
    /// Loads every configuration on `jobs` threads. `load` gets what would be written after `--set`, once per axis; `command`
    /// makes of the same the command that runs the configuration. One that is refused, or cannot meet its
    /// objectives whatever happens, is kept as invalid.
    ///
    /// # Errors
    /// When an address or the kind of a value is wrong, or no configuration can run.
    pub fn load(
        axes: Vec<Axis>,
        values: Vec<Vec<String>>,
        jobs: usize,
        load: impl Fn(&[String]) -> Result<Loaded, Diagnostics> + Sync,
        command: impl Fn(&Loaded, &[String]) -> String + Sync,
    ) -> Result<Self, SpaceError> {
        let next = AtomicUsize::new(0);
        let read: Vec<Mutex<Option<Read>>> = values.iter().map(|_| Mutex::new(None)).collect();
        let work = || loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(values) = values.get(index) else { return };
            let sets: Vec<String> =
                axes.iter().zip(values).map(|(a, value)| format!("{}={value}", a.address)).collect();
            let one = match load(&sets) {
                Err(found) => refused(found),
                Ok(loaded) => match hopeless(&loaded) {
                    Some(why) => Read::Invalid(why, None),
                    None => {
                        let command = command(&loaded, &sets);
                        Read::Point(Box::new(Point::new(loaded, label(&axes, values), command)))
                    }
                },
            };
            // What is wrong with the language is told at once: nothing below this place is left unread by it.
            if matches!(one, Read::Wrong(_)) {
                next.fetch_max(read.len(), Ordering::Relaxed);
            }
            if let Ok(mut place) = read[index].lock() {
                *place = Some(one);
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..jobs.max(1).min(values.len()) {
                scope.spawn(work);
            }
            work();
        });
        let mut space = Self { axes, values, points: Vec::new(), of_point: Vec::new(), invalid: Vec::new() };
        let mut first = None;
        let read = read.into_iter().map(|place| place.into_inner().ok().flatten());
        for (index, one) in read.enumerate() {
            match one {
                Some(Read::Wrong(found)) => return Err(SpaceError::Scenario(found)),
                Some(Read::Point(point)) => {
                    space.points.push(*point);
                    space.of_point.push(index);
                    space.invalid.push(None);
                }
                Some(Read::Invalid(why, found)) => {
                    first = first.or(found);
                    space.invalid.push(Some(why));
                }
                None => space.invalid.push(Some("not read".to_owned())),
            }
        }
        match (space.points.is_empty(), first) {
            (false, _) => Ok(space),
            (true, Some(found)) => Err(SpaceError::Scenario(found)),
            (true, None) => Err(SpaceError::Hopeless(space.invalid.into_iter().flatten().next().unwrap_or_default())),
        }
    }
}

/// A refused configuration: what is wrong with the language itself is wrong in every one.
fn refused(found: Diagnostics) -> Read {
    let of_language = |code: &str| code.starts_with("S0") || code.starts_with("S2");
    let errors = || found.items.iter().filter(|d| d.severity == Severity::Error);
    if errors().any(|d| of_language(d.code)) {
        return Read::Wrong(found);
    }
    let why = errors().next().map_or_else(|| "refused".to_owned(), |d| d.message.clone());
    Read::Invalid(why, Some(found))
}

/// Why a configuration cannot meet its objectives, whatever happens.
fn hopeless(loaded: &Loaded) -> Option<String> {
    let findings = arithmetic(&loaded.plan, &loaded.inputs);
    findings.into_iter().find(|f| f.severity == Severity::Error).map(|f| f.message)
}
