//! Scenarios that come with simctl, for `simctl run --example`.

use std::fs;
use std::path::Path;

use super::run::Origin;
use super::{ExitCode, Failure};
use crate::output::OutputError;
use crate::scenario::diagnostic::nearest;

/// A scenario with the files that it names.
pub(crate) struct Example {
    pub(crate) name: &'static str,
    text: &'static str,
    /// Paths relative to the scenario, and their content.
    files: &'static [(&'static str, &'static str)],
}

impl Example {
    /// The first words of the scenario's own comment.
    pub(crate) fn about(&self) -> &'static str {
        self.text.lines().find_map(|line| line.strip_prefix("# ")).unwrap_or_default()
    }
}

/// A scenario of `scenarios/` that names no files.
macro_rules! example {
    ($name:literal) => {
        example!($name, &[])
    };
    ($name:literal, $files:expr) => {
        Example { name: $name, text: include_str!(concat!("../../scenarios/", $name, ".toml")), files: $files }
    };
}

/// All of them: every scenario of the folder `scenarios/`.
pub(crate) const ALL: &[Example] = &[
    example!("spike"),
    example!("day"),
    example!("deploy-under-load"),
    example!("bad-deploy"),
    example!("blue-green"),
    example!("canary-rollback"),
    example!("retry-storm"),
    example!("microservices"),
    example!("scheduled"),
    example!("fargate-spot"),
    example!("zone-loss"),
    example!("queue-workers"),
    example!("nightly-batch"),
    example!("fargate-vs-ec2"),
    example!("spot-storm"),
    example!("hpa-spike"),
    example!("rollout-under-load"),
    example!("argo-canary"),
    example!("pdb-drain"),
    example!("stateful-set"),
    example!("karpenter-vs-cas"),
    example!("consolidation-churn"),
    example!("spot-karpenter"),
    example!("eks-fargate"),
    example!("ecs-vs-eks"),
    example!(
        "openb-cluster",
        &[
            ("traces/nodes_alibaba_openb2023.csv", include_str!("../../scenarios/traces/nodes_alibaba_openb2023.csv"),),
            ("traces/pods_alibaba_openb2023.csv", include_str!("../../scenarios/traces/pods_alibaba_openb2023.csv"),),
        ]
    ),
    example!(
        "policy-shootout",
        &[
            (
                "traces/web_aws_elb_5min_2014_04.csv",
                include_str!("../../scenarios/traces/web_aws_elb_5min_2014_04.csv"),
            ),
            (
                "traces/spike_tweets_aapl_5min_2015.csv",
                include_str!("../../scenarios/traces/spike_tweets_aapl_5min_2015.csv"),
            ),
        ]
    ),
    example!(
        "elb-fortnight",
        &[
            (
                "traces/web_aws_elb_5min_2014_04.csv",
                include_str!("../../scenarios/traces/web_aws_elb_5min_2014_04.csv"),
            )
        ]
    ),
];

/// Examples written to a temporary folder, which goes when this is dropped.
pub(crate) struct Unpacked {
    pub(crate) origins: Vec<Origin>,
    _folder: Option<tempfile::TempDir>,
}

/// Writes the examples of these names to a temporary folder.
pub(crate) fn unpack(names: &[String]) -> Result<Unpacked, Failure> {
    if names.is_empty() {
        return Ok(Unpacked { origins: Vec::new(), _folder: None });
    }
    let folder = tempfile::tempdir().map_err(|e| OutputError::io("create a folder in", std::env::temp_dir(), e))?;
    let mut origins = Vec::new();
    for name in names {
        let Some(example) = ALL.iter().find(|e| e.name == name) else {
            let near = nearest(name, ALL.iter().map(|e| e.name));
            let help = near.map_or("`simctl run --example list` names them".into(), |n| format!("did you mean `{n}`?"));
            return Err(Failure::Other(ExitCode::Usage, format!("there is no example `{name}`; {help}")));
        };
        let place = folder.path().join(example.name);
        let path = place.join(format!("{name}.toml"));
        put(&path, example.text)?;
        for (file, content) in example.files {
            put(&place.join(file), content)?;
        }
        origins.push(Origin { path, said: format!("--example {name}") });
    }
    Ok(Unpacked { origins, _folder: Some(folder) })
}

fn put(path: &Path, text: &str) -> Result<(), Failure> {
    let parent = path.parent().unwrap_or(path);
    fs::create_dir_all(parent).map_err(|e| OutputError::io("create", parent, e))?;
    Ok(fs::write(path, text).map_err(|e| OutputError::io("write", path, e))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{LoadOptions, load};

    #[test]
    fn every_scenario_is_an_example_and_loads_from_the_program_alone() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
        let mut there: Vec<String> = fs::read_dir(folder)
            .expect("scenarios")
            .filter_map(|e| e.expect("entry").file_name().to_str()?.strip_suffix(".toml").map(ToOwned::to_owned))
            .collect();
        there.sort();
        let mut known: Vec<String> = ALL.iter().map(|e| e.name.to_owned()).collect();
        known.sort();
        assert_eq!(known, there);
        for origin in &unpack(&known).expect("unpacked").origins {
            let loaded = load(&origin.path, &LoadOptions::default());
            assert!(loaded.is_ok(), "{}: {}", origin.said, loaded.err().map(|d| d.render(false)).unwrap_or_default());
        }
        assert!(ALL.iter().all(|e| !e.about().is_empty()));
    }
}
