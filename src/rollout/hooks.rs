//! The hooks of a deployment's stages.
//!
//! Rule: a stage calls its hooks when it begins and goes on when all of them have succeeded. A function
//! that says IN_PROGRESS is asked again after its call-back delay, 30 s unless it says otherwise. A
//! failure fails the deployment. A hook without an answer within its time-out counts as failed or as
//! succeeded, as its time-out action says.
//!
//! Source: ECS developer guide, `deployment-lifecycle-hooks`; CodeDeploy user guide,
//! `reference-appspec-file-structure-hooks`.
//!
//! Known departure: whether the hooks of one stage are called together or one after the other is not
//! documented; here together.

use serde::{Deserialize, Serialize};

use super::stages::Stage;
use crate::kernel::{SimDuration, SimTime};
use crate::scenario::model::{AppSpecHook, HookStatus, HookTargetType, LifecycleHook, TimeoutAction};
use crate::telemetry::alarm::AlarmState;

/// What is known of a hook beforehand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookSpec {
    /// The stages that call it.
    pub stages: Vec<Stage>,
    /// Time until it has its answer.
    pub takes: SimDuration,
    /// The answer.
    pub status: HookStatus,
    /// How often a function is asked; `None` for one that answers by itself.
    pub call_back_delay: Option<SimDuration>,
    /// Longest wait.
    pub timeout: SimDuration,
    /// What happens then.
    pub timeout_action: TimeoutAction,
}

impl From<&LifecycleHook> for HookSpec {
    fn from(hook: &LifecycleHook) -> Self {
        Self {
            stages: hook.lifecycle_stages.iter().map(|s| Stage::from(*s)).collect(),
            takes: hook.takes,
            status: hook.hook_status,
            call_back_delay: (hook.target_type == HookTargetType::AwsLambda).then_some(hook.call_back_delay),
            timeout: SimDuration::from_mins(u64::from(hook.timeout_in_minutes)),
            timeout_action: hook.timeout_action,
        }
    }
}

impl From<&AppSpecHook> for HookSpec {
    fn from(hook: &AppSpecHook) -> Self {
        Self {
            stages: hook.events.iter().map(|e| Stage::from(*e)).collect(),
            takes: hook.takes,
            status: hook.status,
            // The function reports by itself; one that watches an alarm looks every half minute.
            call_back_delay: hook.alarm.is_some().then_some(SimDuration::from_secs(30)),
            timeout: SimDuration::from_mins(60),
            timeout_action: TimeoutAction::Rollback,
        }
    }
}

/// What is remembered of a hook that was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookMemory {
    /// Its position in the list of hooks.
    pub hook: usize,
    /// When it was called.
    pub called: SimTime,
    /// When it is asked next.
    pub next: SimTime,
    /// It has succeeded.
    pub succeeded: bool,
}

/// What a hook says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Nothing yet; look again at this instant.
    InProgress(SimTime),
    /// The stage may go on.
    Succeeded,
    /// The deployment fails.
    Failed,
    /// It did not answer in time, and the deployment fails.
    TimedOut,
}

/// Calls a hook.
#[must_use]
pub fn call(hook: usize, now: SimTime) -> HookMemory {
    HookMemory { hook, called: now, next: now, succeeded: false }
}

/// Asks a hook. `alarm` is the state of the alarm that it looks at, if it does.
#[must_use]
pub fn ask(spec: &HookSpec, memory: HookMemory, now: SimTime, alarm: Option<AlarmState>) -> (Answer, HookMemory) {
    if memory.succeeded {
        return (Answer::Succeeded, memory);
    }
    let mut next = memory;
    let elapsed = now.since(memory.called);
    let asked = match spec.call_back_delay {
        Some(delay) if now >= memory.next => {
            next.next = now + delay.max(SimDuration::from_secs(1));
            true
        }
        Some(_) => false,
        None => {
            next.next = (memory.called + spec.takes).max(now);
            true
        }
    };
    let answer = match spec.status {
        _ if asked && alarm == Some(AlarmState::Alarm) => Some(Answer::Failed),
        HookStatus::Succeeded if asked && elapsed >= spec.takes => Some(Answer::Succeeded),
        HookStatus::Failed if asked && elapsed >= spec.takes => Some(Answer::Failed),
        _ if elapsed < spec.timeout => None,
        _ => Some(match spec.timeout_action {
            TimeoutAction::Rollback => Answer::TimedOut,
            TimeoutAction::Continue => Answer::Succeeded,
        }),
    };
    next.succeeded = answer == Some(Answer::Succeeded);
    let latest = memory.called + spec.timeout;
    let look = if next.next > now { next.next.min(latest) } else { latest };
    (answer.unwrap_or(Answer::InProgress(look)), next)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hook(takes: u64, status: HookStatus) -> HookSpec {
        HookSpec {
            stages: vec![Stage::PostScaleUp],
            takes: SimDuration::from_secs(takes),
            status,
            call_back_delay: Some(SimDuration::from_secs(30)),
            timeout: SimDuration::from_mins(2),
            timeout_action: TimeoutAction::Rollback,
        }
    }

    /// The first answer that is not IN_PROGRESS, and when it came.
    fn follow(spec: &HookSpec, alarm_from: u64) -> (u64, Answer) {
        let mut memory = call(0, SimTime::ZERO);
        let mut now = SimTime::ZERO;
        loop {
            let alarm = if now >= SimTime::from_secs(alarm_from) { AlarmState::Alarm } else { AlarmState::Ok };
            let (answer, after) = ask(spec, memory, now, Some(alarm));
            memory = after;
            match answer {
                Answer::InProgress(at) => now = at,
                answer => return (now.as_nanos() / 1_000_000_000, answer),
            }
        }
    }

    #[test]
    fn a_function_is_asked_again_every_half_minute() {
        assert_eq!(follow(&hook(0, HookStatus::Succeeded), 999), (0, Answer::Succeeded));
        assert_eq!(follow(&hook(31, HookStatus::Succeeded), 999), (60, Answer::Succeeded));
        assert_eq!(follow(&hook(31, HookStatus::Failed), 999), (60, Answer::Failed));
    }

    #[test]
    fn the_time_out_decides_when_there_is_no_answer() {
        let never = hook(0, HookStatus::InProgress);
        assert_eq!(follow(&never, 999), (120, Answer::TimedOut));
        let goes_on = HookSpec { timeout_action: TimeoutAction::Continue, ..never };
        assert_eq!(follow(&goes_on, 999), (120, Answer::Succeeded));
    }

    #[test]
    fn somebody_answers_at_once_when_ready() {
        let pause = HookSpec { call_back_delay: None, ..hook(31, HookStatus::Succeeded) };
        assert_eq!(follow(&pause, 999), (31, Answer::Succeeded));
    }

    #[test]
    fn a_hook_that_watches_an_alarm_fails_with_it() {
        assert_eq!(follow(&hook(100, HookStatus::Succeeded), 45), (60, Answer::Failed));
        assert_eq!(follow(&hook(90, HookStatus::Succeeded), 999), (90, Answer::Succeeded));
    }
}
