//! What becomes of a control plane whose test run is killed: nothing of it lives on, and the next run takes its files away.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cluster::folder;
use crate::{Cluster, Trials};

const PATIENCE: Duration = Duration::from_mins(2);

pub fn add(trials: Trials<'_>) -> Trials<'_> {
    trials
        .test("a_control_plane_ends_with_a_test_run_that_is_killed", a_killed_run)
        .test("only_what_processes_left_that_are_gone_is_cleared_away", what_is_left)
}

async fn a_killed_run(_: Arc<Cluster>) {
    // This program, with a test that takes a while.
    let program = std::env::current_exe().expect("this program");
    let mut run = Command::new(program);
    run.args(["--exact", "pods of a lost node stay as they are until it is back"]);
    let mut run = run.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
    let cache = folder::cache().expect("a folder");
    let prefix = format!("cluster-{}.", run.id());
    // Written when the API server is ready.
    let folder =
        until("a control plane", || find(&cache, &prefix).filter(|folder| folder.join("admin").exists())).await;
    assert!(!folder::users(&folder).is_empty(), "its processes are found");
    run.kill().expect("it lives");
    run.wait().expect("it has ended");
    until("the end of its processes", || folder::users(&folder).is_empty().then_some(())).await;
    drop(folder::make("cluster").expect("a folder"));
    // Another suite may start meanwhile, and be at it as well.
    until("the end of its folder", || (!folder.exists()).then_some(())).await;
}

async fn what_is_left(_: Arc<Cluster>) {
    let cache = tempfile::tempdir().expect("a folder");
    let mine = folder::identity(std::process::id()).expect("it runs");
    let mut left = Vec::new();
    // The first process began when the machine did, not then.
    for (name, is_left) in [
        ("cluster-1.12345-abc".to_owned(), true),
        ("cluster-4194305.7-abc".to_owned(), true),
        (format!("cluster-{mine}-abc"), false),
        ("kubelet-1.12345-abc".to_owned(), false),
        ("cluster-of-someone".to_owned(), false),
        ("cluster".to_owned(), false),
    ] {
        let path = cache.path().join(name);
        std::fs::create_dir(&path).expect("a folder");
        if is_left {
            left.push(path);
        }
    }
    let mut found = folder::abandoned(cache.path(), "cluster");
    found.sort();
    assert_eq!(found, left);
    let mut user = Command::new("/bin/sh");
    user.args(["-c", "read -r _"]).arg(&left[0]).stdin(Stdio::piped());
    let mut user = user.spawn().expect("it starts");
    // It has no command line before it has begun.
    until("the process", || folder::users(&left[0]).contains(&user.id()).then_some(())).await;
    folder::kill_users(&left[0]);
    assert_eq!(user.wait().expect("it ends").signal(), Some(9));
}

fn find(cache: &Path, prefix: &str) -> Option<PathBuf> {
    let mut entries = std::fs::read_dir(cache).into_iter().flatten().flatten();
    entries.find(|entry| entry.file_name().to_string_lossy().starts_with(prefix)).map(|entry| entry.path())
}

/// Looks until there is something.
async fn until<T>(what: &str, look: impl Fn() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(started.elapsed() < PATIENCE, "{what} never came");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
