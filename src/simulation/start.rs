//! The start of a task's containers, laid out in time before it happens.
//!
//! Image pull and container starts do not depend on load, so the whole order that `dependsOn` asks
//! for is worked out when the images are there. Source: ECS API, ContainerDependency and
//! ContainerDefinition.startTimeout.

use indexmap::IndexMap;

use crate::kernel::{Draw, Law, SimDuration};
use crate::scenario::model::{Condition, Container, Task};
use crate::units::Bytes;

/// Purposes of a launch's draws.
pub(super) mod purpose {
    pub(crate) const PROVISIONING: u64 = 1;
    pub(crate) const ENI: u64 = 2;
    pub(crate) const CAPACITY: u64 = 3;
    pub(crate) const STARTUP: u64 = 4;
    pub(crate) const SHUTDOWN: u64 = 5;
    pub(crate) const DEPROVISIONING: u64 = 6;
    pub(crate) const FAILS_TO_START: u64 = 7;
    pub(crate) const FAILS_CHECKS: u64 = 8;
    pub(crate) const CRASH: u64 = 9;
    pub(crate) const SPOT: u64 = 10;
    pub(crate) const RECLAIM: u64 = 11;
    pub(crate) const CHECK_PHASE: u64 = 12;
    pub(crate) const PLACEMENT: u64 = 13;
    pub(crate) const PROTECTION: u64 = 14;
    pub(crate) const KUBELET: u64 = 15;
    pub(crate) const ENDPOINT: u64 = 16;
    pub(crate) const RESTART: u64 = 17;
    pub(crate) const ATTACH: u64 = 18;
    pub(crate) const DETACH: u64 = 19;
    pub(crate) const MOUNT: u64 = 20;
    pub(crate) const CONTAINER: u64 = 1_000;
}

/// A law's value for one purpose of a launch, as a length of time.
pub(super) fn draw_time(law: &Law, draw: Draw, purpose: u64) -> SimDuration {
    SimDuration::from_secs_f64(law.quantile(draw.of(purpose).unit()))
}

/// How long pulling and unpacking the images takes.
pub(super) fn pull_time(images: impl Iterator<Item = (Bytes, f64)>, pull: Bytes, unpack: Bytes) -> SimDuration {
    let bytes: f64 = images.map(|(size, share)| size.get() as f64 * share).sum();
    let rate = |b: Bytes| b.get().max(1) as f64;
    SimDuration::from_secs_f64(bytes / rate(pull) + bytes / rate(unpack))
}

/// The start of one task's containers; instants count from the end of the pull.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct StartPlan {
    /// All containers have started: RUNNING.
    pub(super) running: SimDuration,
    /// The main container has started.
    pub(super) main_started: SimDuration,
    /// The application answers.
    pub(super) ready: SimDuration,
    /// An essential container exits by itself.
    pub(super) exits: Option<SimDuration>,
    /// The start fails at this instant, for this reason.
    pub(super) fails: Option<(SimDuration, String)>,
}

/// Name of the implied container.
pub(super) const MAIN: &str = "main";

struct Started {
    at: SimDuration,
    ready: SimDuration,
    exits: Option<SimDuration>,
}

/// Lays out the start of a task's containers.
pub(super) fn plan_start(task: &Task, startup: &Law, container_start: &Law, draw: Draw) -> StartPlan {
    let mut started: IndexMap<&str, Started> = IndexMap::new();
    let mut fails: Option<(SimDuration, String)> = None;
    let mut fail = |at: SimDuration, why: String| {
        if fails.as_ref().is_none_or(|(earlier, _)| at < *earlier) {
            fails = Some((at, why));
        }
    };
    let main_waits: Vec<(&str, Condition)> =
        task.containers.iter().filter_map(|(name, c)| c.main_waits_for.map(|w| (name.as_str(), w))).collect();
    // A container starts once all it depends on have started; a cycle is refused by validation, so
    // every pass starts at least one more.
    let total = task.containers.len() + 1;
    for _pass in 0..total {
        for (index, name) in task.containers.keys().map(String::as_str).chain([MAIN]).enumerate() {
            if started.contains_key(name) {
                continue;
            }
            let container = task.containers.get(name);
            let waits: Vec<(&str, Condition)> = match container {
                Some(c) => c.depends_on.iter().map(|(n, w)| (n.as_str(), *w)).collect(),
                None => main_waits.clone(),
            };
            let Some(begin) = begin_after(&waits, &started, task, &mut fail) else { continue };
            let of = |p: u64| draw.of(purpose::CONTAINER + index as u64).of(p).unit();
            let at = begin + SimDuration::from_secs_f64(container_start.quantile(of(1)));
            let law = container.map_or(startup, |c| c.startup.law());
            let unit = if container.is_some() { of(2) } else { draw.of(purpose::STARTUP).unit() };
            let ready = at + SimDuration::from_secs_f64(law.quantile(unit));
            let exits = container
                .and_then(|c| c.runs_for.as_ref())
                .map(|law| at + SimDuration::from_secs_f64(law.law().quantile(of(3))));
            started.insert(name, Started { at, ready, exits });
        }
    }
    let last = started.values().map(|s| s.at).max().unwrap_or_default();
    let main = started.get(MAIN);
    let exits = task
        .containers
        .iter()
        .filter(|(_, c)| c.essential)
        .filter_map(|(name, _)| started.get(name.as_str()).and_then(|s| s.exits))
        .min();
    if let Some(at) = exits
        && at < last
    {
        fail(at, "an essential container exited before the others had started".into());
    }
    StartPlan {
        running: last,
        main_started: main.map_or(last, |m| m.at),
        ready: main.map_or(last, |m| m.ready).max(last),
        exits,
        fails,
    }
}

/// When all conditions hold; `None` while one of the containers has not been laid out yet.
fn begin_after(
    waits: &[(&str, Condition)],
    started: &IndexMap<&str, Started>,
    task: &Task,
    fail: &mut impl FnMut(SimDuration, String),
) -> Option<SimDuration> {
    let mut begin = SimDuration::ZERO;
    for &(name, condition) in waits {
        let s = started.get(name)?;
        let container = task.containers.get(name)?;
        let reached = condition_reached(condition, s, container);
        let limit = s.at + container.start_timeout;
        match reached {
            Ok(at) if at <= limit => begin = begin.max(at),
            Ok(_) => fail(limit, format!("container `{name}` did not reach its condition within its start timeout")),
            Err((at, why)) => fail(at.min(limit), format!("container `{name}` {why}")),
        }
    }
    Some(begin)
}

fn condition_reached(
    condition: Condition,
    s: &Started,
    container: &Container,
) -> Result<SimDuration, (SimDuration, &'static str)> {
    match condition {
        Condition::Start => Ok(s.at),
        Condition::Complete => s.exits.ok_or((SimDuration::MAX, "never completes")),
        Condition::Success => match s.exits {
            Some(at) if container.exit_code == 0 => Ok(at),
            Some(at) => Err((at, "exited with an error")),
            None => Err((SimDuration::MAX, "never completes")),
        },
        Condition::Healthy => {
            let Some(check) = &container.health_check else { return Err((SimDuration::MAX, "has no health check")) };
            // The first check that finds it ready; checks come every interval from its start.
            let interval = check.interval.as_nanos().max(1);
            let wait = (s.ready - s.at).as_nanos().div_ceil(interval).max(1);
            let at = s.at + check.interval * wait;
            if s.exits.is_some_and(|end| end < at) { Err((at, "exited before it was healthy")) } else { Ok(at) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{from_text, model::Plan};

    fn plan(containers: &str) -> Plan {
        let text = format!(
            "[simulation]\nduration = \"10m\"\n[capacity.f]\ntype = \"fargate\"\n[services.s]\n\
             capacity.f = {{ weight = 1 }}\n[services.s.task]\ncpu = 256\nmemory = \"512 MiB\"\nstartup = \"5s\"\n{containers}"
        );
        from_text("test", &text).unwrap_or_else(|d| panic!("{}", d.render(false)))
    }

    fn start(containers: &str) -> StartPlan {
        let plan = plan(containers);
        let task = &plan.services[0].task;
        plan_start(task, task.startup.law(), &Law::Constant(1.0), Draw::new(7))
    }

    fn s(secs: u64) -> SimDuration {
        SimDuration::from_secs(secs)
    }

    #[test]
    fn a_lone_container_is_running_when_started_and_ready_after_its_startup() {
        let p = start("");
        assert_eq!((p.running, p.ready, p.exits, p.fails), (s(1), s(6), None, None));
    }

    #[test]
    fn main_waits_until_its_dependency_is_healthy() {
        // Ready 12 s after its start at 1 s; checks every 10 s: the one at 21 s is the first to pass.
        let p = start(
            "[services.s.task.containers.proxy]\nstartup = \"12s\"\nmain_waits_for = \"HEALTHY\"\n\
             health_check = { interval = \"10s\" }\n",
        );
        assert_eq!((p.main_started, p.running, p.ready), (s(22), s(22), s(27)));
    }

    #[test]
    fn a_dependency_that_exits_with_an_error_fails_the_start() {
        let p = start(
            "[services.s.task.containers.migrate]\nessential = false\nruns_for = \"4s\"\nexit_code = 1\n\
             main_waits_for = \"SUCCESS\"\n",
        );
        let (at, why) = p.fails.expect("it fails");
        assert_eq!(at, s(5));
        assert!(why.contains("migrate"), "{why}");
    }

    #[test]
    fn a_dependency_past_its_start_timeout_fails_the_start() {
        let p = start(
            "[services.s.task.containers.slow]\nstartup = \"100s\"\nstart_timeout = \"30s\"\n\
             main_waits_for = \"HEALTHY\"\nhealth_check = { interval = \"10s\" }\n",
        );
        assert_eq!(p.fails.map(|(at, _)| at), Some(s(31)));
    }

    #[test]
    fn pulling_takes_download_and_unpacking_of_the_needed_share() {
        let mb = Bytes::from_mb;
        let t = pull_time([(mb(300), 1.0), (mb(200), 0.5)].into_iter(), mb(100), mb(200));
        assert_eq!(t, s(6));
    }
}
