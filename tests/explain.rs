//! `--explain` is true: every line that it quotes holds the key or the expression that set the leaf.

mod support;

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;
use support::command::{deskrun, lines};
use support::golden::{folders, name};

#[test]
fn every_quoted_line_holds_the_key_and_the_value_or_an_expression() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut checked, mut layers) = (0, BTreeSet::new());
    for folder in folders(&root.join("testdata/render")) {
        let mut arguments = lines(&folder.join("arguments"));
        arguments.retain(|argument| {
            !["--explain", "--check", "--show-layers", "-o", "json", "table"].contains(&&**argument)
        });
        let mut all = vec!["render", "input.yaml", "--explain", "-o", "json"];
        all.extend(arguments.iter().map(String::as_str));
        let finished = deskrun(&folder, &all);
        // Cases of refused input have nothing to explain, and goldens of examples have no input of their own.
        if finished.code == Some(1) {
            continue;
        }
        assert_eq!(finished.code, Some(0), "{}: {}", name(&folder), finished.stderr);
        let leaves: Vec<Value> = serde_json::from_str(&finished.stdout).unwrap();
        assert!(leaves.len() > 30, "{}: only {} leaves", name(&folder), leaves.len());
        for leaf in &leaves {
            let places = std::iter::once(leaf).chain(leaf["replaced"].as_array().into_iter().flatten());
            for place in places.filter(|place| place["line"] != 0) {
                check(root, &folder, leaf["path"].as_str().unwrap(), place);
                layers.insert(place["layer"].as_str().unwrap().to_owned());
                checked += 1;
            }
        }
    }
    assert!(checked > 3000, "only {checked} places were checked");
    let ours: Vec<&str> = deskrun::layers::TEMPLATES.iter().map(|template| template.name).collect();
    let unseen: Vec<&&str> =
        ours.iter().filter(|layer| !layers.contains(**layer) && **layer != "engine-podman").collect();
    assert!(unseen.is_empty(), "no case explains these layers: {unseen:?}");
}

fn check(root: &Path, folder: &Path, path: &str, place: &Value) {
    let (file, line) = (place["file"].as_str().unwrap(), place["line"].as_u64().unwrap());
    let Some(text) = source(root, folder, file) else { panic!("{}: `{file}` cannot be opened", name(folder)) };
    let quoted = text.lines().nth(usize::try_from(line).unwrap() - 1).unwrap_or_default();
    let has_expression = quoted.contains("{{");
    let value = match &place["value"] {
        Value::String(text) => text.lines().next().unwrap_or_default().to_owned(),
        // A mapping that was replaced as a whole is found by its key.
        Value::Object(_) | Value::Array(_) => String::new(),
        other => other.to_string(),
    };
    let has_value = quoted.contains(&value) || quoted.trim_end().ends_with('|');
    // Label and annotation keys contain dots, so any tail of the path may be the key; items of lists have none.
    let mut tails = std::iter::once(path).chain(path.match_indices(['.', ' ']).map(|(at, _)| &path[at + 1..]));
    // A source that gave way to another one is named by its own key.
    let own_key = place["value"].as_object().into_iter().flatten().any(|(key, _)| quoted.contains(&format!("{key}:")));
    let has_key = own_key || path.ends_with(']') || tails.any(|tail| quoted.contains(&format!("{tail}:")));
    assert!(
        has_expression || (has_value && has_key),
        "{}: {path} = {} is said to be set by {file}:{line}, which reads `{quoted}`",
        name(folder),
        place["value"]
    );
}

/// The text of a quoted file: a template of ours, a file of the case, or a layer within a spec.
fn source(root: &Path, folder: &Path, file: &str) -> Option<String> {
    if let Some((_, key)) = file.split_once('#') {
        // An inline or ConfigMap layer: its lines are counted within its own text.
        let input = std::fs::read_to_string(folder.join("input.yaml")).ok()?;
        let documents = deskrun::yaml::read(&input).ok()?;
        return documents.iter().find_map(|document| {
            let data = document.get("data").and_then(|data| data.get(key)?.as_str().map(str::to_owned));
            let layers = document.get("layers").or_else(|| document.get("spec")?.get("layers"));
            data.or_else(|| layers?.items().iter().find_map(|layer| Some(layer.get("inline")?.as_str()?.to_owned())))
        });
    }
    std::fs::read_to_string(root.join(file)).or_else(|_| std::fs::read_to_string(folder.join(file))).ok()
}

#[test]
fn a_replaced_value_is_named_with_the_place_that_had_set_it() {
    let folder = tempfile::tempdir().unwrap();
    let spec = "containerMode: dind\ntemplate:\n  spec:\n    terminationGracePeriodSeconds: 600\n";
    std::fs::write(folder.path().join("spec.yaml"), spec).unwrap();
    let finished = deskrun(folder.path(), &["render", "spec.yaml", "--explain", "-o", "json"]);
    let leaves: Vec<Value> = serde_json::from_str(&finished.stdout).unwrap();
    let leaf = leaves.iter().find(|leaf| leaf["path"] == "spec.terminationGracePeriodSeconds").unwrap();
    assert_eq!((&leaf["value"], &leaf["layer"], &leaf["line"]), (&600.into(), &"template".into(), &4.into()));
    let replaced = &leaf["replaced"][0];
    assert_eq!((&replaced["value"], &replaced["layer"]), (&120.into(), &"base".into()));
    assert_eq!(replaced["file"], "templates/base.yaml");
}
