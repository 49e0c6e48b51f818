//! Deployments with a second fleet: what goes with which strategy and controller.

use super::Check;
use crate::scenario::model::{
    CodeDeploy, DeploymentConfigName, DeploymentConfiguration, DeploymentController, DeploymentStrategy, EcsService,
    HookTargetType, LifecycleHook, LifecycleStage, LoadBalancerType, PredefinedMetric, ReadyAction, ScalingPolicy,
    Service, TrafficRoutingConfig,
};

impl Check<'_> {
    pub(super) fn shifts(&mut self, ecs: &EcsService, service: &Service) {
        let d = &ecs.deployment_configuration;
        match ecs.deployment_controller {
            DeploymentController::Ecs => {
                self.within(&["deployment_configuration"], |c| c.native(d, service));
                if ecs.code_deploy.is_some() {
                    self.error(
                        "S1012",
                        &["code_deploy"],
                        "ECS deploys this service itself",
                        "only with `deployment_controller = \"CODE_DEPLOY\"`",
                    );
                }
            }
            DeploymentController::CodeDeploy => self.code_deploy(ecs, service),
            DeploymentController::External => self.error(
                "S1012",
                &["deployment_controller"],
                "deployments of an EXTERNAL controller cannot be simulated: what it does with its task sets is not part of a scenario",
                "`ECS` and `CODE_DEPLOY` can",
            ),
        }
        let fleets = match ecs.deployment_controller {
            DeploymentController::Ecs => d.strategy != DeploymentStrategy::Rolling,
            DeploymentController::CodeDeploy => true,
            DeploymentController::External => false,
        };
        // A service with traffic has a load balancer, written or not.
        if fleets && service.load_balancer.is_none() {
            let path: &[&str] = match ecs.deployment_controller {
                DeploymentController::Ecs => &["deployment_configuration", "strategy"],
                _ => &["deployment_controller"],
            };
            self.error(
                "S1012",
                path,
                "ECS shifts traffic by the weights of a load balancer's target groups",
                "the service has no `load_balancer`",
            );
        }
    }

    fn native(&mut self, d: &DeploymentConfiguration, service: &Service) {
        let strategy = d.strategy;
        if let Some(minutes) = d.bake_time_in_minutes {
            self.range(&["bake_time_in_minutes"], u64::from(minutes), 0, 1440, "ECS takes a");
        } else if strategy == DeploymentStrategy::BlueGreen {
            self.error(
                "S1012",
                &["strategy"],
                "BLUE_GREEN needs `bake_time_in_minutes`: how long both revisions run after the shift",
                "0 to 1440 minutes",
            );
        }
        for (key, given, wanted) in [
            ("linear_configuration", d.linear_configuration.is_some(), DeploymentStrategy::Linear),
            ("canary_configuration", d.canary_configuration.is_some(), DeploymentStrategy::Canary),
        ] {
            if given && strategy != wanted {
                let message = format!("`{key}` is for the strategy {wanted}");
                self.error("S1012", &[key], message, format!("the strategy is {strategy}"));
            }
        }
        if let Some(linear) = &d.linear_configuration {
            self.within(&["linear_configuration"], |c| {
                c.tenths("step_percent", linear.step_percent, 3.0);
                c.range(
                    &["step_bake_time_in_minutes"],
                    u64::from(linear.step_bake_time_in_minutes),
                    0,
                    1440,
                    "ECS takes a",
                );
            });
        }
        if let Some(canary) = &d.canary_configuration {
            self.within(&["canary_configuration"], |c| {
                c.tenths("canary_percent", canary.canary_percent, 0.1);
                c.range(
                    &["canary_bake_time_in_minutes"],
                    u64::from(canary.canary_bake_time_in_minutes),
                    0,
                    1440,
                    "ECS takes a",
                );
            });
        }
        if strategy == DeploymentStrategy::Rolling {
            if !d.lifecycle_hooks.is_empty() {
                let label = "for BLUE_GREEN, LINEAR and CANARY";
                self.error("S1012", &["lifecycle_hooks"], "a rolling update has no stages that call hooks", label);
            }
        } else if d.early_success.is_some() {
            let message = format!("early success is for rolling updates, the strategy is {strategy}");
            self.error("S1012", &["early_success"], message, "leave it out");
        }
        for (name, hook) in &d.lifecycle_hooks {
            self.within(&["lifecycle_hooks", name], |c| c.lifecycle_hook(hook, service));
        }
    }

    /// A percent that ECS takes by tenths.
    fn tenths(&mut self, key: &str, percent: f64, least: f64) {
        if !(least..=100.0).contains(&percent) || ((percent * 10.0).round() - percent * 10.0).abs() > 1e-6 {
            let message = format!("ECS takes a `{key}` of {least:.1} to 100.0, by tenths, not {percent}");
            self.error("S1010", &[key], message, format!("{least:.1} to 100.0"));
        }
    }

    fn lifecycle_hook(&mut self, hook: &LifecycleHook, service: &Service) {
        if hook.lifecycle_stages.is_empty() {
            self.error("S1012", &["lifecycle_stages"], "a hook needs a stage that calls it", "no stage");
        }
        use LifecycleStage as S;
        for (i, stage) in hook.lifecycle_stages.iter().enumerate() {
            let index = format!("[{i}]");
            let path = ["lifecycle_stages", index.as_str()];
            let pause = hook.target_type == HookTargetType::Pause;
            match stage {
                S::ScaleUp | S::BakeTime | S::CleanUp => {
                    self.error(
                        "S1012",
                        &path,
                        format!("ECS calls no hooks in {stage}"),
                        "take the stage before or after",
                    );
                }
                S::TestTrafficShift | S::ProductionTrafficShift if pause => {
                    self.error(
                        "S1012",
                        &path,
                        format!("ECS does not pause in {stage}"),
                        "take the stage before or after",
                    );
                }
                _ => {}
            }
        }
        if let Some(alarm) = &hook.alarm {
            self.hook_alarm(alarm, service);
            if hook.target_type == HookTargetType::Pause {
                self.error("S1012", &["alarm"], "a pause looks at nothing", "for `target_type = \"AWS_LAMBDA\"`");
            }
        }
        self.time(&["call_back_delay"], hook.call_back_delay, 1, 86_400, "ECS takes a");
        self.range(&["timeout_in_minutes"], u64::from(hook.timeout_in_minutes), 1, 20_160, "ECS takes a");
    }

    fn hook_alarm(&mut self, alarm: &str, service: &Service) {
        let known: Vec<&str> = service.alarms.keys().map(String::as_str).collect();
        let span = self.at(&["alarm"]);
        self.known(&["alarm"], span, "alarm of the service", alarm, &known);
    }

    fn code_deploy(&mut self, ecs: &EcsService, service: &Service) {
        let d = &ecs.deployment_configuration;
        // Of ECS's own settings only the percents say something, about each of the two task sets.
        for (key, given) in [
            ("strategy", d.strategy != DeploymentStrategy::Rolling),
            ("deployment_circuit_breaker", d.deployment_circuit_breaker.enable),
            ("alarms", d.alarms.enable),
            ("bake_time_in_minutes", d.bake_time_in_minutes.is_some()),
            ("early_success", d.early_success.is_some()),
            ("linear_configuration", d.linear_configuration.is_some()),
            ("canary_configuration", d.canary_configuration.is_some()),
            ("lifecycle_hooks", !d.lifecycle_hooks.is_empty()),
        ] {
            if given {
                self.error(
                    "S1012",
                    &["deployment_configuration", key],
                    format!("`{key}` is for the controller ECS, and CodeDeploy deploys this service"),
                    "CodeDeploy's own settings are in `code_deploy`",
                );
            }
        }
        for (name, policy) in service.scaling.iter().flat_map(|s| &s.policies) {
            if let ScalingPolicy::TargetTracking(t) = policy
                && t.predefined_metric_type == Some(PredefinedMetric::AlbRequestCountPerTarget)
            {
                self.error(
                    "S1012",
                    &["deployment_controller"],
                    format!("the policy `{name}` tracks ALBRequestCountPerTarget, which does not go with CODE_DEPLOY"),
                    "take another metric, or the controller ECS",
                );
            }
        }
        if let Some(group) = &ecs.code_deploy {
            self.within(&["code_deploy"], |c| c.deployment_group(group, service));
        }
    }

    fn deployment_group(&mut self, group: &CodeDeploy, service: &Service) {
        if group.traffic_routing_config.is_some() && self.is_written(&["deployment_config_name"]) {
            self.error(
                "S1012",
                &["traffic_routing_config"],
                "a deployment group has one configuration: a predefined one or one's own",
                "beside `deployment_config_name`",
            );
        }
        let network = service.load_balancer.as_ref().is_some_and(|lb| lb.r#type == LoadBalancerType::Network);
        let at_once =
            group.traffic_routing_config.is_none() && group.deployment_config_name == DeploymentConfigName::AllAtOnce;
        if network && !at_once {
            self.error(
                "S1012",
                &["deployment_config_name"],
                "CodeDeploy shifts a Network Load Balancer at once only",
                "say `CodeDeployDefault.ECSAllAtOnce`",
            );
        }
        let percent = |c: &mut Self, key: &str, n: u32| {
            c.range(&["traffic_routing_config", key], u64::from(n), 1, 99, "CodeDeploy takes a percent of");
        };
        let interval = |c: &mut Self, key: &str, n: u32| {
            c.range(&["traffic_routing_config", key], u64::from(n), 1, 2880, "CodeDeploy takes minutes of");
        };
        match &group.traffic_routing_config {
            None | Some(TrafficRoutingConfig::AllAtOnce(_)) => {}
            Some(TrafficRoutingConfig::TimeBasedCanary(t)) => {
                percent(self, "canary_percentage", t.canary_percentage);
                interval(self, "canary_interval", t.canary_interval);
            }
            Some(TrafficRoutingConfig::TimeBasedLinear(t)) => {
                percent(self, "linear_percentage", t.linear_percentage);
                interval(self, "linear_interval", t.linear_interval);
            }
        }
        let ready = &group.deployment_ready_option;
        self.within(&["deployment_ready_option"], |c| {
            if ready.action_on_timeout == ReadyAction::ContinueDeployment {
                for (key, given) in [
                    ("wait_time_in_minutes", ready.wait_time_in_minutes > 0),
                    ("rerouted_after", ready.rerouted_after.is_some()),
                ] {
                    if given {
                        c.error(
                            "S1012",
                            &[key],
                            "CONTINUE_DEPLOYMENT reroutes the traffic at once and waits for nobody",
                            "for `action_on_timeout = \"STOP_DEPLOYMENT\"`",
                        );
                    }
                }
            } else {
                c.range(
                    &["wait_time_in_minutes"],
                    u64::from(ready.wait_time_in_minutes),
                    0,
                    2880,
                    "CodeDeploy takes a",
                );
            }
        });
        self.range(
            &["termination_wait_time_in_minutes"],
            u64::from(group.termination_wait_time_in_minutes),
            0,
            2880,
            "CodeDeploy takes a",
        );
        let known: Vec<&str> = service.alarms.keys().map(String::as_str).collect();
        for (i, name) in group.alarm_configuration.alarms.iter().enumerate() {
            let index = format!("[{i}]");
            let path = ["alarm_configuration", "alarms", index.as_str()];
            let span = self.at(&path);
            self.known(&path, span, "alarm of the service", name, &known);
        }
        if group.alarm_configuration.enabled && group.alarm_configuration.alarms.is_empty() {
            self.error(
                "S1012",
                &["alarm_configuration", "enabled"],
                "CodeDeploy needs the names of the alarms that stop a deployment",
                "`alarms` is empty",
            );
        }
        let rollback = &group.auto_rollback_configuration;
        if rollback.enabled && rollback.events.is_empty() {
            self.error(
                "S1012",
                &["auto_rollback_configuration", "enabled"],
                "CodeDeploy needs the events that roll a deployment back",
                "`events` is empty",
            );
        }
        for (name, hook) in &group.hooks {
            self.within(&["hooks", name], |c| {
                if hook.events.is_empty() {
                    c.error("S1012", &["events"], "a hook needs an event that calls it", "no event");
                }
                if let Some(alarm) = &hook.alarm {
                    c.hook_alarm(alarm, service);
                }
            });
        }
    }
}
