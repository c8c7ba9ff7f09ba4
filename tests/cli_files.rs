//! `add`, `list`, `status` and `remove` as processes, beside `deskrun run` and a simulator as others, in folders of their
//! own.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// Long enough for anything that ever comes, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);
const TOKEN: &str = "ghp_example";

/// Killed when the test is over, however it ends.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Process {
    /// Asks it to end, and waits.
    fn terminate(mut self) -> Option<i32> {
        let asked = Command::new("kill").args(["-TERM", &self.0.id().to_string()]).status().expect("kill runs");
        assert!(asked.success());
        self.0.wait().expect("it ends").code()
    }
}

struct Finished {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Finished {
    fn succeeded(self) -> Self {
        assert_eq!(self.code, Some(0), "{}{}", self.stdout, self.stderr);
        self
    }
}

/// The folders of one user.
struct User {
    root: TempDir,
}

impl User {
    fn new() -> Self {
        let root = tempfile::tempdir().expect("a folder");
        for folder in ["state", "runtime", "home"] {
            std::fs::create_dir(root.path().join(folder)).expect("a folder");
        }
        std::fs::write(root.path().join("token"), TOKEN).expect("a file");
        Self { root }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// A job that waits for a file. With the folder of the test it ends as well: nobody else ends what a killed controller left.
    fn waits_for(&self, gate: &Path) -> String {
        let (gate, folder) = (gate.display(), self.root.path().display());
        format!("until [ -e {gate} ] || [ ! -d {folder} ]; do sleep 0.1; done")
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_deskrun"));
        let path = std::env::var_os("PATH").unwrap_or_default();
        command.args(arguments).current_dir(self.root.path()).env_clear().env("PATH", path).stdin(Stdio::null());
        command.env("DESKRUN_CONFIG_DIR", self.path("config")).env("HOME", self.path("home"));
        command.env("XDG_STATE_HOME", self.path("state")).env("XDG_RUNTIME_DIR", self.path("runtime"));
        command
    }

    fn deskrun(&self, arguments: &[&str]) -> Finished {
        let output = self.command(arguments).output().expect("it runs");
        Finished {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).expect("text"),
            stderr: String::from_utf8(output.stderr).expect("text"),
        }
    }

    /// Starts a command that goes on; its output goes to files called after it.
    fn start(&self, name: &str, arguments: &[&str]) -> Process {
        let file = |end: &str| File::create(self.path(&format!("{name}.{end}"))).expect("a file");
        let mut command = self.command(arguments);
        command.stdout(file("out")).stderr(file("err"));
        Process(command.spawn().expect("it starts"))
    }

    fn controller(&self) -> Process {
        let process = self.start("controller", &["run", "--engine", "memory"]);
        self.until("the controller's answer", || self.deskrun(&["status", "-o", "json"]).code == Some(0));
        process
    }

    fn add(&self, name: &str, github: &GitHub) -> Finished {
        self.deskrun(&["add", name, "--repository", &github.url, "--pat-file", "token", "--max-runners", "2"])
    }

    fn phase(&self, name: &str) -> Option<String> {
        let report: Value = serde_json::from_str(&self.deskrun(&["status", "-o", "json"]).stdout).ok()?;
        let scale_set = report["scaleSets"].as_array()?.iter().find(|scale_set| scale_set["name"] == name)?.clone();
        scale_set["phase"].as_str().map(str::to_owned)
    }

    fn until_listening(&self, name: &str) {
        self.until("listening", || self.phase(name).as_deref() == Some("listening"));
    }

    /// Polls until something is so.
    fn until(&self, what: &str, so: impl Fn() -> bool) {
        let end = Instant::now() + PATIENCE;
        while !so() {
            assert!(Instant::now() < end, "{what} never came:\n{}", self.text("controller.err"));
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// A simulator of GitHub in a process of its own.
struct GitHub {
    _process: Process,
    url: String,
    control: String,
}

impl GitHub {
    fn start(user: &User) -> Self {
        let mut child = user
            .command(&["simulator", "serve", "--listen", "127.0.0.1:0", "--hold", "2s", "--pat", TOKEN])
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("a first line");
        let addresses: Value = serde_json::from_str(&line).expect("JSON");
        let text = |name: &str| addresses[name].as_str().expect("an address").to_owned();
        Self { _process: Process(child), url: text("configUrl"), control: text("controlUrl") }
    }

    fn ledger(&self, user: &User) -> Value {
        let state = user.deskrun(&["simulator", "state", "--url", &self.control]).succeeded();
        serde_json::from_str(&state.stdout).expect("JSON")
    }

    fn scale_sets(&self, user: &User) -> Vec<String> {
        let ledger = self.ledger(user);
        let names = ledger["scaleSets"].as_array().expect("a list").iter().map(|scale_set| &scale_set["name"]);
        names.filter_map(Value::as_str).map(str::to_owned).collect()
    }

    fn queue(&self, user: &User, more: &[&str]) -> Finished {
        let arguments = ["simulator", "queue", "--url", &self.control, "--runs-on", "metal"];
        user.deskrun(&[&arguments, more].concat())
    }
}

#[test]
fn a_scale_set_is_added_served_shown_and_removed() {
    let user = User::new();
    let github = GitHub::start(&user);
    let empty = user.deskrun(&["list"]).succeeded();
    assert_eq!(empty.stdout, "");
    assert!(empty.stderr.contains("`deskrun add` writes one"), "{}", empty.stderr);

    let added = user.add("metal", &github).succeeded();
    let file = user.path("config/metal.yaml");
    assert_eq!(added.stdout, format!("{}\n", file.display()));
    assert!(added.stderr.contains("no controller answers at"), "{}", added.stderr);
    assert_eq!(file.metadata().expect("the file").permissions().mode() & 0o777, 0o600);
    let text = std::fs::read_to_string(&file).expect("the file");
    assert!(text.contains(&format!("patFile: {}", user.path("token").display())) && !text.contains(TOKEN), "{text}");
    let again = user.add("metal", &github);
    assert_eq!((again.code, again.stdout.as_str()), (Some(1), ""));
    assert!(again.stderr.contains("exists already: `--replace`"), "{}", again.stderr);

    let controller = user.controller();
    user.until_listening("metal");
    let listed = user.deskrun(&["list"]).succeeded();
    let words: Vec<&str> = listed.stdout.lines().nth(1).expect("a row").split_whitespace().collect();
    let path = file.display().to_string();
    assert_eq!(words, ["metal", &github.url, "dind", "0-2", "1", "listening", &path], "{}", listed.stderr);
    let status = user.deskrun(&["status", "metal"]).succeeded();
    assert!(status.stdout.starts_with("SCALE SET  PHASE "), "{}", status.stdout);
    assert_eq!(status.stderr, "");
    let unknown = user.deskrun(&["status", "wood"]);
    assert_eq!(unknown.code, Some(1));
    assert!(unknown.stderr.contains("serves no scale set `wood`; it serves: metal"), "{}", unknown.stderr);

    let watching = user.start("watch", &["status", "--watch"]);
    let second = user.add("iron", &github).succeeded();
    assert!(second.stderr.contains("the controller serves it"), "{}", second.stderr);
    github.queue(&user, &["--run", "true", "--wait"]).succeeded();
    user.until("news of the second one", || user.text("watch.out").lines().any(|line| line.starts_with("iron ")));
    drop(watching);

    let removed = user.deskrun(&["remove", "metal"]).succeeded();
    assert_eq!(removed.stdout, "");
    assert!(removed.stderr.contains("removed: metal and "), "{}", removed.stderr);
    assert!(!file.exists());
    user.until_listening("iron");
    assert_eq!(github.scale_sets(&user), ["iron"]);
    // Right behind: the controller must know by now that the name is free.
    user.add("metal", &github).succeeded();
    user.until_listening("metal");
    assert_eq!(controller.terminate(), Some(0), "{}", user.text("controller.err"));
    assert!(!user.text("controller.err").contains(TOKEN));
}

#[test]
fn a_removal_waits_for_busy_runners_and_outlives_whoever_asked_for_it() {
    let user = User::new();
    let github = GitHub::start(&user);
    user.add("metal", &github).succeeded();
    let _controller = user.controller();
    user.until_listening("metal");
    let gate = user.path("gate");
    let script = user.waits_for(&gate);
    github.queue(&user, &["--run", &script]).succeeded();
    let is_busy = || user.deskrun(&["status"]).stdout.lines().any(|line| line.contains(" busy "));
    user.until("a busy runner", is_busy);

    let asking = user.start("remove", &["remove", "metal"]);
    user.until("the drain", || user.phase("metal").as_deref() == Some("draining"));
    drop(asking);
    assert!(user.text("remove.err").contains("waiting for 1 busy runners"), "{}", user.text("remove.err"));
    // The controller reads its files anew, and metal.yaml is still among them.
    user.add("iron", &github).succeeded();
    user.until_listening("iron");
    assert_eq!(user.phase("metal").as_deref(), Some("draining"));
    assert!(is_busy());

    File::create(&gate).expect("a file");
    let removed = user.deskrun(&["remove", "metal"]).succeeded();
    assert!(removed.stderr.contains("removed: metal"), "{}", removed.stderr);
    assert!(!user.path("config/metal.yaml").exists());
    assert_eq!(github.scale_sets(&user), ["iron"]);
    assert_eq!(github.ledger(&user)["jobs"][0]["conclusion"], "success");
}

#[test]
fn without_a_controller_remove_does_it_itself_and_status_says_what_is_missing() {
    let user = User::new();
    let github = GitHub::start(&user);
    user.add("metal", &github).succeeded();
    let controller = user.controller();
    user.until_listening("metal");
    assert_eq!(controller.terminate(), Some(0));
    assert_eq!(github.scale_sets(&user), ["metal"], "the end of a controller is no removal");

    let status = user.deskrun(&["status"]);
    assert_eq!((status.code, status.stdout.as_str()), (Some(1), ""));
    assert!(status.stderr.contains("error: no controller answers at"), "{}", status.stderr);
    assert!(status.stderr.contains("--host ssh://"), "{}", status.stderr);
    let engine = user.deskrun(&["status", "--engine", "memory"]).succeeded();
    assert!(engine.stdout.starts_with("RUNNER  SCALE SET"), "{}", engine.stdout);
    assert!(engine.stderr.contains("this is what the engine has"), "{}", engine.stderr);

    let unknown = user.deskrun(&["remove", "wood"]);
    assert_eq!(unknown.code, Some(1));
    assert!(unknown.stderr.contains("there is no scale set `wood`") && unknown.stderr.contains("there are: metal"));
    let nowhere = user.deskrun(&["remove", "metal"]);
    assert_eq!(nowhere.code, Some(1), "Podman's place is not known");
    assert!(user.path("config/metal.yaml").exists());
    let removed = user.deskrun(&["remove", "metal", "--engine", "memory"]).succeeded();
    assert!(removed.stderr.contains("no controller runs"), "{}", removed.stderr);
    assert_eq!(github.scale_sets(&user), Vec::<String>::new());
    assert!(!user.path("config/metal.yaml").exists());
}

#[test]
fn a_plan_tells_what_would_change_and_which_busy_runner_that_waits_for() {
    let user = User::new();
    let github = GitHub::start(&user);
    user.deskrun(&["add", "metal", "--repository", &github.url, "--pat-file", "token", "--min-runners", "1"])
        .succeeded();
    let plan = |more: &[&str]| user.deskrun(&[&["plan", "--engine", "memory"], more].concat()).succeeded();
    let new = plan(&[]);
    assert!(
        new.stdout.starts_with("SCALE SET  PLAN  STAY  ROLLED  WAITED FOR\nmetal      new   0     0       0\n"),
        "{}",
        new.stdout
    );
    assert!(new.stdout.contains("\n  not honoured: spec.initContainers[dind]: "), "{}", new.stdout);
    assert!(new.stderr.contains("who is busy is not known"), "{}", new.stderr);

    let _controller = user.controller();
    user.until_listening("metal");
    let gate = user.path("gate");
    let script = user.waits_for(&gate);
    github.queue(&user, &["--run", &script]).succeeded();
    let phases = || {
        let report: Value = serde_json::from_str(&user.deskrun(&["status", "-o", "json"]).stdout).expect("JSON");
        let runners = report["scaleSets"][0]["runners"].as_array().expect("a list").clone();
        let mut phases: Vec<String> =
            runners.iter().map(|runner| runner["phase"].as_str().expect("text").to_owned()).collect();
        phases.sort();
        phases
    };
    user.until("a busy and an idle runner", || phases() == ["busy", "idle"]);
    let same = plan(&[]);
    assert!(same.stdout.contains("\nmetal      unchanged  2     0       0\n"), "{}", same.stdout);
    assert_eq!(same.stderr, "note: nothing would change\n");

    let text = user.text("config/metal.yaml");
    std::fs::write(user.path("more.yaml"), text.replace("minRunners: 1", "minRunners: 1\n  maxRunners: 9"))
        .expect("a file");
    std::fs::write(user.path("image.yaml"), text.replace("minRunners: 1", "minRunners: 1\n  image: other/image:1"))
        .expect("a file");
    let rolled = plan(&["-f", "image.yaml", "-o", "json"]);
    assert_eq!(rolled.stderr, "");
    let rolled: Value = serde_json::from_str(&rolled.stdout).expect("JSON");
    let scale_set = &rolled["scaleSets"][0];
    assert_eq!((&scale_set["action"], &scale_set["changes"]), (&"change".into(), &Value::Array(Vec::new())));
    let mut fates: Vec<(&str, &str)> = scale_set["runners"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|runner| (runner["phase"].as_str().expect("text"), runner["fate"].as_str().expect("text")))
        .collect();
    fates.sort_unstable();
    assert_eq!(fates, [("busy", "waits-for-job"), ("idle", "rolled")]);
    let more = plan(&["-f", "more.yaml"]);
    assert!(more.stdout.contains("maxRunners: 4 -> 9"), "{}", more.stdout);
    let others = text.replace("name: metal", "name: iron");
    std::fs::write(user.path("iron.yaml"), others).expect("a file");
    let others = plan(&["-f", "iron.yaml"]);
    let rows: Vec<Vec<&str>> = others.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[1], ["iron", "new", "0", "0", "0"], "{}", others.stdout);
    assert!(rows.contains(&vec!["metal", "let", "go", "0", "1", "1"]), "{}", others.stdout);
    File::create(&gate).expect("a file");
}

#[test]
fn a_watch_waits_for_a_controller_and_finds_its_successor() {
    let user = User::new();
    let github = GitHub::start(&user);
    user.add("metal", &github).succeeded();
    let _watching = user.start("watch", &["status", "--watch"]);
    let waits = || user.text("watch.err").matches("note: no controller answers at ").count();
    user.until("that none is there", || waits() == 1);
    let controller = user.controller();
    let shown = || user.text("watch.out").matches("metal      listening").count();
    user.until("the first report", || shown() > 0);
    assert_eq!(controller.terminate(), Some(0));
    user.until("that it is gone", || waits() == 2);
    let before = shown();
    let _controller = user.controller();
    user.until("the successor's report", || shown() > before);
}

#[test]
fn completions_are_printed_for_the_shells_that_there_are() {
    let user = User::new();
    let bash = user.deskrun(&["completions", "bash"]).succeeded();
    assert!(
        bash.stdout.contains("complete -F _deskrun") && bash.stdout.contains("operator-namespace"),
        "{}",
        bash.stdout
    );
    assert_eq!(bash.stderr, "");
    assert_eq!(user.deskrun(&["completions", "dos"]).code, Some(2));
}

#[test]
fn the_doctor_tries_credentials_out_and_names_what_is_wrong_with_them() {
    let user = User::new();
    let github = GitHub::start(&user);
    user.add("metal", &github).succeeded();
    let well = user.deskrun(&["doctor", "--engine", "memory"]).succeeded();
    assert!(
        well.stdout.contains(&format!(
            "ok: metal: the credentials may register runners at {}; it is not there yet\n",
            github.url
        )),
        "{}",
        well.stdout
    );
    assert_eq!(well.stderr, "");
    assert!(github.scale_sets(&user).is_empty(), "looking makes nothing");

    std::fs::write(user.path("token"), "ghp_other").expect("a file");
    let ill = user.deskrun(&["doctor", "--engine", "memory"]);
    assert_eq!((ill.code, ill.stderr.as_str()), (Some(1), ""), "{}", ill.stdout);
    let words = "problem: metal: cannot get a registration token: 401 ";
    assert!(ill.stdout.contains(words) && !ill.stdout.contains("ghp_other"), "{}", ill.stdout);
    assert!(ill.stdout.contains("hint: the token is wrong, expired or revoked"), "{}", ill.stdout);

    let nowhere = user.deskrun(&["doctor", "--offline", "-o", "json", "--host", "ssh://root@127.0.0.1:1/p.sock"]);
    assert_eq!(nowhere.code, Some(1), "{}", nowhere.stderr);
    let findings: Value = serde_json::from_str(&nowhere.stdout).expect("JSON");
    let last = findings.as_array().expect("a list").last().expect("a finding").clone();
    assert_eq!(last["level"], "problem");
    assert!(last["text"].as_str().expect("text").contains("cannot ask Podman about its host"), "{last}");
}

#[test]
fn what_could_not_be_served_is_not_written_and_the_flag_is_named() {
    let user = User::new();
    let add = |more: &[&str]| {
        let arguments = ["add", "metal", "--repository", "https://github.com/acme", "--pat-file", "token"];
        user.deskrun(&[&arguments, more].concat())
    };
    for (arguments, words) in [
        (&["--min-runners", "5", "--max-runners", "2"][..], "error: `--min-runners 5`: 5 idle runners"),
        (&["--cache", "/etc:/mnt/x"], "error: `--cache /etc:/mnt/x`: "),
        (&["--instances", "0"], "error: `--instances 0`: "),
        (
            &["--mode", "kubernetes"],
            "error: `--mode kubernetes` cannot be used\ncaused by: Podman cannot run mode `kubernetes`",
        ),
        (&["--host", "metal-1"], "error: `--host` cannot be used"),
    ] {
        let refused = add(arguments);
        assert_eq!((refused.code, refused.stdout.as_str()), (Some(1), ""), "{arguments:?}: {}", refused.stderr);
        assert!(refused.stderr.contains(words), "{arguments:?}: {}", refused.stderr);
    }
    for (repository, file, words) in [
        ("github.com/acme", "token", "error: `--repository github.com/acme`: "),
        ("http://ghes.example/acme", "token", "error: `--repository` cannot be used"),
        ("https://github.com/acme", "missing", "error: `--pat-file` cannot be used"),
    ] {
        let refused = user.deskrun(&["add", "metal", "--repository", repository, "--pat-file", file]);
        assert_eq!(refused.code, Some(1), "{repository}: {}", refused.stderr);
        assert!(refused.stderr.contains(words), "{repository}: {}", refused.stderr);
    }
    for flag in ["--pat-file", "--pat-env"] {
        let refused = user.deskrun(&["add", "metal", "--repository", "https://github.com/acme", flag, TOKEN]);
        assert_eq!(refused.code, Some(1));
        assert!(refused.stderr.contains("was given a token") && !refused.stderr.contains(TOKEN), "{}", refused.stderr);
    }
    let url = format!("https://{TOKEN}@github.com/acme");
    let refused = user.deskrun(&["add", "metal", "--repository", &url, "--pat-env", "TOKEN"]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("--repository") && !refused.stderr.contains(TOKEN), "{}", refused.stderr);
    let named = user.deskrun(&["add", "../metal", "--repository", "https://github.com/acme", "--pat-env", "TOKEN"]);
    assert_eq!(named.code, Some(1));
    assert!(named.stderr.contains("`NAME ../metal`"), "{}", named.stderr);
    assert_eq!(add(&["--cache", "/a:/b:socket"]).code, Some(2));
    assert_eq!(user.deskrun(&["add", "metal", "--repository", "https://github.com/acme"]).code, Some(2));
    assert!(!user.path("config").exists(), "nothing is written");
}

#[test]
fn the_podman_host_is_written_once_and_a_second_one_refused() {
    let user = User::new();
    let add = |name: &str, host: &str| {
        let arguments = ["add", name, "--repository", "https://github.com/acme", "--pat-env", "TOKEN", "--host", host];
        user.deskrun(&arguments)
    };
    let first = "ssh://root@metal-1/run/podman/podman.sock";
    add("metal", first).succeeded();
    let host = user.text("config/host.yaml");
    assert!(host.contains("kind: PodmanHost") && host.contains(first), "{host}");
    add("iron", first).succeeded();
    let second = add("zinc", "ssh://root@metal-2/run/podman/podman.sock");
    assert_eq!(second.code, Some(1));
    assert!(second.stderr.contains("another Podman host than that of"), "{}", second.stderr);
    assert_eq!(user.text("config/host.yaml"), host);
    assert!(!user.path("config/zinc.yaml").exists());
    let rows: Value = serde_json::from_str(&user.deskrun(&["list", "-o", "json"]).succeeded().stdout).expect("JSON");
    let names: Vec<&Value> = rows.as_array().expect("a list").iter().map(|row| &row["name"]).collect();
    assert_eq!(names, ["iron", "metal"]);
}

#[test]
fn an_answer_of_another_version_is_not_guessed_at() {
    let user = User::new();
    let socket = user.path("runtime/deskrun.sock");
    answer_once(&socket, r#"{"version": 2, "scaleSets": "many"}"#);
    let status = user.deskrun(&["status"]);
    assert_eq!((status.code, status.stdout.as_str()), (Some(1), ""));
    assert!(status.stderr.contains("version 2, and this program reads version 1"), "{}", status.stderr);
}

#[test]
fn credentials_are_taken_over_when_their_file_changes_or_another_one_is_named() {
    let user = User::new();
    let github = GitHub::start(&user);
    std::fs::create_dir(user.path("secret")).expect("a folder");
    std::fs::write(user.path("secret/token"), "ghp_wrong").expect("a file");
    let arguments = ["add", "metal", "--repository", &github.url, "--pat-file", "secret/token"];
    user.deskrun(&arguments).succeeded();
    let _controller = user.controller();
    user.until("a refusal", || user.phase("metal").as_deref() == Some("waiting"));
    let status = user.deskrun(&["status", "-o", "json"]).succeeded().stdout;
    assert!(status.contains("the token is wrong, expired or revoked"), "{status}");
    // Written in two steps, as some programs do.
    std::fs::write(user.path("secret/token"), "").expect("a file");
    std::fs::write(user.path("secret/token"), TOKEN).expect("a file");
    user.until_listening("metal");

    let file = user.path("config/metal.yaml");
    let text = std::fs::read_to_string(&file).expect("the file");
    let other = user.path("secret/other").display().to_string();
    let renamed = text.replace(&user.path("secret/token").display().to_string(), &other);
    assert_ne!(renamed, text);
    std::fs::write(&file, &renamed).expect("a file");
    user.until("a complaint", || user.text("controller.err").contains("secret/other"));
    assert_eq!(user.phase("metal").as_deref(), Some("listening"), "what is served stays as it is");
    let before = github.ledger(&user)["calls"]["registration-token"].as_u64();
    std::fs::write(user.path("secret/other"), TOKEN).expect("a file");
    user.until("a new connection", || github.ledger(&user)["calls"]["registration-token"].as_u64() > before);
    assert_eq!(github.ledger(&user)["calls"]["session-create"], 1, "the session goes on");
}

#[test]
fn a_file_that_vanishes_for_a_moment_while_it_is_written_changes_nothing_else() {
    let user = User::new();
    let github = GitHub::start(&user);
    user.add("metal", &github).succeeded();
    let _controller = user.controller();
    user.until_listening("metal");
    let file = user.path("config/metal.yaml");
    let text = std::fs::read_to_string(&file).expect("the file");
    std::fs::remove_file(&file).expect("it is there");
    std::fs::write(&file, &text.as_bytes()[..40]).expect("a file");
    std::fs::write(&file, text.replace("maxRunners: 2", "maxRunners: 3")).expect("a file");
    user.until("the change", || {
        let report: Value = serde_json::from_str(&user.deskrun(&["status", "-o", "json"]).stdout).expect("JSON");
        report["scaleSets"][0]["maxRunners"] == 3
    });
    assert_eq!(user.phase("metal").as_deref(), Some("listening"));
    let calls = &github.ledger(&user)["calls"];
    assert_eq!((&calls["session-create"], &calls["session-delete"]), (&Value::from(1), &Value::Null), "{calls}");
    assert!(!user.text("controller.err").contains("are left as they were"), "{}", user.text("controller.err"));
}

#[test]
fn a_controller_that_cannot_serve_its_metrics_has_begun_nothing() {
    let user = User::new();
    let github = GitHub::start(&user);
    user.add("metal", &github).succeeded();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let refused = user.deskrun(&["run", "--engine", "memory", "--metrics", &address]);
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(1), ""));
    assert!(refused.stderr.contains(&format!("cannot serve metrics on {address}")), "{}", refused.stderr);
    assert_eq!(github.ledger(&user)["calls"], serde_json::json!({}), "GitHub was not called");
    assert!(!user.path("runtime/deskrun.sock").exists());
}

/// A controller of some other program.
fn answer_once(socket: &Path, body: &str) {
    let listener = UnixListener::bind(socket).expect("a socket");
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut request = Vec::new();
        let mut byte = [0];
        while !request.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).expect("a request");
            request.push(byte[0]);
        }
        stream.write_all(answer.as_bytes()).expect("an answer");
    });
}
