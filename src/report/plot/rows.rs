//! Rows on one axis of values: how runs spread, and intervals.

use plotters::backend::DrawingBackend;
use plotters::style::RGBColor;
use plotters::style::text_anchor::HPos;

use super::{Axis, Extent, Marker, mark, part_title};
use crate::report::pen::{Dash, Drawn, FAINT, GRID, INK, Pen, SMALL, WIDTH, bold, face, fitted, text_width};
use crate::report::spread::quantile;

/// A row.
#[derive(Clone, Debug)]
pub(in crate::report) struct Row {
    pub(in crate::report) label: String,
    pub(in crate::report) color: RGBColor,
    pub(in crate::report) marker: Marker,
    /// One value of each run.
    pub(in crate::report) runs: Vec<f64>,
    /// A value that is estimated, with its interval.
    pub(in crate::report) estimate: Option<(f64, Option<(f64, f64)>)>,
    /// Whether the mark of the estimate is filled.
    pub(in crate::report) filled: bool,
    /// Words at the right.
    pub(in crate::report) note: String,
    /// A heading above the row.
    pub(in crate::report) heading: String,
}

/// Rows on one axis.
#[derive(Clone, Debug)]
pub(in crate::report) struct Rows {
    pub(in crate::report) title: String,
    pub(in crate::report) unit: String,
    pub(in crate::report) prefix: &'static str,
    pub(in crate::report) extent: Extent,
    pub(in crate::report) rows: Vec<Row>,
    /// Values with a line over all rows, and their words.
    pub(in crate::report) levels: Vec<(f64, String)>,
    /// The axis ends here on both sides; what lies beyond gets an arrow.
    pub(in crate::report) clip: Option<f64>,
    /// Points for the words at the right.
    pub(in crate::report) right: f64,
}

const HEAD: f64 = 30.0;
/// Room for the words of levels, below the title.
const LEVELS: f64 = 12.0;
const FOOT: f64 = 22.0;
const HEADING: f64 = 20.0;

impl Rows {
    fn row_height(row: &Row) -> f64 {
        if row.runs.is_empty() { 19.0 } else { 40.0 }
    }

    fn body(&self) -> f64 {
        self.rows.iter().map(|r| Self::row_height(r) + if r.heading.is_empty() { 0.0 } else { HEADING }).sum()
    }

    pub(super) fn height(&self) -> f64 {
        self.head() + self.body() + FOOT
    }

    fn head(&self) -> f64 {
        HEAD + if self.levels.is_empty() || self.title.is_empty() { 0.0 } else { LEVELS }
    }

    fn left(&self) -> f64 {
        let widest = self.rows.iter().map(|r| text_width(&r.label, SMALL, false)).fold(0.0, f64::max);
        (widest + 44.0).clamp(66.0, 240.0)
    }

    fn axis(&self) -> Axis {
        let values = self.rows.iter().flat_map(|r| {
            let interval = r.estimate.iter().flat_map(|(x, i)| {
                let (low, high) = i.unwrap_or((*x, *x));
                [*x, low, high]
            });
            r.runs.iter().copied().chain(interval)
        });
        let clip = |v: f64| self.clip.map_or(v, |c| v.clamp(-c, c));
        let inside: Vec<f64> = values.map(clip).collect();
        let (low, high) = inside.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(*v), h.max(*v)));
        // A limit that is far from all values would leave no room for them.
        let near = |v: f64| v >= low - 1.5 * (high - low) && v <= high + 1.5 * (high - low);
        let levels = self.levels.iter().map(|l| l.0).filter(|v| near(*v));
        Axis::around(inside.iter().copied().chain(levels), self.extent, 7)
    }

    pub(super) fn draw<DB: DrawingBackend>(&self, pen: &Pen<'_, DB>, top: f64) -> Drawn {
        let (left, right) = (self.left(), WIDTH - self.right);
        let axis = self.axis();
        let x = |v: f64| left + (right - left) * axis.share(v);
        let (upper, lower) = (top + self.head(), top + self.head() + self.body());
        part_title(pen, &self.title, &self.unit, 20.0, top + 12.0)?;
        for tick in &axis.ticks {
            pen.line(&[(x(*tick), upper), (x(*tick), lower)], GRID, 0.75, Dash::Solid)?;
            pen.text(&axis.label(*tick, self.prefix), x(*tick), lower + 12.0, face(SMALL, FAINT), HPos::Center)?;
        }
        pen.line(&[(left, lower), (right, lower)], FAINT, 0.75, Dash::Solid)?;
        if (axis.from..=axis.to).contains(&0.0) && axis.from < 0.0 {
            pen.line(&[(x(0.0), upper), (x(0.0), lower)], INK, 1.0, Dash::Solid)?;
        }
        let mut beyond = Vec::new();
        for (value, words) in &self.levels {
            if !(axis.from..=axis.to).contains(value) {
                let side = if *value < axis.from { "left" } else { "right" };
                beyond.push(format!("{words}: far to the {side}"));
                continue;
            }
            pen.line(&[(x(*value), upper - 8.0), (x(*value), lower)], INK, 1.0, Dash::Long)?;
            let half = text_width(words, SMALL, false) / 2.0;
            let place = x(*value).clamp(left + half, right - half);
            pen.text(words, place, upper - 15.0, face(SMALL, INK), HPos::Center)?;
        }
        if !beyond.is_empty() {
            pen.text(&beyond.join("; "), right, upper - 15.0, face(SMALL, INK), HPos::Right)?;
        }
        let mut y = upper;
        for row in &self.rows {
            if !row.heading.is_empty() {
                pen.text(&row.heading, 20.0, y + HEADING / 2.0 + 2.0, bold(SMALL, INK), HPos::Left)?;
                y += HEADING;
            }
            let height = Self::row_height(row);
            self.draw_row(pen, row, (y, height), (left, right), &axis)?;
            y += height;
        }
        Ok(())
    }

    fn draw_row<DB: DrawingBackend>(
        &self,
        pen: &Pen<'_, DB>,
        row: &Row,
        (top, height): (f64, f64),
        (left, right): (f64, f64),
        axis: &Axis,
    ) -> Drawn {
        let x = |v: f64| left + (right - left) * axis.share(v);
        let middle = top + height / 2.0;
        mark(pen, (left - 12.0, middle), row.marker, 4.0, row.color, row.filled)?;
        let label = fitted(&row.label, left - 42.0, SMALL);
        pen.text(&label, left - 22.0, middle, face(SMALL, INK), HPos::Right)?;
        let note = fitted(&row.note, self.right - 20.0, SMALL - 0.5);
        pen.text(&note, right + 10.0, middle, face(SMALL - 0.5, FAINT), HPos::Left)?;
        let mut line = middle;
        if !row.runs.is_empty() {
            let dots = top + 14.0;
            line = top + 32.0;
            let mut sorted = row.runs.clone();
            sorted.sort_by(f64::total_cmp);
            if let (Some(a), Some(m), Some(b)) =
                (quantile(&sorted, 0.25), quantile(&sorted, 0.5), quantile(&sorted, 0.75))
            {
                pen.rectangle(x(a) - 0.5, dots - 12.0, x(b) + 0.5, dots + 12.0, row.color, 0.22)?;
                pen.rectangle(x(m) - 1.0, dots - 12.0, x(m) + 1.0, dots + 12.0, row.color, 1.0)?;
            }
            for (px, level) in swarm(&sorted.iter().map(|v| x(*v)).collect::<Vec<_>>()) {
                mark(pen, (px, dots + level), Marker::Circle, 2.3, row.color, true)?;
            }
        }
        let Some((value, interval)) = row.estimate else { return Ok(()) };
        if let Some((low, high)) = interval {
            pen.line(&[(x(low), line), (x(high), line)], row.color, 1.6, Dash::Solid)?;
            for end in [low, high] {
                // What goes on beyond the axis points on.
                if end < axis.from || end > axis.to {
                    let (tip, back) =
                        if end < axis.from { (left - 1.0, left + 7.0) } else { (right + 1.0, right - 7.0) };
                    pen.polygon(&[(tip, line), (back, line - 4.0), (back, line + 4.0)], row.color, 1.0)?;
                } else {
                    pen.line(&[(x(end), line - 3.0), (x(end), line + 3.0)], row.color, 1.2, Dash::Solid)?;
                }
            }
        }
        if (axis.from..=axis.to).contains(&value) {
            let marker = if row.runs.is_empty() { row.marker } else { Marker::Diamond };
            mark(pen, (x(value), line), marker, 4.2, row.color, row.filled)?;
        }
        Ok(())
    }
}

/// Places ascending dots so that they do not hide each other: how far each is moved up or down.
fn swarm(places: &[f64]) -> Vec<(f64, f64)> {
    const LEVELS: [f64; 5] = [0.0, -5.0, 5.0, -10.0, 10.0];
    let mut last = [f64::NEG_INFINITY; LEVELS.len()];
    let mut turn = 0;
    places
        .iter()
        .map(|&px| {
            let free = (0..LEVELS.len()).find(|&l| px - last[l] >= 5.0).unwrap_or_else(|| {
                turn = (turn + 1) % LEVELS.len();
                turn
            });
            last[free] = px;
            (px, LEVELS[free])
        })
        .collect()
}
