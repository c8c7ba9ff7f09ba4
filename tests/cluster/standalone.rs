//! `deskrun run --engine kubernetes`: pods of a cluster, without an operator or a custom resource in it.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, ServiceAccount};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::ListParams;
use kube::{Api, ResourceExt};

use crate::world::{SECRET, TOKEN, World};
use crate::{Cluster, Trials};

pub fn add(trials: Trials<'_>) -> Trials<'_> {
    trials
        .test("a_controller_outside_the_cluster_runs_jobs_and_leaves_nothing", jobs_run)
        .test("flags_of_a_cluster_need_the_engine_that_has_one", flags_of_a_cluster)
}

/// Killed when the test is over, however it ends.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn command(cluster: &Cluster, folder: &std::path::Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_deskrun"));
    command.args(arguments).current_dir(folder).env_clear().stdin(Stdio::null());
    command.env("KUBECONFIG", cluster.control_plane.kubeconfig()).env("HOME", folder);
    command
}

async fn jobs_run(cluster: Arc<Cluster>) {
    let world = World::new(cluster).await;
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("token"), TOKEN).expect("a file");
    let scale_set = format!(
        "apiVersion: deskrun.dev/v1alpha1\nkind: RunnerScaleSet\nmetadata: {{name: alone}}\nspec:\n  \
         githubConfigUrl: {}/acme\n  containerMode: kubernetes-novolume\n  credentials: {{patFile: token}}\n",
        world.url
    );
    std::fs::write(folder.path().join("alone.yaml"), scale_set).expect("a file");
    let arguments = ["run", "-f", "alone.yaml", "--engine", "kubernetes", "-n", &world.namespace];
    let log = std::fs::File::create(folder.path().join("log")).expect("a file");
    let started = command(&world.cluster, folder.path(), &arguments).stderr(log).spawn().expect("it starts");
    let mut controller = Process(started);
    world.until("a session", |world| !world.simulator.ledger()["sessions"].as_array().is_none_or(Vec::is_empty)).await;

    let jobs = world.queue("alone", 3, "sleep 2");
    let pods: Api<Pod> = world.api();
    let noted = || async {
        let list = pods.list(&ListParams::default()).await.expect("a list");
        let jobs = list.items.iter().filter_map(|pod| pod.annotations().get("deskrun.dev/job").cloned());
        jobs.collect::<Vec<_>>()
    };
    let end = tokio::time::Instant::now() + Duration::from_mins(1);
    while noted().await.len() < 3 {
        assert!(tokio::time::Instant::now() < end, "{:?}", noted().await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    world.until_jobs_end().await;
    world.assert_each_ran_once(&jobs);
    world.until("the end", |world| world.jobs().iter().all(|job| job["conclusion"] == "success")).await;
    let stopped = Command::new("kill").args(["-TERM", &controller.0.id().to_string()]).status().expect("it is told");
    assert!(stopped.success());
    let ended = tokio::task::spawn_blocking(move || controller.0.wait()).await.expect("no panic").expect("it ends");
    let log = std::fs::read_to_string(folder.path().join("log")).expect("a log");
    assert_eq!(ended.code(), Some(0), "{log}");
    assert!(!log.contains(TOKEN), "{log}");
    let mut left = world.names::<Pod>().await;
    left.extend(world.names::<Secret>().await.into_iter().filter(|name| name != SECRET));
    left.extend(world.names::<ConfigMap>().await.into_iter().filter(|name| name != "kube-root-ca.crt"));
    left.extend(world.names::<ServiceAccount>().await.into_iter().filter(|name| name != "default"));
    left.extend(world.names::<Role>().await);
    left.extend(world.names::<RoleBinding>().await);
    // The world's own: an operator's account and permissions.
    left.retain(|name| name != "deskrun" && !name.starts_with("deskrun-"));
    assert_eq!(left, Vec::<String>::new(), "{log}");
}

async fn flags_of_a_cluster(cluster: Arc<Cluster>) {
    let folder = tempfile::tempdir().expect("a folder");
    let scale_set = "containerMode: dind\n";
    std::fs::write(folder.path().join("alone.yaml"), scale_set).expect("a file");
    let arguments = ["run", "-f", "alone.yaml", "-n", "here", "--engine", "memory"];
    let output = command(&cluster, folder.path(), &arguments).output().expect("it runs");
    let stderr = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("give `--engine kubernetes` as well"), "{stderr}");
}
