//! Heat maps: a figure over two axes, its number in every cell.

use plotters::backend::DrawingBackend;
use plotters::style::RGBColor;
use plotters::style::text_anchor::HPos;

use super::part_title;
use crate::report::pen::{Dash, Drawn, FAINT, INK, LEFT, Pen, RIGHT, SMALL, WIDTH, face, fitted, text_width};

/// A figure over two axes.
#[derive(Clone, Debug)]
pub(in crate::report) struct Heat {
    pub(in crate::report) title: String,
    pub(in crate::report) unit: String,
    /// What the columns are.
    pub(in crate::report) below: String,
    /// What the rows are.
    pub(in crate::report) beside: String,
    pub(in crate::report) columns: Vec<String>,
    pub(in crate::report) rows: Vec<String>,
    /// Value and words of each cell, by row and column; absent where nothing ran.
    pub(in crate::report) cells: Vec<Vec<Option<(f64, String)>>>,
    /// Cells with a frame, by row and column.
    pub(in crate::report) framed: Vec<(usize, usize)>,
    /// What the frame says.
    pub(in crate::report) frame: String,
    /// Words of the ends of a scale from 0 to 1; without them it goes from the least cell to the most.
    pub(in crate::report) ends: Option<[String; 2]>,
}

const HEAD: f64 = 28.0;
const FOOT: f64 = 40.0;
const CELL: f64 = 26.0;
const NONE: RGBColor = RGBColor(238, 238, 238);

/// From light to dark, so that it also reads without colour.
const RAMP: [RGBColor; 5] = [
    RGBColor(253, 244, 200),
    RGBColor(165, 219, 183),
    RGBColor(65, 166, 187),
    RGBColor(41, 98, 160),
    RGBColor(38, 37, 96),
];

/// The colour of a share between 0 and 1.
fn ramp(share: f64) -> RGBColor {
    let place = share.clamp(0.0, 1.0) * (RAMP.len() - 1) as f64;
    let below = (place.floor() as usize).min(RAMP.len() - 2);
    let part = place - below as f64;
    let mix = |a: u8, b: u8| (f64::from(a) + (f64::from(b) - f64::from(a)) * part).round() as u8;
    let (a, b) = (RAMP[below], RAMP[below + 1]);
    RGBColor(mix(a.0, b.0), mix(a.1, b.1), mix(a.2, b.2))
}

impl Heat {
    pub(super) fn height(&self) -> f64 {
        HEAD + CELL * self.rows.len() as f64 + FOOT
    }

    fn left(&self) -> f64 {
        let widest = self.rows.iter().map(|r| text_width(r, SMALL, false)).fold(0.0, f64::max);
        (widest + 26.0).clamp(LEFT, 220.0)
    }

    pub(super) fn draw<DB: DrawingBackend>(&self, pen: &Pen<'_, DB>, top: f64) -> Drawn {
        let (left, right) = (self.left(), WIDTH - RIGHT);
        let (upper, lower) = (top + HEAD, top + HEAD + CELL * self.rows.len() as f64);
        let width = (right - left) / self.columns.len().max(1) as f64;
        let unit = format!("{}  ·  rows: {}", self.unit, self.beside);
        part_title(pen, &self.title, &unit, 20.0, upper - 13.0)?;
        let (low, high) = self
            .cells
            .iter()
            .flatten()
            .flatten()
            .filter(|c| c.0.is_finite())
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), c| (l.min(c.0), h.max(c.0)));
        let (low, high) = if self.ends.is_some() { (0.0, 1.0) } else { (low, high) };
        let share = |v: f64| if high > low { (v - low) / (high - low) } else { 0.5 };
        for (r, row) in self.cells.iter().enumerate() {
            let y = upper + CELL * r as f64;
            let label = self.rows.get(r).map_or(String::new(), |t| fitted(t, left - 26.0, SMALL));
            pen.text(&label, left - 8.0, y + CELL / 2.0, face(SMALL, INK), HPos::Right)?;
            for (c, cell) in row.iter().enumerate() {
                let x = left + width * c as f64;
                let color = cell.as_ref().filter(|c| c.0.is_finite()).map_or(NONE, |c| ramp(share(c.0)));
                pen.rectangle(x + 0.5, y + 0.5, x + width - 0.5, y + CELL - 0.5, color, 1.0)?;
                let Some((_, words)) = cell else { continue };
                let luminance = 0.3 * f64::from(color.0) + 0.59 * f64::from(color.1) + 0.11 * f64::from(color.2);
                let ink = if luminance < 130.0 { plotters::style::WHITE } else { INK };
                let size = if text_width(words, SMALL, false) + 4.0 <= width { SMALL } else { SMALL - 2.5 };
                if text_width(words, size, false) <= width {
                    pen.text(words, x + width / 2.0, y + CELL / 2.0, face(size, ink), HPos::Center)?;
                }
            }
        }
        for (r, c) in &self.framed {
            let (x, y) = (left + width * *c as f64 + 1.5, upper + CELL * *r as f64 + 1.5);
            let (to_x, to_y) = (x + width - 3.0, y + CELL - 3.0);
            let around = [(x, y), (to_x, y), (to_x, to_y), (x, to_y), (x, y)];
            pen.line(&around, plotters::style::WHITE, 4.0, Dash::Solid)?;
            pen.line(&around, INK, 2.0, Dash::Solid)?;
        }
        for (c, name) in self.columns.iter().enumerate() {
            let x = left + width * (c as f64 + 0.5);
            pen.text(&fitted(name, width - 4.0, SMALL), x, lower + 12.0, face(SMALL, INK), HPos::Center)?;
        }
        pen.text(&self.below, f64::midpoint(left, right), lower + 29.0, face(SMALL, FAINT), HPos::Center)?;
        self.legend(pen, upper, (low, high))
    }

    fn legend<DB: DrawingBackend>(&self, pen: &Pen<'_, DB>, top: f64, (low, high): (f64, f64)) -> Drawn {
        if !low.is_finite() {
            return Ok(());
        }
        let x = WIDTH - RIGHT + 14.0;
        let words = |v: f64| {
            if let Some([least, most]) = &self.ends {
                return if v > 0.0 { most.clone() } else { least.clone() };
            }
            let cell = self.cells.iter().flatten().flatten().find(|c| c.0 == v);
            cell.map_or(String::new(), |c| c.1.clone())
        };
        let steps = 24;
        for i in 0..steps {
            let from = x + 100.0 * f64::from(i) / f64::from(steps);
            let color = ramp(f64::from(i) / f64::from(steps - 1));
            pen.rectangle(from, top + 2.0, from + 100.0 / f64::from(steps) + 0.3, top + 12.0, color, 1.0)?;
        }
        pen.text(&words(low), x, top + 22.0, face(SMALL - 1.0, INK), HPos::Left)?;
        let least = words(low);
        if words(high) != least {
            pen.text(&words(high), x + 100.0, top + 22.0, face(SMALL - 1.0, INK), HPos::Right)?;
        }
        if !self.framed.is_empty() && !self.frame.is_empty() {
            let around = [(x, top + 34.0), (x + 16.0, top + 34.0), (x + 16.0, top + 44.0), (x, top + 44.0)];
            pen.line(&[around.as_slice(), &around[..1]].concat(), INK, 2.0, Dash::Solid)?;
            pen.text(&fitted(&self.frame, 140.0, SMALL), x + 23.0, top + 39.0, face(SMALL, INK), HPos::Left)?;
        }
        if self.cells.iter().flatten().any(Option::is_none) {
            pen.rectangle(x, top + 52.0, x + 16.0, top + 62.0, NONE, 1.0)?;
            pen.text("nothing ran", x + 23.0, top + 57.0, face(SMALL, INK), HPos::Left)?;
        }
        Ok(())
    }
}
