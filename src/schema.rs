//! Checks the shape of a document against a JSON schema and reports every deviation with its place.
//!
//! One walk serves our own kinds and the Kubernetes types that a spec contains; the schemas come from the Rust types,
//! so there is no second list of field names. What values mean is not looked at.

use schemars::{JsonSchema, SchemaGenerator};
use serde_json::Value;

use crate::problem::{FieldPath, Problem, nearest};
use crate::yaml::{Kind, Position, Tree};

/// How strictly a document must match its schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Everything required must be there.
    Whole,
    /// A strategic-merge patch: nothing is required, `null` deletes, `$…` keys are directives.
    Patch,
}

/// Checks `tree`, which stands at `path` of `file`, against the schema of `T`.
pub fn check<T: JsonSchema>(file: &str, tree: &Tree, path: &FieldPath, shape: Shape) -> Vec<Problem> {
    let schema = SchemaGenerator::default().into_root_schema_for::<T>().to_value();
    let mut walk = Walk { file, root: &schema, shape, found: Vec::new() };
    walk.node(tree, &schema, path);
    walk.found
}

struct Walk<'a> {
    file: &'a str,
    root: &'a Value,
    shape: Shape,
    found: Vec<Problem>,
}

impl<'a> Walk<'a> {
    fn node(&mut self, tree: &Tree, schema: &'a Value, path: &FieldPath) {
        let schema = self.resolve(schema);
        if accepts_anything(schema) || (is_null(tree) && (self.shape == Shape::Patch || nullable(schema))) {
            return;
        }
        if let Some(allowed) = allowed_values(schema) {
            return self.one_of(tree, &allowed, path);
        }
        let types = types(schema);
        if !types.is_empty() && !types.iter().any(|wanted| is_type(tree, wanted)) {
            return self.wrong_type(tree, &types, path);
        }
        match &tree.kind {
            Kind::Mapping(_) => self.mapping(tree, schema, path),
            Kind::Sequence(items) => {
                if let Some(schema) = schema.get("items") {
                    for (index, item) in items.iter().enumerate() {
                        self.item(item, schema, &path.index(index));
                    }
                }
            }
            Kind::Scalar(value) => self.range(value, schema, tree.at, path),
        }
    }

    /// Unlike the value of a key, an item cannot be "not said".
    fn item(&mut self, tree: &Tree, schema: &'a Value, path: &FieldPath) {
        let schema = self.resolve(schema);
        if is_null(tree) && !accepts_anything(schema) {
            return self.wrong_type(tree, &types(schema), path);
        }
        self.node(tree, schema, path);
    }

    fn mapping(&mut self, tree: &Tree, schema: &'a Value, path: &FieldPath) {
        let properties = schema.get("properties").and_then(Value::as_object);
        let additional = schema.get("additionalProperties").filter(|additional| additional.is_object());
        for entry in tree.entries() {
            if self.shape == Shape::Patch && entry.key.starts_with('$') {
                continue;
            }
            let below = path.key(&entry.key);
            match (properties.and_then(|properties| properties.get(&entry.key)), additional, properties) {
                (Some(schema), _, _) | (None, Some(schema), _) => self.node(&entry.value, schema, &below),
                (None, None, Some(properties)) if schema.get("additionalProperties") != Some(&Value::Bool(true)) => {
                    self.unknown_field(&entry.key, entry.key_at, properties.keys().map(String::as_str), &below);
                }
                _ => {}
            }
        }
        let required = schema.get("required").and_then(Value::as_array).filter(|_| self.shape == Shape::Whole);
        for name in required.into_iter().flatten().filter_map(Value::as_str) {
            if tree.get(name).is_none_or(is_null) {
                let known = properties.and_then(|properties| properties.get(name)).map(|schema| self.resolve(schema));
                let hint = known.and_then(allowed_values).map(|allowed| format!("one of {}", quoted(&allowed)));
                self.report("missing-field", &path.key(name), tree.at, "this field is required".to_owned(), hint);
            }
        }
    }

    fn resolve(&self, schema: &'a Value) -> &'a Value {
        let mut schema = schema;
        loop {
            if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
                let Some(target) = self.root.pointer(reference.trim_start_matches('#')) else { return schema };
                schema = target;
            } else if let Some(inner) = only_alternative_beside_null(schema) {
                schema = inner;
            } else {
                return schema;
            }
        }
    }

    fn one_of(&mut self, tree: &Tree, allowed: &[&str], path: &FieldPath) {
        let given = tree.as_str();
        if given.is_some_and(|given| allowed.contains(&given)) {
            return;
        }
        let message = match given {
            Some(given) => format!("`{given}` is not a known value"),
            None => format!("expected a name, found {}", describe(tree)),
        };
        let near = given.and_then(|given| nearest(given, allowed.iter().copied()));
        let hint = near.map_or_else(|| format!("one of {}", quoted(allowed)), |near| format!("did you mean `{near}`?"));
        self.report("unknown-value", path, tree.at, message, Some(hint));
    }

    fn wrong_type(&mut self, tree: &Tree, wanted: &[&str], path: &FieldPath) {
        let wanted = wanted.iter().map(|name| type_name(name)).collect::<Vec<_>>().join(" or ");
        // A text that stands where a mapping belongs may be a secret that was put into the wrong field.
        let found = match tree.as_str() {
            Some(_) if wanted.contains("mapping") || wanted.contains("list") => "a string".to_owned(),
            _ => describe(tree),
        };
        let message = format!("expected {wanted}, found {found}");
        let hint = match &tree.kind {
            Kind::Scalar(Value::String(text)) if wanted == "an integer" && text.parse::<i64>().is_ok() => {
                Some("remove the quotes".to_owned())
            }
            Kind::Scalar(value) if wanted == "a string" && !value.is_null() => {
                Some("put the value in quotes".to_owned())
            }
            _ => None,
        };
        self.report("wrong-type", path, tree.at, message, hint);
    }

    fn range(&mut self, value: &Value, schema: &Value, at: Position, path: &FieldPath) {
        let Some(number) = value.as_f64() else { return };
        let (least, most) = bounds(schema);
        if number < least {
            self.report(
                "out-of-range",
                path,
                at,
                format!("{value} is too small"),
                Some(format!("give {least} or more")),
            );
        } else if number > most {
            self.report(
                "out-of-range",
                path,
                at,
                format!("{value} is too large"),
                Some(format!("give {most} or less")),
            );
        }
    }

    fn unknown_field<'k>(
        &mut self,
        key: &str,
        at: Position,
        known: impl Iterator<Item = &'k str> + Clone,
        path: &FieldPath,
    ) {
        let hint = match nearest(key, known.clone()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known here: {}", quoted(&known.collect::<Vec<_>>())),
        };
        self.report("unknown-field", path, at, format!("there is no field `{key}` here"), Some(hint));
    }

    fn report(
        &mut self,
        rule: &'static str,
        path: &FieldPath,
        at: Position,
        message: impl Into<String>,
        hint: Option<String>,
    ) {
        let (file, path) = (self.file.to_owned(), path.clone());
        self.found.push(Problem { rule, file, path, at, message: message.into(), hint });
    }
}

fn accepts_anything(schema: &Value) -> bool {
    let free = schema.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true));
    schema.is_boolean() || (free && types(schema).is_empty())
}

/// `anyOf: [X, null]` is how an optional X is written.
fn only_alternative_beside_null(schema: &Value) -> Option<&Value> {
    let alternatives = schema.get("anyOf")?.as_array()?;
    let mut others = alternatives.iter().filter(|schema| schema.get("type") != Some(&Value::from("null")));
    others.next().filter(|_| others.next().is_none())
}

fn nullable(schema: &Value) -> bool {
    // A missing field and `null` mean the same in Kubernetes objects; required fields are caught apart.
    schema.get("x-kubernetes-int-or-string").is_none() || types(schema).contains(&"null")
}

/// The names an enumeration allows, in either of the two ways schemas spell it.
fn allowed_values(schema: &Value) -> Option<Vec<&str>> {
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        return Some(values.iter().filter_map(Value::as_str).collect());
    }
    let alternatives = schema.get("oneOf")?.as_array()?;
    alternatives.iter().map(|alternative| alternative.get("const").and_then(Value::as_str)).collect()
}

fn types(schema: &Value) -> Vec<&str> {
    if schema.get("x-kubernetes-int-or-string") == Some(&Value::Bool(true)) {
        return vec!["integer", "number", "string"];
    }
    match schema.get("type") {
        Some(Value::String(name)) => vec![name],
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).filter(|name| *name != "null").collect(),
        _ => Vec::new(),
    }
}

/// The least and the largest number of a field; Kubernetes and Rust say the width of integers as a format.
fn bounds(schema: &Value) -> (f64, f64) {
    let least = schema.get("minimum").and_then(Value::as_f64).unwrap_or(f64::NEG_INFINITY);
    match schema.get("format").and_then(Value::as_str) {
        Some("uint32") => (least.max(0.0), f64::from(u32::MAX)),
        Some("int32") => (least.max(f64::from(i32::MIN)), f64::from(i32::MAX)),
        _ => (least, f64::INFINITY),
    }
}

fn is_type(tree: &Tree, wanted: &str) -> bool {
    match (&tree.kind, wanted) {
        (Kind::Mapping(_), "object")
        | (Kind::Sequence(_), "array")
        | (Kind::Scalar(Value::String(_)), "string")
        | (Kind::Scalar(Value::Bool(_)), "boolean")
        | (Kind::Scalar(Value::Number(_)), "number") => true,
        (Kind::Scalar(Value::Number(number)), "integer") => number.is_i64() || number.is_u64(),
        _ => false,
    }
}

fn is_null(tree: &Tree) -> bool {
    matches!(tree.kind, Kind::Scalar(Value::Null))
}

fn type_name(name: &str) -> &str {
    match name {
        "object" => "a mapping",
        "array" => "a list",
        "string" => "a string",
        "boolean" => "`true` or `false`",
        "integer" => "an integer",
        "number" => "a number",
        other => other,
    }
}

fn describe(tree: &Tree) -> String {
    match &tree.kind {
        Kind::Mapping(_) => "a mapping".to_owned(),
        Kind::Sequence(_) => "a list".to_owned(),
        Kind::Scalar(Value::Null) => "nothing".to_owned(),
        Kind::Scalar(Value::String(text)) => format!("the string `{text}`"),
        Kind::Scalar(value) => format!("`{value}`"),
    }
}

fn quoted(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crd::{PodmanHostSpec, RunnerScaleSetSpec};
    use crate::yaml;

    fn problems<T: JsonSchema>(text: &str, shape: Shape) -> Vec<String> {
        let tree = &yaml::read(text).unwrap()[0];
        check::<T>("f.yaml", tree, &FieldPath::root(), shape)
            .into_iter()
            .map(|problem| match problem.hint.clone() {
                Some(hint) => format!("{problem} ({hint})"),
                None => problem.to_string(),
            })
            .collect()
    }

    #[test]
    fn every_deviation_is_reported_with_its_place() {
        let text = "containerMode: dindd\nmaxRunners: \"4\"\ncachePath: []\nnix: {enabled: maybe}\nminRunners: -1\n";
        assert_eq!(
            problems::<RunnerScaleSetSpec>(text, Shape::Whole),
            [
                "f.yaml:1:16: containerMode: `dindd` is not a known value [unknown-value] (did you mean `dind`?)",
                "f.yaml:2:13: maxRunners: expected an integer, found the string `4` [wrong-type] (remove the quotes)",
                "f.yaml:3:1: cachePath: there is no field `cachePath` here [unknown-field] (did you mean `cachePaths`?)",
                "f.yaml:4:16: nix.enabled: expected `true` or `false`, found the string `maybe` [wrong-type]",
                "f.yaml:5:13: minRunners: -1 is too small [out-of-range] (give 0 or more)",
            ]
        );
    }

    #[test]
    fn a_number_that_does_not_fit_and_a_secret_in_the_wrong_field_are_refused_without_repeating_it() {
        assert_eq!(
            problems::<RunnerScaleSetSpec>(
                "containerMode: dind\nmaxRunners: 5000000000\ncredentials: ghp_x\n",
                Shape::Whole
            ),
            [
                "f.yaml:2:13: maxRunners: 5000000000 is too large [out-of-range] (give 4294967295 or less)",
                "f.yaml:3:14: credentials: expected a mapping, found a string [wrong-type]",
            ]
        );
    }

    #[test]
    fn an_empty_item_of_a_list_is_not_taken_for_an_absent_one() {
        assert_eq!(
            problems::<RunnerScaleSetSpec>("containerMode: dind\ntolerations:\n  -\nlabels: [~]\n", Shape::Whole),
            [
                "f.yaml:3:4: tolerations[0]: expected a mapping, found nothing [wrong-type]",
                "f.yaml:4:10: labels[0]: expected a string, found nothing [wrong-type]",
            ]
        );
    }

    #[test]
    fn a_missing_required_field_is_reported_at_its_parent() {
        assert_eq!(
            problems::<PodmanHostSpec>("onThisHost: true\n", Shape::Whole),
            ["f.yaml:1:1: url: this field is required [missing-field]"]
        );
    }

    #[test]
    fn a_patch_of_a_kubernetes_type_may_be_partial_but_not_misspelt() {
        use k8s_openapi::api::core::v1::PodTemplateSpec;
        let text =
            "spec: {containers: [{name: runner, resources: {limits: {cpu: 4}}, imagePullPolcy: Never}], $patch: x}";
        assert_eq!(
            problems::<PodTemplateSpec>(text, Shape::Patch),
            [
                "f.yaml:1:67: spec.containers[0].imagePullPolcy: there is no field `imagePullPolcy` here [unknown-field] \
             (did you mean `imagePullPolicy`?)"
            ]
        );
    }
}
