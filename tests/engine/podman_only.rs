//! What only Podman does, or only Podman does so.

use std::sync::Arc;
use std::time::Duration;

use deskrun::demo::IMAGE;
use deskrun::engine::podman::{PathKind, PodmanAddress, PodmanEngine, Trial};
use deskrun::engine::{Engine, EngineError, RunnerPhase};
use libtest_mimic::Trial as Test;
use serde_json::json;

use crate::bench::{Behaviour, Bench};
use crate::conformance::{GRACE, runner, secret};
use crate::podman_bench::PodmanBench;
use crate::support::command::deskrun;
use crate::watcher::Watcher;

pub fn trials(bench: Option<&Arc<PodmanBench>>, runtime: &tokio::runtime::Runtime) -> Vec<Test> {
    macro_rules! trials {
        ($($name:ident),* $(,)?) => {
            vec![$(crate::trial(stringify!($name), "podman", bench.cloned(), runtime, |bench| async move { $name(&bench).await })),*]
        };
    }
    trials![
        the_secret_is_gone_when_the_runner_is_made,
        a_volume_that_runners_share_goes_with_the_last_of_them,
        what_podman_refuses_is_told_with_its_reason_and_leaves_nothing,
        a_runner_whose_monitor_was_killed_has_failed_and_can_be_removed,
        a_socket_that_is_not_podmans_is_refused_in_words,
        what_is_not_deskruns_is_left_alone,
        a_host_tells_what_it_is_and_a_container_what_it_sees_of_it,
        the_doctor_finds_what_a_host_lacks,
    ]
}

async fn a_host_tells_what_it_is_and_a_container_what_it_sees_of_it(bench: &PodmanBench) {
    let engine = bench.podman_engine();
    let host = engine.host().await.unwrap();
    assert!(host.version.starts_with(['4', '5']) && host.cgroups.starts_with('v'), "{host:?}");
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("file"), "").unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
    let paths = [path(""), path("file"), path("socket"), path("none")];
    let seen = engine.try_out(IMAGE, &paths).await.unwrap();
    assert_eq!(seen, Trial::Saw(vec![PathKind::Directory, PathKind::File, PathKind::Socket, PathKind::Missing]));
    assert_eq!(engine.try_out("localhost/no-such-image:1", &paths).await.unwrap(), Trial::NoImage);
}

async fn the_doctor_finds_what_a_host_lacks(bench: &PodmanBench) {
    let folder = tempfile::tempdir().unwrap();
    let file = |caches: &str| {
        format!(
            "apiVersion: deskrun.dev/v1alpha1\nkind: RunnerScaleSet\nmetadata: {{name: metal}}\nspec:\n  \
             githubConfigUrl: https://github.com/acme\n  credentials: {{patFile: token}}\n  nix: {{enabled: false}}\n  \
             containerMode: cached-privileged-kubernetes\n  image: {IMAGE}\n  maxRunners: 1\n  cachePaths: [{caches}]\n\
             ---\napiVersion: deskrun.dev/v1alpha1\nkind: PodmanHost\nmetadata: {{name: here}}\n\
             spec: {{url: 'unix://{}', onThisHost: true}}\n",
            bench.podman.socket().display()
        )
    };
    let there = folder.path().display();
    std::fs::write(folder.path().join("token"), "ghp_example").unwrap();
    std::fs::write(folder.path().join("well.yaml"), file(&format!("{{source: {there}/made, target: /mnt/a}}")))
        .unwrap();
    let missing = format!("{{source: {there}/missing, target: /mnt/a, type: Directory}}");
    std::fs::write(folder.path().join("ill.yaml"), file(&missing)).unwrap();
    let doctor = |name: &'static str| {
        let folder = folder.path().to_owned();
        // The suite's runtime must go on.
        tokio::task::spawn_blocking(move || deskrun(&folder, &["doctor", "--offline", "-f", name]))
    };
    let well = doctor("well.yaml").await.unwrap();
    assert_eq!((well.code, well.stderr.as_str()), (Some(0), ""), "{}", well.stdout);
    assert!(well.stdout.starts_with("ok: Podman at ") && well.stdout.contains(" answers: Podman "), "{}", well.stdout);
    assert!(well.stdout.contains(&format!("ok: metal: a container of {IMAGE} starts\n")), "{}", well.stdout);
    assert!(well.stdout.contains(&format!("ok: metal: {there}/made is made by the first runner\n")), "{}", well.stdout);
    let ill = doctor("ill.yaml").await.unwrap();
    assert_eq!((ill.code, ill.stderr.as_str()), (Some(1), ""));
    let words =
        format!("problem: metal: {there}/missing is missing, and a directory is needed\nhint: make it on the host");
    assert!(ill.stdout.contains(&words), "{}", ill.stdout);
}

async fn the_secret_is_gone_when_the_runner_is_made(bench: &PodmanBench) {
    let (engine, runner) = (bench.engine(), runner("secret", Behaviour::Waits));
    engine.ensure(&bench.manifest(&runner), &secret()).await.unwrap();
    assert!(!bench.leftovers(&runner.name).await.contains(&format!("secret {}", runner.name)));
    let seen = bench.execute_as("1001", &runner.name, "tr '\\0' '\\n' </proc/1/environ").await.unwrap();
    let line = format!("ACTIONS_RUNNER_INPUT_JITCONFIG={}", secret().expose());
    assert!(seen.lines().any(|seen| seen == line));
    engine.remove(&runner.name, GRACE).await.unwrap();
}

async fn a_volume_that_runners_share_goes_with_the_last_of_them(bench: &PodmanBench) {
    let engine = bench.engine();
    let (first, second) = (runner("shares", Behaviour::Waits), runner("shares", Behaviour::Waits));
    let one = bench.manifest(&first);
    let mut other = bench.manifest(&second);
    other.companions = one.companions.clone();
    Arc::make_mut(&mut other.pod)["spec"]["volumes"][1] = one.pod["spec"]["volumes"][1].clone();
    for manifest in [&one, &other] {
        engine.ensure(manifest, &secret()).await.unwrap();
    }
    let volume = format!("volume files-{}", first.name);
    engine.remove(&first.name, GRACE).await.unwrap();
    assert_eq!(bench.leftovers(&first.name).await, [volume]);
    assert_eq!(bench.execute(&second.name, "cat /etc/files/greeting").await.unwrap(), "hello\n");
    engine.remove(&second.name, GRACE).await.unwrap();
    assert_eq!(bench.leftovers(&first.name).await, Vec::<String>::new());
}

async fn what_podman_refuses_is_told_with_its_reason_and_leaves_nothing(bench: &PodmanBench) {
    let engine = bench.engine();
    let with = |volume: serde_json::Value| {
        let runner = runner("refused", Behaviour::Waits);
        let mut manifest = bench.manifest(&runner);
        Arc::make_mut(&mut manifest.pod)["spec"]["volumes"].as_array_mut().unwrap().push(volume);
        let mount = json!({"name": "more", "mountPath": "/more"});
        Arc::make_mut(&mut manifest.pod)["spec"]["containers"][0]["volumeMounts"].as_array_mut().unwrap().push(mount);
        (runner, manifest)
    };
    let (runner, manifest) = with(json!({"name": "more", "hostPath": {"path": "/no/such", "type": "Directory"}}));
    let error = engine.ensure(&manifest, &secret()).await.unwrap_err();
    assert!(matches!(&error, EngineError::Refused { message, .. } if message.contains("/no/such")), "{error:?}");
    assert!(error.hint().is_some_and(|hint| hint.contains("make it on the Podman host")));
    assert_eq!(bench.leftovers(&runner.name).await, Vec::<String>::new());

    let (runner, mut manifest) = with(json!({"name": "more", "emptyDir": {}}));
    Arc::make_mut(&mut manifest.pod)["spec"]["containers"][0]["image"] = json!("localhost/no-such-image:1");
    let error = engine.ensure(&manifest, &secret()).await.unwrap_err();
    assert!(matches!(&error, EngineError::Failed { message, .. } if message.contains("no-such-image")), "{error:?}");
    // The names of these are the runner's, so a second try begins anew.
    assert_eq!(bench.leftovers(&runner.name).await, Vec::<String>::new());
    Arc::make_mut(&mut manifest.pod)["spec"]["containers"][0]["image"] = json!(deskrun::demo::IMAGE);
    engine.ensure(&manifest, &secret()).await.unwrap();
    engine.remove(&runner.name, GRACE).await.unwrap();

    let (runner, mut manifest) = with(json!({"name": "more", "emptyDir": {}}));
    Arc::make_mut(&mut manifest.pod)["spec"]["containers"][0]["command"] = json!(["/no/such/command"]);
    let error = engine.ensure(&manifest, &secret()).await.unwrap_err();
    assert!(matches!(&error, EngineError::Failed { message, .. } if message.contains("/no/such/command")), "{error:?}");
    assert!(!format!("{error:?}").contains(secret().expose()));
    assert_eq!(bench.leftovers(&runner.name).await, Vec::<String>::new());
}

async fn a_runner_whose_monitor_was_killed_has_failed_and_can_be_removed(bench: &PodmanBench) {
    let (engine, runner) = (bench.engine(), runner("unmonitored", Behaviour::Waits));
    engine.ensure(&bench.manifest(&runner), &secret()).await.unwrap();
    let mut watcher = Watcher::new(&*engine).await;
    watcher.until_running(&runner.name).await;
    let state = bench.inspect(&runner.name).await["State"].clone();
    let processes = [state["ConmonPid"].to_string(), state["Pid"].to_string()];
    let killed = std::process::Command::new("kill").arg("-9").args(processes).status().unwrap();
    assert!(killed.success());
    let failed = watcher.until(&runner.name, RunnerPhase::has_ended).await;
    assert!(matches!(&failed.phase, RunnerPhase::Failed { reason } if reason.contains("conmon")), "{failed:?}");
    engine.remove(&runner.name, Duration::from_secs(1)).await.unwrap();
    assert_eq!(bench.leftovers(&runner.name).await, Vec::<String>::new());
}

async fn what_is_not_deskruns_is_left_alone(bench: &PodmanBench) {
    let (engine, runner) = (bench.engine(), runner("strange", Behaviour::Waits));
    let content = bench.folder.path().join("strange");
    std::fs::write(&content, "a secret of the user's").unwrap();
    let secret_file = content.to_str().unwrap();
    bench.podman.run("prepare", &["secret", "create", &runner.name, secret_file]).await.unwrap();
    bench.podman.run("prepare", &["pod", "create", "--infra=false", &runner.name]).await.unwrap();
    let there = bench.leftovers(&runner.name).await;
    assert_eq!(there.len(), 2);
    let refused = engine.ensure(&bench.manifest(&runner), &secret()).await.unwrap_err();
    assert!(
        matches!(&refused, EngineError::Refused { message, .. } if message.contains("not DeskRun's")),
        "{refused:?}"
    );
    engine.remove(&runner.name, GRACE).await.unwrap();
    engine.sweep(&runner.controller).await.unwrap();
    assert_eq!(bench.leftovers(&runner.name).await, there);
    bench.podman.run("tidy up", &["pod", "rm", &runner.name]).await.unwrap();
    let failed = engine.ensure(&bench.manifest(&runner), &secret()).await.unwrap_err();
    assert!(failed.to_string().contains("name in use"), "{failed:?}");
    engine.remove(&runner.name, GRACE).await.unwrap();
    assert_eq!(bench.leftovers(&runner.name).await, [format!("secret {}", runner.name)]);
    bench.podman.run("tidy up", &["secret", "rm", &runner.name]).await.unwrap();
}

async fn a_socket_that_is_not_podmans_is_refused_in_words(bench: &PodmanBench) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let socket = bench.folder.path().join("other.sock");
    let listener = tokio::net::UnixListener::bind(&socket).unwrap();
    let server = tokio::spawn(async move {
        for header in ["", "Libpod-Api-Version: 4.2.0\r\n"] {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            assert!(stream.read(&mut request).await.unwrap() > 0);
            let answer = format!("HTTP/1.1 200 OK\r\n{header}Content-Length: 2\r\n\r\nOK");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    let host = deskrun::crd::PodmanHostSpec { url: format!("unix://{}", socket.display()), ..bench.podman.host() };
    let engine = PodmanEngine::new(&PodmanAddress::new(&host, None).unwrap());
    for words in ["not Podman", "needs 4.3 or later"] {
        let error = engine.sweep("test").await.unwrap_err();
        assert!(matches!(&error, EngineError::Refused { message, .. } if message.contains(words)), "{error:?}");
    }
    server.await.unwrap();
}
