//! The language described: JSON Schema, reference page, starter.

use serde_json::{Value as Json, json};

use super::lang::{Defs, Lang};
use super::model::{Plan, Search};

/// The JSON Schema (draft 2020-12) of a scenario file.
#[must_use]
pub fn schema() -> Json {
    let mut defs = Defs::default();
    Plan::schema(&mut defs);
    let search = Search::schema(&mut defs);
    let mut root = defs.map.shift_remove("Plan").unwrap_or_default();
    root["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    root["title"] = json!("simctl scenario");
    root["properties"]["include"] = json!({
        "type": "array",
        "items": { "type": "string" },
        "description": "Files whose keys count where this one has none, relative to this file.",
    });
    root["properties"]["variants"] = json!({
        "type": "object",
        "description": "Variants by name: addresses and values that replace what stands there, and `unset` for what goes.",
        "additionalProperties": {
            "type": "object",
            "properties": {
                "unset": {
                    "type": "array", "items": { "type": "string" }, "description": "Addresses that are removed.",
                },
            },
        },
    });
    root["properties"]["search"] = search;
    root["properties"]["origin"] = json!({
        "type": "object",
        "description": "Written by simctl into plan.toml: the scenario, the variant and the files that a plan was made of.",
    });
    root["$defs"] = Json::Object(defs.map);
    root
}

/// The reference page of the language in Markdown, made from the schema.
#[must_use]
pub fn reference() -> String {
    let schema = schema();
    let mut page = String::from(
        "# Scenario reference\n\n\
         Generated from the types: do not edit. A scenario is a TOML file; every key has an address, such as\n\
         `services.web.task.cpu`, that means the same in the file, in `--set`, in a variant and in an error.\n\n\
         ## Top level\n\n",
    );
    table(&schema, &mut page);
    let empty = serde_json::Map::new();
    for (name, part) in schema["$defs"].as_object().unwrap_or(&empty) {
        page.push_str(&format!("## {name}\n\n"));
        if let Some(doc) = part["description"].as_str() {
            page.push_str(&format!("{doc}\n\n"));
        }
        let variants = part["oneOf"].as_array().or_else(|| part["anyOf"].as_array());
        match variants {
            None if part["properties"].is_object() => table(part, &mut page),
            None => page.push_str(&format!("{}\n\n", kind(part))),
            Some(variants) => variant_list(variants, &mut page),
        }
    }
    page.truncate(page.trim_end().len());
    page.push('\n');
    page
}

fn variant_list(variants: &[Json], page: &mut String) {
    let tables: Vec<&Json> = variants.iter().filter(|v| v["properties"].is_object()).collect();
    let plain: Vec<&Json> = variants.iter().filter(|v| !v["properties"].is_object()).collect();
    for variant in &plain {
        let doc = variant["description"].as_str().map(|d| format!(": {d}")).unwrap_or_default();
        page.push_str(&format!("- {}{doc}\n", kind(variant)));
    }
    if !plain.is_empty() {
        page.push('\n');
    }
    let laws = tables.iter().filter(|v| !v["properties"]["distribution"].is_null());
    for law in laws {
        let keys =
            law["properties"].as_object().map(|p| p.keys().skip(1).cloned().collect::<Vec<_>>()).unwrap_or_default();
        page.push_str(&format!(
            "- `{{ distribution = {}, {} }}`\n",
            law["properties"]["distribution"]["const"],
            keys.join(", ")
        ));
    }
    if tables.iter().any(|v| !v["properties"]["distribution"].is_null()) {
        page.push('\n');
    }
    for variant in tables.into_iter().filter(|v| v["properties"]["distribution"].is_null()) {
        let tag = variant["properties"].as_object().and_then(|p| p.iter().find(|(_, s)| s["const"].is_string()));
        if let Some((key, word)) = tag {
            page.push_str(&format!("`{key} = {}`", word["const"]));
            if let Some(doc) = variant["description"].as_str() {
                page.push_str(&format!(": {doc}"));
            }
            page.push_str("\n\n");
        }
        let keys = variant["properties"].as_object().map_or(0, serde_json::Map::len);
        if keys > usize::from(tag.is_some()) {
            table(variant, page);
        }
    }
}

fn table(part: &Json, page: &mut String) {
    let Some(properties) = part["properties"].as_object().filter(|p| !p.is_empty()) else { return };
    page.push_str("| key | takes | default | |\n| --- | --- | --- | --- |\n");
    let required = part["required"].as_array();
    for (key, schema) in properties.iter().filter(|(_, s)| !s["const"].is_string()) {
        let default = match &schema["default"] {
            _ if required.is_some_and(|r| r.iter().any(|k| k == key)) => "required".to_owned(),
            Json::Null => String::new(),
            Json::Object(map) if map.is_empty() => "`{}`".to_owned(),
            Json::Object(map) if map.contains_key("distribution") => format!("`{}`", Json::Object(map.clone())),
            Json::Object(_) => "its defaults".to_owned(),
            value => format!("`{value}`"),
        };
        let doc = schema["description"].as_str().unwrap_or_default().replace('|', "\\|");
        page.push_str(&format!("| `{key}` | {} | {default} | {doc} |\n", kind(schema)));
    }
    page.push('\n');
}

/// What a schema takes, in a few words.
fn kind(schema: &Json) -> String {
    if let Some(name) = schema["$ref"].as_str().and_then(|r| r.strip_prefix("#/$defs/")) {
        return format!("[{name}](#{})", name.to_lowercase());
    }
    if let Some(any) = schema["anyOf"].as_array() {
        return any.iter().map(kind).collect::<Vec<_>>().join(" or ");
    }
    if !schema["const"].is_null() {
        return format!("`{}`", schema["const"]);
    }
    if let Some(words) = schema["enum"].as_array() {
        return words.iter().map(|w| format!("`{w}`")).collect::<Vec<_>>().join(", ");
    }
    match schema["type"].as_str() {
        Some("array") => format!("array of {}", kind(&schema["items"])),
        Some("object") if schema["additionalProperties"].is_object() => {
            format!("by name: {}", kind(&schema["additionalProperties"]))
        }
        Some("object") => "table".to_owned(),
        Some("string") => match schema["examples"][0].as_str() {
            Some(example) => format!("string such as `\"{example}\"`"),
            None => "string".to_owned(),
        },
        Some(other) => other.to_owned(),
        None => "value".to_owned(),
    }
}

/// A scenario to start from: every line says its unit, its default and why it is there.
#[must_use]
pub fn starter() -> &'static str {
    include_str!("starter.toml")
}
