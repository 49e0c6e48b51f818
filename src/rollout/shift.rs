//! How production traffic moves from the old revision to the new one over time.
//!
//! Rule: BLUE_GREEN (and CodeDeploy's AllAtOnce) moves all of it at once. CANARY moves a first share,
//! waits, and moves the rest. LINEAR adds equal steps with a wait after each, the last one capped at
//! 100 %; nothing is waited for after 100 % but the bake time.
//!
//! Source: ECS developer guide, `deployment-type-linear`, `canary-deployment`,
//! `deployment-type-blue-green`; CodeDeploy user guide, `deployment-configurations`.
//!
//! Shares are tenths of a percent, the finest step that ECS takes, so that they always add up.

use serde::{Deserialize, Serialize};

use crate::kernel::SimDuration;
use crate::scenario::model::{
    CodeDeploy, DeploymentConfigName, DeploymentConfiguration, DeploymentController, DeploymentStrategy, EcsService,
    TrafficRoutingConfig,
};

/// All of the traffic, in tenths of a percent.
pub const WHOLE: u32 = 1000;

/// How traffic is shifted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "shift")]
pub enum Shift {
    /// All at once.
    AllAtOnce,
    /// A first share, then the rest.
    Canary {
        /// The first share, in tenths of a percent.
        tenths: u32,
        /// Time until the rest.
        wait: SimDuration,
    },
    /// Equal steps.
    Linear {
        /// What each adds, in tenths of a percent.
        tenths: u32,
        /// Time between two of them.
        wait: SimDuration,
    },
}

/// One step of a shift.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// When, from the first step on, if nothing else has to be waited for.
    pub after: SimDuration,
    /// Share of the new revision from then on, in tenths of a percent.
    pub tenths: u32,
}

fn tenths(percent: f64) -> u32 {
    ((percent * 10.0).round().max(1.0) as u32).min(WHOLE)
}

fn minutes(n: u32) -> SimDuration {
    SimDuration::from_mins(u64::from(n))
}

impl Shift {
    /// The shift of a service's deployments; `None` when they are rolling updates.
    #[must_use]
    pub fn of(ecs: &EcsService) -> Option<Self> {
        match ecs.deployment_controller {
            DeploymentController::Ecs => Self::native(&ecs.deployment_configuration),
            DeploymentController::CodeDeploy => {
                Some(ecs.code_deploy.as_ref().map_or(Self::AllAtOnce, Self::code_deploy))
            }
            DeploymentController::External => None,
        }
    }

    /// The shift of a strategy of ECS itself; `None` for ROLLING, which moves tasks and not weights.
    #[must_use]
    pub fn native(configuration: &DeploymentConfiguration) -> Option<Self> {
        match configuration.strategy {
            DeploymentStrategy::Rolling => None,
            DeploymentStrategy::BlueGreen => Some(Self::AllAtOnce),
            DeploymentStrategy::Linear => {
                let c = configuration.linear_configuration.clone().unwrap_or_default();
                Some(Self::Linear { tenths: tenths(c.step_percent), wait: minutes(c.step_bake_time_in_minutes) })
            }
            DeploymentStrategy::Canary => {
                let c = configuration.canary_configuration.clone().unwrap_or_default();
                Some(Self::Canary { tenths: tenths(c.canary_percent), wait: minutes(c.canary_bake_time_in_minutes) })
            }
        }
    }

    /// The shift of a deployment group of CodeDeploy.
    #[must_use]
    pub fn code_deploy(group: &CodeDeploy) -> Self {
        let linear = |percent: u32, every: u32| Self::Linear { tenths: percent * 10, wait: minutes(every) };
        let canary = |percent: u32, wait: u32| Self::Canary { tenths: percent * 10, wait: minutes(wait) };
        match &group.traffic_routing_config {
            Some(TrafficRoutingConfig::AllAtOnce(_)) => Self::AllAtOnce,
            Some(TrafficRoutingConfig::TimeBasedCanary(c)) => canary(c.canary_percentage.min(100), c.canary_interval),
            Some(TrafficRoutingConfig::TimeBasedLinear(l)) => linear(l.linear_percentage.min(100), l.linear_interval),
            None => match group.deployment_config_name {
                DeploymentConfigName::AllAtOnce => Self::AllAtOnce,
                DeploymentConfigName::Linear10PercentEvery1Minutes => linear(10, 1),
                DeploymentConfigName::Linear10PercentEvery3Minutes => linear(10, 3),
                DeploymentConfigName::Canary10Percent5Minutes => canary(10, 5),
                DeploymentConfigName::Canary10Percent15Minutes => canary(10, 15),
            },
        }
    }

    /// The share of the new revision in step `n` (from 0), in tenths of a percent.
    #[must_use]
    pub fn share(&self, n: u32) -> u32 {
        match *self {
            Self::AllAtOnce => WHOLE,
            Self::Canary { tenths, .. } if n == 0 => tenths.clamp(1, WHOLE),
            Self::Canary { .. } => WHOLE,
            Self::Linear { tenths, .. } => tenths.max(1).saturating_mul(n.saturating_add(1)).min(WHOLE),
        }
    }

    /// Time between a step and the next one.
    #[must_use]
    pub fn wait(&self) -> SimDuration {
        match *self {
            Self::AllAtOnce => SimDuration::ZERO,
            Self::Canary { wait, .. } | Self::Linear { wait, .. } => wait,
        }
    }

    /// All steps, when nothing else has to be waited for.
    #[must_use]
    pub fn schedule(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        for n in 0..WHOLE {
            let step = Step { after: self.wait() * u64::from(n), tenths: self.share(n) };
            steps.push(step);
            if step.tenths == WHOLE {
                break;
            }
        }
        steps
    }

    /// When the old revision is taken away, from the first step on.
    #[must_use]
    pub fn clean_up_at(&self, bake_time: SimDuration) -> SimDuration {
        self.schedule().last().map_or(SimDuration::ZERO, |s| s.after) + bake_time
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_grow_to_the_whole_and_no_further() {
        let steps = |shift: Shift| shift.schedule().iter().map(|s| s.tenths).collect::<Vec<_>>();
        let wait = SimDuration::from_mins(4);
        assert_eq!(steps(Shift::AllAtOnce), [1000]);
        assert_eq!(steps(Shift::Canary { tenths: 1, wait }), [1, 1000]);
        assert_eq!(steps(Shift::Canary { tenths: 1000, wait }), [1000]);
        assert_eq!(steps(Shift::Linear { tenths: 333, wait }), [333, 666, 999, 1000]);
        assert_eq!(Shift::Linear { tenths: 300, wait }.clean_up_at(wait), SimDuration::from_mins(16));
    }

    #[test]
    fn rolling_shifts_no_weights() {
        assert_eq!(Shift::native(&DeploymentConfiguration::default()), None);
    }
}
