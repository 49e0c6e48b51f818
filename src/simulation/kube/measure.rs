//! What analyses of progressive delivery see: figures of both sides, collected as metrics are, every 20 s.

use super::super::Simulation;
use super::super::scale::SAMPLE_PERIOD;
use super::progressive::By;
use crate::kernel::SimDuration;
use crate::scenario::model::{AnalysisMetric, AnalysisTemplate, FlaggerMetricName, MeasuredPods, Rollout};
use crate::traffic::SideTotals;
use crate::units::ServiceId;

/// Collections in a window: at least one.
fn within(window: SimDuration) -> usize {
    usize::try_from(window.as_nanos().div_ceil(SAMPLE_PERIOD.as_nanos()).max(1)).unwrap_or(usize::MAX)
}

/// How many collections the longest window needs.
pub(super) fn collections(plan: &Rollout) -> usize {
    let longest = |templates: &indexmap::IndexMap<String, AnalysisTemplate>| {
        templates.values().map(|t| t.window).max().unwrap_or_default()
    };
    within(match plan {
        Rollout::ArgoCanary(c) => longest(&c.analysis_templates),
        Rollout::ArgoBlueGreen(b) => longest(&b.analysis_templates),
        Rollout::Flagger(f) => f.interval,
    })
}

/// The value of a metric, if there was an answer.
fn value(of: &SideTotals, metric: AnalysisMetric) -> Option<f64> {
    let ms = |q: f64| of.response.quantile(q).map(|n| n as f64 / 1e6);
    match metric {
        AnalysisMetric::SuccessRate => {
            let all = of.good + of.bad;
            (all > 0).then(|| of.good as f64 / all as f64)
        }
        AnalysisMetric::LatencyP50 => ms(0.5),
        AnalysisMetric::LatencyP99 => ms(0.99),
    }
}

impl Simulation<'_> {
    /// The figures of both sides are collected.
    pub(in crate::simulation) fn collect_sides(&mut self) {
        for index in 0..self.services.len() {
            if self.kube().workloads[index].rollout.is_none() {
                continue;
            }
            let fresh = self.data.take_sides(ServiceId::from(index));
            if let Some(rollout) = &mut self.kube_mut().workloads[index].rollout {
                rollout.figures.push_back(fresh);
                while rollout.figures.len() > rollout.keep {
                    rollout.figures.pop_front();
                }
            }
        }
    }

    fn seen(&self, service: ServiceId, side: Option<usize>, window: SimDuration) -> SideTotals {
        let mut sum = SideTotals::default();
        let Some(rollout) = &self.kube().workloads[service.index()].rollout else { return sum };
        for figures in rollout.figures.iter().rev().take(within(window)) {
            match side.and_then(|s| figures.get(s)) {
                Some(one) => sum.merge(one),
                None => figures.iter().for_each(|one| sum.merge(one)),
            }
        }
        sum
    }

    /// What an analysis of Argo measures now, by the name of its template.
    pub(super) fn measure(&self, service: ServiceId, revision: u32, template: &str) -> Option<f64> {
        let rollout = self.kube().workloads[service.index()].rollout.as_ref()?;
        let templates = match rollout.plan {
            Rollout::ArgoCanary(c) => &c.analysis_templates,
            Rollout::ArgoBlueGreen(b) => &b.analysis_templates,
            Rollout::Flagger(_) => return None,
        };
        let template = templates.get(template)?;
        let canary = rollout.sides.get(revision as usize).copied().map(usize::from);
        let side = if template.of == MeasuredPods::Canary { canary } else { None };
        value(&self.seen(service, side, template.window), template.metric)
    }

    /// What a check of Flagger measures of the canary over its interval.
    pub(super) fn measure_canary(&self, service: ServiceId, name: &str) -> Option<f64> {
        let rollout = self.kube().workloads[service.index()].rollout.as_ref()?;
        let By::Flagger { spec, .. } = &rollout.by else { return None };
        let seen = self.seen(service, Some(1), spec.interval);
        if name == FlaggerMetricName::RequestSuccessRate.as_str() {
            value(&seen, AnalysisMetric::SuccessRate).map(|share| 100.0 * share)
        } else {
            value(&seen, AnalysisMetric::LatencyP99)
        }
    }
}
