//! Statistics against known truths: thousands of experiments with a fixed seed, in each of which the truth is
//! known, count how often an interval holds it and how often a test finds what is not there.
//!
//! `cargo test --release --test statistics -- --nocapture` prints every figure, and with `--include-ignored`
//! those of the longer tables (about a minute and a half on two cores). Counts are judged against
//! bands that were set before: a coverage of 95 % has to lie between 93 and 97 %, a rate of false alarms within
//! the central 99 % of the binomial law of its nominal level. Where a method is known to do less it is not used
//! there, or its own band is written with its reason.

use simctl::experiment::statistics::*;
use simctl::kernel::{Stream, StreamExt, Streams, standard_normal_quantile};

const SEED: u64 = 20_260_301;
const EXPERIMENTS: u64 = 2_000;

fn stream(name: &str, experiment: u64) -> Stream {
    Streams::new(SEED, experiment).stream(name)
}

/// A law with mean zero.
#[derive(Clone, Copy, Debug)]
enum Noise {
    Normal,
    Uniform,
    Laplace,
    Exponential,
    /// Logarithm with standard deviation 0.5: skewness 1.75, excess kurtosis 5.9.
    Lognormal,
}

fn normal(s: &mut Stream) -> f64 {
    standard_normal_quantile(s.unit())
}

impl Noise {
    fn draw(self, s: &mut Stream) -> f64 {
        match self {
            Self::Normal => normal(s),
            Self::Uniform => s.unit() - 0.5,
            Self::Laplace => s.exponential() - s.exponential(),
            Self::Exponential => s.exponential() - 1.0,
            Self::Lognormal => libm::exp(0.5 * normal(s)) - libm::exp(0.125),
        }
    }

    fn sample(self, n: usize, s: &mut Stream) -> Vec<f64> {
        (0..n).map(|_| self.draw(s)).collect()
    }
}

/// The share of experiments in which `hit` is true.
fn share_of(what: &str, experiments: u64, mut hit: impl FnMut(u64) -> bool) -> f64 {
    let hits = (0..experiments).filter(|&i| hit(i)).count() as u64;
    let share = wilson(hits, experiments, 0.95).expect("some experiments");
    println!(
        "{what}: {:.2} % of {experiments} [{:.2}, {:.2}]",
        100.0 * share.point,
        100.0 * share.interval.low,
        100.0 * share.interval.high
    );
    share.point
}

fn covers(what: &str, band: std::ops::RangeInclusive<f64>, hit: impl FnMut(u64) -> bool) {
    let share = share_of(what, EXPERIMENTS, hit);
    assert!(band.contains(&share), "{what}: {share} is not in {band:?}");
}

/// Whether a share lies in the central 99 % of what `experiments` coins of chance `p` give.
fn false_alarms(what: &str, experiments: u64, p: f64, hit: impl FnMut(u64) -> bool) {
    let share = share_of(what, experiments, hit);
    let reach = 2.576 * libm::sqrt(p * (1.0 - p) / experiments as f64);
    assert!((share - p).abs() <= reach, "{what}: {share} is not within {reach} of {p}");
}

const TOLD: std::ops::RangeInclusive<f64> = 0.93..=0.97;

#[test]
fn the_interval_of_a_mean_holds_the_mean() {
    for noise in [Noise::Normal, Noise::Exponential, Noise::Lognormal] {
        covers(&format!("mean, as chosen, {noise:?}, n = 30"), TOLD, |i| {
            let mut s = stream("mean", i);
            let values = noise.sample(30, &mut s);
            mean(&values, 0.95, &mut s).expect("an interval").interval.contains(0.0)
        });
    }
    let student = |noise: Noise, n: usize, band| {
        covers(&format!("mean, Student, {noise:?}, n = {n}"), band, |i| {
            let values = noise.sample(n, &mut stream("mean", i));
            mean_student(&values, 0.95).expect("an interval").interval.contains(0.0)
        });
    };
    for n in [5, 10, 30] {
        student(Noise::Normal, n, TOLD);
        student(Noise::Laplace, n, TOLD);
    }
    // Skewed figures bring Student's t below its level: the reason why they get the bootstrap.
    student(Noise::Exponential, 30, 0.90..=0.95);
    student(Noise::Lognormal, 30, 0.90..=0.95);
}

/// Pairs that share their draws: base, and other = base + difference.
fn pairs(noise: Noise, n: usize, shift: f64, s: &mut Stream) -> (Vec<f64>, Vec<f64>) {
    let base: Vec<f64> = (0..n).map(|_| 100.0 + 10.0 * normal(s)).collect();
    let other = base.iter().map(|b| b + shift + noise.draw(s)).collect();
    (base, other)
}

fn paired_covers(noise: Noise, n: usize, band: std::ops::RangeInclusive<f64>) {
    covers(&format!("paired difference, as chosen, {noise:?}, n = {n}"), band, |i| {
        let mut s = stream("paired", i);
        let (base, other) = pairs(noise, n, 2.0, &mut s);
        let d = paired(&base, &other, 0.95, &mut s).expect("a difference");
        let holds = d.interval.contains(2.0);
        assert_eq!(holds, d.confidence.p_of(2.0) > 0.05, "interval and test of one law agree");
        holds
    });
}

#[test]
fn the_interval_of_a_paired_difference_holds_it() {
    paired_covers(Noise::Normal, 10, TOLD);
    paired_covers(Noise::Exponential, 10, TOLD);
    paired_covers(Noise::Normal, 30, TOLD);
    paired_covers(Noise::Laplace, 30, TOLD);
    paired_covers(Noise::Exponential, 30, TOLD);
}

#[test]
#[ignore = "long"]
fn the_interval_of_a_paired_difference_holds_it_with_other_laws_and_numbers() {
    for n in [10, 20, 30] {
        for noise in [Noise::Normal, Noise::Laplace, Noise::Exponential, Noise::Lognormal] {
            paired_covers(noise, n, TOLD);
        }
        // A flat law without tails looks skewed in a small sample, and gets more width than it needs.
        paired_covers(Noise::Uniform, n, if n < 20 { 0.93..=0.98 } else { TOLD });
    }
    for n in [5, 7] {
        // Nobody can see in so few values what law they have.
        for noise in [Noise::Normal, Noise::Uniform, Noise::Laplace, Noise::Exponential, Noise::Lognormal] {
            paired_covers(noise, n, 0.91..=0.98);
        }
    }
}

#[test]
fn the_interval_of_an_unpaired_difference_holds_it() {
    for (na, nb, spread) in [(10, 10, 1.0), (10, 30, 3.0), (30, 10, 3.0)] {
        covers(&format!("Welch, {na} and {nb} runs, spread 1 and {spread}"), TOLD, |i| {
            let mut s = stream("welch", i);
            let a = Noise::Normal.sample(na, &mut s);
            let b: Vec<f64> = (0..nb).map(|_| 1.0 + spread * normal(&mut s)).collect();
            welch(&a, &b, 0.95).expect("a difference").interval.contains(1.0)
        });
    }
}

#[test]
fn the_interval_of_a_ratio_holds_it() {
    covers("ratio of means, 20 pairs", TOLD, |i| {
        let mut s = stream("ratio", i);
        let base: Vec<f64> = (0..20).map(|_| 30.0 + 3.0 * normal(&mut s)).collect();
        let other: Vec<f64> = base.iter().map(|b| 0.82 * (b - 30.0) + 0.82 * 30.0 + normal(&mut s)).collect();
        ratio_of_means(&base, &other, 0.95).expect("a ratio").interval.contains(0.82)
    });
}

/// Latencies of one run: exponential with a mean that the run draws, in nanoseconds, and in bursts, so that
/// neighbours are alike. `load` multiplies the mean.
fn latencies(spread: f64, load: f64, values: usize, world: &mut Stream) -> SparseHistogram {
    let level = libm::exp(spread * normal(world)) * load;
    latencies_of(level, values, world)
}

/// As [`latencies`], with the mean given, in tenths of a second.
fn latencies_of(level: f64, values: usize, world: &mut Stream) -> SparseHistogram {
    let mut last = world.exponential();
    SparseHistogram::from_counts((0..values).map(|_| {
        // Kept from the one before in half of the cases: dependent, and exponential still.
        if world.unit() < 0.5 {
            last = world.exponential();
        }
        ((last * level * 1e8) as u64, 1)
    }))
}

/// The quantile of the law of [`latencies`] with load 1: the root of the mean of exp(−x / level) over levels.
fn true_quantile(q: f64, spread: f64) -> f64 {
    let tail = |x: f64| {
        let cells = 2_000;
        let at = |i: i32| standard_normal_quantile((f64::from(i) + 0.5) / f64::from(cells));
        (0..cells).map(|i| libm::exp(-x / libm::exp(spread * at(i)))).sum::<f64>() / f64::from(cells)
    };
    let (mut low, mut high) = (0.0, 100.0);
    for _ in 0..80 {
        let middle = f64::midpoint(low, high);
        if tail(middle) > 1.0 - q {
            low = middle;
        } else {
            high = middle;
        }
    }
    low * 1e8
}

fn quantile_covers(q: f64, runs: usize, values: usize, spread: f64, band: std::ops::RangeInclusive<f64>) {
    let truth = true_quantile(q, spread);
    covers(&format!("pooled quantile {q}, {runs} runs of {values}, levels spread by {spread}"), band, |i| {
        let mut s = stream("quantile", i);
        let set: Vec<SparseHistogram> = (0..runs).map(|_| latencies(spread, 1.0, values, &mut s)).collect();
        pooled_quantile(&set, q, 0.95, &mut s).expect("an interval").estimate.interval.contains(truth)
    });
}

#[test]
fn the_interval_of_a_pooled_quantile_holds_it() {
    // About 400 and 120 pooled values beyond p95 and p99, half of them copies of a neighbour.
    quantile_covers(0.95, 20, 400, 0.1, TOLD);
    quantile_covers(0.99, 30, 400, 0.1, TOLD);
}

#[test]
#[ignore = "long"]
fn the_interval_of_a_pooled_quantile_holds_it_in_other_worlds() {
    for spread in [0.0, 0.1, 0.2] {
        quantile_covers(0.95, 20, 400, spread, TOLD);
        quantile_covers(0.95, 30, 270, spread, TOLD);
        quantile_covers(0.99, 20, 600, spread, TOLD);
        quantile_covers(0.99, 30, 400, spread, TOLD);
    }
    quantile_covers(0.5, 20, 200, 0.3, TOLD);
    for spread in [0.0, 0.1] {
        quantile_covers(0.95, 5, 1_200, spread, TOLD);
        quantile_covers(0.99, 10, 1_200, spread, TOLD);
    }
}

#[test]
#[ignore = "long"]
fn the_interval_of_a_quantile_suffers_when_runs_are_worlds_apart() {
    // Levels spread by 0.5: the slowest run of twenty is six times slower than the fastest, and p99 is made
    // in two or three runs. The concentration of the result tells.
    quantile_covers(0.99, 20, 600, 0.5, 0.87..=0.97);
    let mut s = stream("concentration", 0);
    let of = |spread: f64, s: &mut Stream| {
        let sum: f64 = (0..50)
            .map(|_| {
                let set: Vec<_> = (0..20).map(|_| latencies(spread, 1.0, 600, s)).collect();
                pooled_quantile(&set, 0.99, 0.95, s).expect("an interval").concentration
            })
            .sum();
        sum / 50.0
    };
    let (alike, apart) = (of(0.1, &mut s), of(0.5, &mut s));
    println!("mean concentration: runs alike {alike:.2}, worlds apart {apart:.2}");
    assert!(alike < 0.2 && apart > 0.25);
}

fn paired_quantile_covers(q: f64, runs: usize, values: usize, spread: f64) {
    let truth = 0.1 * true_quantile(q, spread);
    covers(&format!("paired difference of quantile {q}, {runs} runs of {values}, spread {spread}"), TOLD, |i| {
        let mut s = stream("paired quantile", i);
        let (base, other): (Vec<_>, Vec<_>) = (0..runs)
            .map(|_| {
                // Both sides have the level in common and each its own requests.
                let level = libm::exp(spread * normal(&mut s));
                (latencies_of(level, values, &mut s), latencies_of(1.1 * level, values, &mut s))
            })
            .unzip();
        paired_quantile(&base, &other, q, 0.95, &mut s).expect("a difference").interval.contains(truth)
    });
}

#[test]
fn the_interval_of_a_paired_difference_of_quantiles_holds_it() {
    paired_quantile_covers(0.95, 20, 400, 0.2);
    paired_quantile_covers(0.99, 30, 400, 0.1);
}

#[test]
#[ignore = "long"]
fn the_interval_of_a_paired_difference_of_quantiles_holds_it_in_other_worlds() {
    for spread in [0.1, 0.2] {
        for (q, runs, values) in [(0.95, 20, 400), (0.99, 20, 600), (0.99, 30, 400)] {
            paired_quantile_covers(q, runs, values, spread);
        }
    }
}

#[test]
fn the_interval_of_a_share_holds_it() {
    // On average over true shares Wilson's interval has its level, at each share nearly so.
    covers("Wilson, 30 runs, true share drawn evenly", TOLD, |i| {
        let mut s = stream("wilson", i);
        let truth = s.unit();
        let hits = (0..30).filter(|_| s.unit() < truth).count() as u64;
        wilson(hits, 30, 0.95).expect("an interval").interval.contains(truth)
    });
    // At one share the hits are whole numbers and the coverage goes up and down with it around the level.
    for (truth, n) in [(0.5, 30), (0.7, 30), (0.8, 30), (0.9, 30), (0.9, 100), (0.97, 100)] {
        covers(&format!("Wilson, true share {truth}, {n} runs"), 0.915..=0.98, |i| {
            let mut s = stream("wilson", i);
            let hits = (0..n).filter(|_| s.unit() < truth).count() as u64;
            wilson(hits, n, 0.95).expect("an interval").interval.contains(truth)
        });
    }
    // The exact bound errs to the safe side only.
    for (truth, n) in [(0.5, 30), (0.9, 30), (0.97, 100)] {
        covers(&format!("exact lower bound, true share {truth}, {n} runs"), 0.9375..=1.0, |i| {
            let mut s = stream("exact", i);
            let hits = (0..n).filter(|_| s.unit() < truth).count() as u64;
            at_least(hits, n, 0.95).expect("a bound") <= truth
        });
    }
}

#[test]
fn independent_copies_are_called_different_at_the_nominal_rate() {
    for noise in [Noise::Normal, Noise::Laplace] {
        for n in [10, 30] {
            false_alarms(&format!("paired with independent streams, {noise:?}, n = {n}"), EXPERIMENTS, 0.05, |i| {
                let mut s = stream("copies", i);
                let (a, b) = (noise.sample(n, &mut s), noise.sample(n, &mut s));
                paired(&a, &b, 0.95, &mut s).expect("a difference").p <= 0.05
            });
        }
    }
    false_alarms("Welch, n = 30", EXPERIMENTS, 0.05, |i| {
        let mut s = stream("copies", i);
        let (a, b) = (Noise::Normal.sample(30, &mut s), Noise::Normal.sample(30, &mut s));
        welch(&a, &b, 0.95).expect("a difference").p <= 0.05
    });
}

#[test]
fn independent_copies_have_different_quantiles_at_the_nominal_rate() {
    for (q, runs, values) in [(0.95, 20, 300), (0.99, 30, 340)] {
        let mut unpaired = Vec::new();
        false_alarms(&format!("quantile {q}, paired with independent streams"), EXPERIMENTS, 0.05, |i| {
            let mut s = stream("quantile copies", i);
            let mut set =
                || -> Vec<SparseHistogram> { (0..runs).map(|_| latencies(0.1, 1.0, values, &mut s)).collect() };
            let (a, b) = (set(), set());
            unpaired.push(unpaired_quantile(&a, &b, q, 0.95).expect("a difference").p <= 0.05);
            paired_quantile(&a, &b, q, 0.95, &mut s).expect("a difference").p <= 0.05
        });
        false_alarms(&format!("quantile {q}, unpaired"), EXPERIMENTS, 0.05, |i| unpaired[i as usize]);
    }
}

#[test]
fn a_family_of_copies_is_called_different_at_the_nominal_rate() {
    // Eight figures of 20 pairs; `common` is how much of each is shared by all eight.
    let family = |i: u64, common: f64| {
        let mut s = stream("family", i);
        let shared: (Vec<f64>, Vec<f64>) = (Noise::Normal.sample(20, &mut s), Noise::Normal.sample(20, &mut s));
        let p: Vec<f64> = (0..8)
            .map(|_| {
                let mut side = |shared: &[f64]| -> Vec<f64> {
                    shared.iter().map(|x| common * x + (1.0 - common) * normal(&mut s)).collect()
                };
                let (a, b) = (side(&shared.0), side(&shared.1));
                paired(&a, &b, 0.95, &mut s).expect("a difference").p
            })
            .collect();
        let said = |corrected: &[f64]| corrected.iter().any(|&p| verdict(Sense::Neither, 1.0, p, 0.05).is_shown());
        (said(&p), said(&holm(&p)))
    };
    false_alarms("any of eight unlike figures after Holm", EXPERIMENTS, 0.05, |i| family(i, 0.0).1);
    let alike = share_of("any of eight figures that go together after Holm", EXPERIMENTS, |i| family(i, 0.7).1);
    assert!(alike <= 0.0626);
    let without = share_of("any of eight unlike figures without correction", EXPERIMENTS, |i| family(i, 0.0).0);
    assert!(without > 0.25, "the correction is what keeps the level");
}

#[test]
fn copies_with_common_streams_differ_by_exactly_nothing() {
    for i in 0..EXPERIMENTS {
        let run = || {
            let mut s = stream("common", i);
            let means = Noise::Exponential.sample(12, &mut s);
            let set: Vec<SparseHistogram> = (0..12).map(|_| latencies(0.3, 1.0, 300, &mut s)).collect();
            (means, set, s)
        };
        let ((a, c, mut s), (b, d, _)) = (run(), run());
        for difference in [
            paired(&a, &b, 0.95, &mut s).expect("a difference"),
            paired_quantile(&c, &d, 0.95, 0.95, &mut s).expect("a difference"),
        ] {
            assert_eq!((difference.difference, difference.p), (0.0, 1.0));
            assert_eq!((difference.interval.low, difference.interval.high), (0.0, 0.0));
            assert_eq!(
                verdict(Sense::LowerIsBetter, difference.difference, difference.p, 0.05),
                Verdict::NoDifferenceShown
            );
        }
    }
    println!("common streams: {EXPERIMENTS} of {EXPERIMENTS} without any difference");
}

#[test]
fn equivalence_is_falsely_shown_at_the_nominal_rate() {
    // The truth lies exactly at the margin: the hardest of all that are not equivalent.
    for n in [10, 30] {
        false_alarms(&format!("equivalence at the margin, n = {n}"), EXPERIMENTS, 0.05, |i| {
            let mut s = stream("equivalence", i);
            let (base, other) = pairs(Noise::Normal, n, 4.0, &mut s);
            let d = paired(&base, &other, 0.95, &mut s).expect("a difference");
            equivalence(&d, 4.0, 0.05).expect("an answer").shown
        });
    }
}

#[test]
fn stopping_when_it_is_precise_keeps_most_of_the_coverage() {
    for (wanted, low) in [(0.5, 0.92), (0.3, 0.92), (0.2, 0.93)] {
        let rule = SequentialRule::new(Precision::Absolute(wanted), 0.95, 1_000);
        let mut runs = 0;
        covers(&format!("mean after stopping at ±{wanted} of one deviation"), low..=0.97, |i| {
            let mut s = stream("sequential", i);
            let mut values = Vec::new();
            while let Step::RunTo(n) = rule.judge_mean(&values) {
                values.extend((values.len()..n).map(|_| normal(&mut s)));
            }
            runs += values.len();
            mean_student(&values, 0.95).expect("an interval").interval.contains(0.0)
        });
        println!("  {:.1} runs on average", runs as f64 / EXPERIMENTS as f64);
    }
}

#[test]
fn mser_removes_the_bias_of_a_start_that_is_not_steady() {
    let (mut raw, mut cut, mut found) = (0.0, 0.0, 0);
    for i in 0..EXPERIMENTS {
        let mut s = stream("warm-up", i);
        let mut state = 15.0;
        // A queue that forgets its start by a tenth each interval.
        let series: Vec<f64> = (0..500)
            .map(|_| {
                state = 0.9 * state + normal(&mut s);
                state
            })
            .collect();
        raw += Moments::of(&series).mean;
        if let Truncation::After(n) = mser5(&series) {
            cut += Moments::of(&series[n..]).mean;
            found += 1;
        }
    }
    let (raw, cut) = (raw / EXPERIMENTS as f64, cut / f64::from(found));
    println!("MSER-5: found in {found} of {EXPERIMENTS}; mean bias {raw:.4} before, {cut:.4} after");
    assert!(found > 1_800 && cut.abs() < raw.abs() / 5.0);
}

#[test]
fn a_race_rarely_loses_the_best() {
    const FIELD: usize = 27;
    let spec = RaceSpec { looks: 30, ..RaceSpec::default() };
    let (mut spent, mut unfinished) = (0, 0);
    let lost = share_of("races not won by the best of 27", EXPERIMENTS, |i| {
        // Costs 8.8, 9.2, 9.6, 10, …; the world is common, and each candidate has a fifth of its spread of its
        // own. The three cheapest break the objectives in half of the runs.
        let mut costs: Vec<Vec<f64>> = vec![Vec::new(); FIELD];
        let mut kept = [0_u64; FIELD];
        let mut alive: Vec<usize> = (0..FIELD).collect();
        let mut winner = None;
        for look in 0..spec.looks {
            for &c in &alive {
                for _ in 0..if look == 0 { 3 } else { 2 } {
                    let mut world = stream("race", i * 1_000 + costs[c].len() as u64);
                    let mut own = stream(&format!("race/{c}"), i * 1_000 + costs[c].len() as u64);
                    costs[c].push(8.8 + 0.4 * c as f64 + 0.5 * normal(&mut world) + 0.1 * normal(&mut own));
                    kept[c] += u64::from(c >= 3 || own.unit() < 0.5);
                    spent += 1;
                }
            }
            let field: Vec<Candidate<'_>> =
                costs.iter().zip(kept).map(|(costs, kept)| Candidate { costs, kept }).collect();
            let step = race_step(&field, &spec).expect("a step");
            alive = step.survivors().collect();
            winner = step.leader;
            if step.finished {
                break;
            }
            unfinished += u64::from(look + 1 == spec.looks);
        }
        winner != Some(3)
    });
    let each = spent as f64 / EXPERIMENTS as f64;
    println!("  {each:.1} runs on average, 30 runs of each would be 810; {unfinished} races not finished");
    assert!(lost <= spec.alpha && each < 300.0 && unfinished < 20);
}
