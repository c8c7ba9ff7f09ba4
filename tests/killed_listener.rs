//! `kill -9` of a process that listens, and its restart: the successor closes the dead session through the id in the file.
//!
//! The test starts itself a second time as the process that listens; everything goes over sockets and real time.

use std::io::{BufRead, BufReader, Lines};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use deskrun::github::{
    ActionsService, ConfigUrl, ConfigUrlOptions, Credentials, Environment, HttpOptions, Identity, NewScaleSet,
    over_http,
};
use deskrun::listener::{Demand, FileMemory, Listener, Outlets};
use deskrun::secret::Secret;
use serde_json::Value;
use tokio::sync::{mpsc, watch};

const NAME: &str = stringify!(a_listener_killed_with_signal_9_is_succeeded_at_once);
const URL: &str = "DESKRUN_TEST_CONFIG_URL";
const FILE: &str = "DESKRUN_TEST_SESSION_FILE";

fn main() -> ExitCode {
    if let (Ok(url), Ok(file)) = (std::env::var(URL), std::env::var(FILE)) {
        tokio::runtime::Runtime::new().expect("a runtime").block_on(listen(&url, Path::new(&file)));
        return ExitCode::SUCCESS;
    }
    let arguments = libtest_mimic::Arguments::from_args();
    let trial = libtest_mimic::Trial::test(NAME, || {
        a_listener_killed_with_signal_9_is_succeeded_at_once();
        Ok(())
    });
    libtest_mimic::run(&arguments, vec![trial]).exit_code()
}

/// Listens until it is killed; says every demand on stdout.
async fn listen(url: &str, file: &Path) {
    let environment = Environment::system();
    let service = ActionsService::new(
        ConfigUrl::parse(url, ConfigUrlOptions::default()).expect("a config URL"),
        Credentials::Token(Secret::new("ghp_example")),
        over_http(&HttpOptions::default()).expect("a transport"),
        environment.clone(),
        &Identity { subsystem: "listener", scale_set_id: 0 },
    );
    let new = NewScaleSet { name: "metal".to_owned(), runner_group_id: 1, labels: Vec::new() };
    let scale_set = service.create_scale_set(&new).await.expect("a scale set").id;
    let (_capacity, capacity) = watch::channel(10);
    let (demand_out, mut demand) = watch::channel(Demand::default());
    let (news, _news) = mpsc::unbounded_channel();
    let (_stop, stop) = watch::channel(false);
    let outlets = Outlets { capacity, demand: demand_out, news, stop };
    let memory = Arc::new(FileMemory(file.to_owned()));
    let listener = Listener::new(service, environment, scale_set, "deskrun".to_owned(), memory, outlets);
    tokio::spawn(listener.run());
    while demand.changed().await.is_ok() {
        let demand = demand.borrow_and_update().clone();
        let assigned = demand.statistics.map_or(-1, |statistics| statistics.assigned_jobs);
        println!("{:?} {assigned}", demand.phase);
    }
}

/// A process that is killed whatever happens to the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // `Child::kill` is SIGKILL.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(command: &mut Command) -> (Process, Lines<BufReader<ChildStdout>>) {
    let mut child = command.stdout(Stdio::piped()).spawn().expect("it starts");
    let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    (Process(child), lines)
}

fn until(lines: &mut Lines<BufReader<ChildStdout>>, wanted: &str) {
    for line in lines {
        let line = line.expect("text");
        assert!(!line.contains("Waiting"), "it waits: {line}");
        if line == wanted {
            return;
        }
    }
    panic!("it ended without `{wanted}`");
}

fn a_listener_killed_with_signal_9_is_succeeded_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = env!("CARGO_BIN_EXE_deskrun");
    let (_simulator, mut lines) = start(Command::new(program).args(["simulator", "serve", "--listen", "127.0.0.1:0"]));
    let first = lines.next().expect("a first line").expect("text");
    let addresses: Value = serde_json::from_str(&first).expect("JSON");
    let url = addresses["configUrl"].as_str().expect("a URL");
    let listener = || {
        let this = std::env::current_exe().expect("this program");
        start(Command::new(this).env(URL, url).env(FILE, folder.path().join("metal.session")))
    };
    let (killed, mut said) = listener();
    until(&mut said, "Listening 0");
    let control = addresses["controlUrl"].as_str().expect("a URL");
    let queue = ["simulator", "queue", "--url", control, "--runs-on", "metal"];
    assert!(Command::new(program).args(queue).stdout(Stdio::null()).status().expect("it runs").success());
    until(&mut said, "Listening 1");
    drop(killed);
    let restarted = Instant::now();
    let (_next, mut said) = listener();
    until(&mut said, "Listening 1");
    // Without the file it is the service's minute and a half.
    assert!(restarted.elapsed() < Duration::from_secs(10), "took {:?}", restarted.elapsed());
}
