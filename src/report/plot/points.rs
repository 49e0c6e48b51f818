//! Points and lines of values against values, with intervals both ways.

use plotters::backend::DrawingBackend;
use plotters::style::RGBColor;
use plotters::style::text_anchor::HPos;

use super::{Axis, Extent, Marker, mark, part_title};
use crate::report::pen::{
    Dash, Drawn, FAINT, GRID, INK, LEFT, LINE, Pen, RIGHT, SMALL, WIDTH, face, fitted, text_width,
};

/// Where values stand along the lower axis.
#[derive(Clone, Debug)]
pub(in crate::report) enum Places {
    /// As numbers.
    Numbers(Extent),
    /// As names, the first at 0, the next at 1.
    Names(Vec<String>),
}

/// A point.
#[derive(Clone, Debug)]
pub(in crate::report) struct Spot {
    pub(in crate::report) x: f64,
    pub(in crate::report) y: f64,
    pub(in crate::report) x_interval: Option<(f64, f64)>,
    pub(in crate::report) y_interval: Option<(f64, f64)>,
    /// From the middle of the mark to its edge, in points.
    pub(in crate::report) size: f64,
    pub(in crate::report) filled: bool,
    /// A name beside the point, where there is room.
    pub(in crate::report) name: String,
}

/// Points of one kind.
#[derive(Clone, Debug)]
pub(in crate::report) struct Spots {
    /// The name in the legend; none when it is empty.
    pub(in crate::report) name: String,
    pub(in crate::report) note: String,
    pub(in crate::report) color: RGBColor,
    pub(in crate::report) marker: Marker,
    /// How the points are joined, if they are.
    pub(in crate::report) dash: Option<Dash>,
    pub(in crate::report) spots: Vec<Spot>,
}

/// Points on two axes.
#[derive(Clone, Debug)]
pub(in crate::report) struct Points {
    pub(in crate::report) title: String,
    /// The words of the upright axis, with the unit.
    pub(in crate::report) unit: String,
    /// The words of the lower axis, with the unit.
    pub(in crate::report) below: String,
    pub(in crate::report) prefix: (&'static str, &'static str),
    pub(in crate::report) places: Places,
    pub(in crate::report) extent: Extent,
    pub(in crate::report) height: f64,
    pub(in crate::report) series: Vec<Spots>,
    /// Upright lines at values of the lower axis.
    pub(in crate::report) across: Vec<(f64, String)>,
    /// Level lines at values of the upright axis.
    pub(in crate::report) levels: Vec<(f64, String)>,
}

const HEAD: f64 = 28.0;
const FOOT: f64 = 40.0;

/// A box that a text or a mark takes: left, upper, right and lower edge.
type Box4 = (f64, f64, f64, f64);

fn apart(a: &Box4, b: &Box4) -> bool {
    a.2 <= b.0 || b.2 <= a.0 || a.3 <= b.1 || b.3 <= a.1
}

/// Limits that leave their values at least a third of the axis.
fn near(values: &[f64], limits: &[(f64, String)]) -> Vec<f64> {
    let (low, high) = values
        .iter()
        .filter(|v| v.is_finite())
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(*v), h.max(*v)));
    let room = 2.0 * (high - low).max(0.05 * high.abs());
    limits.iter().map(|l| l.0).filter(|v| *v >= low - room && *v <= high + room).collect()
}

impl Points {
    pub(super) fn height(&self) -> f64 {
        HEAD + self.height + FOOT
    }

    fn values(&self, of: impl Fn(&Spot) -> (f64, Option<(f64, f64)>)) -> Vec<f64> {
        let spots = self.series.iter().flat_map(|s| &s.spots);
        spots
            .flat_map(|s| {
                let (v, interval) = of(s);
                let (low, high) = interval.unwrap_or((v, v));
                [v, low, high]
            })
            .collect()
    }

    fn axes(&self) -> (Axis, Axis) {
        let xs = self.values(|s| (s.x, s.x_interval));
        let ys = self.values(|s| (s.y, s.y_interval));
        let upright = ys.iter().copied().chain(near(&ys, &self.levels));
        let upright = Axis::around(upright, self.extent, if self.height > 200.0 { 6 } else { 4 });
        let lower = match &self.places {
            Places::Numbers(extent) => Axis::around(xs.iter().copied().chain(near(&xs, &self.across)), *extent, 8),
            Places::Names(names) => {
                let mut axis = Axis::around([-0.5, names.len() as f64 - 0.5].into_iter(), Extent::Close, 1);
                axis.ticks = (0..names.len()).map(|i| i as f64).collect();
                (axis.from, axis.to) = (-0.5, names.len() as f64 - 0.5);
                axis
            }
        };
        (lower, upright)
    }

    pub(super) fn draw<DB: DrawingBackend>(&self, pen: &Pen<'_, DB>, top: f64) -> Drawn {
        let (lower, upright) = self.axes();
        let (left, right) = (LEFT, WIDTH - RIGHT);
        let (high, low) = (top + HEAD, top + HEAD + self.height);
        let x = |v: f64| left + (right - left) * lower.share(v);
        let y = |v: f64| low - (low - high) * upright.share(v);
        part_title(pen, &self.title, &self.unit, left, high - 12.0)?;
        for tick in &upright.ticks {
            pen.line(&[(left, y(*tick)), (right, y(*tick))], GRID, 0.75, Dash::Solid)?;
            let label = upright.label(*tick, self.prefix.1);
            pen.text(&label, left - 7.0, y(*tick), face(SMALL, FAINT), HPos::Right)?;
        }
        let mut free = f64::NEG_INFINITY;
        for tick in &lower.ticks {
            pen.line(&[(x(*tick), low), (x(*tick), low + 4.0)], FAINT, 0.75, Dash::Solid)?;
            let label = match &self.places {
                Places::Names(names) => {
                    let room = (right - left) / names.len().max(1) as f64 - 6.0;
                    names.get(*tick as usize).map_or(String::new(), |n| fitted(n, room.max(40.0), SMALL))
                }
                Places::Numbers(_) => lower.label(*tick, self.prefix.0),
            };
            let half = text_width(&label, SMALL, false) / 2.0;
            // Words that would touch are left out.
            if x(*tick) - half > free {
                pen.text(&label, x(*tick), low + 13.0, face(SMALL, FAINT), HPos::Center)?;
                free = x(*tick) + half + 6.0;
            }
        }
        pen.text(&self.below, f64::midpoint(left, right), low + 30.0, face(SMALL, FAINT), HPos::Center)?;
        let mut taken = self.limits(pen, (&lower, &upright), (left, right, high, low))?;
        for series in &self.series {
            if let Some(dash) = series.dash {
                let line: Vec<(f64, f64)> =
                    series.spots.iter().filter(|s| s.y.is_finite()).map(|s| (x(s.x), y(s.y))).collect();
                pen.line(&line, series.color, 1.5, dash)?;
            }
            for spot in series.spots.iter().filter(|s| s.y.is_finite()) {
                let (px, py) = (x(spot.x), y(spot.y));
                if let Some((a, b)) = spot.x_interval {
                    taken.push((x(a), py - 4.0, x(b), py + 4.0));
                    pen.line(&[(x(a), py), (x(b), py)], series.color, 1.2, Dash::Solid)?;
                    for end in [a, b] {
                        pen.line(&[(x(end), py - 3.0), (x(end), py + 3.0)], series.color, 1.2, Dash::Solid)?;
                    }
                }
                if let Some((a, b)) = spot.y_interval {
                    taken.push((px - 4.0, y(b), px + 4.0, y(a)));
                    pen.line(&[(px, y(a)), (px, y(b))], series.color, 1.2, Dash::Solid)?;
                    for end in [a, b] {
                        pen.line(&[(px - 3.0, y(end)), (px + 3.0, y(end))], series.color, 1.2, Dash::Solid)?;
                    }
                }
                mark(pen, (px, py), series.marker, spot.size, series.color, spot.filled)?;
                let around = spot.size + 2.0;
                taken.push((px - around, py - around, px + around, py + around));
            }
        }
        pen.line(&[(left, low), (right, low)], FAINT, 0.75, Dash::Solid)?;
        pen.line(&[(left, high), (left, low)], FAINT, 0.75, Dash::Solid)?;
        // What is drawn last lies above and is named first.
        for series in self.series.iter().rev() {
            for spot in series.spots.iter().filter(|s| s.y.is_finite() && !s.name.is_empty()) {
                self.name(pen, spot, (x(spot.x), y(spot.y)), (left, right, high, low), &mut taken)?;
            }
        }
        self.legend(pen, high)
    }

    /// Draws the limits and says what room their words take.
    fn limits<DB: DrawingBackend>(
        &self,
        pen: &Pen<'_, DB>,
        (lower, upright): (&Axis, &Axis),
        (left, right, high, low): Box4,
    ) -> Result<Vec<Box4>, String> {
        let mut taken = Vec::new();
        let mut beyond = Vec::new();
        for (value, words) in &self.levels {
            if !(upright.from..=upright.to).contains(value) {
                beyond.push(format!("{words}: far {}", if *value < upright.from { "below" } else { "above" }));
                continue;
            }
            let at = low - (low - high) * upright.share(*value);
            pen.line(&[(left, at), (right, at)], INK, 1.0, Dash::Long)?;
            let width = text_width(words, SMALL, false);
            let text = if at - 16.0 < high { at + 9.0 } else { at - 9.0 };
            pen.text(words, right - 4.0, text, face(SMALL, INK), HPos::Right)?;
            taken.push((right - 6.0 - width, text - 8.0, right, text + 8.0));
            taken.push((left, at - 2.0, right, at + 2.0));
        }
        for (value, words) in &self.across {
            if !(lower.from..=lower.to).contains(value) {
                beyond.push(format!("{words}: far to the {}", if *value < lower.from { "left" } else { "right" }));
                continue;
            }
            let at = left + (right - left) * lower.share(*value);
            pen.line(&[(at, high), (at, low)], INK, 1.0, Dash::Long)?;
            let width = text_width(words, SMALL, false);
            let from = if at + width + 8.0 < right { at + 5.0 } else { at - 5.0 - width };
            pen.text(words, from, low - 10.0, face(SMALL, INK), HPos::Left)?;
            taken.push((from, low - 18.0, from + width, low - 2.0));
            taken.push((at - 2.0, high, at + 2.0, low));
        }
        if !beyond.is_empty() {
            pen.text(&beyond.join("; "), right, high - 12.0, face(SMALL, INK), HPos::Right)?;
        }
        Ok(taken)
    }

    /// A name beside its point, on the first side that is free; none if no side is.
    fn name<DB: DrawingBackend>(
        &self,
        pen: &Pen<'_, DB>,
        spot: &Spot,
        (px, py): (f64, f64),
        (left, right, high, low): Box4,
        taken: &mut Vec<Box4>,
    ) -> Drawn {
        let (width, off) = (text_width(&spot.name, SMALL, false), spot.size + 6.0);
        let sides = [
            (px + off, py - 9.0),
            (px + off, py + 9.0),
            (px - off - width, py - 9.0),
            (px - off - width, py + 9.0),
            (px - width / 2.0, py - off - 8.0),
            (px - width / 2.0, py + off + 8.0),
        ];
        for (from, middle) in sides {
            let room = (from - 2.0, middle - 7.0, from + width + 2.0, middle + 7.0);
            let inside = room.0 >= left && room.2 <= right && room.1 >= high && room.3 <= low;
            if inside && taken.iter().all(|t| apart(t, &room)) {
                taken.push(room);
                return pen.text(&spot.name, from, middle, face(SMALL, INK), HPos::Left);
            }
        }
        Ok(())
    }

    fn legend<DB: DrawingBackend>(&self, pen: &Pen<'_, DB>, high: f64) -> Drawn {
        let x = WIDTH - RIGHT + 12.0;
        let room = WIDTH - 12.0 - x - 34.0;
        let mut y = high + 6.0;
        for series in self.series.iter().filter(|s| !s.name.is_empty()) {
            if let Some(dash) = series.dash {
                pen.line(&[(x, y), (x + 26.0, y)], series.color, 1.5, dash)?;
            }
            let filled = series.spots.iter().any(|s| s.filled);
            if series.spots.iter().any(|s| s.size >= 1.0) {
                mark(pen, (x + 13.0, y), series.marker, 4.2, series.color, filled)?;
            }
            pen.text(&fitted(&series.name, room, SMALL), x + 34.0, y, face(SMALL, INK), HPos::Left)?;
            if !series.note.is_empty() {
                y += LINE - 2.0;
                pen.text(&fitted(&series.note, room, SMALL - 1.0), x + 34.0, y, face(SMALL - 1.0, FAINT), HPos::Left)?;
            }
            y += LINE;
        }
        Ok(())
    }
}
