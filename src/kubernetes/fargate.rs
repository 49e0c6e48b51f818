//! Pods on Fargate: which profile takes a pod, what size it gets, and what cannot run there.
//!
//! Source: Amazon EKS user guide, `fargate-profile`, `fargate-pod-configuration`, `fargate`.

use serde::{Deserialize, Serialize};

use super::object::{PodSpec, Symbols};
use crate::catalog::FargateSize;
use crate::scenario::fargate;
use crate::units::{Bytes, Cpu};

/// Fargate profiles of a cluster (quota, can be raised).
pub const MAX_PROFILES: usize = 10;
/// Selectors of a profile.
pub const MAX_SELECTORS: usize = 5;
/// The label by which a pod names its profile.
pub const PROFILE_LABEL: &str = "eks.amazonaws.com/fargate-profile";
/// Ephemeral storage of a pod in GiB, where it does not ask for more.
pub const EPHEMERAL_GIB: u64 = 20;
/// The most ephemeral storage of a pod in GiB.
pub const MAX_EPHEMERAL_GIB: u64 = 175;

/// A Fargate profile. It cannot be changed once made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FargateProfile {
    /// Its name: of several profiles that match, the first in the alphabet takes the pod.
    pub name: String,
    /// Up to five; one must match.
    pub selectors: Vec<FargateSelector>,
}

/// A selector of a profile. `*` stands for any run of characters and `?` for one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FargateSelector {
    /// The pod's namespace.
    pub namespace: String,
    /// Labels that the pod must have, as keys and values.
    pub labels: Vec<(String, String)>,
}

/// The profile that takes a pod of a namespace, whose labels `label` looks up. A pod that names a profile is
/// taken by that one, if it matches. Without one the pod waits for another kind of node.
#[must_use]
pub fn profile_of<'a, 'l>(
    profiles: &'a [FargateProfile],
    namespace: &str,
    label: impl Fn(&str) -> Option<&'l str>,
) -> Option<&'a FargateProfile> {
    let matches = |profile: &&FargateProfile| {
        profile.selectors.iter().any(|selector| {
            glob(&selector.namespace, namespace)
                && selector.labels.iter().all(|(key, value)| label(key).is_some_and(|own| glob(value, own)))
        })
    };
    let matching = profiles.iter().filter(matches);
    match label(PROFILE_LABEL) {
        Some(named) => matching.into_iter().find(|p| p.name == named),
        None => matching.into_iter().min_by(|a, b| a.name.cmp(&b.name)),
    }
}

/// The profile that takes a pod, by its interned texts.
#[must_use]
pub fn profile_of_pod<'a>(
    profiles: &'a [FargateProfile],
    pod: &PodSpec,
    symbols: &Symbols,
) -> Option<&'a FargateProfile> {
    let label = |key: &str| symbols.get(key).and_then(|key| pod.labels.get(key)).map(|value| symbols.text(value));
    profile_of(profiles, symbols.text(pod.namespace), label)
}

/// Whether a text matches a pattern of `*` and `?`.
#[must_use]
pub fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    // Where the last star stood and what it has swallowed up to: the only place to go back to.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(&c) if c == '?' || c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((at, swallowed)) => {
                    star = Some((at, swallowed + 1));
                    p = at + 1;
                    t = swallowed + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

/// The size that Fargate gives a pod: for CPU and for memory the larger of the sum over containers and the
/// largest init container, 256 MiB more memory, and then the smallest CPU that offers so much, with the
/// smallest memory. Absent if no size is large enough. A pod that requests nothing gets the smallest.
#[must_use]
pub fn pod_size(containers: &[(Cpu, Bytes)], init_containers: &[(Cpu, Bytes)]) -> Option<FargateSize> {
    let most = |of: fn(&(Cpu, Bytes)) -> u64| {
        let together = containers.iter().map(of).fold(0u64, u64::saturating_add);
        init_containers.iter().map(of).fold(together, u64::max)
    };
    fargate::size_of_pod(Cpu::from_parts(most(|c| c.0.parts())), Bytes::new(most(|c| c.1.get())))
}

/// The size of a pod whose request was computed before (millicores and bytes).
#[must_use]
pub fn size_of_pod(pod: &PodSpec) -> Option<FargateSize> {
    let whole = |amount: i64| u64::try_from(amount).unwrap_or(0);
    let cpu = whole(pod.requests.cpu_m).saturating_mul(Cpu::from_millicores(1).parts());
    fargate::size_of_pod(Cpu::from_parts(cpu), Bytes::new(whole(pod.requests.memory)))
}

/// Why a pod cannot run on Fargate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FargateRefusal {
    /// It belongs to a DaemonSet: each pod has a node of its own.
    DaemonSet,
    /// It asks for GPUs or other devices.
    Devices,
    /// It takes a port of the node.
    HostPort,
    /// It has EBS volumes; EFS is possible.
    EbsVolume,
    /// It is larger than 16 vCPU or 120 GB.
    TooLarge,
}

impl FargateRefusal {
    /// What stands against a pod on Fargate, if anything. Volumes with a zone are EBS volumes.
    #[must_use]
    pub fn of(pod: &PodSpec) -> Option<Self> {
        if pod.node_name.is_some() {
            Some(Self::DaemonSet)
        } else if pod.requests.extended.iter().any(|(_, amount)| *amount > 0) {
            Some(Self::Devices)
        } else if !pod.host_ports.is_empty() {
            Some(Self::HostPort)
        } else if !pod.volume_zones.is_empty() {
            Some(Self::EbsVolume)
        } else if size_of_pod(pod).is_none() {
            Some(Self::TooLarge)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, text, matches) in [
            ("*", "", true),
            ("prod*", "prod", true),
            ("*-a*b", "x-a-ab", true),
            ("value?", "value", false),
            ("?", "é", true),
            ("a*c", "abcd", false),
            ("**", "x", true),
        ] {
            assert_eq!(glob(pattern, text), matches, "{pattern} {text}");
        }
    }

    #[test]
    fn a_pod_may_name_its_profile_but_it_must_match() {
        let profile = |name: &str, namespace: &str| FargateProfile {
            name: name.into(),
            selectors: vec![FargateSelector { namespace: namespace.into(), labels: Vec::new() }],
        };
        let profiles = [profile("b", "prod"), profile("a", "prod"), profile("c", "test")];
        let named = |name| profile_of(&profiles, "prod", move |key| (key == PROFILE_LABEL).then_some(name));
        assert_eq!(named("b").map(|p| p.name.as_str()), Some("b"));
        assert_eq!(named("c"), None);
        assert_eq!(profile_of(&profiles, "prod", |_| None).map(|p| p.name.as_str()), Some("a"));
    }

    #[test]
    fn refusals() {
        let mut symbols = Symbols::default();
        let mut pod = PodSpec::new(symbols.intern("default"));
        assert_eq!(FargateRefusal::of(&pod), None);
        pod.requests.memory = 120 << 30;
        assert_eq!(FargateRefusal::of(&pod), Some(FargateRefusal::TooLarge));
        pod.requests.set_extended(symbols.intern("nvidia.com/gpu"), 1);
        assert_eq!(FargateRefusal::of(&pod), Some(FargateRefusal::Devices));
    }
}
