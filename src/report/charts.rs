//! The charts of a result folder, drawn from its files alone.

pub(super) mod pods;
mod work;

use std::fs;
use std::path::{Path, PathBuf};

use super::chart::palette::{BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILION};
use super::chart::{Band, Dash, Figure, Layer, Mark, Panel, Scale, Shape};
use super::closing::closing_sentence;
use super::pen::{Drawing, write_drawing};
use super::plot::Plot;
use super::series::{DeploymentStep, ResultData, Series, ServiceSeries};
use super::style::{count, counted, dollars, duration, key_words, sig3, value, value_beside};
use crate::output::{BoundSense, OutputError, ServiceSummary, Summary};

/// Folder of the charts within a result folder.
pub const CHARTS_FOLDER: &str = "charts";

/// How latency is placed on its axis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LatencyScale {
    /// Logarithmic if the largest value is more than twenty times the usual one.
    #[default]
    Auto,
    /// From zero.
    Linear,
    /// By decades.
    Log,
}

/// Draws the charts of a result folder into its folder `charts`, each as SVG and as PNG, and returns the
/// names of the charts. The first service has the plain names (`overview`, `load`, `latency`, `capacity`,
/// `utilisation`, `errors`, `deployments`, `waits`); a further one has `overview-NAME` and, if there are any,
/// `deployments-NAME` and `waits-NAME`. Dependencies, queues and jobs have one each, `dependency-NAME`, `queue-NAME` and
/// `job-NAME`; without any service the first job has the name `overview`. Pods of files have the chart `pods`, or `overview`
/// where there is nothing else. `nodes` (where there are instances) and `cost`
/// are of the whole.
///
/// Reads the files back, so that what is drawn is what is on disk; memory does not grow with the run.
///
/// # Errors
/// [`OutputError`] with the file that could not be read or written.
pub fn write_charts(folder: &Path, latency: LatencyScale) -> Result<Vec<String>, OutputError> {
    let data = ResultData::read(folder)?;
    let target = folder.join(CHARTS_FOLDER);
    fs::create_dir_all(&target).map_err(|e| OutputError::io("create", &target, e))?;
    // Drawn aside first: an interruption leaves the charts that were there.
    let aside = tempfile::Builder::new()
        .prefix(".charts-")
        .tempdir_in(folder)
        .map_err(|e| OutputError::io("create a folder in", folder, e))?;
    let mut names = Vec::new();
    for (i, (service, series)) in data.services.iter().enumerate() {
        let Some(summary) = data.summary.services.get(service) else { continue };
        let page = Page { data: &data, service, series, summary, latency };
        if i > 0 {
            let of = file_name(service);
            draw(aside.path(), &mut names, &format!("overview-{of}"), Some(&page.overview()))?;
            draw(aside.path(), &mut names, &format!("deployments-{of}"), page.deployments().as_ref())?;
            draw(aside.path(), &mut names, &format!("waits-{of}"), page.waits().as_ref())?;
            continue;
        }
        draw(aside.path(), &mut names, "overview", Some(&page.overview()))?;
        draw(aside.path(), &mut names, "load", Some(&page.load()))?;
        draw(aside.path(), &mut names, "latency", page.latency_chart().as_ref())?;
        draw(aside.path(), &mut names, "capacity", Some(&page.capacity()))?;
        draw(aside.path(), &mut names, "utilisation", Some(&page.utilisation()))?;
        draw(aside.path(), &mut names, "errors", page.errors().as_ref())?;
        draw(aside.path(), &mut names, "deployments", page.deployments().as_ref())?;
        draw(aside.path(), &mut names, "waits", page.waits().as_ref())?;
    }
    for name in data.dependencies.keys() {
        let chart = super::dependency_chart::dependency_chart(&data, name);
        draw(aside.path(), &mut names, &format!("dependency-{}", file_name(name)), chart.as_ref())?;
    }
    for name in data.queues.keys() {
        let chart = work::queue_chart(&data, name);
        draw(aside.path(), &mut names, &format!("queue-{}", file_name(name)), Some(&chart))?;
    }
    for (i, name) in data.jobs.keys().enumerate() {
        let first = i == 0 && data.services.is_empty();
        let file = if first { "overview".to_owned() } else { format!("job-{}", file_name(name)) };
        draw(aside.path(), &mut names, &file, Some(&work::job_chart(&data, name, first)))?;
    }
    let alone = data.services.is_empty() && data.jobs.is_empty();
    let pods = if alone { "overview" } else { "pods" };
    draw(aside.path(), &mut names, pods, pods::pods_chart(&data).as_ref())?;
    draw(aside.path(), &mut names, "nodes", super::node_chart::nodes_chart(&data).as_ref())?;
    draw(aside.path(), &mut names, "cost", cost_chart(&data).as_ref())?;
    for name in &names {
        for extension in ["svg", "png"] {
            let file = format!("{name}.{extension}");
            let to = target.join(&file);
            fs::rename(aside.path().join(&file), &to).map_err(|e| OutputError::io("write", &to, e))?;
        }
    }
    Ok(names)
}

fn draw(folder: &Path, names: &mut Vec<String>, name: &str, drawing: Option<&impl Drawing>) -> Result<(), OutputError> {
    if let Some(drawing) = drawing {
        write_drawing(folder, name, drawing)?;
        names.push(name.to_owned());
    }
    Ok(())
}

/// The overview of a result: what a person looks at first.
#[must_use]
pub fn overview_path(folder: &Path) -> PathBuf {
    folder.join(CHARTS_FOLDER).join("overview.svg")
}

/// A service's name as part of a file name.
pub(super) fn file_name(service: &str) -> String {
    service.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '-' }).collect()
}

/// What the charts of one service are made from.
pub(super) struct Page<'a> {
    data: &'a ResultData,
    service: &'a str,
    series: &'a ServiceSeries,
    summary: &'a ServiceSummary,
    latency: LatencyScale,
}

pub(super) fn layer(name: &str, color: plotters::style::RGBColor, dash: Dash, shape: Shape) -> Layer {
    Layer { name: name.into(), note: String::new(), color, dash, weight: 1.5, band: true, shape }
}

impl Layer {
    pub(super) fn note(self, note: impl Into<String>) -> Self {
        Self { note: note.into(), ..self }
    }

    pub(super) fn weight(self, weight: f64) -> Self {
        Self { weight, ..self }
    }

    /// Without the band of an envelope: only one or two bands of a panel can be told apart.
    pub(super) fn bare(self) -> Self {
        Self { band: false, ..self }
    }
}

pub(super) fn panel(title: &str, unit: &str, height: f64, layers: Vec<Layer>) -> Panel {
    Panel {
        title: title.into(),
        unit: unit.into(),
        prefix: "",
        height,
        scale: Scale::Zero,
        layers: layers.into_iter().filter(|l| !l.shape.is_empty()).collect(),
        at_least: 0.0,
    }
}

impl Shape {
    fn is_empty(&self) -> bool {
        match self {
            Self::Line(p) | Self::Step(p) => p.iter().all(|p| !p.1.is_finite()),
            Self::Envelope(p) => p.iter().all(|p| !p.2.is_finite()),
            Self::Area(p) => p.is_empty(),
            Self::Ribbon(p, _) => p.iter().all(|p| !p.1.is_finite()),
            Self::Triangles(p) => p.is_empty(),
            Self::Level(v) => !v.is_finite(),
        }
    }
}

pub(super) fn largest(series: &Series, unit: &str) -> String {
    series.max().map_or(String::new(), |m| format!("max {}{unit}", sig3(m)))
}

impl Page<'_> {
    fn end(&self) -> f64 {
        self.data.summary.meta.duration_s
    }

    /// Half a bucket: where the point of an interval (or of several) stands.
    fn middle(&self) -> f64 {
        self.data.bucket_s / 2.0
    }

    fn line(&self, name: &str, series: &Series, color: plotters::style::RGBColor, dash: Dash) -> Layer {
        layer(name, color, dash, series.line(self.middle()))
    }

    fn step(&self, name: &str, series: &Series, color: plotters::style::RGBColor, dash: Dash) -> Layer {
        layer(name, color, dash, series.levels(self.end()))
    }

    /// A step line of a table with rows only where something happens.
    fn held(&self, name: &str, series: &Series, color: plotters::style::RGBColor, dash: Dash) -> Layer {
        layer(name, color, dash, Shape::Step(series.held_steps(self.end())))
    }

    fn figure(&self, title: String, subtitle: String, panels: Vec<Panel>) -> Figure {
        Figure { title, subtitle, panels, ..frame(self.data, Some(self)) }
    }

    fn overview(&self) -> Figure {
        let meta = &self.data.summary.meta;
        let subtitle = closing_sentence(&self.data.summary).unwrap_or_else(|| self.verdicts(""));
        let mut panels = vec![self.load_panel(110.0)];
        panels.extend(self.backlog_panels(100.0));
        panels.extend([
            self.latency_panel(130.0),
            self.capacity_panel(120.0, false),
            self.utilisation_panel(100.0),
            cost_panel(self.data, 100.0),
        ]);
        let title = format!("{}/{}, service {}: from load to dollars", meta.name, meta.variant, self.service);
        self.figure(title, subtitle, panels)
    }

    fn load(&self) -> Figure {
        let r = &self.summary.requests;
        let subtitle = format!(
            "{}, {} of them failed, on {} tasks at most",
            counted(r.started, "request"),
            count(r.failed),
            self.summary.scaling.max_running
        );
        let title = format!("{}: load against capacity", self.service);
        self.figure(title, subtitle, vec![self.load_panel(190.0), self.capacity_panel(150.0, false)])
    }

    fn load_panel(&self, height: f64) -> Panel {
        let s = self.series;
        let mut layers = vec![
            self.line(if self.summary.queue.is_some() { "done" } else { "answered" }, &s.answered, BLUE, Dash::Solid)
                .note(largest(&s.answered, "/s"))
                .weight(1.2),
            self.line("offered", &s.offered, BLACK, Dash::Dashed).note(largest(&s.offered, "/s")).weight(1.1).bare(),
        ];
        if s.failed.any() {
            layers.push(self.line("failed", &s.failed, VERMILION, Dash::Mixed).note(largest(&s.failed, "/s")));
        }
        let unit = if self.summary.queue.is_some() { "messages a second" } else { "requests a second" };
        panel("Load", unit, height, layers)
    }

    fn latency_chart(&self) -> Option<Figure> {
        self.summary.latency.as_ref()?;
        let title = match self.summary.queue {
            Some(_) => format!("{}: from sending a message to the end of its work", self.service),
            None => format!("{}: latency at the client", self.service),
        };
        Some(self.figure(title, self.verdicts("latency"), vec![self.latency_panel(330.0)]))
    }

    fn latency_panel(&self, height: f64) -> Panel {
        let s = self.series;
        let mut layers = vec![
            self.line("p50", &s.p50, GREEN, Dash::Dotted).note(largest(&s.p50, " ms")).bare(),
            self.line("p95", &s.p95, BLUE, Dash::Dashed).note(largest(&s.p95, " ms")).weight(1.3).bare(),
            self.line("p99", &s.p99, VERMILION, Dash::Solid).note(largest(&s.p99, " ms")).weight(1.3),
        ];
        for o in self.data.summary.objectives.iter().filter(|o| o.subject == self.service && o.unit == "ms") {
            let name = format!("{} target", key_words(o.key.trim_start_matches("latency_")));
            let sense = if o.sense == BoundSense::AtMost { "≤" } else { "≥" };
            let level = layer(&name, BLACK, Dash::Long, Shape::Level(o.limit));
            layers.push(level.note(format!("{sense} {}", value(o.limit, &o.unit))).weight(1.0));
        }
        let spread = s.p99.max().unwrap_or(0.0) / s.p50.typical().unwrap_or(1.0).max(1e-6);
        let log = match self.latency {
            LatencyScale::Auto => spread > 20.0,
            LatencyScale::Linear => false,
            LatencyScale::Log => true,
        };
        let panel = match self.summary.queue {
            Some(_) => panel("Age of messages when their work is done", "ms since they were sent", height, layers),
            None => panel("Latency of answered requests", "ms at the client", height, layers),
        };
        Panel { scale: if log { Scale::Log } else { Scale::Zero }, ..panel }
    }

    fn capacity(&self) -> Figure {
        let c = &self.summary.scaling;
        let subtitle = format!(
            "{}, {}; {} tasks on average, {} at most; {} became RUNNING, {} stopped",
            counted(c.scale_outs, "scale-out"),
            counted(c.scale_ins, "scale-in"),
            sig3(c.mean_running),
            c.max_running,
            count(c.tasks_started),
            count(c.tasks_stopped)
        );
        let title = format!("{}: tasks wanted, running and healthy", self.service);
        self.figure(title, subtitle, vec![self.capacity_panel(330.0, true)])
    }

    fn capacity_panel(&self, height: f64, all: bool) -> Panel {
        let s = self.series;
        let mut layers = vec![
            self.step("running", &s.running, SKY, Dash::Solid).note(largest(&s.running, "")).weight(3.2),
            self.step("healthy", &s.healthy, BLUE, Dash::Solid).weight(1.3).bare(),
            self.step("desired", &s.desired, BLACK, Dash::Dashed).note(largest(&s.desired, "")).weight(1.2).bare(),
        ];
        if all && s.pending.any() {
            layers.push(self.step("starting", &s.pending, ORANGE, Dash::Mixed).note(largest(&s.pending, "")));
        }
        if all && s.draining.any() {
            layers.push(self.step("draining", &s.draining, PURPLE, Dash::Dotted).note(largest(&s.draining, "")));
        }
        let c = &self.summary.scaling;
        // A row of triangles that touch says nothing; then only their number is told.
        if s.scaled.len() > TRIANGLES {
            let unit = format!("tasks; {} scale-outs, {} scale-ins", count(c.scale_outs), count(c.scale_ins));
            return panel("Capacity", &unit, height, layers);
        }
        for (up, name, color, n) in
            [(true, "scale-out", GREEN, c.scale_outs), (false, "scale-in", VERMILION, c.scale_ins)]
        {
            let times: Vec<(f64, bool)> = s.scaled.iter().copied().filter(|d| d.1 == up).collect();
            let name = if n > 0 { format!("{name} ({})", count(n)) } else { name.to_owned() };
            layers.push(layer(&name, color, Dash::Solid, Shape::Triangles(times)));
        }
        panel("Capacity", "tasks", height, layers)
    }

    fn utilisation(&self) -> Figure {
        let s = self.series;
        let mut panels = vec![self.utilisation_panel(230.0)];
        if s.memory.any() {
            let memory = self.line("used", &s.memory, PURPLE, Dash::Solid).note(largest(&s.memory, " %"));
            panels.push(Panel { at_least: 100.0, ..panel("Memory", "% of the reserved", 110.0, vec![memory]) });
        }
        let subtitle =
            "CPU burned in truth, and the metric as it is published: late, and a mean over its period".to_owned();
        let title = format!("{}: utilisation, true and as the scaler sees it", self.service);
        self.figure(title, subtitle, panels)
    }

    fn utilisation_panel(&self, height: f64) -> Panel {
        let s = self.series;
        let mut layers = vec![
            self.line("used", &s.used, BLUE, Dash::Solid).note(largest(&s.used, " %")).weight(1.2),
            self.step("seen by the scaler", &s.seen, ORANGE, Dash::Dashed).weight(1.6).bare(),
        ];
        if let Some(target) = self.summary.cpu_target_pct {
            let level = layer("target", BLACK, Dash::Long, Shape::Level(target));
            layers.push(level.note(format!("{} %", sig3(target))).weight(1.0));
        }
        Panel { at_least: 100.0, ..panel("CPU utilisation", "% of the reserved", height, layers) }
    }

    fn errors(&self) -> Option<Figure> {
        let s = self.series;
        let kinds = ["timed out", "gave up waiting", "application error", "balancer error"];
        let codes = ["460 closed", "502 gateway", "503 no target", "504 time-out", "target 5xx"];
        let colors = [VERMILION, BLUE, PURPLE, GREEN, BLACK];
        let dashes = [Dash::Solid, Dash::Dashed, Dash::Mixed, Dash::Dotted, Dash::Long];
        let lines = |names: &[&str], series: &[Series]| -> Vec<Layer> {
            (0..names.len())
                .filter(|i| series[*i].any())
                .map(|i| self.line(names[i], &series[i], colors[i], dashes[i]).note(largest(&series[i], "/s")))
                .collect()
        };
        let failed = lines(&kinds, &s.failed_by_kind);
        let answers = lines(&codes, &s.balancer);
        if failed.is_empty() && answers.is_empty() {
            return None;
        }
        let mut panels = Vec::new();
        if !failed.is_empty() {
            panels.push(panel("Failed requests by their last attempt", "a second", 150.0, failed));
        }
        if !answers.is_empty() {
            panels.push(panel("Errors at the load balancer, every attempt", "a second", 150.0, answers));
        }
        let title = format!("{}: errors by cause", self.service);
        Some(self.figure(title, self.verdicts("availability"), panels))
    }

    fn deployments(&self) -> Option<Figure> {
        let s = self.series;
        if s.deployments.is_empty() {
            return None;
        }
        let [new_running, new_healthy, old_running, old_healthy] = &s.revisions;
        let mut layers = vec![
            self.held("new running", new_running, SKY, Dash::Solid).weight(3.2),
            self.held("new healthy", new_healthy, BLUE, Dash::Solid).weight(1.3),
            self.held("old running", old_running, ORANGE, Dash::Dashed).weight(2.4),
            self.held("old healthy", old_healthy, VERMILION, Dash::Dotted).weight(1.3),
        ];
        if s.failed_tasks.any() {
            let failed = self.held("new failed, so far", &s.failed_tasks, BLACK, Dash::Mixed);
            layers.push(failed.note(largest(&s.failed_tasks, "")).weight(1.2));
        }
        let mut panels = vec![panel("Tasks by revision", "tasks", 200.0, layers)];
        let weight = self.held("to the newer revision", &s.weight, PURPLE, Dash::Solid).weight(2.0);
        panels.push(Panel { at_least: 100.0, ..panel("Production traffic", "%", 80.0, vec![weight]) });
        if s.failed.any() {
            panels.push(self.load_panel(120.0));
        }
        if self.summary.latency.is_some() {
            panels.push(self.latency_panel(120.0));
        }
        let title = format!("{}: deployments", self.service);
        let subtitle = closing_sentence(&self.data.summary).unwrap_or_default();
        let figure = self.figure(title, subtitle, panels);
        let (first, last) = (s.deployments.first()?.time, s.deployments.last()?.time);
        // The time around the deployments, if that is little of the whole and they have ended.
        let ended = s.deployments.last().is_some_and(|d| ["completed", "rolled_back"].contains(&d.step.as_str()));
        let margin = (0.25 * (last - first)).max(90.0);
        let (from, to) = ((first - margin).max(0.0), (last + margin).min(self.end()));
        let part = ended && to - from < 0.6 * self.end();
        Some(if part { figure.within(from, to) } else { figure })
    }

    fn waits(&self) -> Option<Plot> {
        self.series.waits.waterfall(self.service, self.end(), footer(&self.data.summary))
    }

    /// The verdicts of this service's objectives whose key starts so, in words.
    fn verdicts(&self, prefix: &str) -> String {
        let parts: Vec<String> = self
            .data
            .summary
            .objectives
            .iter()
            .filter(|o| o.subject == self.service && o.key.starts_with(prefix))
            .map(|o| {
                let sense = if o.sense == BoundSense::AtMost { "≤" } else { "≥" };
                let verdict = match o.held {
                    Some(true) => "held",
                    Some(false) => "missed",
                    None => "not measured",
                };
                let measured = o.measured.map_or_else(|| "–".to_owned(), |m| value_beside(m, o.limit, &o.unit));
                format!("{} {measured}, target {sense} {}: {verdict}", key_words(&o.key), value(o.limit, &o.unit))
            })
            .collect();
        parts.join(";  ")
    }
}

/// Most triangles of scaling decisions in one panel.
const TRIANGLES: usize = 70;

/// Most marks with a letter; the rest is counted.
const MARKS: usize = 12;

/// What all figures share: the axis, bands, marks and the footer. Without a page: those of the whole.
pub(super) fn frame(data: &ResultData, page: Option<&Page<'_>>) -> Figure {
    let meta = &data.summary.meta;
    let mut bands = Vec::new();
    if meta.warm_up_s > 0.0 {
        bands.push(Band { from: 0.0, to: meta.warm_up_s, color: GREY, opacity: 0.22, label: "warm-up".into() });
    }
    let mut marks = Vec::new();
    let of = |service: &str| page.is_none_or(|p| p.service == service);
    for (name, series) in data.services.iter().filter(|(name, _)| of(name)) {
        deployment_marks(name, series, meta.duration_s, &mut bands, &mut marks);
    }
    fault_bands(&data.summary, &mut bands, &mut marks);
    for (name, d) in &data.summary.dependencies {
        for s in d.slowdowns.iter().take(FAULT_BANDS) {
            let label = format!("{name} slow");
            bands.push(Band { from: s.start_s, to: s.end_s, color: ORANGE, opacity: 0.16, label });
            let text = format!(
                "{} · {name} works at {} % of its speed for {}",
                duration(s.start_s),
                sig3(100.0 * s.speed),
                duration(s.end_s - s.start_s)
            );
            marks.push(Mark { time: s.start_s, letter: String::new(), text, color: ORANGE });
        }
    }
    if data.notices.len() <= STORMS {
        marks.extend(data.notices.iter().map(|(time, capacity, n)| Mark {
            time: *time,
            letter: String::new(),
            text: format!(
                "{} · {capacity}: EC2 takes {} back, with two minutes' notice",
                duration(*time),
                counted(u64::from(*n), "Spot instance")
            ),
            color: ORANGE,
        }));
    }
    for incident in data.summary.incidents.iter().filter(|i| page.is_some() && of(&i.service)) {
        let to = incident.end_s.unwrap_or(meta.duration_s);
        let label = "objective missed".to_owned();
        bands.push(Band { from: incident.start_s, to, color: VERMILION, opacity: 0.13, label });
    }
    marks.sort_by(|a, b| a.time.total_cmp(&b.time));
    let mut axis_label =
        format!("simulated time from {}", if meta.start.is_empty() { "the start" } else { &meta.start });
    if data.bucket_s > meta.interval_s {
        axis_label +=
            &format!("; lines are means over {}, bands go from the least to the most", duration(data.bucket_s));
    }
    let more = marks.len().saturating_sub(MARKS);
    for (i, mark) in marks.iter_mut().enumerate() {
        if i < MARKS {
            mark.letter = char::from(b'A' + i as u8).to_string();
        } else {
            mark.text.clear();
        }
    }
    if more > 0 {
        marks[MARKS - 1].text += &format!("; {more} more without a letter");
    }
    Figure {
        title: String::new(),
        subtitle: String::new(),
        from: 0.0,
        end: meta.duration_s,
        axis_label,
        panels: Vec::new(),
        bands,
        marks,
        footer: footer(&data.summary),
    }
}

fn footer(summary: &Summary) -> String {
    let meta = &summary.meta;
    let mut parts = vec![
        format!("{}/{}", meta.name, meta.variant),
        format!("seed {}", meta.seed),
        format!("plan {}", meta.plan_hash.chars().take(8).collect::<String>()),
        format!("prices of {}", meta.catalog_date),
        format!("simctl {}", meta.simctl_version),
    ];
    parts.extend(summary.notes.iter().cloned());
    parts.join("  ·  ")
}

fn deployment_marks(service: &str, series: &ServiceSeries, end: f64, bands: &mut Vec<Band>, marks: &mut Vec<Mark>) {
    let mark = |step: &DeploymentStep, text: String| Mark {
        time: step.time,
        letter: String::new(),
        text: format!("{} · {service}: {text}", duration(step.time)),
        color: PURPLE,
    };
    for step in &series.deployments {
        let number = step.deployment;
        let reason = if step.reason.is_empty() { String::new() } else { format!(" ({})", step.reason) };
        let revision = step.revision;
        match step.step.as_str() {
            "started" => {
                let ends = |s: &&DeploymentStep| {
                    s.deployment == number && ["completed", "rolling_back", "rolled_back"].contains(&s.step.as_str())
                };
                let to = series.deployments.iter().find(ends).map_or(end, |s| s.time);
                bands.push(Band { from: step.time, to, color: PURPLE, opacity: 0.10, label: String::new() });
                // A rollback is a deployment of the old revision: its start is the mark before.
                let rollback = series.deployments.iter().any(|s| s.step == "rolling_back" && s.time == step.time);
                if !rollback {
                    marks.push(mark(step, format!("deployment of revision {revision} starts")));
                }
            }
            "rolling_back" => marks.push(mark(step, format!("revision {revision} is rolled back{reason}"))),
            "rolled_back" => marks.push(mark(step, format!("rollback of revision {revision} is complete"))),
            "completed" => marks.push(mark(step, format!("deployment of revision {revision} is complete"))),
            "stalled" => marks.push(mark(step, format!("deployment of revision {revision} does not go on{reason}"))),
            _ => {}
        }
    }
}

/// Most faults that are drawn: a random process may have hundreds.
const FAULT_BANDS: usize = 40;

/// Most interruptions of Spot instances that are marked one by one.
const STORMS: usize = 8;

/// A fault is a band with a line at its start; its words stand below.
fn fault_bands(summary: &Summary, bands: &mut Vec<Band>, marks: &mut Vec<Mark>) {
    let end = summary.meta.duration_s;
    for f in summary.faults.iter().take(FAULT_BANDS) {
        let to = f.end_s.unwrap_or(end).min(end);
        // A shift is a remedy.
        let color = if f.kind.starts_with("zonal_") { GREEN } else { ORANGE };
        bands.push(Band { from: f.start_s, to, color, opacity: 0.16, label: f.name.clone() });
        let text = format!("{} · {}: {}", duration(f.start_s), f.name, f.text);
        marks.push(Mark { time: f.start_s, letter: String::new(), text, color });
    }
}

fn cost_chart(data: &ResultData) -> Option<Figure> {
    if data.costs.is_empty() {
        return None;
    }
    let c = &data.summary.cost;
    let title = format!("{}/{}: cost rate by item", data.summary.meta.name, data.summary.meta.variant);
    let subtitle = format!("{} after the warm-up, {} an hour", dollars(c.total_usd), dollars(c.per_hour_usd));
    Some(Figure { title, subtitle, panels: vec![cost_panel(data, 330.0)], ..frame(data, None) })
}

/// Items that have an area of their own; the others share one.
const COST_AREAS: usize = 5;

/// Seconds of the windows that the cost rate is a mean over: some items come in lumps (an image pull's bytes), and
/// a rate over a few seconds of them says little.
fn cost_window(data: &ResultData) -> f64 {
    let meta = &data.summary.meta;
    let wanted = (meta.duration_s / 180.0).max(60.0);
    (wanted / data.bucket_s).ceil().max(1.0) * data.bucket_s
}

fn cost_panel(data: &ResultData, height: f64) -> Panel {
    let end = data.summary.meta.duration_s;
    let window = cost_window(data);
    let group = (window / data.bucket_s).round().max(1.0) as usize;
    let windows = data.costs.values().map(Vec::len).max().unwrap_or(0).div_ceil(group);
    let hours = |w: usize| (end - w as f64 * window).clamp(1e-9, window) / 3_600.0;
    struct Item {
        name: String,
        rates: Vec<f64>,
        total: f64,
        color: plotters::style::RGBColor,
    }
    let mut items: Vec<Item> = Vec::new();
    for (item, dollars) in &data.costs {
        let label = data.summary.cost.items.iter().find(|c| c.item == *item);
        let name = label.map_or_else(|| item.replace('_', " "), |c| c.label.clone());
        let rates: Vec<f64> =
            dollars.chunks(group).enumerate().map(|(w, d)| d.iter().sum::<f64>() / hours(w)).collect();
        let total: f64 = dollars.iter().sum();
        if total != 0.0 {
            items.push(Item { name, rates, total, color: GREY });
        }
    }
    // The costliest have an area of their own; equal ones stay in the order of the bill.
    items.sort_by(|a, b| b.total.total_cmp(&a.total));
    if items.len() > COST_AREAS + 1 {
        let rest = items.split_off(COST_AREAS);
        let rates = (0..windows).map(|w| rest.iter().map(|i| i.rates.get(w).copied().unwrap_or(0.0)).sum()).collect();
        let total = rest.iter().map(|i| i.total).sum();
        items.push(Item { name: format!("{} other items", rest.len()), rates, total, color: GREY });
    }
    for (item, color) in items.iter_mut().zip([BLUE, ORANGE, GREEN, PURPLE, SKY, GREY]) {
        item.color = color;
    }
    // Steady items below, lumpy ones above, so that lumps do not move everything else.
    let unevenness = |i: &Item| {
        let mean = i.rates.iter().sum::<f64>() / i.rates.len().max(1) as f64;
        let away: f64 = i.rates.iter().map(|r| (r - mean).abs()).sum::<f64>() / i.rates.len().max(1) as f64;
        if mean > 0.0 { away / mean } else { 0.0 }
    };
    items.sort_by(|a, b| unevenness(a).total_cmp(&unevenness(b)));
    let mut base = vec![0.0; windows];
    let mut layers = Vec::new();
    for item in &items {
        let mut points: Vec<(f64, f64, f64)> = Vec::with_capacity(windows + 1);
        for (w, rate) in item.rates.iter().enumerate() {
            let low = base[w];
            base[w] += rate;
            points.push((w as f64 * window, low, base[w]));
        }
        if let Some(last) = points.last().copied() {
            points.push((end, last.1, last.2));
        }
        layers.push(layer(&item.name, item.color, Dash::Solid, Shape::Area(points)).note(dollars(item.total)));
    }
    // The legend reads from the top of the stack down.
    layers.reverse();
    let unit = format!("dollars an hour, mean over {}; the legend has the dollars of the whole run", duration(window));
    Panel { prefix: "$", ..panel("Cost", &unit, height, layers) }
}

#[cfg(test)]
mod tests;
