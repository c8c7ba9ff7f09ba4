//! The custom resource definition of `RunnerScaleSet`, made from the types that files are read with.
//!
//! Doc comments become the documentation of fields, the rules of `rules.rs` are laid over. Nothing is applied here.

use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Value, json};

use super::rules::{bounds, rules};
use super::structural::structural;
use super::{RunnerScaleSetSpec, RunnerScaleSetStatus};

/// The group of our kinds.
pub const GROUP: &str = "deskrun.dev";
/// Their version.
pub const VERSION: &str = "v1alpha1";
/// The resource's name in URLs and RBAC rules.
pub const PLURAL: &str = "runnerscalesets";

/// The definition, ready to be applied. There is no `scale` subresource: how many runners there are follows the jobs,
/// and what a person may change are two numbers, not one.
pub fn definition() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{PLURAL}.{GROUP}")},
        "spec": {
            "group": GROUP,
            "names": {
                "kind": "RunnerScaleSet",
                "listKind": "RunnerScaleSetList",
                "plural": PLURAL,
                "singular": "runnerscaleset",
                "shortNames": ["rss"],
                "categories": ["deskrun"],
            },
            "scope": "Namespaced",
            "versions": [{
                "name": VERSION,
                "served": true,
                "storage": true,
                "subresources": {"status": {}},
                "additionalPrinterColumns": columns(),
                "schema": {"openAPIV3Schema": schema()},
            }],
        },
    })
}

fn columns() -> Value {
    let column = |name: &str, type_: &str, path: &str| json!({"name": name, "type": type_, "jsonPath": path});
    let ready = |field: &str| format!(".status.conditions[?(@.type==\"Ready\")].{field}");
    let mut reason = column("Reason", "string", &ready("reason"));
    let mut message = column("Message", "string", &ready("message"));
    for wide in [&mut reason, &mut message] {
        wide["priority"] = json!(1);
    }
    json!([
        column("Mode", "string", ".spec.containerMode"),
        column("Min", "integer", ".status.minRunners"),
        column("Max", "integer", ".status.maxRunners"),
        column("Runners", "integer", ".status.runners"),
        column("Busy", "integer", ".status.busyRunners"),
        column("Jobs", "integer", ".status.jobs"),
        column("Ready", "string", &ready("status")),
        reason,
        message,
        column("Age", "date", ".metadata.creationTimestamp"),
    ])
}

fn schema() -> Value {
    let mut schema = json!({
        "description": "A kind of GitHub Actions runner: where it registers, what one looks like, how many there may be.",
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": form_of::<RunnerScaleSetSpec>(),
            "status": form_of::<RunnerScaleSetStatus>(),
        },
    });
    for bound in bounds() {
        set(&mut schema, bound.path, bound.keyword, bound.value.into());
    }
    for rule in rules() {
        let mut entry = json!({"rule": rule.expression, "message": rule.message});
        if let Some(field) = rule.blamed {
            entry["fieldPath"] = format!(".{field}").into();
        }
        append(&mut schema, rule.path, entry);
    }
    for (path, keyword, value) in lists() {
        set(&mut schema, path, keyword, value);
    }
    schema
}

/// How lists are merged when several people apply.
fn lists() -> [(&'static str, &'static str, Value); 7] {
    const TYPE: &str = "x-kubernetes-list-type";
    const KEYS: &str = "x-kubernetes-list-map-keys";
    [
        ("spec.labels", TYPE, json!("set")),
        ("spec.cachePaths", TYPE, json!("map")),
        ("spec.cachePaths", KEYS, json!(["target"])),
        ("status.conditions", TYPE, json!("map")),
        ("status.conditions", KEYS, json!(["type"])),
        ("status.instances", TYPE, json!("map")),
        ("status.instances", KEYS, json!(["name"])),
    ]
}

fn form_of<T: JsonSchema>() -> Value {
    structural(&SchemaGenerator::default().into_root_schema_for::<T>().to_value())
}

fn set(schema: &mut Value, path: &str, keyword: &str, value: Value) -> bool {
    let Some(Value::Object(node)) = at(schema, path) else { return false };
    node.insert(keyword.to_owned(), value);
    true
}

fn append(schema: &mut Value, path: &str, rule: Value) -> bool {
    let Some(Value::Object(node)) = at(schema, path) else { return false };
    let rules = node.entry("x-kubernetes-validations").or_insert_with(|| json!([]));
    rules.as_array_mut().map(|rules| rules.push(rule)).is_some()
}

/// The schema of a field; `[]` behind a name is that of a list's items.
fn at<'a>(schema: &'a mut Value, path: &str) -> Option<&'a mut Value> {
    let mut node = schema;
    for name in path.split('.').filter(|name| !name.is_empty()) {
        let field = name.trim_end_matches("[]");
        node = node.get_mut("properties")?.get_mut(field)?;
        if field != name {
            node = node.get_mut("items")?;
        }
    }
    Some(node)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;

    use super::*;

    #[test]
    fn it_is_a_definition_as_kubernetes_types_read_it() {
        let typed: CustomResourceDefinition = serde_json::from_value(definition()).unwrap();
        let version = &typed.spec.versions[0];
        let schema = version.schema.as_ref().unwrap().open_api_v3_schema.as_ref().unwrap();
        assert!(schema.properties.as_ref().unwrap().contains_key("status"));
        assert_eq!(serde_json::to_value(typed.spec.names.short_names).unwrap(), json!(["rss"]));
    }

    #[test]
    fn every_rule_and_bound_finds_its_field() {
        let mut schema = schema();
        for path in rules().iter().map(|rule| rule.path).chain(bounds().iter().map(|bound| bound.path)) {
            assert!(at(&mut schema, path).is_some(), "{path}");
        }
        for (path, ..) in lists() {
            assert!(at(&mut schema, path).is_some(), "{path}");
        }
    }

    #[test]
    fn nothing_is_filled_in_by_the_api_server() {
        let text = definition().to_string();
        assert!(!text.contains("\"default\":"), "{text}");
    }

    #[test]
    fn every_field_is_explained() {
        fn walk(path: &str, node: &Value) {
            for (name, field) in node.get("properties").and_then(Value::as_object).into_iter().flatten() {
                let path = format!("{path}.{name}");
                assert!(field.get("description").is_some(), "{path} has no description");
                walk(&path, field);
            }
            if let Some(items) = node.get("items") {
                walk(&format!("{path}[]"), items);
            }
        }
        let schema = schema();
        for part in ["spec", "status"] {
            walk(part, &schema["properties"][part]);
        }
    }

    #[test]
    fn it_is_small_enough_to_be_applied_in_any_way() {
        let size = crate::yaml::write(&definition()).len();
        assert!(size < 100_000, "{size} bytes");
    }
}
