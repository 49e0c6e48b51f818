//! Lines of text of a bounded width: paragraphs, headings, marks, columns.

use std::io::{self, Write};

use super::style::{Paint, Style, clipped};

/// Writes lines of a bounded width.
pub(super) struct Page<'a> {
    pub(super) out: &'a mut dyn Write,
    pub(super) style: Style,
}

impl Page<'_> {
    pub(super) fn blank(&mut self) -> io::Result<()> {
        writeln!(self.out)
    }

    /// A line that is known to fit, with nothing at its end.
    pub(super) fn line(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.out, "{}", self.style.text(text.trim_end()))
    }

    pub(super) fn heading(&mut self, title: &str, tail: &str) -> io::Result<()> {
        let title = self.style.text(title);
        let tail = self.style.text(tail);
        self.blank()?;
        self.line(&format!("{}{tail}", self.style.paint(&title, Paint::Bold)))
    }

    /// Words broken into lines; the first is indented by `first`, the others by `rest`.
    pub(super) fn paragraph(&mut self, first: usize, rest: usize, text: &str) -> io::Result<()> {
        let text = self.style.text(text);
        let mut line = " ".repeat(first);
        let mut used = first;
        let mut empty = true;
        for word in text.split(' ').filter(|w| !w.is_empty()) {
            let width = word.chars().count();
            if !empty && used + 1 + width > self.style.width {
                self.line(&line)?;
                line = " ".repeat(rest);
                used = rest;
                empty = true;
            }
            if !empty {
                line.push(' ');
                used += 1;
            }
            line.push_str(word);
            used += width;
            empty = false;
        }
        if empty { Ok(()) } else { self.line(&line) }
    }

    /// A paragraph after a mark.
    pub(super) fn marked(&mut self, mark: &str, paint: Paint, text: &str) -> io::Result<()> {
        let mark = self.style.text(mark);
        // The first line is broken as if the mark were its first word, then the mark is painted.
        let mut lines = Vec::new();
        Page { out: &mut lines, style: Style { color: false, ..self.style } }.paragraph(4, 4, text)?;
        let lines = String::from_utf8_lossy(&lines);
        for (i, line) in lines.lines().enumerate() {
            if i == 0 {
                let painted = self.style.paint(&mark, paint);
                self.line(&format!("  {painted} {}", line.get(4..).unwrap_or_default()))?;
            } else {
                self.line(line)?;
            }
        }
        Ok(())
    }
}

/// Left-aligned in so many columns; too long a text is clipped.
pub(super) fn left(s: &str, width: usize) -> String {
    format!("{:<width$}", clipped(s, width))
}

/// Right-aligned in so many columns.
pub(super) fn right(s: &str, width: usize) -> String {
    format!("{s:>width$}")
}

/// The first eight characters of a hash.
pub(super) fn clipped_hash(hash: &str) -> String {
    hash.chars().take(8).collect()
}

impl Page<'_> {
    /// A paragraph that catches the eye.
    pub(super) fn loud_paragraph(&mut self, first: usize, rest: usize, text: &str) -> io::Result<()> {
        let mut lines = Vec::new();
        Page { out: &mut lines, style: Style { color: false, ..self.style } }.paragraph(first, rest, text)?;
        for line in String::from_utf8_lossy(&lines).lines() {
            let words = line.trim_start();
            let painted = self.style.paint(words, Paint::Bold);
            self.line(&format!("{}{painted}", " ".repeat(line.len() - words.len())))?;
        }
        Ok(())
    }
}
