//! Random specs: valid ones give manifests in which the checker finds nothing, on both engines; the rest is refused
//! and nothing panics.

mod support;

use deskrun::manifest::EngineKind;
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use support::checker;
use support::pipeline::{objects, prepared, runner, scale_set};

const MODES: &[&str] = &["kubernetes", "kubernetes-novolume", "dind", "cached-privileged-kubernetes"];

/// The same cases in every run, so that a red build is red again; `PROPTEST_CASES` and `DESKRUN_SEED` ask for others.
fn config() -> ProptestConfig {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse().ok());
    ProptestConfig {
        cases: number("PROPTEST_CASES").map_or(400, |cases: u64| u32::try_from(cases).unwrap_or(u32::MAX)),
        rng_seed: proptest::test_runner::RngSeed::Fixed(number("DESKRUN_SEED").unwrap_or(20_261_121)),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_checker_finds_nothing_in_the_manifests_of_valid_specs(spec in valid_spec(), slot in 0u32..3) {
        let scale_set = scale_set(&spec.to_string()).map_err(TestCaseError::fail)?;
        let mode = spec["containerMode"].as_str().unwrap_or_default();
        let kubernetes = prepared(&scale_set, EngineKind::Kubernetes, &[]).map_err(TestCaseError::fail)?;
        prop_assert_eq!(checker::check(&objects(&kubernetes.fill(&runner(slot)))), Vec::<String>::new());
        let podman = prepared(&scale_set, EngineKind::Podman, &[]);
        if mode.starts_with("kubernetes") {
            prop_assert!(podman.is_err());
        } else {
            let manifest = podman.map_err(TestCaseError::fail)?.fill(&runner(slot));
            prop_assert_eq!(checker::check(&objects(&manifest)), Vec::<String>::new());
            // An emptyDir is a volume of its name under Podman: it must be the runner's own.
            for volume in manifest.pod["spec"]["volumes"].as_array().into_iter().flatten() {
                let name = volume["name"].as_str().unwrap_or_default();
                prop_assert!(volume.get("emptyDir").is_none() || name.ends_with("x9d4m"), "{}", name);
            }
        }
    }

    #[test]
    fn a_filled_manifest_has_no_hole_left_and_names_no_other_runner(spec in valid_spec(), slot in 0u32..3) {
        let scale_set = scale_set(&spec.to_string()).map_err(TestCaseError::fail)?;
        let prepared = prepared(&scale_set, EngineKind::Kubernetes, &[]).map_err(TestCaseError::fail)?;
        let text = prepared.fill(&runner(slot + 1)).pod.to_string();
        prop_assert!(!text.contains(('\u{E000}'..='\u{E1FF}').collect::<Vec<_>>().as_slice()), "a hole or mark is left");
        prop_assert!(!text.contains(runner(slot).name.as_str()), "another runner's name is in the pod");
        prop_assert!(text.contains(runner(slot + 1).name.as_str()));
    }

    #[test]
    fn no_input_makes_the_program_panic(text in hostile_text()) {
        let _ = scale_set(&text).and_then(|scale_set| prepared(&scale_set, EngineKind::Kubernetes, &[]));
    }

    #[test]
    fn a_spec_with_random_values_is_refused_or_rendered_but_never_wrong(
        spec in valid_spec(), key in field_name(), value in any_value(),
    ) {
        let mut spec = spec;
        spec[&key] = value;
        if let Ok(scale_set) = scale_set(&spec.to_string())
            && let Ok(prepared) = prepared(&scale_set, EngineKind::Kubernetes, &[]) {
                prop_assert_eq!(checker::check(&objects(&prepared.fill(&runner(0)))), Vec::<String>::new(), "{}", spec);
            }
    }
}

fn valid_spec() -> impl Strategy<Value = Value> {
    let caches = proptest::collection::btree_map(0..TARGETS.len(), cache_options(), 0..TARGETS.len());
    let flags = proptest::collection::vec(any::<bool>(), 8);
    (proptest::sample::select(MODES.to_vec()), caches, flags, 1u32..5, 3u32..9).prop_map(
        |(mode, caches, flags, instances, max_runners)| {
            let flagship = mode == "cached-privileged-kubernetes";
            let entries: Vec<Value> = caches.into_iter().map(|(index, options)| cache(index, &options)).collect();
            let mut spec = Map::new();
            spec.insert("containerMode".into(), json!(mode));
            spec.insert("cachePaths".into(), json!(entries));
            spec.insert("maxRunners".into(), json!(max_runners));
            let optional = [
                (flags[0], "instances", json!(instances)),
                (flags[1], "runAsRoot", json!(true)),
                (flags[2] && flagship, "containerHooks", json!(false)),
                (flags[3] && flagship, "nix", json!({"inPlace": flags[0], "experimentalFeatures": ["flakes"]})),
                (flags[4] && flagship, "docker", json!({"start": "job-started"})),
                (flags[5], "proxy", json!({"https": "http://proxy:3128", "noProxy": ["a", "b"]})),
                (flags[6], "nodeSelector", json!({"disk": "nvme"})),
                (flags[7], "jobHooks", json!({"started": "echo \"{{ a }}\"\n", "completed": "echo done: # \n"})),
            ];
            for (_, key, value) in optional.into_iter().filter(|(on, _, _)| *on) {
                spec.insert(key.into(), value);
            }
            Value::Object(spec)
        },
    )
}

const TARGETS: &[&str] = &[
    "/home/runner/.cargo",
    "/home/runner/.cargo/registry",
    "/var/lib/docker",
    "/home/runner/.gradle",
    "/tmp/builds",
    "/opt/hostedtoolcache",
    "/mnt/a",
    "/mnt/a/b",
    "/mnt/y",
    "/var/lib/buildkit",
];

fn cache_options() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(0u8..4, 4)
}

/// An entry that is valid beside any other of [`TARGETS`]: each has a source of its own, and parents stay writable.
fn cache(index: usize, options: &[u8]) -> Value {
    let target = TARGETS[index];
    let data_root = target.starts_with("/var/lib");
    let parent = matches!(target, "/home/runner/.cargo" | "/mnt/a");
    let mut entry = json!({"target": if options[0] == 0 { format!("{target}/") } else { target.to_owned() }});
    entry["source"] = match options[1] {
        0 => json!(""),
        1 => json!(format!("/nvme/c{index}x/{{scaleSet}}")),
        2 => json!(format!("/nvme/c{index}x/{{slot}}/data")),
        _ => json!(format!("/nvme/c{index}x")),
    };
    match (options[1], options[2]) {
        (0, 0) => entry["sizeLimit"] = json!("1Gi"),
        (0, _) => {}
        (_, 0) => entry["type"] = json!("Directory"),
        (_, 1) if !data_root && !parent => entry["readOnly"] = json!(true),
        (_, 2) => entry["exclusive"] = json!(true),
        _ => {}
    }
    entry
}

fn hostile_text() -> impl Strategy<Value = String> {
    let pieces = proptest::sample::select(vec![
        "containerMode: ",
        "dind",
        "\n",
        "  ",
        "- ",
        "cachePaths:",
        "{",
        "}",
        "[",
        "]",
        ": ",
        "&a ",
        "*a",
        "<<: ",
        "\"",
        "'",
        "|\n",
        "---\n",
        "!!int ",
        "\u{E100}n\u{E101}",
        "target: ",
        "source: ",
        "null",
        "1e999",
        "\t",
        "#",
        "{{",
        "%}",
        "apiVersion: deskrun.dev/v1alpha1",
        "kind: RunnerScaleSet",
        "spec:",
        "\u{0}",
        "é",
    ]);
    proptest::collection::vec(pieces, 0..40).prop_map(|pieces| pieces.concat())
}

fn field_name() -> impl Strategy<Value = String> {
    proptest::sample::select(vec![
        "containerMode",
        "cachePaths",
        "image",
        "labels",
        "nix",
        "docker",
        "template",
        "hookTemplate",
        "layers",
        "tls",
        "proxy",
        "resources",
        "affinity",
        "tolerations",
        "timeouts",
        "nodeSelector",
        "instances",
        "minRunners",
        "unknown",
    ])
    .prop_map(str::to_owned)
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[ -~]{0,12}".prop_map(Value::from),
        Just(json!("\n}}{{ x: y")),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        let key =
            proptest::sample::select(vec!["name", "spec", "containers", "source", "target", "inline", "enabled", "x"]);
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(key.prop_map(str::to_owned), inner, 0..4).prop_map(|map| json!(map)),
        ]
    })
}
