//! Requirements: intersections and compatibility.

use serde_json::{Value, json};
use simctl::kubernetes::karpenter::labels::WellKnown;
use simctl::kubernetes::karpenter::requirements::{Requirements, ValueSet};
use simctl::kubernetes::object::{Symbol, Symbols};

use super::{Got, same};

fn set(of: &Value, symbols: &mut Symbols) -> ValueSet {
    let values: Vec<Symbol> =
        of["values"].as_array().into_iter().flatten().filter_map(Value::as_str).map(|v| symbols.intern(v)).collect();
    let min = of["min_values"].as_u64().and_then(|m| u32::try_from(m).ok());
    ValueSet::from_parts(of["complement"] == json!(true), values, of["gte"].as_i64(), of["lte"].as_i64(), min)
}

fn shown(set: &ValueSet, symbols: &Symbols) -> Value {
    let mut values: Vec<&str> = set.values().iter().map(|v| symbols.text(*v)).collect();
    values.sort_unstable();
    let (gte, lte) = set.bounds();
    json!({
        "complement": set.is_complement(), "values": values, "gte": gte, "lte": lte, "min_values": set.min_values(),
    })
}

pub(super) fn intersection(case: &Value) -> Got {
    let mut symbols = Symbols::default();
    let (a, b) = (set(&case["a"], &mut symbols), set(&case["b"], &mut symbols));
    let expected = set(&case["expect"], &mut symbols);
    let got = a.intersection(&b, &symbols);
    same("intersection", shown(&expected, &symbols), shown(&got, &symbols))?;
    same("whether they intersect", !expected.is_empty(), a.intersects(&b, &symbols))
}

pub(super) fn compatibility(case: &Value) -> Got {
    let mut symbols = Symbols::default();
    let known = WellKnown::new(&mut symbols);
    let key = symbols.intern(case["key"].as_str().ok_or("no key")?);
    let mut side = |name: &str| {
        let mut all = Requirements::default();
        if !case[name].is_null() {
            all.set(key, set(&case[name], &mut symbols));
        }
        all
    };
    let (existing, incoming) = (side("existing"), side("incoming"));
    let exempt = case["allow_undefined_well_known"] == json!(true);
    let against = existing.incompatible(&incoming, |k| exempt && known.is_well_known(k), &symbols);
    same("compatible", case["expect_compatible"].as_bool(), Some(against.is_none()))
}
