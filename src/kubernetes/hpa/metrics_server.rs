//! Which sample metrics-server shows at an instant.
//!
//! Rule: each `metric_resolution` it asks every kubelet for the cumulative CPU of its containers and keeps
//! the last two points. The rate between them is the sample: its time is that of the later point, its window
//! the distance. The kubelet refreshes a container's point at its own pace, so that two scrapes may find the
//! same one; then the older pair stays. A container without two points has no sample, save that one which
//! started between 10 s and one resolution before its point is measured from its start. A pod has a sample
//! only if each of its containers has one.
//!
//! Source: `pkg/storage/pod.go` of metrics-server (0.5 and later) and its flag `--metric-resolution` (60 s up
//! to 0.4, 15 s in the released manifests since); housekeeping of cAdvisor in the kubelet every 10 s.
//!
//! Known departures: the kubelet's interval, which in reality wanders between 10 and 15 s, is fixed, and so
//! is the delay from scrape to answer.

use serde::{Deserialize, Serialize};

use super::replicas::Sample;
use crate::kernel::{SimDuration, SimTime};

/// A metrics-server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetricsServer {
    /// `--metric-resolution`: 15 s; at least 10 s.
    pub metric_resolution: SimDuration,
    /// How often the kubelet takes a point: 10 s. Zero for at every instant.
    pub housekeeping: SimDuration,
    /// From the start of a scrape until its samples can be read: 1 s.
    pub scrape_delay: SimDuration,
}

impl Default for MetricsServer {
    fn default() -> Self {
        Self {
            metric_resolution: SimDuration::from_secs(15),
            housekeeping: SimDuration::from_secs(10),
            scrape_delay: SimDuration::from_secs(1),
        }
    }
}

impl MetricsServer {
    /// The metrics-server up to 0.4: one scrape a minute.
    #[must_use]
    pub fn legacy() -> Self {
        Self { metric_resolution: SimDuration::from_secs(60), ..Self::default() }
    }
}

/// A container that started later than this before its point is too fresh to be measured from its start.
const FRESH: SimDuration = SimDuration::from_secs(10);

/// What a sample was measured over. Its length is the sample's window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// The earlier point.
    pub from: SimTime,
    /// The later point: the sample's time.
    pub to: SimTime,
}

impl Window {
    /// How long it is.
    #[must_use]
    pub fn length(&self) -> SimDuration {
        self.to - self.from
    }
}

impl MetricsServer {
    /// The window of the sample that is shown at `now` of a container that has run since `started`, on a node
    /// whose kubelet takes its points `offset` after each multiple of its interval. Nothing if there is none yet.
    #[must_use]
    pub fn visible(&self, now: SimTime, started: SimTime, offset: SimDuration) -> Option<Window> {
        let resolution = self.metric_resolution.max(FRESH);
        let done = SimTime::ZERO.saturating_add(self.scrape_delay);
        if now < done {
            return None;
        }
        let mut scrape = now.saturating_sub(self.scrape_delay).floor_to(resolution);
        let to = self.point(scrape, started, offset)?;
        if to - started >= FRESH && to - started < resolution {
            return Some(Window { from: started, to });
        }
        // Back to the last scrape that found another point.
        while let Some(before) = scrape.as_nanos().checked_sub(resolution.as_nanos()) {
            scrape = SimTime::from_nanos(before);
            let from = self.point(scrape, started, offset)?;
            if from < to {
                return Some(Window { from, to });
            }
        }
        None
    }

    /// When the next scrape can be read.
    #[must_use]
    pub fn next(&self, now: SimTime) -> SimTime {
        let resolution = self.metric_resolution.max(FRESH);
        if now < SimTime::ZERO + self.scrape_delay {
            return SimTime::ZERO + self.scrape_delay;
        }
        now.saturating_sub(self.scrape_delay).floor_to(resolution) + resolution + self.scrape_delay
    }

    /// The last point that the kubelet has taken of the container at an instant.
    fn point(&self, at: SimTime, started: SimTime, offset: SimDuration) -> Option<SimTime> {
        let point = if self.housekeeping.is_zero() {
            at
        } else {
            let offset = SimDuration::from_nanos(offset.as_nanos() % self.housekeeping.as_nanos());
            if at < SimTime::ZERO + offset {
                return None;
            }
            at.saturating_sub(offset).floor_to(self.housekeeping) + offset
        };
        (point > started).then_some(point)
    }
}

/// What a scrape finds of a container, or of a pod whose containers started together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Point {
    /// When the kubelet took it.
    pub at: SimTime,
    /// CPU used since the container's start, in nanoseconds of one core.
    pub core_nanos: u64,
    /// Memory in use, in bytes.
    pub memory: i64,
}

/// What metrics-server keeps of a container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodMetrics {
    previous: Option<Point>,
    last: Option<Point>,
    /// CPU and memory as shown.
    shown: Option<(Sample, Sample)>,
    /// What is shown from an instant on.
    coming: Option<(SimTime, Option<(Sample, Sample)>)>,
}

impl PodMetrics {
    /// Takes what the scrape at `now` finds of a container that has run since `started`.
    pub fn scrape(&mut self, server: &MetricsServer, now: SimTime, started: SimTime, point: Point) {
        self.shown = self.visible(now).copied();
        let age = point.at - started;
        if started < point.at && age >= FRESH && age < server.metric_resolution {
            self.previous = Some(Point { at: started, core_nanos: 0, memory: 0 });
        } else {
            self.previous = match self.last {
                // A restart makes the old points worthless.
                Some(last) if started < last.at => {
                    if point.at > last.at {
                        Some(last)
                    } else {
                        self.previous
                    }
                }
                _ => None,
            };
        }
        self.last = Some(point);
        let sample = self.previous.filter(|p| p.at < point.at).map(|previous| {
            let window = point.at - previous.at;
            let used = u128::from(point.core_nanos.saturating_sub(previous.core_nanos));
            let nanocores = used * 1_000_000_000 / u128::from(window.as_nanos());
            // The autoscaler reads nanocores as millicores, rounded up.
            let millicores = i64::try_from(nanocores.div_ceil(1_000_000)).unwrap_or(i64::MAX);
            let sample = |value| Sample { at: point.at, window, value };
            (sample(millicores), sample(point.memory.saturating_mul(1_000)))
        });
        self.coming = Some((now + server.scrape_delay, sample));
    }

    fn visible(&self, now: SimTime) -> Option<&(Sample, Sample)> {
        match &self.coming {
            Some((from, sample)) if now >= *from => sample.as_ref(),
            _ => self.shown.as_ref(),
        }
    }

    /// The CPU sample that is shown at an instant, in millicores.
    #[must_use]
    pub fn cpu(&self, now: SimTime) -> Option<Sample> {
        self.visible(now).map(|s| s.0)
    }

    /// The memory sample that is shown at an instant, in thousandths of a byte.
    #[must_use]
    pub fn memory(&self, now: SimTime) -> Option<Sample> {
        self.visible(now).map(|s| s.1)
    }
}
