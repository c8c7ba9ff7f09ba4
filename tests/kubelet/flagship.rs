//! The flagship's manifest as the project itself renders it and the engine makes it, seen from inside the container.

use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use deskrun::demo::IMAGE;
use deskrun::engine::kubernetes::{KubernetesEngine, Scope};
use deskrun::engine::{Engine, Observation, RunnerPhase};
use deskrun::manifest::EngineKind;
use deskrun::secret::Secret;
use futures::StreamExt;
use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::Machine;
use crate::cluster::NODE;
use crate::support::pipeline;

const SLOT: u32 = 1;
const CONFIG: &str = "a-config-of-a-test";
/// Says what the container sees. A line that begins with `!` is something that ought not to be.
const SCRIPT: &str = r#"
while read -r line; do echo "mount $line"; done </proc/self/mountinfo
echo "user $(id -u)"
grep CapBnd /proc/1/status
cat /nix/store/tool /etc/settings
for file in /nix/store/x /nix/store-host/x /etc/settings /models/x /nix/var/nix/profiles/x; do
    if echo x 2>/dev/null >"$file"; then echo "! $file is written"; fi
done
test -S /run/service.sock || echo "! no socket"
echo "owners $(stat -c %u /home/runner/.cargo /var/lib/docker /tmp/builds | tr '\n' ' ')"
test -x /usr/local/sbin/systemctl || echo "! no systemctl"
echo kept >/home/runner/.cargo/crate
echo lost >/tmp/builds/object
sed 's/^/template /' "$ACTIONS_RUNNER_CONTAINER_HOOK_TEMPLATE"
test "$ACTIONS_RUNNER_INPUT_JITCONFIG" = a-config-of-a-test || echo "! another config"
test -s /var/run/secrets/kubernetes.io/serviceaccount/token || echo "! no token for the hooks"
"#;

pub fn trials(machine: Option<&Arc<Machine>>, runtime: &tokio::runtime::Runtime) -> Vec<Trial> {
    let test = |machine: Arc<Machine>| async move { the_flagship_runs(&machine).await };
    vec![crate::trial("the_flagship_runs_as_its_manifest_says_and_leaves_only_its_caches", machine, runtime, test)]
}

/// Makes what the caches of [`scale_set`] need in a folder that stands for a node's disk; it.
pub fn host_folder(host: &Path) -> PathBuf {
    for folder in ["nix-store", "nix-daemon", "nix-profiles", "models"] {
        std::fs::create_dir_all(host.join(folder)).expect("a folder");
    }
    std::fs::write(host.join("settings"), "colour = never\n").expect("a file");
    std::fs::write(host.join("nix-store/tool"), "a tool\n").expect("a file");
    // It stays when the listener goes.
    drop(UnixListener::bind(host.join("service.sock")).expect("a socket"));
    host.to_owned()
}

/// The flagship with every kind of cache that a node has.
pub fn scale_set(name: &str, namespace: &str, host: &Path) -> Value {
    let host = |path: &str| host.join(path).display().to_string();
    json!({
        "apiVersion": "deskrun.dev/v1alpha1",
        "kind": "RunnerScaleSet",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "containerMode": "cached-privileged-kubernetes",
            "image": IMAGE,
            "maxRunners": 2,
            "cachePaths": [
                {"source": host("nix-store"), "target": "/nix/store-host"},
                {"source": host("nix-daemon"), "target": "/nix/var/nix/daemon-socket-host"},
                {"source": host("docker"), "target": "/var/lib/docker"},
                {"source": host("new/cargo"), "target": "/home/runner/.cargo"},
                {"source": host("settings"), "target": "/etc/settings", "type": "File", "readOnly": true},
                {"source": host("service.sock"), "target": "/run/service.sock", "type": "Socket"},
                {"source": host("models"), "target": "/models", "type": "Directory", "readOnly": true},
                {"source": "", "target": "/tmp/builds"},
            ],
            // This machine may have no Nix.
            "template": {"spec": {"volumes": [{"name": "nix-profiles", "hostPath": {"path": host("nix-profiles")}}]}},
        },
    })
}

async fn the_flagship_runs(machine: &Machine) {
    let host = host_folder(&machine.kubelet.folder().join("nvme"));
    let namespace = machine.control_plane.namespace(&[]).await;
    let mut scale_set = scale_set("metal", &namespace, &host);
    // No GitHub is here.
    scale_set["spec"]["template"]["spec"]["containers"] =
        json!([{"name": "runner", "command": ["/bin/sh", "-c", SCRIPT]}]);
    let manifest = pipeline::manifest(&scale_set.to_string(), EngineKind::Kubernetes, SLOT).expect("a manifest");
    let engine = KubernetesEngine::new(machine.control_plane.client(), Scope::Namespace(namespace.clone()));
    let name = manifest.name.as_str();
    assert_eq!(engine.unhonoured(&manifest), []);
    engine.ensure(&manifest, &Secret::new(CONFIG)).await.expect("it is made");
    let ended = tokio::time::timeout(Duration::from_mins(2), until_ended(&engine, name)).await;
    let said = machine.kubelet.last_words();
    let ended = ended.unwrap_or_else(|_| panic!("it does not end:\n{said}"));
    let logs = engine.logs(name, 500).await.expect("logs");
    assert!(matches!(ended, RunnerPhase::Exited { code: 0, .. }), "{ended:?}:\n{logs}");

    let lines: Vec<&str> = logs.lines().collect();
    let wrong: Vec<&&str> = lines.iter().filter(|line| line.starts_with('!')).collect();
    assert_eq!(wrong, Vec::<&&str>::new(), "{logs}");
    for line in ["user 1001", "a tool", "colour = never", "owners 1001 0 0 "] {
        assert!(lines.contains(&line), "no `{line}` in:\n{logs}");
    }
    // Privileged: a process of root may become all that this machine lets it be.
    let bounds = std::fs::read_to_string("/proc/self/status").expect("it is there");
    let bounds = bounds.lines().find(|line| line.starts_with("CapBnd")).expect("a line");
    assert!(lines.contains(&bounds), "no `{bounds}` in:\n{logs}");
    // The copy of the hook's template knows the one runner: its node and the directory of its slot.
    let template: Vec<&str> = lines.iter().filter_map(|line| line.strip_prefix("template ")).collect();
    assert!(
        template.iter().any(|line| line.trim_start_matches([' ', '-', '"']).trim_end_matches('"') == NODE),
        "{logs}"
    );
    assert!(!template.iter().any(|line| line.contains("@DESKRUN")), "{logs}");
    let mounts: Vec<&str> = lines.iter().filter_map(|line| line.strip_prefix("mount ")).collect();
    compare(&manifest.pod, &mounts);

    engine.remove(name, Duration::from_secs(5)).await.expect("it is removed");
    assert_eq!(std::fs::read_to_string(host.join("new/cargo/crate")).unwrap(), "kept\n");
    assert!(host.join("docker-1").is_dir(), "the slot's directory is made, and stays");
}

async fn until_ended(engine: &KubernetesEngine, name: &str) -> RunnerPhase {
    let mut observations = engine.observe();
    while let Some(observation) = observations.next().await {
        let seen = match observation {
            Observation::Snapshot(runners) => runners,
            Observation::Changed(runner) => vec![runner],
            _ => Vec::new(),
        };
        if let Some(runner) = seen.into_iter().find(|runner| runner.name == name && runner.phase.has_ended()) {
            return runner.phase;
        }
    }
    panic!("the engine observes no more")
}

/// Every mount of a pod's runner is there, from where it says, and can be written where it says. `lines` are those of the
/// container's `/proc/self/mountinfo`.
pub fn compare(pod: &Value, lines: &[&str]) {
    const ROOT: usize = 3;
    const POINT: usize = 4;
    const OPTIONS: usize = 5;
    let mounts: Vec<Vec<&str>> = lines.iter().map(|line| line.split(' ').collect()).collect();
    for mount in pod["spec"]["containers"][0]["volumeMounts"].as_array().expect("a list") {
        let target = mount["mountPath"].as_str().expect("a path");
        // What is mounted last is what is seen.
        let found = mounts.iter().rev().find(|fields| fields[POINT] == target);
        let found = found.unwrap_or_else(|| panic!("nothing is mounted at {target}"));
        let read_only = found[OPTIONS].split(',').any(|option| option == "ro");
        assert_eq!(read_only, mount["readOnly"] == true, "{target}: {found:?}");
        let volumes = pod["spec"]["volumes"].as_array().expect("a list");
        let volume = volumes.iter().find(|volume| volume["name"] == mount["name"]).expect("a volume");
        if let Some(source) = volume["hostPath"]["path"].as_str() {
            // The path within its file system, which may be mounted anywhere.
            assert!(source.ends_with(found[ROOT]), "{target} is {found:?}, not {source}");
        }
    }
}
