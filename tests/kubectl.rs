//! Our merge against `kubectl patch --local --type=strategic`, on generated pairs of pods and patches.
//!
//! What is compared: the merged object, with the items of keyed lists in the order of their keys, for `kubectl` puts
//! new ones first. What is left out of the generated patches, because we differ on purpose (`src/layers/merge.rs`):
//! another kind of volume source or of variable without deleting the old one. And `kubectl` leaves directives standing
//! in what a patch adds anew (`$patch: delete` of an item of a new list); they are taken out of its result.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use deskrun::layers::{Lines, Node, merge};
use deskrun::yaml;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Map, Value, json};

/// At least 200 pairs; each costs one start of `kubectl`.
const PAIRS: usize = 240;

#[test]
fn merging_agrees_with_kubectl_on_generated_pods_and_patches() {
    let found = Command::new("kubectl").args(["version", "--client"]).output();
    assert!(found.is_ok_and(|output| output.status.success()), "kubectl is missing; `make test` installs it");
    let folder = tempfile::tempdir().unwrap();
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let pairs: Vec<(Value, Value)> =
        (0..PAIRS).map(|_| (pod(), patch()).new_tree(&mut runner).unwrap().current()).collect();
    let next = AtomicUsize::new(0);
    let differences: Vec<String> = std::thread::scope(|scope| {
        let work = || {
            let mut found = Vec::new();
            while let Some((number, (base, patch))) = pairs.iter().enumerate().nth(next.fetch_add(1, Ordering::Relaxed))
            {
                let theirs = sorted(&without_directives(&kubectl(folder.path(), number, base, patch)), "");
                let ours = sorted(&ours(base, patch), "");
                if ours != theirs {
                    found.push(format!("base {base}\npatch {patch}\nours {ours}\nkubectl {theirs}"));
                }
            }
            found
        };
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert!(differences.is_empty(), "{} of {PAIRS} differ, the first:\n{}", differences.len(), differences[0]);
    let changing = pairs.iter().filter(|(base, patch)| ours(base, patch) != *base).count();
    assert!(changing > PAIRS / 2, "only {changing} patches changed anything: the generator is too tame");
}

fn kubectl(folder: &std::path::Path, number: usize, base: &Value, patch: &Value) -> Value {
    let (base_file, patch_file) =
        (folder.join(format!("{number}-base.json")), folder.join(format!("{number}-patch.json")));
    std::fs::write(&base_file, base.to_string()).unwrap();
    std::fs::write(&patch_file, patch.to_string()).unwrap();
    let output = Command::new("kubectl")
        .args(["patch", "--local", "--type=strategic", "-o", "json", "-f"])
        .arg(&base_file)
        .arg("--patch-file")
        .arg(&patch_file)
        .output()
        .unwrap();
    assert!(output.status.success(), "kubectl refused: {}\n{base}\n{patch}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

struct Nowhere;

impl Lines for Nowhere {
    fn find(&self, line: u32) -> (Arc<str>, u32) {
        (Arc::from("generated"), line)
    }
}

fn ours(base: &Value, patch: &Value) -> Value {
    let node = |value: &Value| {
        let tree = &yaml::read(&value.to_string()).unwrap()[0];
        Node::from_tree(tree, &Arc::from("generated"), &Nowhere)
    };
    let mut merged = node(base);
    merge(&mut merged, node(patch), "", &mut Vec::new()).unwrap();
    merged.to_json()
}

/// What `kubectl` leaves standing of a patch in what it adds anew.
fn without_directives(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.iter().filter(|(key, _)| !key.starts_with('$'));
            Value::Object(kept.map(|(key, value)| (key.clone(), without_directives(value))).collect())
        }
        Value::Array(items) => {
            items.iter().filter(|item| item.get("$patch").is_none()).map(without_directives).collect()
        }
        other => other.clone(),
    }
}

/// Keyed lists in the order of their keys; empty lists and mappings left out, for `kubectl` prints some of them away.
fn sorted(value: &Value, field: &str) -> Value {
    match value {
        Value::Object(map) => {
            let map: BTreeMap<&String, Value> = map.iter().map(|(key, value)| (key, sorted(value, key))).collect();
            let is_empty = |value: &Value| *value == json!([]) || *value == json!({}) || value.is_null();
            json!(map.into_iter().filter(|(_, value)| !is_empty(value)).collect::<BTreeMap<_, _>>())
        }
        Value::Array(items) => {
            let key = match field {
                "containers" | "env" | "volumes" | "imagePullSecrets" => "name",
                "volumeMounts" => "mountPath",
                "ports" => "containerPort",
                "hostAliases" => "ip",
                "topologySpreadConstraints" => "topologyKey",
                _ => "",
            };
            let mut items: Vec<Value> = items.iter().map(|item| sorted(item, "")).collect();
            if !key.is_empty() {
                items.sort_by_key(|item| item[key].to_string());
            }
            Value::Array(items)
        }
        other => other.clone(),
    }
}

fn pod() -> impl Strategy<Value = Value> {
    let spec = (
        proptest::option::of(word()),
        containers(false),
        keyed(4, volume),
        labels(),
        proptest::collection::vec(toleration(), 0..3),
        keyed(3, |name| Just(json!({ "name": name })).boxed()),
        aliases(),
        spreads(),
    );
    (spec, labels()).prop_map(
        |((hostname, containers, volumes, selector, tolerations, secrets, aliases, spreads), labels)| {
            json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": "p", "labels": labels},
                "spec": without_null(json!({
                    "hostname": hostname, "containers": containers, "volumes": volumes, "nodeSelector": selector,
                    "tolerations": tolerations, "imagePullSecrets": secrets, "hostAliases": aliases,
                    "topologySpreadConstraints": spreads,
                })),
            })
        },
    )
}

fn patch() -> impl Strategy<Value = Value> {
    let field = |strategy: BoxedStrategy<Value>| proptest::option::weighted(0.4, strategy);
    let deletable = |strategy: BoxedStrategy<Value>| prop_oneof![4 => strategy, 1 => Just(Value::Null)].boxed();
    let selector = prop_oneof![
        3 => labels_patch(),
        1 => labels().prop_map(|labels| with(labels, "$patch", json!("replace"))),
        1 => Just(json!({"$patch": "delete"})),
        1 => labels().prop_map(|labels| {
            let keys: Vec<String> = labels.as_object().unwrap().keys().cloned().collect();
            with(labels, "$retainKeys", json!(keys))
        }),
    ];
    (
        field(deletable(word().prop_map(Value::from).boxed())),
        field(containers(true).boxed()),
        field(list_patch(keyed(4, volume).boxed(), "name").boxed()),
        field(deletable(selector.boxed())),
        field(deletable(proptest::collection::vec(toleration(), 0..3).prop_map(Value::from).boxed())),
        field(list_patch(keyed(3, |name| Just(json!({ "name": name })).boxed()).boxed(), "name").boxed()),
        field(aliases().boxed()),
        field(list_patch(spreads().boxed(), "topologyKey").boxed()),
    )
        .prop_map(|(hostname, containers, volumes, selector, tolerations, secrets, aliases, spreads)| {
            let fields = [
                ("hostname", hostname),
                ("containers", containers),
                ("volumes", volumes),
                ("nodeSelector", selector),
                ("tolerations", tolerations),
                ("imagePullSecrets", secrets),
                ("hostAliases", aliases),
                ("topologySpreadConstraints", spreads),
            ];
            let spec: Map<String, Value> =
                fields.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect();
            json!({ "spec": spec })
        })
}

fn word() -> impl Strategy<Value = String> {
    proptest::sample::select(vec!["alpha", "beta", "gamma"]).prop_map(str::to_owned)
}

fn labels() -> BoxedStrategy<Value> {
    proptest::collection::btree_map(word(), word(), 0..3).prop_map(|map| json!(map)).boxed()
}

fn labels_patch() -> BoxedStrategy<Value> {
    proptest::collection::btree_map(word(), proptest::option::of(word()), 0..3).prop_map(|map| json!(map)).boxed()
}

fn toleration() -> BoxedStrategy<Value> {
    (word(), word()).prop_map(|(key, value)| json!({"key": key, "value": value})).boxed()
}

fn aliases() -> BoxedStrategy<Value> {
    proptest::collection::btree_map(0u8..3, proptest::collection::vec(word(), 1..3), 0..3)
        .prop_map(|map| {
            map.into_iter().map(|(n, names)| json!({"ip": format!("10.0.0.{n}"), "hostnames": names})).collect()
        })
        .boxed()
}

fn spreads() -> BoxedStrategy<Value> {
    proptest::collection::btree_map(word(), 1u8..4, 0..3)
        .prop_map(|map| {
            map.into_iter()
                .map(|(key, skew)| json!({"topologyKey": key, "maxSkew": skew, "whenUnsatisfiable": "DoNotSchedule"}))
                .collect()
        })
        .boxed()
}

/// A list of items with distinct names.
fn keyed(most: usize, item: impl Fn(String) -> BoxedStrategy<Value> + Clone + 'static) -> BoxedStrategy<Value> {
    proptest::collection::btree_set(0..most, 0..=most)
        .prop_flat_map(move |names| {
            let item = item.clone();
            names.into_iter().map(|n| item(format!("n{n}"))).collect::<Vec<_>>()
        })
        .prop_map(Value::from)
        .boxed()
}

/// The kind of source follows from the name, so that no patch brings another kind.
fn volume(by_name: String) -> BoxedStrategy<Value> {
    word()
        .prop_map(move |word| match by_name.as_str() {
            "n0" => json!({"name": by_name, "emptyDir": {"medium": word}}),
            "n1" => json!({"name": by_name, "hostPath": {"path": format!("/{word}")}}),
            "n2" => json!({"name": by_name, "configMap": {"name": word, "items": [{"key": word, "path": word}]}}),
            _ => json!({"name": by_name, "secret": {"secretName": word}}),
        })
        .boxed()
}

fn variable(name: String) -> BoxedStrategy<Value> {
    word().prop_map(move |word| json!({"name": name, "value": word})).boxed()
}

fn containers(patch: bool) -> BoxedStrategy<Value> {
    let list = keyed(3, move |name| container(name, patch));
    if patch { list_patch(list, "name").boxed() } else { list }
}

fn container(name: String, patch: bool) -> BoxedStrategy<Value> {
    let env = keyed(4, variable);
    let mounts = proptest::collection::btree_map(word(), any::<bool>(), 0..3).prop_map(|map| {
        map.into_iter()
            .map(|(path, read_only)| json!({"mountPath": format!("/{path}"), "name": "n0", "readOnly": read_only}))
            .collect::<Value>()
    });
    let ports = proptest::collection::btree_map(80u16..83, word(), 0..3).prop_map(|map| {
        map.into_iter().map(|(port, name)| json!({"containerPort": port, "name": name})).collect::<Value>()
    });
    let lists: BoxedStrategy<(Value, Value, Value)> = if patch {
        (list_patch(env, "name"), list_patch(mounts.boxed(), "mountPath"), list_patch(ports.boxed(), "containerPort"))
            .boxed()
    } else {
        (env, mounts, ports).boxed()
    };
    (word(), lists, proptest::collection::vec(word(), 0..3), proptest::option::of(any::<bool>()))
        .prop_map(move |(image, (env, mounts, ports), command, privileged)| {
            without_null(json!({
                "name": name, "image": image, "env": env, "volumeMounts": mounts, "ports": ports, "command": command,
                "securityContext": privileged.map(|privileged| json!({"privileged": privileged})),
            }))
        })
        .boxed()
}

/// A list as a patch: sometimes items are deleted, sometimes the list is replaced as a whole.
fn list_patch(list: BoxedStrategy<Value>, key: &'static str) -> BoxedStrategy<Value> {
    (list, proptest::collection::vec(0u8..4, 8), 0u8..6)
        .prop_map(move |(list, deletes, replace)| {
            let items = list.as_array().unwrap().iter().zip(deletes.iter().cycle());
            let mut items: Vec<Value> = items
                .map(|(item, delete)| match delete {
                    0 => json!({key: item[key], "$patch": "delete"}),
                    _ => item.clone(),
                })
                .collect();
            if replace == 0 {
                items.push(json!({"$patch": "replace"}));
            }
            Value::Array(items)
        })
        .boxed()
}

fn with(mut value: Value, key: &str, item: Value) -> Value {
    value[key] = item;
    value
}

fn without_null(value: Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(map.into_iter().filter(|(_, value)| !value.is_null()).collect()),
        other => other,
    }
}
