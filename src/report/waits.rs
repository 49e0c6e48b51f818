//! What a deployment waited for, step by step: from the rows of `deployments.csv` to a waterfall.

use super::chart::palette::{BLUE, GREEN, GREY, ORANGE, PURPLE, VERMILION};
use super::plot::{Part, Plot, Span, Spans};
use super::style::duration;
use crate::output::DeploymentRow;

/// What holds a deployment up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// New tasks find capacity, pull their image and start.
    Starts,
    /// New tasks run and are not yet healthy.
    Health,
    /// Old tasks drain and stop.
    Drain,
    /// A step of the traffic shift, a bake time.
    Clock,
    /// A lifecycle hook.
    Hook,
    /// Quotas, bounds, the restart throttle.
    Bound,
}

impl Cause {
    const ALL: [Self; 6] = [Self::Starts, Self::Health, Self::Drain, Self::Clock, Self::Hook, Self::Bound];

    const fn words(self) -> &'static str {
        match self {
            Self::Starts => "new tasks to start",
            Self::Health => "new tasks to be healthy",
            Self::Drain => "old tasks to drain and stop",
            Self::Clock => "the next step or the bake time",
            Self::Hook => "a lifecycle hook",
            Self::Bound => "bounds, quotas or the throttle",
        }
    }

    const fn color(self) -> plotters::style::RGBColor {
        match self {
            Self::Starts => BLUE,
            Self::Health => GREEN,
            Self::Drain => ORANGE,
            Self::Clock => PURPLE,
            Self::Hook => VERMILION,
            Self::Bound => GREY,
        }
    }
}

/// A time in which a deployment waited for one thing.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Wait {
    deployment: u32,
    revision: u32,
    rollback: bool,
    from: f64,
    to: f64,
    stage: String,
    cause: Cause,
}

/// What the deployments of a service waited for, gathered row by row.
#[derive(Clone, Debug, Default)]
pub(super) struct Waits {
    all: Vec<Wait>,
    open: bool,
    stage: String,
    rolls_back: bool,
}

/// Waits that are kept: more than can be drawn.
const KEPT: usize = 4_000;

impl Waits {
    /// Takes the next row: the wait that it begins lasts until the following one.
    pub(super) fn see(&mut self, row: &DeploymentRow<'_>) {
        let t = row.time_s.value();
        if self.open
            && let Some(last) = self.all.last_mut()
        {
            last.to = t;
        }
        self.open = false;
        match row.step.as_ref() {
            "completed" | "rolled_back" | "failed" => return,
            "rolling_back" => {
                self.rolls_back = true;
                return;
            }
            "started" => self.stage.clear(),
            "progress" | "stalled" => {}
            stage => self.stage = stage.replace('_', " "),
        }
        let cause = cause(row, &self.stage);
        let same = self
            .all
            .last()
            .is_some_and(|w| w.deployment == row.deployment && w.cause == cause && w.stage == self.stage);
        if !same {
            if self.all.len() >= KEPT {
                return;
            }
            let known = self.all.iter().rev().find(|w| w.deployment == row.deployment).map(|w| w.rollback);
            let rollback = known.unwrap_or_else(|| std::mem::take(&mut self.rolls_back));
            let stage = self.stage.clone();
            let (deployment, revision) = (row.deployment, row.revision);
            self.all.push(Wait { deployment, revision, rollback, from: t, to: t, stage, cause });
        }
        self.open = true;
    }

    /// The waterfall of the deployments, at most `end` seconds into the run; `None` if none waited.
    pub(super) fn waterfall(&self, service: &str, end: f64, footer: String) -> Option<Plot> {
        let mut waits = self.all.clone();
        if self.open
            && let Some(last) = waits.last_mut()
        {
            last.to = end;
        }
        let total: f64 = waits.iter().map(|w| w.to - w.from).sum();
        let first = waits.first()?;
        let origin = first.from;
        let waits = merged(waits, total);
        let mut rows = Vec::new();
        let mut heading = None;
        for w in &waits {
            let new = heading != Some(w.deployment);
            heading = Some(w.deployment);
            let begins = if w.rollback { "rollback to" } else { "deployment of" };
            rows.push(Span {
                label: if w.stage.is_empty() { w.cause.words().to_owned() } else { w.stage.clone() },
                from: w.from,
                to: w.to,
                color: w.cause.color(),
                note: match w.stage.as_str() {
                    "" => duration(w.to - w.from),
                    _ => format!("{}: {}", duration(w.to - w.from), w.cause.words()),
                },
                heading: if new {
                    format!("{begins} revision {}, from {}", w.revision, duration(w.from))
                } else {
                    String::new()
                },
            });
        }
        let sums = Cause::ALL.iter().filter_map(|cause| {
            let s: f64 = waits.iter().filter(|w| w.cause == *cause).map(|w| w.to - w.from).sum();
            (s >= 0.5).then(|| format!("{} for {}", duration(s), cause.words()))
        });
        let sums: Vec<String> = sums.collect();
        Some(Plot {
            title: format!("{service}: what each step of a deployment waited for"),
            subtitle: format!("{} in all: {}", duration(total), sums.join(", ")),
            parts: vec![Part::Spans(Spans { unit: "seconds since the first deployment began".into(), origin, rows })],
            footer,
        })
    }
}

fn cause(row: &DeploymentRow<'_>, stage: &str) -> Cause {
    let waits = row.waits_for.as_ref();
    if waits.contains("hook") {
        Cause::Hook
    } else if waits.contains("throttle") || waits.contains("quota") || waits.contains("launch rate") {
        Cause::Bound
    } else if row.new_pending > 0 {
        Cause::Starts
    } else if row.new_healthy < row.new_running || row.new_running == 0 {
        Cause::Health
    } else if stage.contains("shift") || stage.contains("bake") || waits.contains("bake") || stage == "paused" {
        Cause::Clock
    } else if row.old_running > 0 && row.new_running < row.desired {
        // Nothing can be started until old tasks have gone.
        if row.old_running + row.new_running > row.desired { Cause::Bound } else { Cause::Drain }
    } else {
        Cause::Drain
    }
}

/// Rows of the waterfall: what is too short to be seen goes to its neighbour.
const ROWS: usize = 28;

fn merged(mut waits: Vec<Wait>, total: f64) -> Vec<Wait> {
    waits.retain(|w| w.to > w.from);
    let mut shortest = 0.004 * total;
    loop {
        let mut kept: Vec<Wait> = Vec::new();
        for w in std::mem::take(&mut waits) {
            match kept.last_mut() {
                Some(last)
                    if last.deployment == w.deployment
                        && ((last.cause == w.cause && last.stage == w.stage) || w.to - w.from < shortest) =>
                {
                    last.to = w.to;
                }
                _ => kept.push(w),
            }
        }
        if kept.len() <= ROWS || shortest > total {
            return kept;
        }
        shortest *= 1.6;
        waits = kept;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Secs;

    fn row(t: f64, step: &'static str, counts: [u32; 5], waits_for: &'static str) -> DeploymentRow<'static> {
        let [desired, new_pending, new_running, new_healthy, old_running] = counts;
        DeploymentRow {
            time_s: Secs((t * 1e9) as u64),
            deployment: 1,
            service: "web".into(),
            revision: 2,
            previous_revision: 1,
            step: step.into(),
            new_weight_pct: crate::output::Fixed(0.0),
            desired,
            new_pending,
            new_running,
            new_healthy,
            old_running,
            old_healthy: old_running,
            failed_tasks: 0,
            waits_for: waits_for.into(),
        }
    }

    #[test]
    fn each_second_has_one_cause() {
        let mut waits = Waits::default();
        waits.see(&row(0.0, "started", [4, 0, 0, 0, 4], ""));
        waits.see(&row(0.0, "progress", [4, 4, 0, 0, 4], ""));
        waits.see(&row(30.0, "progress", [4, 0, 4, 0, 4], ""));
        waits.see(&row(50.0, "bake_time", [4, 0, 4, 4, 4], ""));
        waits.see(&row(110.0, "clean_up", [4, 0, 4, 4, 4], ""));
        waits.see(&row(140.0, "completed", [4, 0, 4, 4, 0], ""));
        let plot = waits.waterfall("web", 600.0, String::new()).unwrap();
        assert!(plot.subtitle.starts_with("2 min 20 s in all"), "{}", plot.subtitle);
        let Part::Spans(spans) = &plot.parts[0] else { panic!("spans") };
        let lengths: Vec<f64> = spans.rows.iter().map(|s| s.to - s.from).collect();
        assert_eq!(lengths, [30.0, 20.0, 60.0, 30.0]);
        assert_eq!(spans.rows[2].note, "1 min: the next step or the bake time");
    }
}
