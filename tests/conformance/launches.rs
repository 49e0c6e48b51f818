//! Documented launch rates, by the limits that the simulator's scheduler takes its tokens from.

use serde_json::Value;
use simctl::capacity::bucket::{MinuteLimit, TokenBucket};
use simctl::kernel::{SimDuration, SimTime};

use crate::Outcome;
use crate::published::{Measured, judge};

/// Runs a case of kind `quota` or `launch_time`.
pub(crate) fn run(case: &Value) -> Outcome {
    let setup = &case["setup"];
    let whole = |name: &str| setup[name].as_u64().and_then(|n| u32::try_from(n).ok());
    let refill = setup["refill_per_s"].as_f64();
    let mut measured = Measured::default();
    let figures = &mut measured.figures;
    match (whole("bucket"), refill, whole("tasks")) {
        (Some(burst), Some(rate), Some(tasks)) => {
            let limit = whole("service_limit_per_min");
            let times = launches(tasks, whole("services").unwrap_or(1), TokenBucket::new(burst, rate), limit);
            figures.insert("last_launch_s", times.last().map_or(f64::NAN, |t| t.as_secs_f64()));
            // The middle launch of an odd number, the mean of the two middle ones of an even number.
            let middle = |at: usize| times[at].as_secs_f64();
            figures.insert("median_launch_s", f64::midpoint(middle((times.len() - 1) / 2), middle(times.len() / 2)));
        }
        (Some(burst), Some(rate), None) => {
            let times = launches(burst + 1_000, 1, TokenBucket::new(burst, rate), None);
            let at_once = times.iter().take_while(|t| **t == SimTime::ZERO).count();
            figures.insert("burst_launches", at_once as f64);
            let rest = (times.len() - at_once) as f64;
            figures.insert("sustained_per_s", rest / times.last().map_or(f64::NAN, |t| t.as_secs_f64()));
        }
        (Some(burst), None, None) => {
            // Calls of RunTask, as fast as their own limit lets them through.
            let calls_per_s = whole("calls_per_s").unwrap_or(0);
            for (metric, calls, tasks) in
                [("tasks_in_first_second_10_calls_of_10", 10, 10), ("tasks_in_first_second_20_calls_of_5", 20, 5)]
            {
                let mut api = TokenBucket::new(calls_per_s, f64::from(calls_per_s));
                let mut bucket = TokenBucket::new(burst, 0.0);
                let accepted = (0..calls).filter(|_| api.take(SimTime::ZERO).is_ok()).count() * tasks;
                let launched = (0..accepted).filter(|_| bucket.take(SimTime::ZERO).is_ok()).count();
                figures.insert(metric, launched as f64);
            }
        }
        _ => {
            let Some(per_minute) = whole("per_service_per_min") else {
                return Outcome::Failed("the set-up is not one of launches".into());
            };
            let times = launches(4 * per_minute, 1, TokenBucket::new(100_000, 0.0), Some(per_minute));
            let minute = |t: &SimTime| t.floor_to(SimDuration::from_mins(1));
            let most = times.chunk_by(|a, b| minute(a) == minute(b)).map(<[_]>::len).max().unwrap_or(0);
            figures.insert("tasks_per_min_per_service", most as f64);
        }
    }
    judge(case, &measured)
}

/// When each of `tasks` launches leaves that are all asked for at once, shared evenly among `services`
/// with a limit each, and with one bucket for all.
fn launches(tasks: u32, services: u32, mut bucket: TokenBucket, per_minute: Option<u32>) -> Vec<SimTime> {
    let mut limits = vec![MinuteLimit::new(per_minute.unwrap_or(u32::MAX)); services as usize];
    let mut left: Vec<u32> = (0..services).map(|s| (tasks + s) / services).collect();
    let (mut times, mut now) = (Vec::new(), SimTime::ZERO);
    while times.len() < tasks as usize {
        let mut next = SimTime::MAX;
        for (limit, left) in limits.iter_mut().zip(&mut left) {
            while *left > 0 {
                // The bucket is asked first, so that a launch it refuses does not count against the service.
                if let Err(at) = if bucket.available(now) > 0 { limit.take(now) } else { bucket.take(now) } {
                    next = next.min(at);
                    break;
                }
                if bucket.take(now).is_err() {
                    break;
                }
                *left -= 1;
                times.push(now);
            }
        }
        now = next;
        if now == SimTime::MAX {
            break;
        }
    }
    times
}
