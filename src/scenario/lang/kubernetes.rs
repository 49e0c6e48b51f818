//! Tables that both orchestrators have, with other defaults under Kubernetes.

use serde_json::Value as Json;

use super::{Defs, Entry, Form, Lang, Node, Reader, TableLang, Value, Written, table_schema};

/// A table that has defaults of its own under Kubernetes.
pub trait KubernetesTable: TableLang + Lang {
    /// Its name there among the types.
    const KUBERNETES_NAME: &'static str;

    /// What its keys mean there, by key, where that differs.
    const KUBERNETES_DOCS: &'static [(&'static str, &'static str)] = &[];

    /// Its defaults there.
    #[must_use]
    fn of_kubernetes() -> Self;
}

/// The notation of a [`KubernetesTable`]: a key that is left out has its default under Kubernetes, whichever others are given.
#[derive(Clone, Copy, Debug)]
pub enum OfKubernetes {}

impl<T: KubernetesTable> Form<T> for OfKubernetes {
    fn read(node: &Node, cx: &mut Reader<'_>) -> Option<T> {
        let mut table = cx.table(node)?.clone();
        for (key, default) in T::of_kubernetes().write_fields() {
            if let (false, Some(default)) = (table.contains_key(&key), default.to_node(node.span)) {
                table.insert(key, Entry { key: node.span, node: default });
            }
        }
        T::read(&Node { span: node.span, value: Value::Table(table) }, cx)
    }

    fn write(value: &T) -> Written {
        value.write()
    }

    fn schema(defs: &mut Defs) -> Json {
        defs.part(T::KUBERNETES_NAME, |defs| {
            let own = table_schema::<T>(defs);
            let name = own["$ref"].as_str().and_then(|r| r.rsplit('/').next()).unwrap_or_default().to_owned();
            let mut schema = defs.map.get(&name).cloned().unwrap_or_default();
            for (key, default) in T::of_kubernetes().write_fields() {
                if let Some(property) = schema["properties"].get_mut(&key)
                    && default != Written::Absent
                {
                    property["default"] = default.to_json();
                }
            }
            for (key, doc) in T::KUBERNETES_DOCS {
                if let Some(property) = schema["properties"].get_mut(*key) {
                    property["description"] = Json::from(*doc);
                }
            }
            schema
        })
    }
}
