//! From text to plan.

use std::sync::Arc;

use super::diagnostic::{Diagnostics, Source};
use super::lang::{Lang, Reader};
use super::model::{LoadBalancer, Plan, Service};
use super::tree::parse_document;

/// Reads a scenario from a text, without variants and without any file beside it.
///
/// # Errors
/// With all findings, when one of them is an error.
pub fn from_text(name: &str, text: &str) -> Result<Plan, Diagnostics> {
    let mut found =
        Diagnostics { sources: vec![Source { name: name.to_owned(), text: Arc::from(text) }], items: Vec::new() };
    let root = parse_document(text, 0, &mut found.items);
    let plan = if found.has_errors() { None } else { Plan::read(&root, &mut Reader::new(&mut found.items, None)) };
    match plan {
        Some(plan) if !found.has_errors() => Ok(resolve(plan)),
        _ => Err(found),
    }
}

/// Fills in what depends on other keys: a service with traffic stands behind a load balancer.
#[must_use]
pub fn resolve(mut plan: Plan) -> Plan {
    for service in plan.services.values_mut() {
        if service.load_balancer.is_none() && has_traffic(service) {
            service.load_balancer = Some(LoadBalancer::default());
        }
    }
    plan
}

/// Whether requests come to a service from outside.
#[must_use]
pub fn has_traffic(service: &Service) -> bool {
    let t = &service.traffic;
    !t.rate.is_empty() || !t.shapes.is_empty() || t.trace.is_some() || t.recorded.is_some() || t.users.is_some()
}
