//! Plots of values against values: rows of distributions and intervals, points and lines, heat maps; stacked in
//! one drawing.

mod axis;
mod heat;
mod points;
mod rows;
mod spans;

use plotters::backend::DrawingBackend;
use plotters::style::RGBColor;
use plotters::style::text_anchor::HPos;

pub(super) use axis::{Axis, Extent};
pub(super) use heat::Heat;
pub(super) use points::{Places, Points, Spot, Spots};
pub(super) use rows::{Row, Rows};
pub(super) use spans::{Span, Spans};

use super::chart::palette::{BLACK, BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILION};
use super::pen::{
    Dash, Drawing, Drawn, FAINT, INK, LINE, Pen, SMALL, TEXT, TITLE, WIDTH, bold, face, fitted, text_width, wrap,
};

/// Parts above one another under one title.
#[derive(Clone, Debug)]
pub(super) struct Plot {
    pub(super) title: String,
    pub(super) subtitle: String,
    pub(super) parts: Vec<Part>,
    pub(super) footer: String,
}

/// A part of a plot.
#[derive(Clone, Debug)]
pub(super) enum Part {
    Rows(Rows),
    Points(Points),
    Heat(Heat),
    Spans(Spans),
}

impl Part {
    fn height(&self) -> f64 {
        match self {
            Self::Rows(p) => p.height(),
            Self::Points(p) => p.height(),
            Self::Heat(p) => p.height(),
            Self::Spans(p) => p.height(),
        }
    }

    fn draw<DB: DrawingBackend>(&self, pen: &Pen<'_, DB>, top: f64) -> Drawn {
        match self {
            Self::Rows(p) => p.draw(pen, top),
            Self::Points(p) => p.draw(pen, top),
            Self::Heat(p) => p.draw(pen, top),
            Self::Spans(p) => p.draw(pen, top),
        }
    }
}

/// Room between parts.
const GAP: f64 = 14.0;

impl Plot {
    fn head(&self) -> (Vec<String>, f64) {
        if self.title.is_empty() {
            return (Vec::new(), 4.0);
        }
        let subtitle = wrap(&self.subtitle, WIDTH - 40.0, TEXT);
        let head = 44.0 + subtitle.len() as f64 * LINE;
        (subtitle, head)
    }
}

impl Drawing for Plot {
    fn height(&self) -> f64 {
        let parts: f64 = self.parts.iter().map(|p| p.height() + GAP).sum();
        self.head().1 + parts + if self.footer.is_empty() { 6.0 } else { 22.0 }
    }

    fn draw<DB: DrawingBackend>(&self, pen: &Pen<'_, DB>) -> Drawn {
        let (subtitle, mut top) = self.head();
        if !self.title.is_empty() {
            pen.text(&fitted(&self.title, WIDTH * 0.9, TITLE), 20.0, 24.0, bold(TITLE, INK), HPos::Left)?;
            for (i, line) in subtitle.iter().enumerate() {
                pen.text(line, 20.0, 46.0 + i as f64 * LINE, face(TEXT, FAINT), HPos::Left)?;
            }
        }
        for part in &self.parts {
            part.draw(pen, top)?;
            top += part.height() + GAP;
        }
        if !self.footer.is_empty() {
            let footer = fitted(&self.footer, WIDTH - 40.0, SMALL);
            pen.text(&footer, 20.0, self.height() - 12.0, face(SMALL, FAINT), HPos::Left)?;
        }
        Ok(())
    }
}

/// Two drawings in one file.
pub(super) struct Stacked<'a, A, B>(pub(super) &'a A, pub(super) &'a B);

impl<A: Drawing, B: Drawing> Drawing for Stacked<'_, A, B> {
    fn height(&self) -> f64 {
        self.0.height() + self.1.height()
    }

    fn draw<DB: DrawingBackend>(&self, pen: &Pen<'_, DB>) -> Drawn {
        self.0.draw(pen)?;
        self.1.draw(&Pen { down: pen.down + self.0.height(), ..*pen })
    }
}

/// The title of a part, and its unit beside it.
fn part_title<DB: DrawingBackend>(pen: &Pen<'_, DB>, title: &str, unit: &str, left: f64, y: f64) -> Drawn {
    if !title.is_empty() {
        pen.text(title, left, y, bold(TEXT, INK), HPos::Left)?;
    }
    let beside = left + if title.is_empty() { 0.0 } else { text_width(title, TEXT, true) + 8.0 };
    pen.text(&fitted(unit, WIDTH - 12.0 - beside, SMALL), beside, y, face(SMALL, FAINT), HPos::Left)
}

/// The shape of a mark, so that colour is never needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Marker {
    Circle,
    Square,
    Triangle,
    Diamond,
    Down,
    Star,
}

/// How a series looks: colour, dash and mark of the place in a list.
pub(super) fn look(place: usize) -> (RGBColor, Dash, Marker) {
    const COLORS: [RGBColor; 7] = [BLACK, BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY];
    const DASHES: [Dash; 5] = [Dash::Dashed, Dash::Solid, Dash::Mixed, Dash::Dotted, Dash::Long];
    const MARKERS: [Marker; 6] =
        [Marker::Square, Marker::Circle, Marker::Triangle, Marker::Diamond, Marker::Down, Marker::Star];
    (COLORS[place % COLORS.len()], DASHES[place % DASHES.len()], MARKERS[place % MARKERS.len()])
}

/// Draws a mark of so many points from its middle to its edge.
fn mark<DB: DrawingBackend>(
    pen: &Pen<'_, DB>,
    (x, y): (f64, f64),
    marker: Marker,
    size: f64,
    color: RGBColor,
    filled: bool,
) -> Drawn {
    let around = |corners: usize, turn: f64, size: f64| -> Vec<(f64, f64)> {
        (0..corners)
            .map(|i| {
                let angle = std::f64::consts::TAU * (i as f64 / corners as f64 + turn);
                (x + size * libm::sin(angle), y - size * libm::cos(angle))
            })
            .collect()
    };
    let outline = |size: f64| match marker {
        Marker::Circle => around(20, 0.0, size),
        Marker::Square => around(4, 0.125, size * 1.2),
        Marker::Triangle => around(3, 0.0, size * 1.25),
        Marker::Diamond => around(4, 0.0, size * 1.3),
        Marker::Down => around(3, 0.5, size * 1.25),
        Marker::Star => {
            let (outer, inner) = (around(5, 0.0, size * 1.4), around(5, 0.1, size * 0.6));
            outer.into_iter().zip(inner).flat_map(|(a, b)| [a, b]).collect()
        }
    };
    pen.polygon(&outline(size), color, 1.0)?;
    if filled { Ok(()) } else { pen.polygon(&outline((size - 1.6).max(0.5)), plotters::style::WHITE, 1.0) }
}

#[cfg(test)]
mod tests;
