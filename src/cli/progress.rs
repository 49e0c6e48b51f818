//! How far a run is: a bar on a terminal, else one line at the start and one at the end.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::console::Console;
use crate::kernel::{SimDuration, SimTime};

/// The progress of one run.
pub(crate) struct Progress {
    label: String,
    duration: SimDuration,
    started: Instant,
    bar: Option<ProgressBar>,
    last: Instant,
}

/// A time in the two largest units, for people.
pub(super) fn spoken(seconds: f64) -> String {
    let s = seconds.max(0.0);
    if s < 60.0 {
        format!("{s:.0} s")
    } else if s < 3_600.0 {
        format!("{:.0} min", s / 60.0)
    } else if s < 172_800.0 {
        format!("{} h", one_decimal(s / 3_600.0))
    } else {
        format!("{} d", one_decimal(s / 86_400.0))
    }
}

/// One decimal, left out where it is zero.
fn one_decimal(x: f64) -> String {
    let text = format!("{x:.1}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

/// A large number in short: `2250`, `3.1M`.
pub(super) fn short(x: f64) -> String {
    if x >= 1e6 {
        format!("{:.1}M", x / 1e6)
    } else if x >= 1e4 {
        format!("{:.0}k", x / 1e3)
    } else {
        format!("{x:.0}")
    }
}

impl Progress {
    /// Starts the display of a run.
    pub(crate) fn start(console: &mut Console<'_>, label: &str, duration: SimDuration, seed: u64, plan: &str) -> Self {
        let plan: String = plan.chars().take(8).collect();
        let bar = console.bar.then(|| {
            let bar = ProgressBar::with_draw_target(Some(1_000), ProgressDrawTarget::stderr());
            let (full, template) = if console.style.ascii {
                ("=> ", "{prefix}  [{bar:26}] {percent:>3} %  {wide_msg}")
            } else {
                ("━╸ ", "{prefix}  {bar:26} {percent:>3} %  {wide_msg}")
            };
            let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
            bar.set_style(style.progress_chars(full));
            bar.set_prefix(label.to_owned());
            bar
        });
        if bar.is_none() {
            let time = spoken(duration.as_secs_f64());
            console.say(&format!("simulating {label}: {time}, seed {seed}, plan {plan}"));
        }
        let now = Instant::now();
        Self { label: label.to_owned(), duration, started: now, bar, last: now }
    }

    /// Shows how far the simulated time is. Cheap enough to be called often.
    pub(crate) fn at(&mut self, now: SimTime) {
        let Some(bar) = &self.bar else { return };
        if self.last.elapsed() < Duration::from_millis(80) {
            return;
        }
        self.last = Instant::now();
        let wall = self.started.elapsed().as_secs_f64().max(1e-3);
        let done = now.as_secs_f64();
        let whole = self.duration.as_secs_f64().max(1e-9);
        let speed = done / wall;
        bar.set_position((done / whole * 1_000.0) as u64);
        let left = if speed > 0.0 { spoken((whole - done) / speed) } else { "?".into() };
        let (done, whole) = (spoken(done), spoken(whole));
        bar.set_message(format!("{done} of {whole}, {} times real time, {left} left", short(speed)));
    }

    /// Ends the display with a line that says how fast it was.
    pub(crate) fn done(self, console: &mut Console<'_>, events: u64) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        let wall = self.started.elapsed().as_secs_f64().max(1e-9);
        let speed = short(self.duration.as_secs_f64() / wall);
        let rate = short(events as f64 / wall);
        console.say(&format!("{}: done in {wall:.2} s, {speed} times real time, {rate} events/s", self.label));
    }

    /// Takes the display away without a word.
    pub(crate) fn abandon(self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
