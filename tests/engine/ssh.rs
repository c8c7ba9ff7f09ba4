//! The way through SSH, with a server of the test's own on a loopback port.

use std::path::Path;
use std::sync::Arc;

use deskrun::engine::podman::{PodmanAddress, PodmanEngine};
use deskrun::engine::{Engine, EngineError, Observation};
use futures::StreamExt;
use libtest_mimic::Trial;

use crate::bench::{Behaviour, Bench};
use crate::conformance::{GRACE, runner, secret};
use crate::podman_bench::PodmanBench;
use crate::ssh_server::SshServer;
use crate::watcher::Watcher;

pub fn trials(bench: Option<&Arc<PodmanBench>>, runtime: &tokio::runtime::Runtime) -> Vec<Trial> {
    let test =
        |bench: Arc<PodmanBench>| async move { a_host_is_reached_through_ssh_and_only_with_its_own_key(&bench).await };
    vec![crate::trial(
        "a_host_is_reached_through_ssh_and_only_with_its_own_key",
        "podman",
        bench.cloned(),
        runtime,
        test,
    )]
}

fn engine(server: &SshServer, socket: &Path, identity: &str) -> PodmanEngine {
    PodmanEngine::new(&PodmanAddress::new(&server.host(socket, identity), None).unwrap())
}

async fn a_host_is_reached_through_ssh_and_only_with_its_own_key(bench: &PodmanBench) {
    let mut server = SshServer::new(bench.folder.path().join("ssh")).await;
    let socket = bench.podman.socket();
    let refusal = |engine: PodmanEngine| async move {
        match engine.sweep("nobody").await.unwrap_err() {
            EngineError::Refused { message, .. } => message,
            other => panic!("{other:?}"),
        }
    };

    let message = refusal(engine(&server, &socket, "client")).await;
    assert!(message.contains("is not known") && message.contains("ssh-keyscan -p"), "{message}");
    server.know("stranger");
    let message = refusal(engine(&server, &socket, "client")).await;
    assert!(message.contains("is not the one in") && message.contains("ssh-keygen -R"), "{message}");
    let said = engine(&server, &socket, "client").observe().next().await;
    assert!(matches!(&said, Some(Observation::Unreachable(words)) if words.contains("ssh-keygen -R")), "{said:?}");
    server.know("host");
    let message = refusal(engine(&server, &socket, "stranger")).await;
    assert!(message.contains("does not let") && message.contains("authorized_keys"), "{message}");
    let message = refusal(engine(&server, &socket, "no-such-key")).await;
    assert!(message.contains("there is no private key"), "{message}");
    let elsewhere = engine(&server, Path::new("/no/such/podman.sock"), "client").sweep("nobody").await.unwrap_err();
    assert!(matches!(elsewhere, EngineError::Unreachable { .. }), "{elsewhere:?}");

    let remote = engine(&server, &socket, "client");
    let runner = runner("remote", Behaviour::Waits);
    let mut watcher = Watcher::new(&remote).await;
    remote.ensure(&bench.manifest(&runner), &secret()).await.unwrap();
    watcher.until_running(&runner.name).await;

    // The connection breaks; the next one is opened without being asked for.
    server.stop().await;
    while !matches!(watcher.next().await, Observation::Unreachable(_)) {}
    server.start().await;
    while !matches!(watcher.next().await, Observation::Snapshot(_)) {}
    watcher.until_running(&runner.name).await;
    remote.remove(&runner.name, GRACE).await.unwrap();
    watcher.until_gone(&runner.name).await;
    assert_eq!(bench.leftovers(&runner.name).await, Vec::<String>::new());
}
