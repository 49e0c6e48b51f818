//! PriorityClasses: names for the numbers by which the scheduler orders and preempts.
//!
//! Rules: kubernetes/kubernetes `pkg/apis/scheduling/{types,helpers}.go` and the admission plugin
//! `plugin/pkg/admission/priority`.

use super::object::PreemptionPolicy;

/// The largest value that a class of one's own may have (`HighestUserDefinablePriority`).
pub const HIGHEST_USER_DEFINABLE: i32 = 1_000_000_000;
/// The value of the class `system-cluster-critical`.
pub const SYSTEM_CLUSTER_CRITICAL: i32 = 2_000_000_000;
/// The value of the class `system-node-critical`.
pub const SYSTEM_NODE_CRITICAL: i32 = 2_000_001_000;

/// A PriorityClass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PriorityClass {
    /// Its name.
    pub name: String,
    /// Its value: the larger, the more important.
    pub value: i32,
    /// Whether pods without a class get it. One class at most.
    pub global_default: bool,
    /// Whether its pods may preempt. Default that they may.
    pub preemption_policy: PreemptionPolicy,
}

/// Why a class is refused, or a pod that names one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PriorityError {
    /// The value is kept for the system.
    #[error("PriorityClass `{0}`: the value {1} is above {HIGHEST_USER_DEFINABLE}, the largest allowed")]
    TooHigh(String, i32),
    /// The name is kept for the system.
    #[error("PriorityClass `{0}`: names that begin with `system-` are reserved")]
    Reserved(String),
    /// Two classes have one name.
    #[error("PriorityClass `{0}` is there twice")]
    Twice(String),
    /// Two classes are the default.
    #[error("PriorityClasses `{0}` and `{1}` are both the global default")]
    TwoDefaults(String, String),
    /// No class has the name.
    #[error("no PriorityClass with name {0} was found")]
    NotFound(String),
}

/// All classes of a cluster, with the two of the system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PriorityClasses(Vec<PriorityClass>);

impl PriorityClasses {
    /// The classes of one's own and those of the system.
    ///
    /// # Errors
    /// A class breaks a rule of the API.
    pub fn new(own: Vec<PriorityClass>) -> Result<Self, PriorityError> {
        let system = |name: &str, value| PriorityClass {
            name: name.to_owned(),
            value,
            global_default: false,
            preemption_policy: PreemptionPolicy::PreemptLowerPriority,
        };
        let mut classes = vec![
            system("system-cluster-critical", SYSTEM_CLUSTER_CRITICAL),
            system("system-node-critical", SYSTEM_NODE_CRITICAL),
        ];
        let mut default: Option<String> = None;
        for class in own {
            if class.name.starts_with("system-") {
                return Err(PriorityError::Reserved(class.name));
            }
            if class.value > HIGHEST_USER_DEFINABLE {
                return Err(PriorityError::TooHigh(class.name, class.value));
            }
            if classes.iter().any(|c| c.name == class.name) {
                return Err(PriorityError::Twice(class.name));
            }
            if class.global_default
                && let Some(first) = default.replace(class.name.clone())
            {
                return Err(PriorityError::TwoDefaults(first, class.name));
            }
            classes.push(class);
        }
        Ok(Self(classes))
    }

    /// The priority and the preemption policy of a pod that names a class, or none: 0 then, unless a class
    /// is the default.
    ///
    /// # Errors
    /// There is no such class.
    pub fn resolve(&self, class: Option<&str>) -> Result<(i32, PreemptionPolicy), PriorityError> {
        let found = match class {
            Some(name) => {
                let found = self.0.iter().find(|c| c.name == name);
                Some(found.ok_or_else(|| PriorityError::NotFound(name.to_owned()))?)
            }
            None => self.0.iter().find(|c| c.global_default),
        };
        Ok(found.map_or((0, PreemptionPolicy::PreemptLowerPriority), |c| (c.value, c.preemption_policy)))
    }

    /// All classes.
    #[must_use]
    pub fn all(&self) -> &[PriorityClass] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_follow_the_rules_of_the_api() {
        let class = |name: &str, value, global_default| PriorityClass {
            name: name.to_owned(),
            value,
            global_default,
            preemption_policy: PreemptionPolicy::Never,
        };
        let classes = PriorityClasses::new(vec![class("pause", -1, false), class("usual", 5, true)]).expect("valid");
        assert_eq!(classes.resolve(Some("pause")), Ok((-1, PreemptionPolicy::Never)));
        assert_eq!(classes.resolve(None).map(|p| p.0), Ok(5));
        assert_eq!(classes.resolve(Some("system-node-critical")).map(|p| p.0), Ok(2_000_001_000));
        assert!(classes.resolve(Some("none")).is_err());
        assert!(PriorityClasses::new(vec![class("a", 1_000_000_001, false)]).is_err());
        assert!(PriorityClasses::new(vec![class("system-mine", 1, false)]).is_err());
        assert!(PriorityClasses::new(vec![class("a", 1, true), class("b", 1, true)]).is_err());
    }
}
