//! The cases of placement on container instances, on the decision functions.

use serde_json::{Value, json};
use simctl::catalog::Catalog;
use simctl::cluster::nodes::{Needs, Resources};
use simctl::placement::choice::{Candidate, narrowed};
use simctl::placement::needs::offers;
use simctl::placement::spec::Chain;
use simctl::rollout::stop_choice::{self, StopCandidate};
use simctl::scenario::model::{Binpack, BinpackField, PlacementStrategy, RandomPlacement, Spread, SpreadField};
use simctl::units::{Bytes, Cpu, NodeId, TaskId, ZoneId};

use crate::Outcome;

type Got = Result<Value, String>;

/// Runs a case of one of the families told of here; `None` for another's.
pub(crate) fn run(family: &str, case: &Value) -> Option<Outcome> {
    let got = match family {
        "eni_limit" => eni_limit(&case["input"]),
        "placement_choice" => placement_choice(&case["input"]),
        _ => return None,
    };
    Some(match got {
        Err(problem) => Outcome::Failed(problem),
        Ok(got) if got == case["expect"] => Outcome::Passed,
        Ok(got) => Outcome::Failed(format!("expected {}, got {got}", case["expect"])),
    })
}

fn eni_limit(input: &Value) -> Got {
    let name = input["instance_type"].as_str().ok_or("`instance_type` is no text")?;
    let ty = Catalog::embedded().instance_type(name).map_err(|e| e.to_string())?;
    let tasks = |trunking| offers(ty, Bytes::ZERO, trunking).enis;
    Ok(json!({ "tasks_without_trunking": tasks(false), "tasks_with_trunking": tasks(true) }))
}

fn number(of: &Value, key: &str) -> Result<u64, String> {
    of[key].as_u64().ok_or_else(|| format!("`{key}` is not a whole number"))
}

fn list<'a>(of: &'a Value, key: &str) -> Result<&'a [Value], String> {
    of[key].as_array().map(Vec::as_slice).ok_or_else(|| format!("`{key}` is no list"))
}

fn strategy(of: &Value) -> Result<PlacementStrategy, String> {
    let field = of["field"].as_str().unwrap_or_default();
    Ok(match (of["type"].as_str().unwrap_or_default(), field) {
        ("random", _) => PlacementStrategy::Random(RandomPlacement {}),
        ("spread", "attribute:ecs.availability-zone") => PlacementStrategy::Spread(Spread { field: SpreadField::Zone }),
        ("spread", "instanceId") => PlacementStrategy::Spread(Spread { field: SpreadField::Instance }),
        ("spread", "host") => PlacementStrategy::Spread(Spread { field: SpreadField::Host }),
        ("binpack", "cpu") => PlacementStrategy::Binpack(Binpack { field: BinpackField::Cpu }),
        ("binpack", "memory") => PlacementStrategy::Binpack(Binpack { field: BinpackField::Memory }),
        _ => return Err(format!("no strategy: {of}")),
    })
}

fn resources(cpu: u64, mib: u64) -> Resources {
    Resources { cpu: Cpu::from_units(cpu), memory: Bytes::from_mib(mib), gpus: 0, enis: 0 }
}

fn placement_choice(input: &Value) -> Got {
    let strategies = list(input, "strategy")?.iter().map(strategy).collect::<Result<Vec<_>, _>>()?;
    let needs = resources(number(&input["task"], "cpu")?, number(&input["task"], "memory")?);
    let (mut names, mut zones): (Vec<&str>, Vec<&str>) = (Vec::new(), Vec::new());
    let (mut candidates, mut zone_tasks) = (Vec::new(), Vec::new());
    for (i, instance) in list(input, "instances")?.iter().enumerate() {
        names.push(instance["id"].as_str().ok_or("`id` is no text")?);
        let zone = instance["zone"].as_str().ok_or("`zone` is no text")?;
        let at = zones.iter().position(|z| *z == zone).unwrap_or_else(|| {
            zones.push(zone);
            zone_tasks.push(0);
            zones.len() - 1
        });
        let group_tasks = number(instance, "service_tasks")? as u32;
        zone_tasks[at] += group_tasks;
        candidates.push(Candidate {
            id: NodeId::from(i),
            zone: ZoneId::from(at),
            left: resources(number(instance, "cpu_left")?, number(instance, "memory_left")?),
            ports: &[],
            group_tasks,
            active: true,
            matches: true,
        });
    }
    let allowed: Vec<&str> = match input["action"].as_str() {
        Some("place") => {
            let needs = Needs { resources: needs, ports: Vec::new(), distinct: false };
            let left = narrowed(&needs, &Chain::new(&strategies, false), &candidates, &zone_tasks);
            left.map_err(|why| why.to_string())?.iter().map(|c| names[c.id.index()]).collect()
        }
        Some("stop") => {
            // One task on each instance that has any stands for all of them.
            let standing: Vec<StopCandidate> = candidates
                .iter()
                .filter(|c| c.group_tasks > 0)
                .map(|c| StopCandidate {
                    task: TaskId(c.id.0),
                    zone_tasks: zone_tasks[c.zone.index()],
                    node_tasks: c.group_tasks,
                    cpu_left: c.left.cpu.parts(),
                    memory_left: c.left.memory.get(),
                })
                .collect();
            stop_choice::narrowed(&strategies, &standing).iter().map(|c| names[c.task.index()]).collect()
        }
        _ => return Err("no action".into()),
    };
    Ok(json!({ "allowed": allowed }))
}
