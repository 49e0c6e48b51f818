//! The pen: lines, polygons and texts in points on plotters' surfaces, and the files that they end in.
//!
//! This is the only file that knows how plotters draws; it is used for a handful of primitives (line, polygon,
//! rectangle, text). What is drawn with them is decided elsewhere.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use plotters::backend::{BitMapBackend, DrawingBackend, SVGBackend};
use plotters::coord::Shift;
use plotters::drawing::{DrawingArea, IntoDrawingArea};
use plotters::element::{PathElement, Polygon, Rectangle};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, FontFamily, FontStyle, RGBColor, ShapeStyle, TextStyle, register_font};

use crate::output::OutputError;

/// The family that texts are set in: the name of the embedded font, then what a viewer of an SVG may have.
const FAMILY: &str = "DejaVu Sans, Verdana, sans-serif";
static FONT: &[u8] = include_bytes!("../../assets/DejaVuSans-subset.ttf");
static FONT_BOLD: &[u8] = include_bytes!("../../assets/DejaVuSans-Bold-subset.ttf");

/// Width of a figure in points; heights follow from the panels.
pub(crate) const WIDTH: f64 = 1000.0;
pub(super) const LEFT: f64 = 66.0;
pub(super) const RIGHT: f64 = 196.0;
/// Width of the plot in points: series need no more buckets than this.
pub(crate) const PLOT_WIDTH: f64 = WIDTH - LEFT - RIGHT;

/// Drawn dots a point in an SVG (its coordinates are integers) and in a PNG before it is scaled down by half.
pub(super) const DOTS: f64 = 4.0;

/// Ink and its lighter kinds.
pub(super) const INK: RGBColor = RGBColor(34, 34, 34);
pub(super) const FAINT: RGBColor = RGBColor(110, 110, 110);
pub(super) const GRID: RGBColor = RGBColor(226, 226, 226);

/// Colours that stay apart for colour-blind eyes (the palette of Okabe and Ito).
pub(crate) mod palette {
    use plotters::style::RGBColor;
    pub(crate) const BLUE: RGBColor = RGBColor(0, 114, 178);
    pub(crate) const VERMILION: RGBColor = RGBColor(213, 94, 0);
    pub(crate) const GREEN: RGBColor = RGBColor(0, 158, 115);
    pub(crate) const PURPLE: RGBColor = RGBColor(170, 80, 140);
    pub(crate) const ORANGE: RGBColor = RGBColor(230, 159, 0);
    pub(crate) const SKY: RGBColor = RGBColor(86, 180, 233);
    pub(crate) const BLACK: RGBColor = RGBColor(34, 34, 34);
    pub(crate) const GREY: RGBColor = RGBColor(150, 150, 150);
}

/// How a line is broken, in points of ink and gap. Every series of a panel has its own, so that colour is never needed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Dash {
    Solid,
    Dashed,
    Dotted,
    Mixed,
    Long,
}

impl Dash {
    pub(super) const fn pattern(self) -> &'static [f64] {
        match self {
            Self::Solid => &[],
            Self::Dashed => &[6.0, 3.5],
            Self::Dotted => &[1.6, 2.4],
            Self::Mixed => &[8.0, 2.5, 1.6, 2.5],
            Self::Long => &[13.0, 4.0],
        }
    }
}

/// What can be drawn into a file.
pub(super) trait Drawing {
    /// Its height in points.
    fn height(&self) -> f64;

    /// Draws it, below the pen's upper edge.
    ///
    /// # Errors
    /// The backend's, in words.
    fn draw<DB: DrawingBackend>(&self, pen: &Pen<'_, DB>) -> Drawn;
}

/// Writes `name.svg` and `name.png` into a folder.
pub(super) fn write_drawing(folder: &Path, name: &str, drawing: &impl Drawing) -> Result<(), OutputError> {
    register_fonts();
    let (w, h) = (WIDTH.ceil() as u32, drawing.height().ceil() as u32);
    let dots = DOTS as u32;

    let svg_path = folder.join(format!("{name}.svg"));
    let failed = |path: &Path, e: String| OutputError::io("draw", path, std::io::Error::other(e));
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (w * dots, h * dots)).into_drawing_area();
        drawn(&area, false, drawing).map_err(|e| failed(&svg_path, e))?;
    }
    // The drawing has more dots than points: it is shown at its size in points.
    let drawn_size = format!("width=\"{}\" height=\"{}\"", w * dots, h * dots);
    let shown_size = format!("width=\"{w}\" height=\"{h}\"");
    let svg = svg.replacen(&drawn_size, &shown_size, 1);
    fs::write(&svg_path, svg).map_err(|e| OutputError::io("write", &svg_path, e))?;

    let png_path = folder.join(format!("{name}.png"));
    let (large_w, large_h) = ((w * dots) as usize, (h * dots) as usize);
    let mut large = vec![0u8; large_w * large_h * 3];
    {
        let area = BitMapBackend::with_buffer(&mut large, (w * dots, h * dots)).into_drawing_area();
        drawn(&area, true, drawing).map_err(|e| failed(&png_path, e))?;
    }
    let small = halved(&large, large_w, large_h);
    drop(large);
    let size = (w * dots / 2, h * dots / 2);
    let mut backend = BitMapBackend::new(&png_path, size);
    backend.blit_bitmap((0, 0), size, &small).map_err(|e| failed(&png_path, e.to_string()))?;
    backend.present().map_err(|e| failed(&png_path, e.to_string()))
}

fn drawn<DB: DrawingBackend>(area: &DrawingArea<DB, Shift>, raster: bool, drawing: &impl Drawing) -> Drawn {
    area.fill(&plotters::style::WHITE).map_err(|e| e.to_string())?;
    drawing.draw(&Pen { area, raster, down: 0.0 })?;
    area.present().map_err(|e| e.to_string())
}

/// A picture of RGB bytes at half its size: each pixel the mean of four, which smooths edges.
fn halved(large: &[u8], width: usize, height: usize) -> Vec<u8> {
    let mut small = Vec::with_capacity(large.len() / 4);
    for y in 0..height / 2 {
        for x in 0..width / 2 {
            let upper = (2 * y * width + 2 * x) * 3;
            let lower = upper + width * 3;
            for c in 0..3 {
                let sum: u16 =
                    [upper + c, upper + 3 + c, lower + c, lower + 3 + c].iter().map(|i| u16::from(large[*i])).sum();
                small.push((sum / 4) as u8);
            }
        }
    }
    small
}

/// Registers the embedded fonts, once in the process.
fn register_fonts() {
    static DONE: OnceLock<()> = OnceLock::new();
    DONE.get_or_init(|| {
        for (style, bytes) in [(FontStyle::Normal, FONT), (FontStyle::Bold, FONT_BOLD)] {
            assert!(register_font(FAMILY, style, bytes).is_ok(), "the embedded font is a font");
        }
    });
}

pub(super) const TITLE: f64 = 19.0;
pub(super) const TEXT: f64 = 12.5;
pub(super) const SMALL: f64 = 11.5;
pub(super) const LINE: f64 = 16.0;

/// Width of a text in points.
pub(super) fn text_width(text: &str, size: f64, bold: bool) -> f64 {
    let style = if bold { FontStyle::Bold } else { FontStyle::Normal };
    let font = plotters::style::FontDesc::new(FontFamily::Name(FAMILY), size * RASTER_SIZE * DOTS, style);
    font.layout_box(text).map_or(0.0, |((x0, _), (x1, _))| f64::from(x1 - x0) / DOTS)
}

/// Breaks a text into lines of at most `width` points.
pub(super) fn wrap(text: &str, width: f64, size: f64) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ').filter(|w| !w.is_empty()) {
        match lines.last_mut() {
            Some(line) if text_width(&format!("{line} {word}"), size, false) <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// A text cut to at most `width` points.
pub(super) fn fitted(text: &str, width: f64, size: f64) -> String {
    let mut kept = text.to_owned();
    while text_width(&kept, size, false) > width && kept.chars().count() > 1 {
        kept = kept.chars().take(kept.chars().count() - 2).collect();
        kept.push('…');
    }
    kept
}

/// How a text looks.
#[derive(Clone, Copy)]
pub(super) struct Face {
    pub(super) size: f64,
    pub(super) color: RGBColor,
    pub(super) bold: bool,
}

/// A text of a size and colour.
pub(super) const fn face(size: f64, color: RGBColor) -> Face {
    Face { size, color, bold: false }
}

/// The same in bold.
pub(super) const fn bold(size: f64, color: RGBColor) -> Face {
    Face { size, color, bold: true }
}

/// Draws in points on an area of dots.
pub(super) struct Pen<'a, DB: DrawingBackend> {
    pub(super) area: &'a DrawingArea<DB, Shift>,
    /// Whether dots are drawn, not SVG.
    pub(super) raster: bool,
    /// Points that everything is moved down by.
    pub(super) down: f64,
}

/// Plotters sets an SVG's font size to 1/1.24 of the nominal one, and the rasteriser takes the nominal size for the
/// height of this font's line, 1.164 em: the factor makes both texts equally large.
const RASTER_SIZE: f64 = 1.164 / 1.24;
/// How far, in nominal sizes, the rasteriser puts a vertically centred text above where an SVG has it.
const RASTER_RISE: f64 = 0.129;

pub(super) type Drawn = Result<(), String>;

impl<DB: DrawingBackend> Pen<'_, DB> {
    fn at(&self, x: f64, y: f64) -> (i32, i32) {
        ((x * DOTS).round() as i32, ((y + self.down) * DOTS).round() as i32)
    }

    pub(super) fn rectangle(&self, x0: f64, y0: f64, x1: f64, y1: f64, color: RGBColor, opacity: f64) -> Drawn {
        let shape = Rectangle::new([self.at(x0, y0), self.at(x1, y1)], color.mix(opacity).filled());
        self.area.draw(&shape).map_err(|e| e.to_string())
    }

    pub(super) fn polygon(&self, points: &[(f64, f64)], color: RGBColor, opacity: f64) -> Drawn {
        let points: Vec<(i32, i32)> = points.iter().map(|(x, y)| self.at(*x, *y)).collect();
        self.area.draw(&Polygon::new(points, color.mix(opacity).filled())).map_err(|e| e.to_string())
    }

    pub(super) fn line(&self, points: &[(f64, f64)], color: RGBColor, weight: f64, dash: Dash) -> Drawn {
        let style =
            ShapeStyle { color: color.mix(1.0), filled: false, stroke_width: (weight * DOTS).round().max(1.0) as u32 };
        let stroke = |points: &[(f64, f64)]| {
            let mut dots: Vec<(i32, i32)> = points.iter().map(|(x, y)| self.at(*x, *y)).collect();
            dots.dedup();
            if dots.len() < 2 {
                return Ok(());
            }
            if self.raster && style.stroke_width > 1 {
                return self.segments(&dots, f64::from(style.stroke_width) / 2.0, color);
            }
            self.area.draw(&PathElement::new(dots, style)).map_err(|e| e.to_string())
        };
        if dash == Dash::Solid {
            return stroke(points);
        }
        for part in dashes(points, dash.pattern()) {
            stroke(&part)?;
        }
        Ok(())
    }

    /// A thick line of dots, segment by segment, each as long as its joints need: the rasteriser's own joints go wrong
    /// where segments are shorter than the line is thick.
    fn segments(&self, dots: &[(i32, i32)], half: f64, color: RGBColor) -> Drawn {
        let last = dots.len() - 2;
        for (i, pair) in dots.windows(2).enumerate() {
            let ((x0, y0), (x1, y1)) = (pair[0], pair[1]);
            let (mut ax, mut ay, mut bx, mut by) = (f64::from(x0), f64::from(y0), f64::from(x1), f64::from(y1));
            let length = (bx - ax).hypot(by - ay);
            let (dx, dy) = ((bx - ax) / length * half, (by - ay) / length * half);
            if i > 0 {
                (ax, ay) = (ax - dx, ay - dy);
            }
            if i < last {
                (bx, by) = (bx + dx, by + dy);
            }
            let dot = |x: f64, y: f64| (x.round() as i32, y.round() as i32);
            let fill = color.mix(1.0).filled();
            let drawn = if x0 == x1 || y0 == y1 {
                let (wx, wy) = (dy.abs(), dx.abs());
                let corners =
                    [dot(ax.min(bx) - wx, ay.min(by) - wy), dot(ax.max(bx) + wx - 1.0, ay.max(by) + wy - 1.0)];
                self.area.draw(&Rectangle::new(corners, fill))
            } else {
                let corners =
                    vec![dot(ax + dy, ay - dx), dot(bx + dy, by - dx), dot(bx - dy, by + dx), dot(ax - dy, ay + dx)];
                self.area.draw(&Polygon::new(corners, fill))
            };
            drawn.map_err(|e| e.to_string())?;
        }
        Ok(())
    }

    pub(super) fn text(&self, text: &str, x: f64, y: f64, face: Face, align: HPos) -> Drawn {
        let style = if face.bold { FontStyle::Bold } else { FontStyle::Normal };
        let (size, y) =
            if self.raster { (face.size * RASTER_SIZE, y + face.size * RASTER_RISE) } else { (face.size, y) };
        let font = plotters::style::FontDesc::new(FontFamily::Name(FAMILY), size * DOTS, style);
        let style = TextStyle::from(font).color(&face.color).pos(Pos::new(align, VPos::Center));
        self.area.draw_text(text, &style, self.at(x, y)).map_err(|e| e.to_string())
    }
}

/// Cuts a line into the inked parts of a dash pattern, by length along the line.
fn dashes(points: &[(f64, f64)], pattern: &[f64]) -> Vec<Vec<(f64, f64)>> {
    let mut parts = Vec::new();
    let Some(first) = points.first() else { return parts };
    let mut piece = 0;
    let mut left = pattern[0];
    let mut part = vec![*first];
    for pair in points.windows(2) {
        let (mut from, to) = (pair[0], pair[1]);
        loop {
            let (dx, dy) = (to.0 - from.0, to.1 - from.1);
            let length = dx.hypot(dy);
            if length < left {
                left -= length;
                if piece % 2 == 0 && length > 0.0 && part.last() != Some(&to) {
                    part.push(to);
                }
                break;
            }
            let cut = (from.0 + dx * left / length, from.1 + dy * left / length);
            if piece % 2 == 0 {
                part.push(cut);
                parts.push(std::mem::take(&mut part));
            } else {
                part = vec![cut];
            }
            piece += 1;
            left = pattern[piece % pattern.len()];
            from = cut;
        }
    }
    if piece % 2 == 0 && part.len() > 1 {
        parts.push(part);
    }
    parts
}

pub(super) fn triangle<DB: DrawingBackend>(pen: &Pen<'_, DB>, x: f64, y: f64, up: bool, color: RGBColor) -> Drawn {
    let (tip, base) = if up { (y - 4.5, y + 3.5) } else { (y + 4.5, y - 3.5) };
    pen.polygon(&[(x, tip), (x + 4.0, base), (x - 4.0, base)], color, 1.0)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Pairs of words of an SVG that stand upon each other.
    pub(in crate::report) fn overlapping(svg: &str) -> Vec<(String, String)> {
        let mut boxes: Vec<(f64, f64, f64, f64, String)> = Vec::new();
        for element in svg.split("<text ").skip(1) {
            let (tag, rest) = element.split_once('>').expect("a whole element");
            let of = |name: &str| {
                let value =
                    tag.split(&format!(" {name}=\"")).nth(1).or_else(|| tag.strip_prefix(&format!("{name}=\"")));
                value.and_then(|v| v.split('"').next()).unwrap_or_default().to_owned()
            };
            let number = |name: &str| of(name).parse::<f64>().unwrap_or_default();
            let text = rest.split("</text>").next().unwrap_or_default().trim().to_owned();
            let size = number("font-size") / DOTS * 1.24;
            let width = text_width(&text, size, of("font-weight") == "bold");
            let x = number("x") / DOTS;
            let from = match of("text-anchor").as_str() {
                "middle" => x - width / 2.0,
                "end" => x - width,
                _ => x,
            };
            let y = number("y") / DOTS;
            boxes.push((from + 1.0, y - 4.0, from + width - 1.0, y + 4.0, text));
        }
        let mut found = Vec::new();
        for (i, a) in boxes.iter().enumerate() {
            for b in &boxes[..i] {
                if a.0 < b.2 && b.0 < a.2 && a.1 < b.3 && b.1 < a.3 {
                    found.push((a.4.clone(), b.4.clone()));
                }
            }
            assert!(a.0 > 0.0 && a.2 < WIDTH, "{} leaves the picture", a.4);
        }
        found
    }

    #[test]
    fn dashes_keep_their_ink() {
        let parts = dashes(&[(0.0, 0.0), (10.0, 0.0), (10.0, 20.0)], &[6.0, 4.0]);
        assert_eq!(
            parts,
            [vec![(0.0, 0.0), (6.0, 0.0)], vec![(10.0, 0.0), (10.0, 6.0)], vec![(10.0, 10.0), (10.0, 16.0)]]
        );
        assert!(dashes(&[], &[6.0, 4.0]).is_empty());
    }
}
