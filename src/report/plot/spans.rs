//! Rows of spans on one axis of time: a waterfall.

use plotters::backend::DrawingBackend;
use plotters::style::RGBColor;
use plotters::style::text_anchor::HPos;

use super::{Axis, Extent, part_title};
use crate::report::pen::{Dash, Drawn, FAINT, GRID, INK, Pen, SMALL, WIDTH, bold, face, fitted, text_width};

/// A span.
#[derive(Clone, Debug)]
pub(in crate::report) struct Span {
    pub(in crate::report) label: String,
    pub(in crate::report) from: f64,
    pub(in crate::report) to: f64,
    pub(in crate::report) color: RGBColor,
    /// Words beside the span.
    pub(in crate::report) note: String,
    /// A heading above the row.
    pub(in crate::report) heading: String,
}

/// Spans, each in a row of its own.
#[derive(Clone, Debug)]
pub(in crate::report) struct Spans {
    pub(in crate::report) unit: String,
    /// The time that the axis counts from.
    pub(in crate::report) origin: f64,
    pub(in crate::report) rows: Vec<Span>,
}

const HEAD: f64 = 30.0;
const FOOT: f64 = 22.0;
const HEADING: f64 = 20.0;
const ROW: f64 = 20.0;
/// The words beside a span have at least this much room.
const NOTE: f64 = 250.0;

impl Spans {
    fn body(&self) -> f64 {
        self.rows.iter().map(|r| ROW + if r.heading.is_empty() { 0.0 } else { HEADING }).sum()
    }

    pub(super) fn height(&self) -> f64 {
        HEAD + self.body() + FOOT
    }

    pub(super) fn draw<DB: DrawingBackend>(&self, pen: &Pen<'_, DB>, top: f64) -> Drawn {
        let widest = self.rows.iter().map(|r| text_width(&r.label, SMALL, false)).fold(0.0, f64::max);
        let left = (widest + 36.0).clamp(66.0, 250.0);
        let right = WIDTH - NOTE - 20.0;
        let ends = self.rows.iter().flat_map(|r| [r.from - self.origin, r.to - self.origin]);
        let axis = Axis::around(ends, Extent::Zero, 8);
        let x = |t: f64| left + (right - left) * axis.share(t - self.origin);
        let (upper, lower) = (top + HEAD, top + HEAD + self.body());
        part_title(pen, "", &self.unit, 20.0, top + 12.0)?;
        for tick in &axis.ticks {
            let at = left + (right - left) * axis.share(*tick);
            pen.line(&[(at, upper), (at, lower)], GRID, 0.75, Dash::Solid)?;
            pen.text(&axis.label(*tick, ""), at, lower + 12.0, face(SMALL, FAINT), HPos::Center)?;
        }
        pen.line(&[(left, lower), (right, lower)], FAINT, 0.75, Dash::Solid)?;
        let mut y = upper;
        for row in &self.rows {
            if !row.heading.is_empty() {
                pen.text(&row.heading, 20.0, y + HEADING / 2.0 + 2.0, bold(SMALL, INK), HPos::Left)?;
                y += HEADING;
            }
            let middle = y + ROW / 2.0;
            let label = fitted(&row.label, left - 32.0, SMALL);
            pen.text(&label, left - 10.0, middle, face(SMALL, INK), HPos::Right)?;
            // A span of no width is still seen.
            let end = x(row.to).max(x(row.from) + 1.5);
            pen.rectangle(x(row.from), y + 4.0, end, y + ROW - 4.0, row.color, 0.9)?;
            let note = fitted(&row.note, WIDTH - 14.0 - end - 8.0, SMALL);
            pen.text(&note, end + 8.0, middle, face(SMALL, INK), HPos::Left)?;
            y += ROW;
        }
        Ok(())
    }
}
