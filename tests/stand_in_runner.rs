//! The stand-in runner as a process, against `deskrun simulator serve` as another, over sockets.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use deskrun::github::{
    ActionsService, ConfigUrl, ConfigUrlOptions, Credentials, Environment, HttpOptions, Identity, MessageSession,
    NewScaleSet, Poll, over_http,
};
use deskrun::secret::Secret;
use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_deskrun");

/// A simulator in a process of its own, with a scale set and a session that lets jobs be assigned.
struct GitHub {
    process: Child,
    control: String,
    service: ActionsService,
    scale_set: i64,
    session: MessageSession,
    last: i64,
}

impl Drop for GitHub {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl GitHub {
    async fn start() -> Self {
        let mut process = Command::new(PROGRAM)
            .args(["simulator", "serve", "--listen", "127.0.0.1:0", "--hold", "2s"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the simulator starts");
        let mut line = String::new();
        BufReader::new(process.stdout.take().expect("piped")).read_line(&mut line).expect("a first line");
        let addresses: Value = serde_json::from_str(&line).expect("the first line is JSON");
        let text = |name: &str| addresses[name].as_str().expect("an address").to_owned();
        let url = ConfigUrl::parse(&text("configUrl"), ConfigUrlOptions::default()).expect("a config URL");
        let transport = over_http(&HttpOptions::default()).expect("a transport");
        let identity = Identity { subsystem: "controller", scale_set_id: 0 };
        let credentials = Credentials::Token(Secret::new("ghp_example"));
        let service = ActionsService::new(url, credentials, transport, Environment::system(), &identity);
        let new = NewScaleSet { name: "metal".to_owned(), runner_group_id: 1, labels: Vec::new() };
        let scale_set = service.create_scale_set(&new).await.expect("a scale set").id;
        let session = MessageSession::open(&service, scale_set, "test").await.expect("a session");
        Self { process, control: text("controlUrl"), service, scale_set, session, last: 0 }
    }

    /// Queues a job and polls until it is assigned.
    async fn queue(&mut self, script: &str) -> String {
        let queued = Command::new(PROGRAM)
            .args(["simulator", "queue", "--url", &self.control, "--runs-on", "metal", "--run", script])
            .output()
            .expect("the command runs");
        assert!(queued.status.success(), "{queued:?}");
        while let Poll::Message(envelope) = self.session.poll(self.last, 10).await.expect("a poll") {
            self.last = envelope.id;
            self.session.acknowledge(envelope.id).await.expect("an acknowledgement");
            if envelope.statistics.is_some_and(|statistics| statistics.assigned_jobs > 0) {
                break;
            }
        }
        String::from_utf8(queued.stdout).expect("text").trim().to_owned()
    }

    async fn config(&self, name: &str) -> String {
        let config = self.service.register_runner(self.scale_set, name).await.expect("a registration");
        config.encoded.expose().to_owned()
    }

    fn job(&self, id: &str) -> Value {
        let ledger = self.ledger();
        ledger["jobs"].as_array().expect("jobs").iter().find(|job| job["id"] == id).expect("the job").clone()
    }

    fn ledger(&self) -> Value {
        let output = Command::new(PROGRAM).args(["simulator", "state", "--url", &self.control]).output().expect("runs");
        serde_json::from_slice(&output.stdout).expect("JSON")
    }
}

/// A runner in a folder of its own. The tests run as whoever runs them, so root is allowed.
fn runner(folder: &std::path::Path, config: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Child {
    Command::new(PROGRAM)
        .args(["simulator", "runner", "--root"])
        .arg(folder)
        .args(arguments)
        .env("ACTIONS_RUNNER_INPUT_JITCONFIG", config)
        .env("RUNNER_ALLOW_RUNASROOT", "1")
        .envs(variables.iter().copied())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the runner starts")
}

async fn ended(child: Child) -> Output {
    tokio::task::spawn_blocking(move || child.wait_with_output().expect("it ends")).await.expect("no panic")
}

fn terminate(child: &Child) {
    let status = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().expect("kill runs");
    assert!(status.success());
}

/// Reads output until a line contains `mark`.
fn until(child: &mut Child, mark: &str) {
    let out = child.stdout.as_mut().expect("piped");
    let mut seen = Vec::new();
    let mut byte = [0];
    while !String::from_utf8_lossy(&seen).contains(mark) {
        assert!(out.read(&mut byte).expect("output") > 0, "`{mark}` never came: {}", String::from_utf8_lossy(&seen));
        seen.push(byte[0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_run_for_real_with_its_hooks_and_its_result_reported() {
    let mut github = GitHub::start().await;
    let folder = tempfile::tempdir().unwrap();
    let hook = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let started = hook("started.sh", "echo FROM_HOOK=yes >>\"$GITHUB_ENV\"\necho before\n");
    let completed = hook("completed.sh", "echo after >after.txt\n");
    let job = github
        .queue("echo \"hook says $FROM_HOOK, config ${ACTIONS_RUNNER_INPUT_JITCONFIG:-gone}\" | tee out.txt")
        .await;
    let config = github.config("metal-a").await;
    let hooks = [
        ("ACTIONS_RUNNER_HOOK_JOB_STARTED", started.as_str()),
        ("ACTIONS_RUNNER_HOOK_JOB_COMPLETED", completed.as_str()),
    ];
    let output = ended(runner(folder.path(), &config, &[], &hooks)).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let work = folder.path().join("_work");
    assert_eq!(std::fs::read_to_string(work.join("out.txt")).unwrap(), "hook says yes, config gone\n");
    assert_eq!(std::fs::read_to_string(work.join("after.txt")).unwrap(), "after\n");
    let log = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(log.contains("before") && log.contains("hook says yes"), "{log}");
    let job = github.job(&job);
    assert_eq!((&job["conclusion"], &job["runner"]), (&"success".into(), &"metal-a".into()), "{job}");
    assert_eq!(github.ledger()["runners"].as_array().unwrap().len(), 0, "the registration is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_script_or_hook_fails_the_job_and_the_process_still_ends_with_0() {
    let mut github = GitHub::start().await;
    let folder = tempfile::tempdir().unwrap();
    let job = github.queue("false; echo not reached").await;
    let config = github.config("metal-a").await;
    let output = ended(runner(folder.path(), &config, &[], &[])).await;
    assert_eq!((output.status.code(), &github.job(&job)["conclusion"]), (Some(0), &"failure".into()));
    let hook = folder.path().join("completed.sh");
    std::fs::write(&hook, "exit 3\n").unwrap();
    let job = github.queue("true").await;
    let config = github.config("metal-b").await;
    let hooks = [("ACTIONS_RUNNER_HOOK_JOB_COMPLETED", hook.to_str().unwrap())];
    let output = ended(runner(folder.path(), &config, &[], &hooks)).await;
    assert_eq!((output.status.code(), &github.job(&job)["conclusion"]), (Some(0), &"failure".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_ends_an_idle_runner_at_once_and_cancels_the_job_of_a_busy_one() {
    let mut github = GitHub::start().await;
    let folder = tempfile::tempdir().unwrap();
    let config = github.config("metal-idle").await;
    let mut idle = runner(folder.path(), &config, &[], &[]);
    until(&mut idle, "listening for jobs");
    terminate(&idle);
    assert_eq!(ended(idle).await.status.code(), Some(143));
    // The idle one's registration would be given the next job: it is taken back, as a controller does.
    let leftover = github.service.find_runner("metal-idle").await.unwrap().unwrap();
    github.service.remove_runner(leftover.id).await.unwrap();
    let job = github.queue("echo begun; sleep 60; echo not reached").await;
    let config = github.config("metal-busy").await;
    let mut busy = runner(folder.path(), &config, &[], &[]);
    until(&mut busy, "begun");
    terminate(&busy);
    let output = ended(busy).await;
    assert_eq!(output.status.code(), Some(143), "{output:?}");
    assert!(!String::from_utf8_lossy(&output.stdout).contains("not reached"));
    assert_eq!(github.job(&job)["conclusion"], "cancelled");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_runner_ends_with_0_when_its_registration_is_removed() {
    let github = GitHub::start().await;
    let folder = tempfile::tempdir().unwrap();
    let config = github.config("metal-a").await;
    let mut idle = runner(folder.path(), &config, &[], &[]);
    until(&mut idle, "listening for jobs");
    let registration = github.service.find_runner("metal-a").await.unwrap().unwrap();
    github.service.remove_runner(registration.id).await.unwrap();
    assert_eq!(ended(idle).await.status.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_codes_are_those_of_the_real_container() {
    let folder = tempfile::tempdir().unwrap();
    let output = ended(runner(folder.path(), "no config", &[], &[])).await;
    assert_eq!(output.status.code(), Some(0), "a bad config looks like success");
    assert!(!String::from_utf8_lossy(&output.stdout).contains("no config"), "the config is a secret");
    let told = [("ACTIONS_RUNNER_RETURN_VERSION_DEPRECATED_EXIT_CODE", "1")];
    let refused = ["--misbehave", "version-refused"];
    assert_eq!(ended(runner(folder.path(), "", &refused, &told)).await.status.code(), Some(7));
    assert_eq!(ended(runner(folder.path(), "", &refused, &[])).await.status.code(), Some(0));
    assert_eq!(ended(runner(folder.path(), "", &["--misbehave", "exit-early:9"], &[])).await.status.code(), Some(9));
    assert_eq!(ended(runner(folder.path(), "", &["--misbehave", "sulk"], &[])).await.status.code(), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn misbehaviour_is_what_it_says() {
    let mut github = GitHub::start().await;
    let folder = tempfile::tempdir().unwrap();
    let never = runner(folder.path(), &github.config("metal-never").await, &["--misbehave", "never-online"], &[]);
    let job = github.queue("echo done").await;
    let mut hangs = runner(folder.path(), &github.config("metal-hang").await, &["--misbehave", "hang"], &[]);
    until(&mut hangs, "completed with result: succeeded");
    assert_eq!(github.job(&job)["conclusion"], "success");
    assert!(hangs.try_wait().unwrap().is_none(), "it does not end after its job");
    let mut ignores = runner(folder.path(), &github.config("metal-ignore").await, &["--misbehave", "ignore-term"], &[]);
    until(&mut ignores, "listening for jobs");
    let mut ghost = runner(folder.path(), &github.config("metal-ghost").await, &["--misbehave", "ghost"], &[]);
    until(&mut ghost, "listening for jobs");
    let registration = github.service.find_runner("metal-ghost").await.unwrap().unwrap();
    github.service.remove_runner(registration.id).await.unwrap();
    until(&mut ghost, "no longer exists");
    terminate(&ignores);
    terminate(&never);
    assert_eq!(ended(never).await.status.code(), Some(143));
    // Long enough for a process that heeds the signal: the one above did in the meantime.
    tokio::time::sleep(Duration::from_millis(300)).await;
    for mut stubborn in [hangs, ignores, ghost] {
        assert!(stubborn.try_wait().unwrap().is_none(), "it ended");
        stubborn.kill().unwrap();
        stubborn.wait().unwrap();
    }
}
