//! `simctl check`: all findings about a scenario, and the arithmetic that needs no simulation.

use serde_json::{Value as Json, json};

use super::args::{CheckArgs, PlainFormat};
use super::console::Console;
use super::{ExitCode, Failure, run};
use crate::scenario::check::{Finding, arithmetic};
use crate::scenario::diagnostic::Severity;
use crate::scenario::{Loaded, plan_hash};

/// Checks one scenario, in each variant that was asked for.
pub(crate) fn check(args: &CheckArgs, console: &mut Console<'_>) -> Result<ExitCode, Failure> {
    let variants = match run::load_variants(&args.file, &args.patch) {
        Ok(variants) => variants,
        Err(Failure::Scenario(found)) if args.format == PlainFormat::Json => {
            let code = if found.is_unreadable() { ExitCode::Io } else { ExitCode::Usage };
            let document =
                json!({ "file": args.file.display().to_string(), "valid": false, "diagnostics": found.to_json() });
            print_json(&document, console)?;
            return Ok(code);
        }
        Err(e) => return Err(e),
    };
    let mut end = ExitCode::Ok;
    let mut documents = Vec::new();
    for loaded in &variants {
        let findings = arithmetic(&loaded.plan, &loaded.inputs);
        let possible = findings.iter().all(|f| f.severity != Severity::Error);
        if !possible {
            end = ExitCode::Usage;
        }
        let hash = plan_hash(&loaded.plan, &loaded.inputs);
        if args.format == PlainFormat::Json {
            documents.push(json!({
                "variant": loaded.variant,
                "plan_hash": hash,
                "possible": possible,
                "diagnostics": loaded.warnings.to_json(),
                "unused": loaded.unused,
                "findings": findings.iter().map(finding_json).collect::<Vec<_>>(),
            }));
            continue;
        }
        if !loaded.warnings.is_empty() {
            let text = loaded.warnings.render(console.err_color);
            console.err.write_all(text.as_bytes()).map_err(Failure::stdout)?;
        }
        let mut text = String::new();
        for f in &findings {
            text += &finding_text(f);
        }
        for block in &loaded.unused {
            text += &format!("note: {block} is not applied here\n");
        }
        let name = format!("{}/{}", loaded.name, loaded.variant);
        let verdict = if possible { "is valid" } else { "cannot meet what it demands" };
        let plan: String = hash.chars().take(8).collect();
        text += &format!("{name} {verdict} (plan {plan}; variants: {})\n", loaded.variants.join(", "));
        console.out.write_all(console.style.text(&text).as_bytes()).map_err(Failure::stdout)?;
    }
    if args.format == PlainFormat::Json {
        let file = args.file.display().to_string();
        print_json(&json!({ "file": file, "valid": true, "variants": documents }), console)?;
    }
    Ok(end)
}

/// Refuses to run what cannot meet its demands whatever happens.
pub(crate) fn refuse_impossible(loaded: &Loaded, console: &mut Console<'_>) -> Result<(), Failure> {
    let findings = arithmetic(&loaded.plan, &loaded.inputs);
    let errors: Vec<&Finding> = findings.iter().filter(|f| f.severity == Severity::Error).collect();
    if errors.is_empty() {
        return Ok(());
    }
    let text = if console.json_errors {
        format!("{:#}\n", Json::Array(errors.iter().map(|f| finding_json(f)).collect()))
    } else {
        errors.iter().map(|f| finding_text(f)).collect()
    };
    let _ = console.err.write_all(text.as_bytes());
    let name = format!("{}/{}", loaded.name, loaded.variant);
    let message = format!("{name} cannot meet what it demands, so it was not run; `simctl check` shows the arithmetic");
    Err(Failure::Other(ExitCode::Usage, message))
}

fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => "note",
    }
}

fn finding_text(f: &Finding) -> String {
    format!("{}[{}]: {}: {}\n", word(f.severity), f.code, f.address, f.message)
}

fn finding_json(f: &Finding) -> Json {
    let figures: serde_json::Map<String, Json> = f.figures.iter().map(|(k, v)| ((*k).to_owned(), json!(v))).collect();
    let mut value = json!({
        "code": f.code,
        "severity": word(f.severity),
        "address": f.address,
        "message": f.message,
        "figures": figures,
    });
    crate::output::tidy(&mut value);
    value
}

fn print_json(value: &Json, console: &mut Console<'_>) -> Result<(), Failure> {
    writeln!(console.out, "{value:#}").map_err(Failure::stdout)
}
