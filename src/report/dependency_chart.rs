//! The chart of a dependency: its load, its connections, its latency.

use super::chart::palette::{BLACK, BLUE, GREEN, ORANGE, VERMILION};
use super::chart::{Dash, Figure, Layer, Panel, Scale, Shape};
use super::charts::{frame, largest, layer, panel};
use super::series::{ResultData, Series};
use super::style::{count, counted, sig3};

/// Load and refusals, open connections against their limit, how busy the workers are, and latency.
pub(super) fn dependency_chart(data: &ResultData, name: &str) -> Option<Figure> {
    let (d, summary) = (data.dependencies.get(name)?, data.summary.dependencies.get(name)?);
    let half = data.bucket_s / 2.0;
    let end = data.summary.meta.duration_s;
    let line = |name: &str, s: &Series, color, dash| -> Layer { layer(name, color, dash, s.line(half)) };
    let mut load = vec![line("calls", &d.calls, BLUE, Dash::Solid).note(largest(&d.calls, "/s")).weight(1.2)];
    if d.failed.any() {
        load.push(line("failed", &d.failed, VERMILION, Dash::Mixed).note(largest(&d.failed, "/s")));
    }
    if d.refused.any() {
        load.push(line("refused connections", &d.refused, ORANGE, Dash::Dashed).note(largest(&d.refused, "/s")).bare());
    }
    let open = layer("open", BLUE, Dash::Solid, d.connections.levels(end));
    let mut connections = vec![open.note(largest(&d.connections, "")).weight(1.6)];
    if let Some(most) = summary.max_connections {
        let level = layer("max_connections", BLACK, Dash::Long, Shape::Level(f64::from(most)));
        connections.push(level.note(most.to_string()).weight(1.0));
    }
    let busy = line("busy workers", &d.used, BLUE, Dash::Solid).note(largest(&d.used, " %")).weight(1.2);
    let latency = vec![
        line("p50", &d.p50, GREEN, Dash::Dotted).note(largest(&d.p50, " ms")).bare(),
        line("p99", &d.p99, VERMILION, Dash::Solid).note(largest(&d.p99, " ms")).weight(1.3),
        line("p99 of the wait for a worker", &d.wait, BLUE, Dash::Dashed).note(largest(&d.wait, " ms")).bare(),
    ];
    let spread = d.p99.max().unwrap_or(0.0) / d.p50.typical().unwrap_or(1.0).max(1e-6);
    let scale = if spread > 20.0 { Scale::Log } else { Scale::Zero };
    let panels = vec![
        panel("Calls", "a second", 130.0, load),
        panel("Connections", "the most in each interval", 110.0, connections),
        Panel { at_least: 100.0, ..panel("Use", "% of the workers", 100.0, vec![busy]) },
        Panel { scale, ..panel("Latency of answered calls", "ms at the caller", 150.0, latency) },
    ];
    let refused = match summary.connections_refused {
        0 => String::new(),
        n => format!("; {} refused", counted(n, "connection")),
    };
    let subtitle = format!(
        "{}, {} failed{refused}; workers busy {} % of the time",
        counted(summary.calls, "call"),
        count(summary.failed),
        sig3(summary.utilization_pct)
    );
    let title = format!("{name}: what it was asked for and what it could do");
    Some(Figure { title, subtitle, panels, ..frame(data, None) })
}
