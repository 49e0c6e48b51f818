//! KEDA at work: it polls the queues of its triggers, and takes workloads to nothing and back.

use super::super::scale::{ScaleOut, to_json};
use super::super::{Simulation, Timer};
use super::hpa::behavior_of;
use crate::cluster::Command;
use crate::kernel::{Draw, Phase, SimTime, Streams};
use crate::kubernetes::keda::{self, KedaMemory, KedaReason, QueueTrigger, ScaledObject};
use crate::output::{DecisionDetail, DecisionRow, Fixed, Secs};
use crate::scenario::model::{Plan, ScaledObject as Written, Service};
use crate::units::ServiceId;

/// A ScaledObject while it runs.
#[derive(Clone, Debug)]
pub(in crate::simulation) struct KedaRuntime {
    object: ScaledObject,
    memory: KedaMemory,
    /// By trigger, its queue.
    queues: Vec<Option<usize>>,
    /// Where in the polling interval it looks.
    phase: f64,
}

/// The ScaledObject that a scenario writes.
pub(super) fn object_of(object: &Written) -> ScaledObject {
    ScaledObject {
        polling_interval: object.polling_interval,
        cooldown_period: object.cooldown_period,
        initial_cooldown_period: object.initial_cooldown_period,
        idle_replica_count: object.idle_replica_count,
        min_replica_count: object.min_replica_count,
        max_replica_count: object.max_replica_count,
        // A queue of the simulation can always be asked.
        fallback: None,
        triggers: object
            .triggers
            .iter()
            .map(|t| QueueTrigger {
                name: format!("queue {}", t.queue),
                queue_length: t.queue_length,
                activation_queue_length: t.activation_queue_length,
                scale_on_in_flight: t.scale_on_in_flight,
                scale_on_delayed: t.scale_on_delayed,
            })
            .collect(),
        behavior: object.behavior.as_ref().map(behavior_of),
    }
}

impl KedaRuntime {
    pub(super) fn new(plan: &Plan, name: &str, service: &Service, streams: &Streams) -> Option<Self> {
        let object = service.kubernetes.scaled_object.as_ref()?;
        Some(Self {
            object: object_of(object),
            memory: KedaMemory::default(),
            queues: object.triggers.iter().map(|t| plan.queues.get_index_of(&t.queue)).collect(),
            phase: Draw::new(streams.root(&format!("keda/{name}"))).unit(),
        })
    }
}

impl Simulation<'_> {
    /// Time zero: every ScaledObject has its place in the polling interval.
    pub(super) fn start_scaled_objects(&mut self) {
        for index in 0..self.services.len() {
            let Some(keda) = &self.kube().workloads[index].keda else { continue };
            let at = SimTime::ZERO + keda.object.polling_interval.mul_f64(keda.phase);
            self.schedule_timer_if_due(Timer::Keda(ServiceId::from(index)), at, Phase::Decision);
        }
    }

    /// KEDA looks at the triggers of a workload.
    pub(in crate::simulation) fn on_keda(&mut self, service: ServiceId) {
        let now = self.queue.now();
        let Some(keda) = &self.kube().workloads[service.index()].keda else { return };
        let memory = keda.memory;
        let backlogs: Vec<Option<u64>> = keda
            .object
            .triggers
            .iter()
            .zip(&keda.queues)
            .map(|(trigger, queue)| {
                let seen = self.data.queue_gauges(now, (*queue)?);
                Some(trigger.backlog(seen.visible, seen.in_flight, seen.delayed))
            })
            .collect();
        let from = self.cluster.service(service).desired;
        let (decision, after) = keda::poll(&keda.object, memory, from, &backlogs, now);
        let next = now + keda.object.polling_interval;
        if let Some(keda) = &mut self.kube_mut().workloads[service.index()].keda {
            keda.memory = after;
        }
        self.schedule_timer_if_due(Timer::Keda(service), next, Phase::Decision);
        let Some(to) = decision.replicas.filter(|to| *to != from) else { return };
        let messages: u64 = backlogs.iter().flatten().sum();
        let (reason, text) = match decision.reason {
            KedaReason::Activated => ("activated", format!("{messages} messages wait: the workload is woken")),
            KedaReason::CooledDown => {
                ("cooled_down", "no trigger has been active for the cooldown: the workload rests".to_string())
            }
            KedaReason::RaisedToMinimum => ("minimum", "the workload was below its minimum".to_string()),
            KedaReason::Active
            | KedaReason::CoolingDown
            | KedaReason::Idle
            | KedaReason::TriggerFailed
            | KedaReason::FellBack => ("keda", "the number of replicas was set".to_string()),
        };
        let row = DecisionRow {
            time_s: now.into(),
            controller: "keda".into(),
            subject: format!("services.{}.kubernetes.scaled_object", self.services[service.index()].name).into(),
            service: self.services[service.index()].name.into(),
            observed: Some(Fixed(messages as f64)),
            observed_metric: "messages".into(),
            observed_age_s: Some(Secs::from(now.since(now))),
            from: Some(i64::from(from)),
            result: Some(i64::from(to)),
            reason: reason.into(),
            explanation: text.into(),
            ..DecisionRow::default()
        };
        let observation = serde_json::json!({ "replicas": from, "backlogs": backlogs });
        self.recorder.decision(&row, &DecisionDetail { observation, memory: to_json(&memory) });
        if to > from {
            self.services[service.index()].scale_outs.push(ScaleOut {
                data_end: Some(now),
                visible_at: Some(now),
                alarm_at: Some(now),
                decided_at: now,
            });
        }
        self.count_rescale(service, from, to);
        self.apply(Command::SetDesired { service, desired: to });
    }
}
