//! The blue/green strategy of Argo Rollouts: a second set, then all traffic at once.

use super::analysis::{AnalysisRun, Phase};
use super::rollout::{BlueGreen, Pass, Pause, PauseReason, RolloutStep};

/// One pass of a blue/green rollout.
pub(super) fn run(pass: &mut Pass<'_>, spec: &BlueGreen) -> RolloutStep {
    let (Some(new), replicas, template) = (pass.new, pass.spec.replicas, pass.spec.template) else {
        return RolloutStep::Scaled;
    };
    // The first set has the traffic from the start.
    if pass.status.active.is_none() {
        pass.status.active = Some(template);
        return RolloutStep::TrafficMoved;
    }
    let promoted = pass.status.active == Some(template);
    if pass.status.abort.is_some() && pass.stable.is_some() {
        return go_back(pass, spec);
    }
    // Sizes. The stable set keeps its own as long as it is the stable one.
    let preview = !promoted && !pass.status.scale_up_preview_checkpoint && !pass.status.promote_full;
    let wanted = match spec.preview_replica_count {
        Some(count) if preview => count,
        _ => replicas,
    };
    let mut scaled = pass.scale(&new, wanted);
    if let Some(stable) = pass.stable {
        scaled |= pass.scale(&stable, replicas);
    }
    if scaled | pass.retire_others() {
        return RolloutStep::Scaled;
    }
    if pass.status.stable.is_none() {
        return pass.promote(spec.scale_down_delay);
    }
    let ready = new.available == wanted;
    if pass.stable.is_none() {
        return if ready { RolloutStep::Settled } else { RolloutStep::WaitsForPods };
    }
    if !ready {
        return RolloutStep::WaitsForPods;
    }
    if promoted {
        return after_promotion(pass, spec);
    }
    if pass.spec.paused {
        return RolloutStep::WaitsForPods;
    }
    let fast = pass.status.promote_full || pass.status.scale_up_preview_checkpoint;
    if !fast && let Some(wait) = before_promotion(pass, spec) {
        return wait;
    }
    if wanted != replicas {
        pass.status.scale_up_preview_checkpoint = true;
        return RolloutStep::StepDone(0);
    }
    pass.status.active = Some(template);
    (pass.status.scale_up_preview_checkpoint, pass.status.step_analysis) = (false, None);
    RolloutStep::TrafficMoved
}

/// The analysis before the promotion and the pause; what it waits for, if anything.
fn before_promotion(pass: &mut Pass<'_>, spec: &BlueGreen) -> Option<RolloutStep> {
    if let Some(metrics) = &spec.pre_promotion_analysis {
        let run = pass.status.step_analysis.take().unwrap_or_else(|| AnalysisRun::new(metrics, pass.see.now));
        let run = pass.analyse(run, metrics, false);
        let phase = run.phase;
        pass.status.step_analysis = Some(run);
        match phase {
            Phase::Successful => {}
            // Promoted by hand after an undecided analysis.
            Phase::Inconclusive if pass.status.pause_done => {}
            Phase::Inconclusive => return Some(RolloutStep::Paused(PauseReason::InconclusiveAnalysis)),
            Phase::Running => return Some(RolloutStep::Analysing),
            Phase::Failed | Phase::Error => {
                return pass.status.abort.as_ref().map(|a| RolloutStep::Aborted(a.reason.clone()));
            }
        }
    }
    let pauses = !spec.auto_promotion_enabled || spec.auto_promotion.is_some_and(|d| !d.is_zero());
    if !pauses || pass.status.pause_done {
        return None;
    }
    let start = Pause { reason: PauseReason::BlueGreenPause, since: pass.see.now };
    let pause = *pass.status.pause.get_or_insert(start);
    let end = spec.auto_promotion.map(|length| pause.since.saturating_add(length));
    if let Some(end) = end {
        pass.wake(end);
    }
    if end.is_some_and(|end| end <= pass.see.now) {
        (pass.status.pause, pass.status.pause_done) = (None, true);
        return None;
    }
    Some(RolloutStep::Paused(pause.reason))
}

/// The new set has the traffic: the analysis after the promotion, then it is stable.
fn after_promotion(pass: &mut Pass<'_>, spec: &BlueGreen) -> RolloutStep {
    if let (Some(metrics), false) = (&spec.post_promotion_analysis, pass.status.promote_full) {
        let run = pass.status.background_analysis.take().unwrap_or_else(|| AnalysisRun::new(metrics, pass.see.now));
        let run = pass.analyse(run, metrics, false);
        let phase = run.phase;
        pass.status.background_analysis = Some(run);
        match phase {
            Phase::Successful => {}
            Phase::Inconclusive if pass.status.pause.is_none() => {}
            Phase::Inconclusive => return RolloutStep::Paused(PauseReason::InconclusiveAnalysis),
            Phase::Running => return RolloutStep::Analysing,
            Phase::Failed | Phase::Error => {
                return pass
                    .status
                    .abort
                    .as_ref()
                    .map_or(RolloutStep::Analysing, |a| RolloutStep::Aborted(a.reason.clone()));
            }
        }
    }
    pass.promote(spec.scale_down_delay)
}

/// After an abort the stable set has the traffic at once, and the new one goes after its delay.
fn go_back(pass: &mut Pass<'_>, spec: &BlueGreen) -> RolloutStep {
    let replicas = pass.spec.replicas;
    if pass.status.active != pass.status.stable {
        pass.status.active = pass.status.stable;
        return RolloutStep::TrafficMoved;
    }
    let mut scaled = false;
    if let Some(stable) = pass.stable {
        scaled |= pass.scale(&stable, replicas);
    }
    scaled |= pass.retire_new(spec.abort_scale_down_delay);
    if scaled | pass.retire_others() {
        return RolloutStep::Scaled;
    }
    pass.status.abort.as_ref().map_or(RolloutStep::WaitsForPods, |a| RolloutStep::Aborted(a.reason.clone()))
}
