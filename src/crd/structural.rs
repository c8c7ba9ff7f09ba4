//! From the schema that the Rust types give to the structural form that an API server wants.
//!
//! References are put in place, enumerations become lists of names whose words go into the description. `null` is never
//! allowed: an API server drops what is null and not allowed to be, and so it means "not said", as in files. Defaults are
//! left out: "not said" stays visible, and the validated model knows what it means.

use serde_json::{Map, Value, json};

/// The structural form of a whole schema with its `$defs`.
pub(super) fn structural(schema: &Value) -> Value {
    form(schema, schema)
}

fn form(schema: &Value, root: &Value) -> Value {
    let target = resolve(schema, root);
    let mut formed = Map::new();
    let description = schema.get("description").or_else(|| target.get("description")).and_then(Value::as_str);
    let names = names(target);
    if let Some(description) =
        description.map(str::to_owned).into_iter().chain(meanings(target)).reduce(|all, more| all + " " + &more)
    {
        formed.insert("description".to_owned(), description.split_whitespace().collect::<Vec<_>>().join(" ").into());
    }
    if let Some(type_) = type_of(target).or((!names.is_empty()).then_some("string")) {
        formed.insert("type".to_owned(), type_.into());
    }
    number(target, &mut formed);
    if !names.is_empty() {
        formed.insert("enum".to_owned(), Value::Array(names));
    }
    if let Some(items) = target.get("items") {
        formed.insert("items".to_owned(), form(items, root));
    }
    if let Some(additional) = target.get("additionalProperties").filter(|additional| additional.is_object()) {
        formed.insert("additionalProperties".to_owned(), form(additional, root));
    }
    if let Some(properties) = target.get("properties").and_then(Value::as_object) {
        let properties = properties.iter().map(|(name, schema)| (name.clone(), form(schema, root)));
        formed.insert("properties".to_owned(), Value::Object(properties.collect()));
    }
    if let Some(required) = target.get("required") {
        formed.insert("required".to_owned(), required.clone());
    }
    let kept = |(key, _): &(&String, &Value)| key.starts_with("x-kubernetes-") || *key == "pattern";
    let kept = target.as_object().into_iter().flatten().filter(kept);
    formed.extend(kept.map(|(key, value)| (key.clone(), value.clone())));
    Value::Object(formed)
}

/// The schema behind a reference, or beside `null`.
fn resolve<'a>(schema: &'a Value, root: &'a Value) -> &'a Value {
    let reference = schema.get("$ref").and_then(Value::as_str).map(|reference| reference.trim_start_matches('#'));
    if let Some(target) = reference.and_then(|reference| root.pointer(reference)) {
        return resolve(target, root);
    }
    let alternatives = schema.get("anyOf").and_then(Value::as_array).into_iter().flatten();
    let mut others = alternatives.filter(|alternative| alternative.get("type") != Some(&json!("null")));
    others.next().map_or(schema, |other| resolve(other, root))
}

fn type_of(schema: &Value) -> Option<&str> {
    match schema.get("type")? {
        Value::Array(types) => types.iter().filter_map(Value::as_str).find(|type_| *type_ != "null"),
        type_ => type_.as_str(),
    }
}

/// Kubernetes knows two widths of integers, both signed.
fn number(schema: &Value, formed: &mut Map<String, Value>) {
    match schema.get("format").and_then(Value::as_str) {
        Some("uint32") => {
            formed.extend([("format".to_owned(), json!("int64")), ("maximum".to_owned(), u32::MAX.into())]);
        }
        Some("uint64") => drop(formed.insert("format".to_owned(), json!("int64"))),
        Some(known @ ("int32" | "int64" | "date-time")) => drop(formed.insert("format".to_owned(), known.into())),
        _ => {}
    }
    if let Some(minimum) = schema.get("minimum") {
        formed.insert("minimum".to_owned(), minimum.clone());
    }
}

/// The names that an enumeration allows, in either of the two ways schemas spell it.
fn names(schema: &Value) -> Vec<Value> {
    let plain = schema.get("enum").and_then(Value::as_array).into_iter().flatten().cloned();
    plain.chain(alternatives(schema).filter_map(|alternative| alternative.get("const").cloned())).collect()
}

/// What each name of an enumeration means.
fn meanings(schema: &Value) -> impl Iterator<Item = String> {
    alternatives(schema).filter_map(|alternative| {
        let (name, meaning) = (alternative.get("const")?.as_str()?, alternative.get("description")?.as_str()?);
        Some(format!("`{name}`: {meaning}"))
    })
}

fn alternatives(schema: &Value) -> impl Iterator<Item = &Value> {
    schema.get("oneOf").and_then(Value::as_array).into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_and_nulls_and_enumerations_become_what_an_api_server_reads() {
        let schema = json!({
            "properties": {
                "mode": {"description": "How.", "anyOf": [{"$ref": "#/$defs/Mode"}, {"type": "null"}]},
                "count": {"type": ["integer", "null"], "format": "uint32", "minimum": 0, "default": null},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            },
            "type": "object", "additionalProperties": false,
            "$defs": {"Mode": {"oneOf": [{"const": "a", "type": "string", "description": "One\nline."}]}},
        });
        let expected = json!({
            "type": "object",
            "properties": {
                "mode": {"description": "How. `a`: One line.", "type": "string", "enum": ["a"]},
                "count": {"type": "integer", "format": "int64", "maximum": u32::MAX, "minimum": 0},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            },
        });
        assert_eq!(structural(&schema), expected);
    }
}
