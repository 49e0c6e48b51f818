//! Work that is not request traffic, in whole runs: no message and no piece of work is lost or done out of nothing, schedules
//! fire when they should, and forecasts act before their hour.

use std::path::Path;

use croner::parser::{CronParser, Seconds, Year};
use proptest::prelude::*;
use simctl::catalog::Catalog;
use simctl::output::{RowSink, Summary};
use simctl::scenario::{from_text, model::Inputs, plan_hash};
use simctl::simulation::{RunOptions, run};

fn simulate(text: &str, folder: Option<&Path>) -> Summary {
    let plan = from_text("work", text).unwrap_or_else(|d| panic!("{}\n{text}", d.render(false)));
    let inputs = Inputs::default();
    let hash = plan_hash(&plan, &inputs);
    let mut sink = folder.map_or(RowSink::null(), |f| RowSink::folder(f).expect("a fresh folder"));
    let options = RunOptions { name: "work", plan_hash: &hash, ..RunOptions::default() };
    let outcome = run(&plan, &inputs, Catalog::embedded(), options, &mut sink, &mut |_| {}).expect("the run ends");
    sink.close().expect("rows are written");
    let defects: Vec<_> = outcome.summary.notes.iter().filter(|n| n.contains("defect")).collect();
    assert!(defects.is_empty(), "{defects:?}");
    outcome.summary
}

/// A column of a file as numbers; an empty cell is `NAN`.
fn column(folder: &Path, file: &str, name: &str) -> Vec<f64> {
    let mut reader = csv::Reader::from_path(folder.join(file)).expect("the file is there");
    let at = reader.headers().expect("a header").iter().position(|h| h == name).expect("the column is there");
    reader.records().map(|r| r.expect("a row")[at].parse().unwrap_or(f64::NAN)).collect()
}

fn words(folder: &Path, file: &str, name: &str) -> Vec<String> {
    let mut reader = csv::Reader::from_path(folder.join(file)).expect("the file is there");
    let at = reader.headers().expect("a header").iter().position(|h| h == name).expect("the column is there");
    reader.records().map(|r| r.expect("a row")[at].to_owned()).collect()
}

#[derive(Clone, Debug)]
struct Messages {
    seed: u32,
    rps: f64,
    desired: u32,
    concurrency: u32,
    batch: u32,
    visibility_s: u32,
    delay_s: u32,
    wait_s: u32,
    work_s: f64,
    errors: f64,
    receives: u32,
    heartbeat: bool,
    spot: bool,
    retention: bool,
    memory_mb: u32,
    warm_up_s: u32,
}

fn messages() -> impl Strategy<Value = Messages> {
    let load = (any::<u32>(), 0.5..40.0_f64, 1..4_u32, 1..6_u32, 1..=10_u32, 2..40_u32);
    let rules = (prop_oneof![Just(0_u32), Just(20)], prop_oneof![Just(0_u32), Just(5), Just(20)], 0.05..8.0_f64);
    let faults = (prop_oneof![Just(0.0), Just(0.3), Just(1.0)], 1..4_u32);
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), prop_oneof![Just(1_u32), Just(150)]);
    (load, rules, faults, flags, prop_oneof![Just(0_u32), Just(130)]).prop_map(|(l, r, f, g, warm_up_s)| Messages {
        seed: l.0,
        rps: l.1,
        desired: l.2,
        concurrency: l.3,
        batch: l.4,
        visibility_s: l.5,
        delay_s: r.0,
        wait_s: r.1,
        work_s: r.2,
        errors: f.0,
        receives: f.1,
        heartbeat: g.0,
        spot: g.1,
        retention: g.2,
        memory_mb: g.3,
        warm_up_s,
    })
}

fn scenario(m: &Messages) -> String {
    let capacity = if m.spot {
        "type = \"fargate_spot\"\ninterruptions_per_hour = 6.0\nreclaims = [{ at = \"6m\", share = 0.5 }]"
    } else {
        "type = \"fargate\""
    };
    format!(
        "[simulation]\nduration = \"12m\"\nwarm_up = \"{warm}s\"\nseed = {seed}\n[capacity.c]\n{capacity}\n\
         [queues.q]\nvisibility_timeout = {visibility}\ndelay_seconds = {delay}\n{retention}\
         redrive_policy = {{ dead_letter_queue = \"dead\", max_receive_count = {receives} }}\n\
         traffic.rate = [{{ at = \"0s\", rps = {rps} }}, {{ at = \"8m\", rps = {rps} }}, {{ at = \"8m\", rps = 0 }}]\n\
         [queues.dead]\n\
         [services.w]\ndesired_count = {desired}\n\
         worker = {{ queue = \"q\", concurrency = {concurrency}, max_number_of_messages = {batch}, \
         wait_time_seconds = {wait}, poll_interval = \"{pause}\"{heartbeat} }}\n\
         task = {{ cpu = 256, memory = \"512 MB\", startup = \"3s\", stop_timeout = 5 }}\n\
         requests.m = {{ cpu_time = \"2ms\", wait = {{ distribution = \"exponential\", mean = \"{work}s\" }}, \
         memory = \"{memory} MB\", error_rate = {errors} }}\n",
        warm = m.warm_up_s,
        seed = m.seed,
        visibility = m.visibility_s,
        delay = m.delay_s,
        retention = if m.retention { "message_retention_period = 60\n" } else { "" },
        receives = m.receives,
        rps = m.rps,
        desired = m.desired,
        concurrency = m.concurrency,
        batch = m.batch,
        wait = m.wait_s,
        pause = if m.wait_s == 0 { "1s" } else { "0s" },
        heartbeat = if m.heartbeat { ", heartbeat = \"1s\"" } else { "" },
        work = m.work_s,
        memory = m.memory_mb,
        errors = m.errors,
    )
}

/// Sent and moved in are, at every interval's end, done, dead, expired, visible, in hand or delayed.
fn conserved(m: &Messages) -> Result<(), TestCaseError> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    let s = simulate(&scenario(m), Some(path));
    let names = words(path, "queues.csv", "queue");
    let col = |name: &str| column(path, "queues.csv", name);
    let sums = ["sent", "moved_in", "deleted", "dead_lettered", "expired"].map(col);
    let states = ["visible", "in_flight", "delayed"].map(col);
    let (received, redelivered, again) = (col("received"), col("redelivered"), col("returned"));
    for queue in ["q", "dead"] {
        let mut total = [0.0; 5];
        let mut visible_again = 0.0;
        for i in (0..names.len()).filter(|i| names[*i] == queue) {
            total.iter_mut().zip(&sums).for_each(|(t, c)| *t += c[i]);
            let there: f64 = states.iter().map(|c| c[i]).sum();
            let [sent, moved_in, deleted, dead, expired] = total;
            prop_assert_eq!(sent + moved_in, deleted + dead + expired + there, "{} in row {}", queue, i);
            visible_again += again[i];
            prop_assert!(redelivered[i] <= received[i]);
        }
        if queue == "q" {
            let [_, _, deleted, dead, _] = total;
            let deliveries: f64 = received.iter().sum();
            let repeated: f64 = redelivered.iter().sum();
            // A message is delivered again only when its visibility ended, and is done once at most.
            prop_assert!(repeated <= visible_again);
            prop_assert!(deleted <= deliveries - repeated);
            if m.errors == 1.0 {
                prop_assert_eq!(deleted, 0.0);
                prop_assert!(dead * f64::from(m.receives) <= deliveries);
            }
        } else {
            prop_assert_eq!(
                total[1],
                s.queues["q"].dead_lettered as f64 + if m.warm_up_s > 0 { dead_before(path, m) } else { 0.0 }
            );
        }
    }
    let w = &s.services["w"].requests;
    prop_assert_eq!(w.started, w.succeeded + w.failed + w.unfinished);
    // The same again gives the same bytes.
    let again = tempfile::tempdir().expect("a folder");
    let t = simulate(&scenario(m), Some(again.path()));
    prop_assert_eq!(s.to_json(), t.to_json());
    for file in ["queues.csv", "services.csv", "tasks.csv"] {
        let read = |f: &Path| std::fs::read(f.join(file)).expect("the file is there");
        prop_assert!(read(path) == read(again.path()), "{file} differs");
    }
    Ok(())
}

/// Messages moved to the dead-letter queue in the warm-up.
fn dead_before(folder: &Path, m: &Messages) -> f64 {
    let (times, dead) = (column(folder, "queues.csv", "time_s"), column(folder, "queues.csv", "dead_lettered"));
    times.iter().zip(dead).filter(|(t, _)| **t < f64::from(m.warm_up_s)).map(|(_, n)| n).sum()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, max_shrink_iters: 100, ..ProptestConfig::default() })]

    #[test]
    fn no_message_is_lost_or_made(m in messages()) {
        conserved(&m)?;
    }

    #[test]
    fn no_work_of_a_job_is_lost(
        seed in any::<u32>(), count in 1..40_u32, most in 1..12_u32, attempts in 1..4_u32,
        failures in prop_oneof![Just(0.0), Just(0.3), Just(1.0)], cpu in any::<bool>(), spot in any::<bool>(),
        pause in prop_oneof![Just(0_u32), Just(40)],
    ) {
        let work = if cpu { "cpu_time" } else { "runs_for" };
        let capacity = if spot { "type = \"fargate_spot\"\ninterruptions_per_hour = 12.0" } else { "type = \"fargate\"" };
        let text = format!(
            "[simulation]\nduration = \"40m\"\nseed = {seed}\n[capacity.c]\n{capacity}\n\
             [jobs.j]\nmax_concurrency = {most}\nattempts = {attempts}\nretry_interval = \"{pause}s\"\ndeadline = \"20m\"\n\
             schedules.once = {{ type = \"run_task\", at = \"1m\", count = {count} }}\n\
             task = {{ cpu = 256, memory = \"512 MB\", image.size = \"50 MB\" }}\n\
             work = {{ {work} = {{ distribution = \"exponential\", mean = \"40s\" }}, failure_rate = {failures} }}\n"
        );
        let folder = tempfile::tempdir().expect("a folder");
        let s = simulate(&text, Some(folder.path()));
        let j = &s.jobs["j"];
        prop_assert_eq!(j.due, u64::from(count));
        prop_assert_eq!(j.due, j.succeeded + j.failed + j.unfinished);
        prop_assert!(j.max_running <= most);
        let tries = column(folder.path(), "jobs.csv", "attempts");
        prop_assert_eq!(tries.len() as u64, j.due);
        prop_assert!(tries.iter().all(|n| *n <= f64::from(attempts)));
        // Every task is one attempt; no more than the queue allows run at one time.
        let (decided, ended) = (
            column(folder.path(), "tasks.csv", "decided_s"),
            column(folder.path(), "tasks.csv", "execution_stopped_s"),
        );
        prop_assert_eq!(decided.len() as f64, tries.iter().sum::<f64>());
        for (i, t) in decided.iter().enumerate() {
            let at_once = (0..decided.len()).filter(|&k| (decided[k], k) <= (*t, i) && (ended[k].is_nan() || ended[k] > *t)).count();
            prop_assert!(at_once as u32 <= most, "{at_once} at {t}");
        }
        // Its tasks are on its bill, and nobody else's.
        let tasks: f64 = column(folder.path(), "tasks.csv", "cost_usd").iter().sum();
        prop_assert!(s.cost.by_service["j"] >= tasks - 1e-6);
        prop_assert!(words(folder.path(), "tasks.csv", "service").iter().all(|n| n == "j"));
        if failures == 1.0 {
            prop_assert_eq!(j.succeeded, 0);
        }
        let t = simulate(&text, None);
        prop_assert_eq!(s.facts_hash, t.facts_hash);
    }

    #[test]
    fn a_scheduler_fires_when_croner_says(minute in 0..60_u32, step in 1..30_u32, hours in 0..23_u32, window in 0..3_u32) {
        // Every `step` minutes from `minute` on, in two hours of the day.
        let aws = format!("cron({minute}/{step} {hours}-{} * * ? *)", hours + 1);
        let plain = format!("{} {hours}-{} * * *", every(minute, step), hours + 1);
        let text = format!(
            "[simulation]\nduration = \"24h\"\ninterval = \"10m\"\nseed = {minute}\n\
             [jobs.j]\n\
             schedules.s = {{ type = \"scheduler\", schedule_expression = \"{aws}\", flexible_time_window = \"{}m\" }}\n\
             task = {{ cpu = 256, memory = \"512 MB\" }}\nwork.runs_for = \"10s\"\n",
            window * 5
        );
        let folder = tempfile::tempdir().expect("a folder");
        simulate(&text, Some(folder.path()));
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let oracle = parser.parse(&plain).expect("an expression");
        let start: jiff::Timestamp = "2026-01-05T00:00:00Z".parse().expect("an instant");
        let from = start.to_zoned(jiff::tz::TimeZone::UTC);
        let until = start.checked_add(jiff::SignedDuration::from_hours(24)).expect("an instant");
        let (mut due, mut at, mut inclusive) = (Vec::new(), from, true);
        loop {
            at = oracle.find_next_occurrence(&at, inclusive).expect("there is one");
            inclusive = false;
            if at.timestamp() >= until {
                break;
            }
            due.push(at.timestamp().duration_since(start).as_secs_f64());
        }
        let mut fired = column(folder.path(), "jobs.csv", "due_s");
        fired.sort_by(f64::total_cmp);
        let longest = f64::from((window * 300).max(60));
        // Near the end of the day a late firing may fall out of the run.
        let sure = due.iter().filter(|d| **d + longest <= 86_400.0).count();
        prop_assert!((sure..=due.len()).contains(&fired.len()), "{} of {} fired", fired.len(), due.len());
        if window == 0 {
            for (d, f) in due.iter().zip(&fired) {
                prop_assert!((0.0..60.0).contains(&(f - d)), "due {d}, fired {f}");
            }
        }
    }
}

/// The minutes `from/step` as a list: other parsers wrap otherwise.
fn every(from: u32, step: u32) -> String {
    (from..60).step_by(step as usize).map(|m| m.to_string()).collect::<Vec<_>>().join(",")
}

fn one_worker(queue: &str, worker: &str, class: &str, minutes: u32) -> String {
    format!(
        "[simulation]\nduration = \"{minutes}m\"\ninterval = \"1m\"\n[queues.q]\n{queue}\n[queues.dead]\n\
         [services.w]\nworker = {{ queue = \"q\", {worker} }}\n\
         task = {{ cpu = 1024, memory = \"2 GB\" }}\nrequests.m = {{ {class} }}\n\
         [services.w2]\nworker = {{ queue = \"dead\" }}\ntask = {{ cpu = 256, memory = \"512 MB\" }}\n\
         requests.m = {{ cpu_time = \"1ms\" }}\n"
    )
}

#[test]
fn loops_that_poll_long_are_a_queue_with_several_servers() {
    // M/M/4 at three quarters: Erlang's C is 0.5094, the mean time in the system 1.509 s.
    let text = one_worker(
        "traffic.rate = [{ at = \"0s\", rps = 3 }]\nvisibility_timeout = 600",
        "concurrency = 4, receive_latency = \"0s\"",
        "cpu_time = \"0s\", wait = { distribution = \"exponential\", mean = \"1s\" }",
        1_500,
    );
    let s = simulate(&text, None);
    let mean = s.services["w"].latency.as_ref().expect("messages were done").mean_ms / 1e3;
    assert!((mean - 1.509).abs() < 0.05, "{mean}");
    assert_eq!(s.queues["q"].redelivered, 0);
}

#[test]
fn a_message_that_always_fails_ends_in_the_dead_letter_queue() {
    let text = one_worker(
        "traffic.rate = [{ at = \"0s\", rps = 1 }, { at = \"5m\", rps = 1 }, { at = \"5m\", rps = 0 }]\n\
         visibility_timeout = 20\nredrive_policy = { dead_letter_queue = \"dead\", max_receive_count = 3 }",
        "concurrency = 10",
        "cpu_time = \"5ms\", error_rate = 1.0",
        20,
    );
    let s = simulate(&text, None);
    let q = &s.queues["q"];
    assert!(q.sent > 200);
    assert_eq!((q.received, q.redelivered), (3 * q.sent, 2 * q.sent));
    assert_eq!((q.dead_lettered, q.deleted, q.returned), (q.sent, 0, 3 * q.sent));
    let dead = &s.queues["dead"];
    assert_eq!((dead.moved_in, dead.deleted, dead.sent), (q.sent, q.sent, 0));
    // It keeps the age it has: three times the visibility and more, as finely as a histogram tells.
    let age = s.services["w2"].latency.as_ref().expect("they were looked at").p50_ms;
    assert!(age > 59_900.0, "{age}");
}

#[test]
fn work_that_outlasts_its_visibility_is_done_twice_unless_its_heart_beats() {
    let run = |more: &str| {
        let text = one_worker(
            "traffic.rate = [{ at = \"0s\", rps = 0.5 }]\nvisibility_timeout = 10",
            &format!("concurrency = 20{more}"),
            "cpu_time = \"5ms\", wait = \"25s\"",
            30,
        );
        simulate(&text, None).queues["q"].clone()
    };
    let without = run("");
    assert!(without.duplicates > 300 && without.redelivered > 300, "{without:?}");
    let with = run(", heartbeat = \"4s\"");
    assert_eq!((with.duplicates, with.redelivered, with.returned), (0, 0, 0));
    assert!(with.deleted > 500, "{with:?}");
}

#[test]
fn what_a_lost_task_held_comes_back_when_its_visibility_ends() {
    let text = "[simulation]\nduration = \"20m\"\ninterval = \"5s\"\n\
         [capacity.s]\ntype = \"fargate_spot\"\nreclaims = [{ at = \"5m\", share = 1.0 }]\n\
         [queues.q]\nvisibility_timeout = 120\ntraffic.rate = [{ at = \"0s\", rps = 2 }, { at = \"5m\", rps = 2 }, { at = \"5m\", rps = 0 }]\n\
         [services.w]\ndesired_count = 2\nworker = { queue = \"q\", concurrency = 50 }\n\
         task = { cpu = 512, memory = \"1 GB\", stop_timeout = 5 }\nrequests.m = { cpu_time = \"1ms\", wait = \"40s\" }\n";
    let folder = tempfile::tempdir().expect("a folder");
    let s = simulate(text, Some(folder.path()));
    let q = &s.queues["q"];
    // Forty seconds' worth were in hand, of which five seconds' worth could still be done.
    assert!((60..=80).contains(&q.redelivered), "{q:?}");
    assert_eq!(q.deleted, q.sent);
    let (time, again) =
        (column(folder.path(), "queues.csv", "time_s"), column(folder.path(), "queues.csv", "returned"));
    let first = time.iter().zip(again).find(|(_, n)| *n > 0.0).expect("some came back");
    // The oldest of them was received 35 s before the end of the stop timeout.
    assert!((380.0..=425.0).contains(first.0), "{first:?}");
}

#[test]
fn short_polls_come_empty_and_late() {
    let run = |worker: &str| {
        let text = one_worker("traffic.rate = [{ at = \"0s\", rps = 0.2 }]", worker, "cpu_time = \"5ms\"", 120);
        simulate(&text, None)
    };
    let long = run("concurrency = 1, receive_latency = \"0s\"");
    let short = run("concurrency = 1, receive_latency = \"0s\", wait_time_seconds = 0, poll_interval = \"4s\"");
    let mean = |s: &Summary| s.services["w"].latency.as_ref().expect("messages were done").mean_ms;
    assert!(mean(&long) < 10.0, "{}", mean(&long));
    assert!((1_700.0..2_300.0).contains(&mean(&short)), "{}", mean(&short));
    assert!(short.queues["q"].empty_receives > 500);
}

#[test]
fn the_backlog_per_task_calls_for_tasks_and_lets_them_go() {
    let text = std::fs::read_to_string("scenarios/queue-workers.toml").expect("the scenario is there");
    let folder = tempfile::tempdir().expect("a folder");
    // Without the tables that only a loader knows.
    let end = text.find("# Scaling on CPU").expect("the variants begin here");
    let s = simulate(&text[..end], Some(folder.path()));
    let w = &s.services["worker"];
    assert!(w.scaling.max_running >= 40 && w.scaling.scale_ins > 0, "{:?}", w.scaling);
    let metrics = words(folder.path(), "decisions.csv", "observed_metric");
    assert!(metrics.iter().any(|m| m == "backlog_per_task"));
    let age = column(folder.path(), "decisions.csv", "observed_age_s");
    let called: Vec<f64> =
        metrics.iter().zip(age).filter(|(m, a)| *m == "backlog_per_task" && a.is_finite()).map(|(_, a)| a).collect();
    assert!(called.iter().all(|a| *a >= 60.0), "a queue's metrics are seen a minute late: {called:?}");
}

fn predictive(mode: &str, more: &str) -> String {
    format!(
        "[simulation]\nduration = \"20h\"\ninterval = \"5m\"\nstart = 2026-01-05T00:00:00Z\n\
         [services.web]\ndesired_count = 2\n\
         task = {{ cpu = 256, memory = \"512 MB\" }}\nrequests.page = {{ cpu_time = \"50ms\" }}\n\
         traffic.rate = [{{ at = \"0s\", rps = 2 }}, {{ at = \"8h\", rps = 2 }}, {{ at = \"8h\", rps = 10 }}, \
         {{ at = \"12h\", rps = 10 }}, {{ at = \"12h\", rps = 2 }}]\n\
         [services.web.scaling]\nmin_capacity = 2\nmax_capacity = 4\n\
         [services.web.scaling.policies.days]\ntype = \"predictive\"\n\
         predefined_metric_pair_type = \"ECSServiceCPUUtilization\"\ntarget_value = 40\nmode = \"{mode}\"\n\
         history = \"profile\"\n{more}\n"
    )
}

/// When the desired count was first raised.
fn first_scale_out(folder: &Path) -> f64 {
    let [time, from, to] = ["time_s", "from", "result"].map(|name| column(folder, "decisions.csv", name));
    let service = words(folder, "decisions.csv", "controller");
    (0..time.len())
        .find(|&i| service[i] == "predictive_scaling" && to[i] > from[i])
        .map(|i| time[i])
        .expect("it adds tasks")
}

#[test]
fn a_forecast_acts_before_its_hour_and_never_removes() {
    let folder = tempfile::tempdir().expect("a folder");
    let more = "max_capacity_breach_behavior = \"IncreaseMaxCapacity\"\nmax_capacity_buffer = 10";
    let s = simulate(&predictive("ForecastAndScale", more), Some(folder.path()));
    // 10 requests a second of 50 ms are half a vCPU, twice a task: at 40 % of each, five tasks.
    assert_eq!((s.services["web"].scaling.max_desired, s.services["web"].scaling.scale_ins), (5, 0));
    assert_eq!(first_scale_out(folder.path()), 8.0 * 3_600.0 - 300.0);
    let held = simulate(&predictive("ForecastAndScale", ""), None);
    assert_eq!(held.services["web"].scaling.max_desired, 4, "the maximum holds");
    let silent = simulate(&predictive("ForecastOnly", ""), None);
    assert_eq!((silent.services["web"].scaling.scale_outs, silent.services["web"].scaling.max_desired), (0, 2));
    assert!(silent.decisions["predictive_scaling"] >= 19);
}

#[test]
fn a_forecast_is_a_floor_for_those_that_remove() {
    let tracking = "[services.web.scaling.policies.cpu]\ntype = \"target_tracking\"\n\
         predefined_metric_type = \"ECSServiceAverageCPUUtilization\"\ntarget_value = 80";
    let folder = tempfile::tempdir().expect("a folder");
    let s = simulate(&predictive("ForecastAndScale", tracking), Some(folder.path()));
    // Target tracking alone would have two tasks at 100 % or three; the forecast's four stay until noon, then it removes.
    let (time, desired) =
        (column(folder.path(), "services.csv", "time_s"), column(folder.path(), "services.csv", "desired"));
    let day = time.iter().zip(&desired).filter(|(t, _)| (8.2 * 3_600.0..11.9 * 3_600.0).contains(*t));
    assert!(day.clone().all(|(_, d)| *d == 4.0), "{:?}", day.collect::<Vec<_>>());
    assert!(s.services["web"].scaling.scale_ins > 0);
    assert_eq!(desired.last(), Some(&2.0));
}

#[test]
fn without_a_past_a_day_has_to_pass_first() {
    let text = predictive("ForecastAndScale", "").replace("history = \"profile\"\n", "").replace("20h", "50h").replace(
        "{ at = \"12h\", rps = 2 }",
        "{ at = \"12h\", rps = 2 }, { at = \"32h\", rps = 2 }, { at = \"32h\", rps = 10 }, { at = \"36h\", rps = 10 }, { at = \"36h\", rps = 2 }",
    );
    let folder = tempfile::tempdir().expect("a folder");
    simulate(&text, Some(folder.path()));
    assert_eq!(first_scale_out(folder.path()), 32.0 * 3_600.0 - 300.0, "on the second day");
}

#[test]
fn a_rule_is_some_seconds_late_and_run_task_is_at_once() {
    let text = "[simulation]\nduration = \"3h\"\ninterval = \"1m\"\n\
         [jobs.j]\ntask = { cpu = 256, memory = \"512 MB\" }\nwork.runs_for = \"90s\"\n\
         schedules.rule = { type = \"rule\", schedule_expression = \"rate(1 hour)\", count = 2 }\n\
         schedules.call = { type = \"run_task\", at = \"7m\", count = 3 }\n\
         schedules.at = { type = \"scheduler\", schedule_expression = \"at(2026-01-05T02:30:00)\", schedule_expression_timezone = \"Europe/Berlin\" }\n";
    let folder = tempfile::tempdir().expect("a folder");
    let s = simulate(text, Some(folder.path()));
    assert_eq!((s.jobs["j"].firings, s.jobs["j"].due), (4, 8));
    let (names, due) = (words(folder.path(), "jobs.csv", "schedule"), column(folder.path(), "jobs.csv", "due_s"));
    for (name, due) in names.iter().zip(due) {
        let late = match name.as_str() {
            "call" => due - 420.0,
            "at" => (due - 5_400.0) / 12.0,
            _ => due % 3_600.0,
        };
        let most = if name == "call" { 0.0 } else { 5.0 };
        assert!((0.0..=most).contains(&late), "{name} at {due}");
    }
    // The rule's third firing is at the very end, some seconds late: after the run.
    let duration = s.jobs["j"].duration.as_ref().expect("they ended");
    assert!((duration.p50_s - 90.0).abs() < 1.0, "{duration:?}");
}

#[test]
fn what_aws_would_refuse_is_refused_in_words() {
    let base = "[simulation]\nduration = \"30m\"\n[queues.q]\n@queue\n[services.w]\nworker = { queue = \"q\" @worker }\n\
         task = { cpu = 256, memory = \"512 MB\" @task }\nrequests.m = { cpu_time = \"5ms\" }\n@service\n\
         [jobs.j]\nschedules.s = { @schedule }\ntask = { cpu = 256, memory = \"512 MB\" }\nwork = { @do }\n@more\n";
    let good = [
        ("@queue", ""),
        ("@worker", ""),
        ("@task", ""),
        ("@service", ""),
        ("@schedule", "type = \"run_task\", at = \"1m\""),
        ("@do", "runs_for = \"10s\""),
        ("@more", ""),
    ];
    let filled = |changes: &[(&str, &str)]| {
        let mut text = base.to_owned();
        for (hole, content) in changes.iter().chain(&good) {
            text = text.replace(hole, content);
        }
        text
    };
    from_text("good", &filled(&[])).unwrap_or_else(|d| panic!("{}", d.render(false)));
    let policy = |metrics: &str| {
        format!(
            "[services.w.scaling]\nmin_capacity = 1\nmax_capacity = 2\n[services.w.scaling.policies.p]\n\
             type = \"target_tracking\"\ntarget_value = 10\n{metrics}\n"
        )
    };
    let math = |queries: &str| policy(&format!("customized_metric_specification.metrics = {{ {queries} }}"));
    let visible = "m = { metric_name = \"ApproximateNumberOfMessagesVisible\" }";
    for (changes, says) in [
        (vec![("@queue", "visibility_timeout = 50000".to_owned())], "from 0 to 43200"),
        (vec![("@queue", "traffic.users = { count = 3, think = \"1s\" }".to_owned())], "a queue gives none"),
        (
            vec![("@queue", "redrive_policy = { dead_letter_queue = \"q\", max_receive_count = 3 }".to_owned())],
            "its own dead-letter queue",
        ),
        (vec![("@worker", ", max_number_of_messages = 11".to_owned())], "from 1 to 10"),
        (vec![("@worker", ", heartbeat = \"30s\"".to_owned())], "visible again already"),
        (vec![("@worker", ", wait_time_seconds = 0, receive_latency = \"0s\"".to_owned())], "a thousand times a second"),
        (vec![("@worker", ", poll_interval = \"1s\"".to_owned())], "polls long"),
        (vec![("@task", ", concurrency = 4".to_owned())], "worker.concurrency"),
        (vec![("@service", "load_balancer = {}".to_owned())], "takes no `load_balancer`"),
        (vec![("@service", policy(""))], "none is given"),
        (vec![("@service", math("m = { metric_name = \"ApproximateNumberOfMessagesVisibl\" }"))], "a similar value exists"),
        (vec![("@service", math(&format!("{visible}, n = {{ metric_name = \"RunningTaskCount\" }}")))], "which one is the metric"),
        (vec![("@service", math(&format!("{visible}, e = {{ expression = \"m / gone\" }}")))], "no query `gone`"),
        (vec![("@service", math(&format!("{visible}, e = {{ expression = \"m /\" }}")))], "metric math"),
        (
            vec![("@service", math(&format!("{visible}, a = {{ expression = \"m + b\" }}, b = {{ expression = \"a\" }}, e = {{ expression = \"m\" }}")))],
            "circle",
        ),
        (vec![("@schedule", "type = \"run_task\", at = \"1m\", count = 11".to_owned())], "1 to 10 tasks in a call"),
        (vec![("@schedule", "type = \"rule\", schedule_expression = \"at(2026-01-05T02:30:00)\"".to_owned())], "takes `at(...)`"),
        (
            vec![(
                "@schedule",
                "type = \"scheduler\", schedule_expression = \"rate(1 hour)\", schedule_expression_timezone = \"Europe/Berln\"".to_owned(),
            )],
            "there is `Europe/Berlin`",
        ),
        (vec![("@do", "failure_rate = 0.5".to_owned())], "does nothing"),
        (vec![("@more", "[objectives.j]\ndone_by_deadline = \">= 99 %\"".to_owned())], "has no `deadline`"),
        (vec![("@more", "[objectives.w]\ndone_by_deadline = \">= 99 %\"".to_owned())], "only a job"),
        (vec![("@more", "[objectives.j]\nlatency_p99 = \"<= 1 s\"".to_owned())], "is a job"),
    ] {
        let changes: Vec<(&str, &str)> = changes.iter().map(|(hole, c)| (*hole, c.as_str())).collect();
        let text = filled(&changes);
        let found = from_text("bad", &text).map(|_| ()).expect_err(says).render(false);
        assert!(found.contains(says), "expected {says:?} in\n{found}");
    }
}

#[test]
fn run_task_on_instances_waits_where_managed_scaling_brings_some_and_fails_where_nothing_does() {
    let run = |more: &str| {
        let text = format!(
            "[simulation]\nduration = \"40m\"\ninterval = \"1m\"\n\
             [capacity.fleet]\ntype = \"ec2\"\ninstance_types = [\"m6i.large\"]\nmin_size = 1\nmax_size = 4\n{more}\n\
             [jobs.j]\ntask = {{ cpu = 1024, memory = \"2 GB\" }}\nwork.runs_for = \"5m\"\n\
             schedules.call = {{ type = \"run_task\", at = \"5m\", count = 6 }}\n"
        );
        let folder = tempfile::tempdir().expect("a folder");
        let s = simulate(&text, Some(folder.path()));
        (s.jobs["j"].clone(), words(folder.path(), "tasks.csv", "stop_reason"))
    };
    // Two tasks of one vCPU find room on the instance that there is.
    let (fixed, reasons) = run("managed_scaling.status = \"DISABLED\"");
    assert_eq!((fixed.succeeded, fixed.failed), (2, 4), "{reasons:?}");
    assert_eq!(reasons.iter().filter(|r| r.contains("CPU")).count(), 4, "{reasons:?}");
    let (managed, _) = run("");
    assert_eq!((managed.succeeded, managed.failed), (6, 0));
    let wait = managed.wait.expect("they ran");
    assert!(wait.max_s > 60.0, "instances take their time: {wait:?}");
}
