//! The flagship's manifest as the project itself renders it, against what Podman says it made of it.

use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;

use deskrun::demo::IMAGE;
use deskrun::manifest::{EngineKind, RunnerManifest};
use libtest_mimic::Trial;
use serde_json::json;

use crate::bench::Bench;
use crate::conformance::{GRACE, secret};
use crate::inspected::compare;
use crate::podman_bench::PodmanBench;
use crate::support::pipeline;
use crate::watcher::Watcher;

const SLOT: u32 = 1;

pub fn trials(bench: Option<&Arc<PodmanBench>>, runtime: &tokio::runtime::Runtime) -> Vec<Trial> {
    let test = |bench: Arc<PodmanBench>| async move { the_flagship_runs_as_its_manifest_says(&bench).await };
    vec![crate::trial("the_flagship_runs_as_its_manifest_says", "podman", bench.cloned(), runtime, test)]
}

/// Every kind of cache that Podman can do, in a folder that stands for the host's disk.
fn spec(host: &Path) -> String {
    let host = host.display();
    json!({
        "containerMode": "cached-privileged-kubernetes",
        "image": IMAGE,
        "maxRunners": 2,
        "cachePaths": [
            {"source": format!("{host}/nix-store"), "target": "/nix/store-host"},
            {"source": format!("{host}/nix-daemon"), "target": "/nix/var/nix/daemon-socket-host"},
            {"source": format!("{host}/docker"), "target": "/var/lib/docker"},
            {"source": format!("{host}/new/cargo"), "target": "/home/runner/.cargo"},
            {"source": format!("{host}/settings"), "target": "/etc/settings", "type": "File", "readOnly": true},
            {"source": format!("{host}/service.sock"), "target": "/run/service.sock", "type": "Socket"},
            {"source": format!("{host}/models"), "target": "/models", "type": "Directory", "readOnly": true},
            {"source": "", "target": "/tmp/builds"},
        ],
    })
    .to_string()
}

fn manifest(host: &Path) -> RunnerManifest {
    let mut manifest = pipeline::manifest(&spec(host), EngineKind::Podman, SLOT).expect("a manifest");
    // The machine of this test has no Nix: what a spec cannot change lies in the test's folder as well.
    let pod = std::sync::Arc::make_mut(&mut manifest.pod);
    let volumes = pod["spec"]["volumes"].as_array_mut().expect("a list");
    let profiles = volumes.iter_mut().find(|volume| volume["name"] == "nix-profiles").expect("profiles");
    profiles["hostPath"]["path"] = json!(host.join("nix-profiles"));
    // The stand-in would end at once: no GitHub is here.
    let runner = &mut pod["spec"]["containers"][0];
    let stay = json!({"name": "DESKRUN_STAND_IN_MISBEHAVE", "value": "never-online"});
    runner["env"].as_array_mut().expect("a list").push(stay);
    manifest
}

async fn the_flagship_runs_as_its_manifest_says(bench: &PodmanBench) {
    let host = bench.folder.path().join("nvme");
    for folder in ["nix-store", "nix-daemon", "nix-profiles", "models"] {
        std::fs::create_dir_all(host.join(folder)).unwrap();
    }
    std::fs::write(host.join("settings"), "colour = never\n").unwrap();
    std::fs::write(host.join("nix-store/tool"), "a tool\n").unwrap();
    let _socket = UnixListener::bind(host.join("service.sock")).unwrap();
    let manifest = manifest(&host);
    let name = manifest.name.as_str();
    let engine = bench.engine();
    assert_eq!(engine.unhonoured(&manifest), Vec::new());
    engine.ensure(&manifest, &secret()).await.unwrap();
    let seen = Watcher::new(&*engine).await.until_running(name).await;
    assert_eq!(seen.owner.slot_pools, [host.join("docker").display().to_string()]);

    let inspected = bench.inspect(name).await;
    compare(&manifest.pod, &inspected, secret().expose());
    assert!(host.join("docker-1").is_dir() && host.join("new/cargo").is_dir(), "directories are made");

    let run = |script: &'static str| bench.execute(name, script);
    assert_eq!(run("cat /nix/store/tool /etc/settings").await.unwrap(), "a tool\ncolour = never\n");
    for script in [
        "echo x >/nix/store/x",
        "echo x >/nix/store-host/x",
        "echo x >/etc/settings",
        "echo x >/models/x",
        "echo x >/nix/var/nix/profiles/x",
    ] {
        let refused = run(script).await.unwrap_err();
        assert!(refused.contains("Read-only file system"), "{script}: {refused}");
    }
    assert_eq!(
        run("test -S /run/service.sock && stat -c %u /home/runner/.cargo /tmp/builds").await.unwrap(),
        "1001\n1001\n"
    );
    assert_eq!(run("ls -l /usr/local/sbin/systemctl | cut -c1-10").await.unwrap(), "-rwxr-xr-x\n");
    run("echo kept >/home/runner/.cargo/crate && echo lost >/tmp/builds/object").await.unwrap();

    // Privileged, but the process is the runner's user, and has its JIT config.
    assert_eq!(run("stat -c %u /proc/1").await.unwrap(), "1001\n");
    assert_eq!(inspected["HostConfig"]["Privileged"], true);
    let environment = run("tr '\\0' '\\n' </proc/1/environ").await.unwrap();
    assert!(environment.contains(secret().expose()));

    engine.remove(name, GRACE).await.unwrap();
    assert_eq!(bench.leftovers(name).await, Vec::<String>::new());
    assert_eq!(std::fs::read_to_string(host.join("new/cargo/crate")).unwrap(), "kept\n");
}
