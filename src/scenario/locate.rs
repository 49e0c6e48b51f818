//! Where an address stands in what was written.

use super::diagnostic::Span;
use super::tree::{Entry, Node, Value};

/// The place of the value at a path; of the nearest thing around it when it was not written.
pub(crate) fn value<S: AsRef<str>>(root: &Node, path: &[S]) -> Span {
    walk(root, path).0
}

/// The place of the key at a path; of the nearest thing around it when it was not written.
pub(crate) fn key<S: AsRef<str>>(root: &Node, path: &[S]) -> Span {
    walk(root, path).1
}

/// Whether something was written at a path.
pub(crate) fn is_written<S: AsRef<str>>(root: &Node, path: &[S]) -> bool {
    walk(root, path).2
}

fn walk<S: AsRef<str>>(root: &Node, path: &[S]) -> (Span, Span, bool) {
    let mut node = root;
    let (mut value, mut key) = (root.span, root.span);
    for segment in path {
        let segment = segment.as_ref();
        match &node.value {
            Value::Table(table) => match table.get(segment) {
                Some(Entry { key: k, node: next }) => {
                    key = *k;
                    value = next.span;
                    node = next;
                }
                None => return (value, key, false),
            },
            Value::Array(items) => {
                let index = segment.trim_matches(['[', ']']).parse::<usize>().ok();
                match index.and_then(|i| items.get(i)) {
                    Some(next) => {
                        value = next.span;
                        key = next.span;
                        node = next;
                    }
                    None => return (value, key, false),
                }
            }
            _ => return (value, key, false),
        }
    }
    (value, key, true)
}
