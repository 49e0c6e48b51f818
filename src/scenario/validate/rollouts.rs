//! Progressive delivery: what Argo Rollouts and Flagger refuse, and names that must exist.

use indexmap::IndexMap;

use super::Check;
use crate::kernel::SimDuration;
use crate::scenario::model::{
    AnalysisTemplate, ArgoBlueGreen, ArgoCanary, ArgoStep, FlaggerCanary, FlaggerProvider, IntOrPercent,
    KubeServiceType, LoadBalancerType, Rollout, Service, WorkloadKind,
};

type Templates = IndexMap<String, AnalysisTemplate>;

impl Check<'_> {
    /// Who brings new revisions of a workload in.
    pub(super) fn rollout(&mut self, rollout: &Rollout, service: &Service) {
        if service.kubernetes.kind != WorkloadKind::Deployment {
            self.error("S1012", &[], "only a Deployment can be delivered progressively", "leave it out");
        }
        if service.worker.is_some() {
            self.error(
                "S1012",
                &[],
                "the service works on a queue: there is no traffic to shift or to measure",
                "leave it out",
            );
        }
        match rollout {
            Rollout::ArgoCanary(c) => self.argo_canary(c, service),
            Rollout::ArgoBlueGreen(b) => self.argo_blue_green(b),
            Rollout::Flagger(f) => self.flagger(f),
        }
        if !matches!(rollout, Rollout::Flagger(_)) {
            self.path.pop();
            if self.is_written(&["strategy"]) {
                self.warn("W0053", &["strategy"], "a Rollout of Argo has its own strategy", "has no effect");
            }
            self.path.push("rollout".to_owned());
        }
    }

    fn argo_canary(&mut self, c: &ArgoCanary, service: &Service) {
        let routed = c.traffic_routing.is_some();
        let application = service.load_balancer.as_ref().is_some_and(|lb| lb.r#type == LoadBalancerType::Application);
        if routed && !(application && service.kubernetes.service.r#type == Some(KubeServiceType::LoadBalancer)) {
            self.error(
                "S1012",
                &["traffic_routing"],
                "no Application Load Balancer stands in front of the service",
                "give it `load_balancer`, or leave `traffic_routing` out",
            );
        }
        let none = |v: IntOrPercent| matches!(v, IntOrPercent::Int(0) | IntOrPercent::Percent(0));
        if !routed && none(c.max_surge) && none(c.max_unavailable) {
            let message = "`max_surge` and `max_unavailable` are both 0: nothing could be replaced";
            self.error("S1012", &["max_surge"], message, "raise one of them");
        }
        if c.dynamic_stable_scale && !routed {
            self.error(
                "S1012",
                &["dynamic_stable_scale"],
                "Argo Rollouts takes `dynamic_stable_scale` with `traffic_routing` only",
                "the stable pods shrink anyway",
            );
        }
        for (i, step) in c.steps.iter().enumerate() {
            self.within(&["steps", &format!("[{i}]")], |check| check.argo_step(step, routed, &c.analysis_templates));
        }
        if let Some(analysis) = &c.analysis {
            self.templates_exist(&["analysis", "templates"], &analysis.templates, &c.analysis_templates);
            if analysis.starting_step as usize >= c.steps.len().max(1) {
                self.error("S1010", &["analysis", "starting_step"], "the canary has no such step", "counted from 0");
            }
        }
        self.analysis_templates(&c.analysis_templates);
    }

    fn argo_step(&mut self, step: &ArgoStep, routed: bool, templates: &Templates) {
        let given = usize::from(step.set_weight.is_some())
            + usize::from(step.pause.is_some())
            + usize::from(!step.analysis.is_empty())
            + usize::from(step.set_canary_scale.is_some());
        if given != 1 {
            self.error(
                "S1012",
                &[],
                "a step is one of `set_weight`, `pause`, `analysis` and `set_canary_scale`",
                format!("{given} of them stand here"),
            );
        }
        if let Some(weight) = step.set_weight {
            self.range(&["set_weight"], u64::from(weight), 0, 100, "Argo Rollouts takes a");
        }
        if let Some(pause) = &step.pause
            && let Some(duration) = pause.duration
        {
            self.not_zero(&["pause", "duration"], duration);
        }
        self.templates_exist(&["analysis"], &step.analysis, templates);
        if let Some(scale) = &step.set_canary_scale {
            let given = usize::from(scale.replicas.is_some())
                + usize::from(scale.weight.is_some())
                + usize::from(scale.match_traffic_weight);
            if given != 1 || !routed {
                let message = match routed {
                    true => "a size is one of `replicas`, `weight` and `match_traffic_weight`",
                    false => "Argo Rollouts takes `set_canary_scale` with `traffic_routing` only",
                };
                self.error("S1012", &["set_canary_scale"], message, "not so");
            }
            if let Some(weight) = scale.weight {
                self.range(&["set_canary_scale", "weight"], u64::from(weight), 0, 100, "Argo Rollouts takes a");
            }
        }
    }

    fn argo_blue_green(&mut self, b: &ArgoBlueGreen) {
        self.templates_exist(&["pre_promotion_analysis"], &b.pre_promotion_analysis, &b.analysis_templates);
        self.templates_exist(&["post_promotion_analysis"], &b.post_promotion_analysis, &b.analysis_templates);
        self.analysis_templates(&b.analysis_templates);
    }

    fn templates_exist(&mut self, path: &[&str], names: &[String], templates: &Templates) {
        let known: Vec<&str> = templates.keys().map(String::as_str).collect();
        for (i, name) in names.iter().enumerate() {
            let index = format!("[{i}]");
            let at: Vec<&str> = path.iter().copied().chain([index.as_str()]).collect();
            let span = self.at(&at);
            self.known(&at, span, "analysis template", name, &known);
        }
    }

    fn analysis_templates(&mut self, templates: &Templates) {
        for (name, t) in templates {
            self.within(&["analysis_templates", name], |c| {
                c.not_zero(&["window"], t.window);
                if let Some(interval) = t.interval {
                    c.not_zero(&["interval"], interval);
                }
                if t.interval.is_none() && t.count.is_some_and(|n| n > 1) {
                    let message = "more than one measurement needs an `interval`";
                    c.error("S1012", &["count"], message, "Argo Rollouts refuses it");
                }
                if t.count.is_some_and(|n| n > 0 && n <= t.failure_limit) {
                    c.error(
                        "S1011",
                        &["failure_limit"],
                        "the analysis could never fail: there are fewer measurements than bad ones are borne",
                        "below `count`",
                    );
                }
                if t.success_condition.is_none() && t.failure_condition.is_none() {
                    c.warn("W0053", &[], "without a condition every measurement is good", "has no effect");
                }
            });
        }
    }

    fn flagger(&mut self, f: &FlaggerCanary) {
        if f.interval < SimDuration::from_secs(10) {
            self.error("S1010", &["interval"], "Flagger checks every 10 s at most", "at least 10 s");
        }
        self.range(&["threshold"], u64::from(f.threshold), 1, 1_000_000, "Flagger takes a");
        for (key, value) in [
            ("max_weight", f.max_weight),
            ("step_weight", f.step_weight),
            ("step_weight_promotion", f.step_weight_promotion),
        ] {
            self.range(&[key], u64::from(value), 0, 100, "Flagger takes a");
        }
        let rises = f.step_weights.windows(2).all(|w| w[0] < w[1]);
        if !rises || f.step_weights.iter().any(|w| *w == 0 || *w > 100) {
            self.error("S1012", &["step_weights"], "the shares rise from above 0 to 100 at most", "in this order");
        }
        if f.step_weight == 0
            && f.step_weights.is_empty()
            && f.iterations == 0
            && f.provider != FlaggerProvider::Kubernetes
        {
            let message = "nothing would ever advance: Flagger needs `step_weight`, `step_weights` or `iterations`";
            self.error("S1012", &["step_weight"], message, "0");
        }
        for (i, m) in f.metrics.iter().enumerate() {
            if m.min.is_none() && m.max.is_none() {
                let index = format!("[{i}]");
                self.error("S1012", &["metrics", &index], "a metric has a range", "`min`, `max` or both");
            }
        }
        if f.provider == FlaggerProvider::Kubernetes && !f.metrics.is_empty() && !f.skip_analysis {
            self.error(
                "S1012",
                &["metrics"],
                "without a mesh or a gateway no traffic reaches the canary: there is nothing to measure",
                "leave them out, or choose another `provider`",
            );
        }
    }
}
