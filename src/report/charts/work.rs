//! Charts of queues and jobs.

use super::{Page, cost_panel, frame, largest, layer, panel};
use crate::report::chart::palette::{BLACK, BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILION};
use crate::report::chart::{Dash, Figure, Mark, Panel, Shape};
use crate::report::closing::closing_sentence;
use crate::report::series::ResultData;
use crate::report::style::{count, counted, dollars, duration};

/// Most firings that are marked.
const FIRINGS: usize = 6;

impl Page<'_> {
    /// The backlog of the queue that this service works on.
    pub(super) fn backlog_panels(&self, height: f64) -> Vec<Panel> {
        let queue = self.summary.queue.as_ref().filter(|name| self.data.queues.contains_key(*name));
        queue.map_or_else(Vec::new, |name| queue_panels(self.data, name, height).into_iter().skip(1).collect())
    }
}

fn queue_panels(data: &ResultData, name: &str, height: f64) -> Vec<Panel> {
    let Some(q) = data.queues.get(name) else { return Vec::new() };
    let middle = data.bucket_s / 2.0;
    let end = data.summary.meta.duration_s;
    let line = |name: &str, series: &crate::report::series::Series, color, dash| {
        layer(name, color, dash, series.line(middle)).note(largest(series, "/s"))
    };
    let mut flow = vec![line("sent", &q.sent, BLACK, Dash::Dashed), line("done", &q.done, BLUE, Dash::Solid)];
    if q.redelivered.any() {
        flow.push(line("delivered again", &q.redelivered, ORANGE, Dash::Mixed));
    }
    if q.dead.any() {
        flow.push(line("to the dead-letter queue", &q.dead, VERMILION, Dash::Dotted));
    }
    let step = |name: &str, series: &crate::report::series::Series, color, dash, unit: &str| {
        layer(name, color, dash, series.levels(end)).note(largest(series, unit))
    };
    vec![
        panel("Messages", "a second", height, flow),
        panel(
            &format!("Backlog of {name}"),
            "messages",
            height,
            vec![
                step("waiting", &q.visible, PURPLE, Dash::Solid, ""),
                step("in hand", &q.in_flight, SKY, Dash::Dashed, ""),
            ],
        ),
        panel(
            "Age of the oldest message",
            "seconds since it was sent; done ones are gone",
            height,
            vec![step("oldest", &q.age, VERMILION, Dash::Solid, " s")],
        ),
    ]
}

/// A queue: what comes and goes, what waits and for how long.
pub(super) fn queue_chart(data: &ResultData, name: &str) -> Figure {
    let title = format!("queue {name}: what comes, what waits, for how long");
    let subtitle = data.summary.queues.get(name).map_or_else(String::new, |q| {
        format!(
            "{} sent, {} done; {} waiting at most, the oldest for {}",
            counted(q.sent, "message"),
            count(q.deleted),
            count(q.max_visible),
            duration(q.max_age_s)
        )
    });
    Figure { title, subtitle, panels: queue_panels(data, name, 140.0), ..frame(data, None) }
}

/// A job: what waits, what runs, what is done. With `overview` the cost beside it.
pub(super) fn job_chart(data: &ResultData, name: &str, overview: bool) -> Figure {
    let meta = &data.summary.meta;
    let mut figure = frame(data, None);
    figure.title = format!("{}/{}, job {name}: from firing to done", meta.name, meta.variant);
    let (Some(series), Some(summary)) = (data.jobs.get(name), data.summary.jobs.get(name)) else { return figure };
    let end = meta.duration_s;
    let step = |name: &str, series: &crate::report::series::Series, color, dash| {
        layer(name, color, dash, Shape::Step(series.held_steps(end))).note(largest(series, ""))
    };
    figure.subtitle = closing_sentence(&data.summary).filter(|_| overview).unwrap_or_else(|| {
        let cost = data.summary.cost.by_service.get(name).copied().unwrap_or(0.0);
        format!(
            "{} due, {} done, {} at most at once; {}",
            counted(summary.due, "piece").replace("pieces", "pieces of work"),
            count(summary.succeeded),
            count(u64::from(summary.max_running)),
            dollars(cost)
        )
    });
    let at_work = vec![
        step("waiting", &series.waiting, ORANGE, Dash::Dashed),
        step("at work", &series.running, BLUE, Dash::Solid),
    ];
    let mut done = vec![step("done", &series.done, GREEN, Dash::Solid)];
    if series.failed.any() {
        done.push(step("given up", &series.failed, VERMILION, Dash::Mixed));
    }
    figure.panels = vec![panel("Work", "pieces", 170.0, at_work), panel("Done", "pieces so far", 120.0, done)];
    if let Some(wait) = &summary.wait {
        let (half, most) = (duration(wait.p50_s), duration(wait.p99_s));
        figure.panels[0].unit =
            format!("pieces; half of them wait {half} and more for a task, one in a hundred {most}");
    }
    if overview {
        figure.panels.push(cost_panel(data, 120.0));
    }
    if series.firings.len() <= FIRINGS {
        for (due, deadline) in &series.firings {
            let mut mark = |time: f64, text: String, color| {
                if time <= end {
                    let letter = char::from(b'A' + figure.marks.len() as u8).to_string();
                    figure.marks.push(Mark {
                        time,
                        letter,
                        text: format!("{} · {name}: {text}", duration(time)),
                        color,
                    });
                }
            };
            mark(*due, "the schedule fires".to_owned(), BLACK);
            if let Some(deadline) = deadline {
                mark(*deadline, "deadline".to_owned(), VERMILION);
            }
        }
    }
    figure
}
