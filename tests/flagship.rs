//! The flagship mode: what the two-key form of a spec gives, whatever the order and the sources of its caches.

mod support;

use deskrun::manifest::EngineKind;
use proptest::prelude::*;
use serde_json::{Value, json};
use support::checker;
use support::command::deskrun_with_input;
use support::pipeline::{manifest, mounted, objects};

/// The two-key form, as it is written by the first user.
const SEED: &str = r#"containerMode: cached-privileged-kubernetes
cachePaths:
  - source: "/nvme/nix-store"
    target: "/nix/store-host"
  - source: "/nvme/nix-daemon"
    target: "/nix/var/nix/daemon-socket-host"
  - source: "/nvme/docker-cache"
    target: "/var/lib/docker"
  - source: "/nvme/cargo-cache"
    target: "/home/runner/.cargo"
  - source: ""
    target: "/tmp/builds"
"#;

#[test]
fn the_two_key_form_renders_the_flagship_pod_as_it_stands() {
    let finished = deskrun_with_input(std::path::Path::new("."), &["render", "-", "-o", "json"], Some(SEED));
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    let list: Value = serde_json::from_str(&finished.stdout).unwrap();
    let pod = list["items"].as_array().unwrap().iter().find(|object| object["kind"] == "Pod").unwrap();
    let runner = &pod["spec"]["containers"][0];
    assert_eq!(
        runner["securityContext"],
        json!({
            "privileged": true, "allowPrivilegeEscalation": true, "readOnlyRootFilesystem": false, "runAsNonRoot": false,
        })
    );
    for (target, volume, read_only) in [
        ("/nix/store-host", json!({"path": "/nvme/nix-store", "type": "Directory"}), true),
        ("/nix/store", json!({"path": "/nvme/nix-store", "type": "Directory"}), true),
        ("/nix/var/nix/daemon-socket-host", json!({"path": "/nvme/nix-daemon", "type": "Directory"}), false),
        ("/var/lib/docker", json!({"path": "/nvme/docker-cache", "type": "DirectoryOrCreate"}), false),
        ("/home/runner/.cargo", json!({"path": "/nvme/cargo-cache", "type": "DirectoryOrCreate"}), false),
    ] {
        let (mount, found) = mounted(pod, target).unwrap_or_else(|| panic!("nothing at {target}"));
        assert_eq!(found["hostPath"], volume, "{target}");
        assert_eq!(mount["readOnly"] == true, read_only, "{target}");
    }
    assert_eq!(mounted(pod, "/tmp/builds").unwrap().1["emptyDir"], json!({}));
    for (name, value) in [
        ("ACTIONS_RUNNER_REQUIRE_JOB_CONTAINER", "false"),
        ("ACTIONS_RUNNER_CONTAINER_HOOKS", "/home/runner/k8s-novolume/index.js"),
        ("NIX_REMOTE", "daemon"),
    ] {
        let found = runner["env"].as_array().unwrap().iter().find(|item| item["name"] == name);
        assert_eq!(found.unwrap_or_else(|| panic!("no {name}"))["value"], value);
    }
}

#[test]
fn two_runners_of_one_scale_set_have_a_docker_root_each_and_share_the_cargo_cache() {
    let spec = format!("{SEED}maxRunners: 2\n");
    let source = |slot: u32, target: &str| {
        let manifest = manifest(&spec, EngineKind::Kubernetes, slot).unwrap();
        mounted(&manifest.pod, target).unwrap().1["hostPath"]["path"].as_str().unwrap().to_owned()
    };
    assert_eq!(source(0, "/var/lib/docker"), "/nvme/docker-cache");
    assert_eq!(source(1, "/var/lib/docker"), "/nvme/docker-cache-1");
    assert_eq!(source(0, "/home/runner/.cargo"), source(1, "/home/runner/.cargo"));
}

proptest! {
    #[test]
    fn mounts_follow_their_entries_in_any_order_and_from_any_source(
        order in Just((0..5usize).collect::<Vec<_>>()).prop_shuffle(),
        names in proptest::collection::btree_set("[a-z][a-z0-9]{2,7}", 5),
        slot in 0u32..4,
    ) {
        let targets =
            ["/nix/store-host", "/nix/var/nix/daemon-socket-host", "/var/lib/docker", "/home/runner/.cargo", "/tmp/builds"];
        let sources: Vec<String> = names.iter().map(|name| format!("/nvme/{name}")).collect();
        let source = |index: usize| if index == 4 { "" } else { sources[index].as_str() };
        let entries: Vec<Value> =
            order.iter().map(|index| json!({"source": source(*index), "target": targets[*index]})).collect();
        let spec = json!({"containerMode": "cached-privileged-kubernetes", "cachePaths": entries}).to_string();
        let manifest = manifest(&spec, EngineKind::Kubernetes, slot).unwrap();
        prop_assert_eq!(checker::check(&objects(&manifest)), Vec::<String>::new());
        for (index, target) in targets.iter().enumerate() {
            let (_, volume) = mounted(&manifest.pod, target).unwrap();
            if index == 4 {
                prop_assert_eq!(&volume["emptyDir"], &json!({}));
            } else {
                let suffix = if index == 2 && slot > 0 { format!("-{slot}") } else { String::new() };
                prop_assert_eq!(&volume["hostPath"]["path"], &json!(format!("{}{suffix}", source(index))));
            }
        }
    }
}
