//! ResourceQuota and LimitRange: what a namespace may use, and what its containers get when they say nothing.
//!
//! A quota is charged when a pod is created. A refused pod is not there at all: its ReplicaSet tries again
//! after [`super::replica_set::retry_after`] and shows the refusal as its condition.
//!
//! Rules: kubernetes/kubernetes `pkg/quota/v1/evaluator/core/pods.go`,
//! `staging/src/k8s.io/apiserver/pkg/admission/plugin/resourcequota` and `plugin/pkg/admission/limitranger`.
//!
//! Known departures: no scopes, and only the resources below.

use std::fmt;

use super::object::PodSpec;

/// A resource that a quota can limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum QuotaResource {
    /// `limits.cpu` in millicores.
    LimitsCpu,
    /// `limits.memory` in bytes.
    LimitsMemory,
    /// `pods`.
    Pods,
    /// `requests.cpu` (also `cpu`) in millicores.
    RequestsCpu,
    /// `requests.memory` (also `memory`) in bytes.
    RequestsMemory,
}

impl QuotaResource {
    /// Its name in the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::LimitsCpu => "limits.cpu",
            Self::LimitsMemory => "limits.memory",
            Self::Pods => "pods",
            Self::RequestsCpu => "requests.cpu",
            Self::RequestsMemory => "requests.memory",
        }
    }

    /// What a pod counts; absent where it must say something and does not.
    fn of(self, pod: &PodSpec) -> Option<i64> {
        match self {
            Self::LimitsCpu => pod.cpu_limit_m,
            Self::LimitsMemory => pod.memory_limit,
            Self::Pods => Some(1),
            Self::RequestsCpu => Some(pod.requests.cpu_m).filter(|&n| n > 0),
            Self::RequestsMemory => Some(pod.requests.memory).filter(|&n| n > 0),
        }
    }
}

/// A ResourceQuota and what is used of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Its name.
    pub name: String,
    /// What it allows, each resource once.
    pub hard: Vec<(QuotaResource, i64)>,
    /// What pods use that have not ended, in the order of `hard`.
    used: Vec<i64>,
}

/// Why a pod was not admitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QuotaRefusal {
    /// It would use too much.
    Exceeded {
        /// The quota.
        quota: String,
        /// For each resource that is exceeded: requested, used, limited.
        resources: Vec<(QuotaResource, i64, i64, i64)>,
    },
    /// It says nothing of resources that the quota limits.
    MustSpecify {
        /// The quota.
        quota: String,
        /// Those resources.
        resources: Vec<QuotaResource>,
    },
}

impl fmt::Display for QuotaRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let amount = |resource: QuotaResource, n: i64| match resource {
            QuotaResource::Pods => n.to_string(),
            QuotaResource::LimitsCpu | QuotaResource::RequestsCpu if n % 1000 == 0 => (n / 1000).to_string(),
            QuotaResource::LimitsCpu | QuotaResource::RequestsCpu => format!("{n}m"),
            _ => match n {
                n if n % (1 << 30) == 0 && n != 0 => format!("{}Gi", n >> 30),
                n if n % (1 << 20) == 0 && n != 0 => format!("{}Mi", n >> 20),
                n => n.to_string(),
            },
        };
        match self {
            Self::Exceeded { quota, resources } => {
                let list = |pick: fn(&(QuotaResource, i64, i64, i64)) -> i64| {
                    let parts: Vec<String> =
                        resources.iter().map(|r| format!("{}={}", r.0.name(), amount(r.0, pick(r)))).collect();
                    parts.join(",")
                };
                let (requested, used, limited) = (list(|r| r.1), list(|r| r.2), list(|r| r.3));
                write!(f, "exceeded quota: {quota}, requested: {requested}, used: {used}, limited: {limited}")
            }
            Self::MustSpecify { quota, resources } => {
                let names: Vec<&str> = resources.iter().map(|r| r.name()).collect();
                write!(f, "failed quota: {quota}: must specify {}", names.join(","))
            }
        }
    }
}

impl Quota {
    /// A quota of which nothing is used.
    #[must_use]
    pub fn new(name: impl Into<String>, mut hard: Vec<(QuotaResource, i64)>) -> Self {
        hard.sort_by_key(|(resource, _)| *resource);
        hard.dedup_by_key(|(resource, _)| *resource);
        let used = vec![0; hard.len()];
        Self { name: name.into(), hard, used }
    }

    /// What is used, in the order of `hard`.
    #[must_use]
    pub fn used(&self) -> &[i64] {
        &self.used
    }

    /// Whether a pod may be created.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, pod: &PodSpec) -> Result<(), QuotaRefusal> {
        let silent: Vec<QuotaResource> =
            self.hard.iter().map(|(resource, _)| *resource).filter(|r| r.of(pod).is_none()).collect();
        if !silent.is_empty() {
            return Err(QuotaRefusal::MustSpecify { quota: self.name.clone(), resources: silent });
        }
        let exceeded: Vec<(QuotaResource, i64, i64, i64)> = self
            .hard
            .iter()
            .zip(&self.used)
            .map(|(&(resource, hard), &used)| (resource, resource.of(pod).unwrap_or(0), used, hard))
            .filter(|&(_, requested, used, hard)| used.saturating_add(requested) > hard)
            .collect();
        match exceeded.is_empty() {
            true => Ok(()),
            false => Err(QuotaRefusal::Exceeded { quota: self.name.clone(), resources: exceeded }),
        }
    }

    fn count(&mut self, pod: &PodSpec, sign: i64) {
        for ((resource, _), used) in self.hard.iter().zip(&mut self.used) {
            *used += sign * resource.of(pod).unwrap_or(0);
        }
    }

    /// A pod is there, whether or not the quota would allow it: it counts.
    pub fn charge(&mut self, pod: &PodSpec) {
        self.count(pod, 1);
    }

    /// A pod ended or is gone: it uses nothing any more. Terminating pods still count.
    pub fn release(&mut self, pod: &PodSpec) {
        self.count(pod, -1);
    }
}

/// Creates a pod in a namespace: all its quotas must allow it, and then are charged.
///
/// # Errors
/// The refusal of the first quota that does not.
pub fn admit(quotas: &mut [Quota], pod: &PodSpec) -> Result<(), QuotaRefusal> {
    quotas.iter().try_for_each(|quota| quota.check(pod))?;
    quotas.iter_mut().for_each(|quota| quota.charge(pod));
    Ok(())
}

/// What a container asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ContainerResources {
    /// Requested CPU in millicores.
    pub request_cpu_m: Option<i64>,
    /// Requested memory in bytes.
    pub request_memory: Option<i64>,
    /// Limit of CPU in millicores.
    pub limit_cpu_m: Option<i64>,
    /// Limit of memory in bytes.
    pub limit_memory: Option<i64>,
}

/// The item `Container` of a LimitRange.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitRange {
    /// CPU in millicores: least, default request, default limit, most.
    pub cpu_m: Bounds,
    /// Memory in bytes: the same.
    pub memory: Bounds,
}

/// The bounds and defaults of one resource; each may be absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// Least request.
    pub min: Option<i64>,
    /// Request of a container that says none and has no limit either.
    pub default_request: Option<i64>,
    /// Limit of a container that says none.
    pub default: Option<i64>,
    /// Largest limit.
    pub max: Option<i64>,
}

/// A container outside the bounds of a LimitRange: the resource and which bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitRangeError {
    /// It requests less than the least.
    #[error("minimum {0} usage per Container is {1}, but request is {2}")]
    BelowMinimum(&'static str, i64, i64),
    /// Its limit is above the largest, or it has none.
    #[error("maximum {0} usage per Container is {1}, but limit is {2:?}")]
    AboveMaximum(&'static str, i64, Option<i64>),
}

impl Bounds {
    /// Fills in what is missing: the limit from its default; the request from its default, else from the
    /// limit that the container itself gave, as the API does, else from the default limit.
    fn fill(&self, request: &mut Option<i64>, limit: &mut Option<i64>) {
        // A LimitRange without a default request takes its default limit; without that, its maximum.
        let default_limit = self.default.or(self.max);
        let default_request = self.default_request.or(default_limit).or(self.min);
        let own = *limit;
        *limit = limit.or(default_limit);
        *request = request.or(own).or(default_request);
    }

    fn check(&self, name: &'static str, request: Option<i64>, limit: Option<i64>) -> Result<(), LimitRangeError> {
        if let (Some(min), Some(request)) = (self.min, request)
            && request < min
        {
            return Err(LimitRangeError::BelowMinimum(name, min, request));
        }
        match self.max {
            Some(max) if limit.is_none_or(|limit| limit > max) => Err(LimitRangeError::AboveMaximum(name, max, limit)),
            _ => Ok(()),
        }
    }
}

impl LimitRange {
    /// What a container asks for after the defaults.
    ///
    /// # Errors
    /// It is outside the bounds.
    pub fn apply(&self, container: ContainerResources) -> Result<ContainerResources, LimitRangeError> {
        let mut c = container;
        self.cpu_m.fill(&mut c.request_cpu_m, &mut c.limit_cpu_m);
        self.memory.fill(&mut c.request_memory, &mut c.limit_memory);
        self.cpu_m.check("cpu", c.request_cpu_m, c.limit_cpu_m)?;
        self.memory.check("memory", c.request_memory, c.limit_memory)?;
        Ok(c)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::object::Symbols;

    #[test]
    fn a_quota_refuses_what_goes_beyond_and_what_says_nothing() {
        let mut symbols = Symbols::default();
        let mut pod = PodSpec::new(symbols.intern("team"));
        pod.requests.cpu_m = 1500;
        let hard = vec![(QuotaResource::Pods, 10), (QuotaResource::RequestsCpu, 4000)];
        let mut quotas = [Quota::new("compute", hard)];
        assert!(admit(&mut quotas, &pod).is_ok() && admit(&mut quotas, &pod).is_ok());
        let refused = admit(&mut quotas, &pod).expect_err("4 cores at most");
        let text =
            "exceeded quota: compute, requested: requests.cpu=1500m, used: requests.cpu=3, limited: requests.cpu=4";
        assert_eq!(refused.to_string(), text);
        quotas[0].release(&pod);
        assert!(admit(&mut quotas, &pod).is_ok());
        assert_eq!(quotas[0].used(), [2, 3000]);
        pod.requests.cpu_m = 0;
        let silent = admit(&mut quotas, &pod).expect_err("it requests no CPU");
        assert_eq!(silent.to_string(), "failed quota: compute: must specify requests.cpu");
    }

    #[test]
    fn a_limit_range_fills_in_and_bounds() {
        let cpu_m = Bounds { min: Some(50), default_request: Some(100), default: Some(200), max: Some(1000) };
        let range = LimitRange { cpu_m, memory: Bounds::default() };
        let filled = range.apply(ContainerResources::default()).expect("within");
        assert_eq!((filled.request_cpu_m, filled.limit_cpu_m, filled.limit_memory), (Some(100), Some(200), None));
        let own = ContainerResources { limit_cpu_m: Some(500), ..ContainerResources::default() };
        assert_eq!(range.apply(own).map(|c| c.request_cpu_m), Ok(Some(500)));
        let large = ContainerResources { limit_cpu_m: Some(2000), ..ContainerResources::default() };
        assert!(range.apply(large).is_err());
    }
}
