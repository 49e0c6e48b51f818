//! What the shape alone does not say: ranges, and names that must exist.

use super::diagnostic::Diagnostics;
use super::load::LoadOptions;
use super::model::Plan;
use super::tree::Node;

pub(crate) fn validate(_plan: &Plan, _root: &Node, _options: &LoadOptions, _found: &mut Diagnostics) {}
