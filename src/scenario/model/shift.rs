//! Deployments that set a second fleet beside the first one and shift traffic to it.

use indexmap::IndexMap;

use crate::kernel::SimDuration;

words! {
    /// Who carries a deployment out. Source: ECS API, DeploymentController.
    pub enum DeploymentController {
        /// ECS itself, by `deployment_configuration.strategy`.
        Ecs = "ECS",
        /// AWS CodeDeploy: blue/green, by `code_deploy`.
        CodeDeploy = "CODE_DEPLOY",
        /// Somebody else, through task sets. It is not simulated.
        External = "EXTERNAL",
    }
}

words! {
    /// How the new revision takes over from the old one. Source: ECS API, DeploymentConfiguration.
    pub enum DeploymentStrategy {
        /// Task by task, in one target group.
        Rolling = "ROLLING",
        /// A second fleet, then all production traffic at once.
        BlueGreen = "BLUE_GREEN",
        /// A second fleet, then production traffic in equal steps.
        Linear = "LINEAR",
        /// A second fleet, then a small share of production traffic, then the rest.
        Canary = "CANARY",
    }
}

table! {
    /// The steps of LINEAR. Source: ECS API, LinearConfiguration.
    pub struct LinearConfiguration {
        /// Production traffic that each step adds, in percent: 3.0 to 100.0 by 0.1.
        pub step_percent: f64 = 10.0,
        /// Minutes between two steps, 0 to 1440.
        pub step_bake_time_in_minutes: u32 = 6,
    }
}

table! {
    /// The steps of CANARY. Source: ECS API, CanaryConfiguration.
    pub struct CanaryConfiguration {
        /// Production traffic of the first step, in percent: 0.1 to 100.0 by 0.1.
        pub canary_percent: f64 = 5.0,
        /// Minutes between the first step and the rest, 0 to 1440.
        pub canary_bake_time_in_minutes: u32 = 10,
    }
}

words! {
    /// A stage of a deployment with a second fleet, in their order. Source: ECS API, DeploymentLifecycleHook.
    pub enum LifecycleStage {
        /// An earlier deployment was not over: its revision is taken away first.
        ReconcileService = "RECONCILE_SERVICE",
        /// Before the first green task starts.
        PreScaleUp = "PRE_SCALE_UP",
        /// Green tasks start, as many as are desired.
        ScaleUp = "SCALE_UP",
        /// All green tasks are healthy.
        PostScaleUp = "POST_SCALE_UP",
        /// The test listener sends its traffic to green.
        TestTrafficShift = "TEST_TRAFFIC_SHIFT",
        /// After that.
        PostTestTrafficShift = "POST_TEST_TRAFFIC_SHIFT",
        /// Before each step of production traffic.
        PreProductionTrafficShift = "PRE_PRODUCTION_TRAFFIC_SHIFT",
        /// Each step of production traffic.
        ProductionTrafficShift = "PRODUCTION_TRAFFIC_SHIFT",
        /// All production traffic goes to green.
        PostProductionTrafficShift = "POST_PRODUCTION_TRAFFIC_SHIFT",
        /// Both fleets run.
        BakeTime = "BAKE_TIME",
        /// Blue tasks stop.
        CleanUp = "CLEAN_UP",
    }
}

words! {
    /// What a hook calls.
    pub enum HookTargetType {
        /// A function, which is asked again until it has an answer.
        AwsLambda = "AWS_LAMBDA",
        /// Somebody, who answers once.
        Pause = "PAUSE",
    }
}

words! {
    /// A hook's answer.
    pub enum HookStatus {
        /// The deployment goes on.
        Succeeded = "SUCCEEDED",
        /// The deployment is rolled back.
        Failed = "FAILED",
        /// Never another one: the hook's time-out decides.
        InProgress = "IN_PROGRESS",
    }
}

words! {
    /// What happens when a hook does not answer in time.
    pub enum TimeoutAction {
        /// As if it had failed.
        Rollback = "ROLLBACK",
        /// As if it had succeeded.
        Continue = "CONTINUE",
    }
}

table! {
    /// A hook of a deployment: its answer is known beforehand, or an alarm gives it.
    pub struct LifecycleHook {
        /// The stages that call it.
        pub lifecycle_stages: Vec<LifecycleStage>,
        /// What it calls.
        pub target_type: HookTargetType = HookTargetType::AwsLambda,
        /// Time from the call until it has its answer.
        pub takes: SimDuration = SimDuration::ZERO,
        /// The answer.
        pub hook_status: HookStatus = HookStatus::Succeeded,
        /// An alarm of the service: FAILED as soon as it is found in ALARM within the time that the hook takes.
        pub alarm: Option<String> = None,
        /// Time after which a function that is IN_PROGRESS is asked again.
        pub call_back_delay: SimDuration as Seconds = SimDuration::from_secs(30),
        /// Longest wait for the answer, 1 to 20160 minutes.
        pub timeout_in_minutes: u32 = 1440,
        /// What happens then.
        pub timeout_action: TimeoutAction = TimeoutAction::Rollback,
    }
}

words! {
    /// A deployment configuration of CodeDeploy for ECS that everyone has.
    pub enum DeploymentConfigName {
        /// All traffic at once.
        AllAtOnce = "CodeDeployDefault.ECSAllAtOnce",
        /// 10 % every minute.
        Linear10PercentEvery1Minutes = "CodeDeployDefault.ECSLinear10PercentEvery1Minutes",
        /// 10 % every three minutes.
        Linear10PercentEvery3Minutes = "CodeDeployDefault.ECSLinear10PercentEvery3Minutes",
        /// 10 %, the rest after five minutes.
        Canary10Percent5Minutes = "CodeDeployDefault.ECSCanary10Percent5Minutes",
        /// 10 %, the rest after fifteen minutes.
        Canary10Percent15Minutes = "CodeDeployDefault.ECSCanary10Percent15Minutes",
    }
}

tagged! {
    /// A deployment configuration of one's own. Source: CodeDeploy API, TrafficRoutingConfig.
    by "type"
    pub enum TrafficRoutingConfig {
        /// Everything at once.
        AllAtOnce(AllAtOnce) = "AllAtOnce",
        /// A first share, then the rest.
        TimeBasedCanary(TimeBasedCanary) = "TimeBasedCanary",
        /// Equal steps.
        TimeBasedLinear(TimeBasedLinear) = "TimeBasedLinear",
    }
}

table! {
    /// All traffic at once.
    pub struct AllAtOnce {}
}

table! {
    /// A first share, then the rest.
    pub struct TimeBasedCanary {
        /// The first share, in percent: 1 to 99.
        pub canary_percentage: u32,
        /// Minutes until the rest.
        pub canary_interval: u32,
    }
}

table! {
    /// Equal steps.
    pub struct TimeBasedLinear {
        /// What each step adds, in percent: 1 to 99.
        pub linear_percentage: u32,
        /// Minutes between two steps.
        pub linear_interval: u32,
    }
}

words! {
    /// What happens when the green fleet is ready.
    pub enum ReadyAction {
        /// Traffic is rerouted at once.
        ContinueDeployment = "CONTINUE_DEPLOYMENT",
        /// Traffic waits for somebody to reroute it.
        StopDeployment = "STOP_DEPLOYMENT",
    }
}

table! {
    /// What happens when the green fleet is ready. Source: CodeDeploy API, DeploymentReadyOption.
    pub struct DeploymentReadyOption {
        /// Whether traffic waits for somebody.
        pub action_on_timeout: ReadyAction = ReadyAction::ContinueDeployment,
        /// Longest wait, in minutes; then the deployment stops.
        pub wait_time_in_minutes: u32 = 0,
        /// When somebody reroutes the traffic, from the time that green is ready. Absent: nobody does.
        pub rerouted_after: Option<SimDuration> = None,
    }
}

words! {
    /// An event that rolls a deployment back. Source: CodeDeploy API, AutoRollbackConfiguration.
    pub enum RollbackEvent {
        /// It failed.
        DeploymentFailure = "DEPLOYMENT_FAILURE",
        /// An alarm stopped it.
        DeploymentStopOnAlarm = "DEPLOYMENT_STOP_ON_ALARM",
        /// Somebody stopped it.
        DeploymentStopOnRequest = "DEPLOYMENT_STOP_ON_REQUEST",
    }
}

table! {
    /// What rolls a deployment back. Source: CodeDeploy API, AutoRollbackConfiguration.
    pub struct AutoRollback {
        /// Whether it acts.
        pub enabled: bool = false,
        /// The events.
        pub events: Vec<RollbackEvent> = Vec::new(),
    }
}

table! {
    /// Alarms that stop a deployment. Source: CodeDeploy API, AlarmConfiguration.
    pub struct AlarmConfiguration {
        /// Whether they act.
        pub enabled: bool = false,
        /// Names of alarms of the service.
        pub alarms: Vec<String> = Vec::new(),
    }
}

words! {
    /// An event of CodeDeploy's life cycle that may call a function. Source: AppSpec hooks for ECS.
    pub enum AppSpecEvent {
        /// Before the green fleet is created.
        BeforeInstall = "BeforeInstall",
        /// The green fleet runs.
        AfterInstall = "AfterInstall",
        /// The test listener sends its traffic to green.
        AfterAllowTestTraffic = "AfterAllowTestTraffic",
        /// Before the first production traffic.
        BeforeAllowTraffic = "BeforeAllowTraffic",
        /// All production traffic goes to green.
        AfterAllowTraffic = "AfterAllowTraffic",
    }
}

table! {
    /// A function that CodeDeploy calls: its answer is known beforehand, or an alarm gives it. It has one hour.
    pub struct AppSpecHook {
        /// The events that call it.
        pub events: Vec<AppSpecEvent>,
        /// Time from the call until it has its answer.
        pub takes: SimDuration = SimDuration::ZERO,
        /// The answer.
        pub status: HookStatus = HookStatus::Succeeded,
        /// An alarm of the service: failed as soon as it is in ALARM within the time that the hook takes.
        pub alarm: Option<String> = None,
    }
}

table! {
    /// The deployment group of a service whose controller is CODE_DEPLOY.
    pub struct CodeDeploy {
        /// One of the predefined configurations.
        pub deployment_config_name: DeploymentConfigName = DeploymentConfigName::AllAtOnce,
        /// A configuration of one's own, in place of a predefined one.
        pub traffic_routing_config: Option<TrafficRoutingConfig> = None,
        /// What happens when the green fleet is ready.
        pub deployment_ready_option: DeploymentReadyOption = DeploymentReadyOption::default(),
        /// Minutes that the blue fleet runs on after a success, 0 to 2880. The console proposes 60.
        pub termination_wait_time_in_minutes: u32 = 0,
        /// Alarms that stop a deployment.
        pub alarm_configuration: AlarmConfiguration = AlarmConfiguration::default(),
        /// What rolls a deployment back.
        pub auto_rollback_configuration: AutoRollback = AutoRollback::default(),
        /// Functions that are called, by name.
        pub hooks: IndexMap<String, AppSpecHook> = IndexMap::new(),
    }
}
