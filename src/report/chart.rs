//! Figures of stacked panels on one time axis: axes, legends and marks are placed here and drawn with the
//! [pen](super::pen).

use plotters::backend::DrawingBackend;
use plotters::style::RGBColor;
use plotters::style::text_anchor::HPos;

pub(crate) use super::pen::{Dash, PLOT_WIDTH, palette};
use super::pen::{
    Drawing, Drawn, FAINT, GRID, INK, LEFT, LINE, Pen, SMALL, TEXT, TITLE, WIDTH, bold, face, fitted, text_width,
    triangle, wrap,
};
use super::style::sig3;

impl Figure {
    /// The same figure of a part of its time: what lies outside is left out.
    pub(crate) fn within(mut self, from: f64, end: f64) -> Self {
        let inside = |t: f64| t >= from && t <= end;
        self.marks.retain(|m| inside(m.time));
        self.bands.retain(|b| b.from < end && b.to > from);
        for layer in self.panels.iter_mut().flat_map(|p| &mut p.layers) {
            match &mut layer.shape {
                Shape::Line(points) => points.retain(|p| inside(p.0)),
                Shape::Envelope(points) => points.retain(|p| inside(p.0)),
                Shape::Triangles(points) => points.retain(|p| inside(p.0)),
                Shape::Step(points) => {
                    // The level at the left edge is the last one before it; that at the right edge is held.
                    let before = points.iter().rfind(|p| p.0 < from).copied();
                    points.retain(|p| inside(p.0));
                    if let Some((_, level)) = before {
                        points.insert(0, (from, level));
                    }
                    if let Some((_, level)) = points.last().copied() {
                        points.push((end, level));
                    }
                }
                Shape::Ribbon(points, _) => points.retain(|p| inside(p.0)),
                Shape::Area(_) | Shape::Level(_) => {}
            }
        }
        Self { from, end, ..self }
    }
}

/// What a layer draws.
#[derive(Clone, Debug)]
pub(crate) enum Shape {
    /// A line through (time, value); a value that is not finite breaks it.
    Line(Vec<(f64, f64)>),
    /// A line through (time, least, mean, most) of many values each, in a band from the least to the most.
    Envelope(Vec<(f64, f64, f64, f64)>),
    /// A line with each value held until the next time.
    Step(Vec<(f64, f64)>),
    /// A filled area between two values, each held until the next time.
    Area(Vec<(f64, f64, f64)>),
    /// A filled area between two values, without an edge, of an opacity; a value that is not finite breaks it.
    Ribbon(Vec<(f64, f64, f64)>, f64),
    /// A level over the whole time.
    Level(f64),
    /// Triangles at the panel's upper edge at these times: up for true.
    Triangles(Vec<(f64, bool)>),
}

/// One series of a panel.
#[derive(Clone, Debug)]
pub(crate) struct Layer {
    pub(crate) name: String,
    /// A figure beside the name: a largest value, a limit.
    pub(crate) note: String,
    pub(crate) color: RGBColor,
    pub(crate) dash: Dash,
    /// Width of the line in points.
    pub(crate) weight: f64,
    /// Whether an envelope shows its band beside its line.
    pub(crate) band: bool,
    pub(crate) shape: Shape,
}

/// How values are placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scale {
    /// From zero.
    Zero,
    /// By decades.
    Log,
}

/// One panel.
#[derive(Clone, Debug)]
pub(crate) struct Panel {
    pub(crate) title: String,
    /// Unit of the values, said beside the title and at the axis.
    pub(crate) unit: String,
    /// Put before the numbers of the axis: `$`.
    pub(crate) prefix: &'static str,
    pub(crate) height: f64,
    pub(crate) scale: Scale,
    /// Drawn in order; the legend lists them in order.
    pub(crate) layers: Vec<Layer>,
    /// The axis reaches at least this far.
    pub(crate) at_least: f64,
}

/// A time that is shaded over all panels.
#[derive(Clone, Debug)]
pub(crate) struct Band {
    pub(crate) from: f64,
    pub(crate) to: f64,
    pub(crate) color: RGBColor,
    pub(crate) opacity: f64,
    pub(crate) label: String,
}

/// A thin vertical line over all panels, with a letter that is explained below.
#[derive(Clone, Debug)]
pub(crate) struct Mark {
    pub(crate) time: f64,
    pub(crate) letter: String,
    pub(crate) text: String,
    pub(crate) color: RGBColor,
}

/// A figure: panels above one another on one time axis.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    pub(crate) title: String,
    pub(crate) subtitle: String,
    /// The time at the left edge.
    pub(crate) from: f64,
    /// The time at the right edge.
    pub(crate) end: f64,
    /// What the time counts from.
    pub(crate) axis_label: String,
    pub(crate) panels: Vec<Panel>,
    pub(crate) bands: Vec<Band>,
    pub(crate) marks: Vec<Mark>,
    pub(crate) footer: String,
}

/// Room above a panel for its title.
const PANEL_HEAD: f64 = 30.0;

/// Where things stand, in points.
struct Layout {
    subtitle: Vec<String>,
    top: f64,
    /// Upper edge of each panel's plot.
    panels: Vec<f64>,
    bottom: f64,
    key: Vec<String>,
    height: f64,
}

impl Layout {
    fn of(figure: &Figure) -> Self {
        let subtitle = wrap(&figure.subtitle, WIDTH - 2.0 * 20.0, TEXT);
        let top = 44.0
            + subtitle.len() as f64 * LINE
            + if figure.bands.is_empty() && figure.marks.is_empty() { 0.0 } else { 14.0 };
        let mut y = top;
        let mut panels = Vec::new();
        for panel in &figure.panels {
            y += PANEL_HEAD;
            panels.push(y);
            y += panel.height;
        }
        let bottom = y;
        let key: Vec<String> = figure
            .marks
            .iter()
            .filter(|m| !m.text.is_empty())
            .flat_map(|m| wrap(&format!("{} · {}", m.letter, m.text), WIDTH - LEFT - 20.0, SMALL))
            .collect();
        let height = bottom + 46.0 + key.len() as f64 * LINE + if figure.footer.is_empty() { 6.0 } else { 22.0 };
        Self { subtitle, top, panels, bottom, key, height }
    }
}

fn draw<DB: DrawingBackend>(pen: &Pen<'_, DB>, figure: &Figure, layout: &Layout) -> Drawn {
    let whole = (figure.end - figure.from).max(1e-9);
    let x = |t: f64| LEFT + PLOT_WIDTH * ((t - figure.from) / whole).clamp(0.0, 1.0);
    pen.text(&figure.title, 20.0, 24.0, bold(TITLE, INK), HPos::Left)?;
    for (i, line) in layout.subtitle.iter().enumerate() {
        pen.text(line, 20.0, 46.0 + i as f64 * LINE, face(TEXT, FAINT), HPos::Left)?;
    }

    let first = layout.panels.first().copied().unwrap_or(layout.top);
    draw_letters(pen, figure, first, &x)?;
    for (i, panel) in figure.panels.iter().enumerate() {
        let (top, bottom) = (layout.panels[i], layout.panels[i] + panel.height);
        for band in &figure.bands {
            pen.rectangle(x(band.from), top, x(band.to), bottom, band.color, band.opacity)?;
        }
        draw_panel(pen, figure, panel, top, &x)?;
    }
    for mark in &figure.marks {
        for (panel, top) in figure.panels.iter().zip(&layout.panels) {
            let at = x(mark.time);
            pen.line(&[(at, *top), (at, top + panel.height)], mark.color, 0.75, Dash::Solid)?;
        }
    }
    draw_time_axis(pen, figure, layout, &x)?;

    let mut y = layout.bottom + 52.0;
    for line in &layout.key {
        pen.text(line, LEFT, y, face(SMALL, INK), HPos::Left)?;
        y += LINE;
    }
    if !figure.footer.is_empty() {
        pen.text(
            &fitted(&figure.footer, WIDTH - 40.0, SMALL),
            20.0,
            layout.height - 12.0,
            face(SMALL, FAINT),
            HPos::Left,
        )?;
    }
    Ok(())
}

impl Drawing for Figure {
    fn height(&self) -> f64 {
        Layout::of(self).height
    }

    fn draw<DB: DrawingBackend>(&self, pen: &Pen<'_, DB>) -> Drawn {
        draw(pen, self, &Layout::of(self))
    }
}

/// Room between the words of two bands.
const GAP: f64 = 14.0;

/// The letters of marks and the words of bands stand between the head and the first panel.
fn draw_letters<DB: DrawingBackend>(pen: &Pen<'_, DB>, figure: &Figure, first: f64, x: &dyn Fn(f64) -> f64) -> Drawn {
    let y = first - PANEL_HEAD - 1.0;
    let mut taken: Vec<(f64, f64)> = Vec::new();
    for mark in &figure.marks {
        let at = x(mark.time);
        // Letters that would touch move up; the line leads to its letter.
        let half = text_width(&mark.letter, SMALL, true) / 2.0 + 2.0;
        let mut place = at;
        if let Some((_, right)) = taken.last().filter(|(_, right)| at - half < *right) {
            place = right + half;
        }
        taken.push((place - half, place + half));
        let foot = (at, first - PANEL_HEAD + 16.0);
        pen.line(&[(place, y + 8.0), foot], mark.color, 0.75, Dash::Solid)?;
        pen.line(&[foot, (at, first)], mark.color, 0.75, Dash::Solid)?;
        pen.text(&mark.letter, place, y, bold(SMALL, mark.color), HPos::Center)?;
    }
    // Narrow bands choose first: wide ones have room further on.
    let mut bands: Vec<&Band> = figure.bands.iter().filter(|b| !b.label.is_empty()).collect();
    bands.sort_by(|a, b| (a.to - a.from).total_cmp(&(b.to - b.from)));
    for band in bands {
        let width = text_width(&band.label, SMALL, false);
        let (from, to) = (x(band.from), x(band.to));
        let mut place = from + 2.0;
        taken.sort_by(|a, b| a.0.total_cmp(&b.0));
        for (l, r) in &taken {
            // Behind what stands there already, as long as that is still within the band.
            if place + width >= *l && place <= *r && r + GAP < to {
                place = r + GAP;
            }
        }
        let free = taken.iter().all(|(l, r)| place + width < *l || place > *r);
        if (width + 4.0 <= to - from || to - from > 24.0) && free && place + width < WIDTH - 20.0 {
            pen.text(&band.label, place, y, face(SMALL, FAINT), HPos::Left)?;
            taken.push((place, place + width));
        }
    }
    Ok(())
}

fn draw_panel<DB: DrawingBackend>(
    pen: &Pen<'_, DB>,
    figure: &Figure,
    panel: &Panel,
    top: f64,
    x: &dyn Fn(f64) -> f64,
) -> Drawn {
    let bottom = top + panel.height;
    let axis = Axis::of(panel);
    let y = |v: f64| bottom - panel.height * axis.share(v);
    let title_width = text_width(&panel.title, TEXT, true);
    let unit = if panel.scale == Scale::Log { format!("{}, logarithmic", panel.unit) } else { panel.unit.clone() };
    // Lines that lead to letters pass behind the words.
    let words = title_width + 8.0 + text_width(&unit, SMALL, false) + 3.0;
    pen.rectangle(LEFT, top - 20.0, LEFT + words, top - 4.0, plotters::style::WHITE, 1.0)?;
    pen.text(&panel.title, LEFT, top - 12.0, bold(TEXT, INK), HPos::Left)?;
    pen.text(&unit, LEFT + title_width + 8.0, top - 12.0, face(SMALL, FAINT), HPos::Left)?;
    for tick in &axis.ticks {
        let at = y(*tick);
        pen.line(&[(LEFT, at), (LEFT + PLOT_WIDTH, at)], GRID, 0.75, Dash::Solid)?;
        let label = format!("{}{}", panel.prefix, sig3(*tick));
        pen.text(&label, LEFT - 7.0, at, face(SMALL, FAINT), HPos::Right)?;
    }
    for t in time_ticks(figure.from, figure.end) {
        pen.line(&[(x(t), bottom), (x(t), bottom + 4.0)], FAINT, 0.75, Dash::Solid)?;
    }
    for layer in &panel.layers {
        draw_layer(pen, layer, top, &y, x)?;
    }
    pen.line(&[(LEFT, bottom), (LEFT + PLOT_WIDTH, bottom)], FAINT, 0.75, Dash::Solid)?;
    pen.line(&[(LEFT, top), (LEFT, bottom)], FAINT, 0.75, Dash::Solid)?;
    draw_legend(pen, panel, top)
}

fn draw_layer<DB: DrawingBackend>(
    pen: &Pen<'_, DB>,
    layer: &Layer,
    top: f64,
    y: &dyn Fn(f64) -> f64,
    x: &dyn Fn(f64) -> f64,
) -> Drawn {
    let Layer { color, dash, weight, .. } = *layer;
    match &layer.shape {
        Shape::Line(points) => {
            for part in points.split(|p| !p.1.is_finite()) {
                let line: Vec<(f64, f64)> = part.iter().map(|p| (x(p.0), y(p.1))).collect();
                if let [(px, py)] = line[..] {
                    // A value alone between gaps is still seen.
                    pen.rectangle(px - weight, py - weight, px + weight, py + weight, color, 1.0)?;
                }
                pen.line(&line, color, weight, dash)?;
            }
        }
        Shape::Envelope(points) => {
            for part in points.split(|p| !p.2.is_finite()) {
                let upper = part.iter().map(|p| (x(p.0), y(p.3)));
                let outline: Vec<(f64, f64)> = upper.chain(part.iter().rev().map(|p| (x(p.0), y(p.1)))).collect();
                if layer.band && outline.len() > 2 {
                    pen.polygon(&outline, color, 0.28)?;
                }
                let line: Vec<(f64, f64)> = part.iter().map(|p| (x(p.0), y(p.2))).collect();
                pen.line(&line, color, weight, dash)?;
            }
        }
        Shape::Step(points) => {
            for part in points.split(|p| !p.1.is_finite()) {
                let mut line: Vec<(f64, f64)> = Vec::with_capacity(part.len() * 2);
                for p in part {
                    let (px, py) = (x(p.0), y(p.1));
                    if let Some((_, before)) = line.last().copied() {
                        // Where a level goes on, the line is only drawn longer.
                        if before == py && line.len() > 1 && line[line.len() - 2].1 == py {
                            line.pop();
                        } else {
                            line.push((px, before));
                        }
                    }
                    line.push((px, py));
                }
                pen.line(&line, color, weight, dash)?;
            }
        }
        Shape::Area(points) => {
            let mut upper: Vec<(f64, f64)> = Vec::new();
            let mut lower: Vec<(f64, f64)> = Vec::new();
            for (i, (t, low, high)) in points.iter().enumerate() {
                let until = points.get(i + 1).map_or(*t, |next| next.0);
                upper.extend([(x(*t), y(*high)), (x(until), y(*high))]);
                lower.extend([(x(*t), y(*low)), (x(until), y(*low))]);
            }
            let edge = upper.clone();
            upper.extend(lower.into_iter().rev());
            if upper.len() > 2 {
                pen.polygon(&upper, color, 0.85)?;
                pen.line(&edge, plotters::style::WHITE, 0.6, Dash::Solid)?;
            }
        }
        Shape::Ribbon(points, opacity) => {
            for part in points.split(|p| !p.1.is_finite()) {
                let upper = part.iter().map(|p| (x(p.0), y(p.2)));
                let outline: Vec<(f64, f64)> = upper.chain(part.iter().rev().map(|p| (x(p.0), y(p.1)))).collect();
                if outline.len() > 2 {
                    pen.polygon(&outline, color, *opacity)?;
                }
            }
        }
        Shape::Level(value) => {
            pen.line(&[(LEFT, y(*value)), (LEFT + PLOT_WIDTH, y(*value))], color, weight, dash)?;
        }
        Shape::Triangles(points) => {
            for (t, up) in points {
                let px = x(*t);
                triangle(pen, px, top + 6.0, *up, color)?;
            }
        }
    }
    Ok(())
}

fn draw_legend<DB: DrawingBackend>(pen: &Pen<'_, DB>, panel: &Panel, top: f64) -> Drawn {
    let x = LEFT + PLOT_WIDTH + 12.0;
    let room = WIDTH - 12.0 - x - 34.0;
    let mut y = top + 6.0;
    for layer in panel.layers.iter().filter(|l| !l.name.is_empty()) {
        match &layer.shape {
            Shape::Area(_) => pen.rectangle(x, y - 5.0, x + 26.0, y + 5.0, layer.color, 0.85)?,
            Shape::Ribbon(_, opacity) => pen.rectangle(x, y - 5.0, x + 26.0, y + 5.0, layer.color, *opacity)?,
            Shape::Triangles(points) => {
                let up = points.first().is_none_or(|p| p.1);
                triangle(pen, x + 13.0, y, up, layer.color)?;
            }
            _ => pen.line(&[(x, y), (x + 26.0, y)], layer.color, layer.weight.max(1.4), layer.dash)?,
        }
        let name = fitted(&layer.name, room, SMALL);
        pen.text(&name, x + 34.0, y, face(SMALL, INK), HPos::Left)?;
        let note = fitted(&layer.note, room, SMALL - 1.0);
        if !note.is_empty() {
            // Beside the name where both fit, else below it.
            if text_width(&name, SMALL, false) + text_width(&note, SMALL - 1.0, false) + 8.0 > room {
                y += LINE - 2.0;
            }
            pen.text(&note, WIDTH - 12.0, y, face(SMALL - 1.0, FAINT), HPos::Right)?;
        }
        y += LINE;
    }
    Ok(())
}

fn draw_time_axis<DB: DrawingBackend>(
    pen: &Pen<'_, DB>,
    figure: &Figure,
    layout: &Layout,
    x: &dyn Fn(f64) -> f64,
) -> Drawn {
    let ticks = time_ticks(figure.from, figure.end);
    let step = ticks.windows(2).map(|t| t[1] - t[0]).next().unwrap_or(figure.end);
    for t in &ticks {
        pen.text(&time_label(*t, step), x(*t), layout.bottom + 14.0, face(SMALL, FAINT), HPos::Center)?;
    }
    let label = &figure.axis_label;
    pen.text(label, LEFT + PLOT_WIDTH / 2.0, layout.bottom + 31.0, face(SMALL, FAINT), HPos::Center)
}

/// Instants for the time axis: at most ten, on round times.
fn time_ticks(from: f64, end: f64) -> Vec<f64> {
    const STEPS: [f64; 27] = [
        0.1,
        0.2,
        0.5,
        1.0,
        2.0,
        5.0,
        10.0,
        15.0,
        30.0,
        60.0,
        120.0,
        300.0,
        600.0,
        900.0,
        1_800.0,
        3_600.0,
        7_200.0,
        10_800.0,
        21_600.0,
        43_200.0,
        86_400.0,
        172_800.0,
        432_000.0,
        604_800.0,
        1_209_600.0,
        2_592_000.0,
        7_776_000.0,
    ];
    let step = STEPS.into_iter().find(|s| (end - from) / s <= 10.0).unwrap_or(((end - from) / 10.0).max(0.1));
    let first = (from / step).ceil();
    (0..=10).map(|i| (first + f64::from(i)) * step).filter(|t| *t <= end * 1.000_001).collect()
}

/// An instant in the unit of the axis' step.
fn time_label(t: f64, step: f64) -> String {
    let (unit, size) = if step >= 86_400.0 {
        ("d", 86_400.0)
    } else if step >= 3_600.0 {
        ("h", 3_600.0)
    } else if step >= 60.0 {
        ("min", 60.0)
    } else {
        ("s", 1.0)
    };
    if t == 0.0 { "0".into() } else { format!("{} {unit}", sig3(t / size)) }
}

/// The values of a panel: from where to where, and the ticks.
struct Axis {
    scale: Scale,
    from: f64,
    to: f64,
    ticks: Vec<f64>,
}

impl Axis {
    fn of(panel: &Panel) -> Self {
        let (mut low, mut high) = (f64::INFINITY, panel.at_least);
        let mut see = |v: f64| {
            if v.is_finite() {
                high = high.max(v);
                if v > 0.0 {
                    low = low.min(v);
                }
            }
        };
        for layer in &panel.layers {
            match &layer.shape {
                Shape::Line(p) | Shape::Step(p) => p.iter().for_each(|p| see(p.1)),
                Shape::Area(p) => p.iter().for_each(|p| see(p.2)),
                Shape::Ribbon(p, _) => p.iter().for_each(|p| {
                    see(p.1);
                    see(p.2);
                }),
                Shape::Envelope(p) if layer.band => p.iter().for_each(|p| {
                    see(p.1);
                    see(p.3);
                }),
                Shape::Envelope(p) => p.iter().for_each(|p| see(p.2)),
                Shape::Level(v) => see(*v),
                Shape::Triangles(_) => {}
            }
        }
        // Triangles have a strip of their own above the values.
        let strip = panel.layers.iter().any(|l| matches!(&l.shape, Shape::Triangles(p) if !p.is_empty()));
        match panel.scale {
            Scale::Zero => Self::linear(high.max(1e-9) * if strip { 14.0 / 12.0 } else { 1.0 }),
            Scale::Log => Self::log(if low.is_finite() { low } else { 1.0 }, high.max(1e-9)),
        }
    }

    fn linear(high: f64) -> Self {
        let raw = high / 4.0;
        let power = 10f64.powf(raw.log10().floor());
        let step =
            [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().map(|m| m * power).find(|s| *s >= raw * 0.999_999).unwrap_or(raw);
        let ticks: Vec<f64> = (0..=5).map(|i| f64::from(i) * step).filter(|t| *t <= high * 1.08).collect();
        Self { scale: Scale::Zero, from: 0.0, to: high * 1.08, ticks }
    }

    fn log(low: f64, high: f64) -> Self {
        let (from, to) = (low * 0.8, high.max(low * 2.0) * 1.25);
        let (first, last) = (from.log10().floor() as i32, to.log10().ceil() as i32);
        let decades = to.log10() - from.log10();
        let steps: &[f64] = if decades > 3.0 {
            &[1.0]
        } else if decades > 1.3 {
            &[1.0, 3.0]
        } else {
            &[1.0, 2.0, 5.0]
        };
        let ticks = (first..=last)
            .flat_map(|d| steps.iter().map(move |s| s * 10f64.powi(d)))
            .filter(|t| (from..=to).contains(t))
            .collect();
        Self { scale: Scale::Log, from, to, ticks }
    }

    /// Where a value stands: 0 at the lower edge, 1 at the upper.
    fn share(&self, v: f64) -> f64 {
        let share = match self.scale {
            Scale::Zero => v / self.to,
            Scale::Log => (v.max(1e-12) / self.from).ln() / (self.to / self.from).ln(),
        };
        share.clamp(0.0, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_few() {
        assert_eq!(
            time_ticks(0.0, 2_700.0),
            [0.0, 300.0, 600.0, 900.0, 1_200.0, 1_500.0, 1_800.0, 2_100.0, 2_400.0, 2_700.0]
        );
        assert_eq!(time_ticks(510.0, 930.0), [540.0, 600.0, 660.0, 720.0, 780.0, 840.0, 900.0]);
        assert_eq!(time_label(5_400.0, 1_800.0), "90 min");
        assert_eq!(time_label(1_209_600.0, 172_800.0), "14 d");
        for end in [0.3, 7.0, 61.0, 86_400.0, 1_209_600.0, 3.2e7, 4e9] {
            let n = time_ticks(0.0, end).len();
            assert!((4..=11).contains(&n), "{end}: {n}");
        }
        for high in [0.003, 1.0, 22.0, 420.0, 9_999.0] {
            let axis = Axis::linear(high);
            assert!((3..=6).contains(&axis.ticks.len()), "{high}: {:?}", axis.ticks);
        }
        assert_eq!(Axis::log(12.0, 900.0).ticks, [10.0, 30.0, 100.0, 300.0, 1_000.0]);
    }
}
