//! The stand-in for `systemctl`: what a workflow may say, and what it makes of it. The daemon itself is not started here.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/templates/scripts");

/// Runs the stand-in with a tool that writes down how it was called, and reports a daemon as (not) running.
fn systemctl(folder: &Path, running: bool, arguments: &[&str]) -> (Output, String) {
    let (tool, calls) = (folder.join("tool"), folder.join("calls"));
    let active = i32::from(!running);
    let text = format!("#!/bin/sh\necho \"$*\" >>{}\n[ \"$1\" != is-active ] || exit {active}\n", calls.display());
    fs::write(&tool, text).unwrap();
    fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).unwrap();
    let _ = fs::remove_file(&calls);
    let output = Command::new("sh")
        .arg(format!("{SCRIPTS}/systemctl.sh"))
        .args(arguments)
        .env("DESKRUN_DOCKER", &tool)
        .output()
        .unwrap();
    (output, fs::read_to_string(&calls).unwrap_or_default().trim().to_owned())
}

#[test]
fn docker_is_started_and_stopped_however_workflows_spell_it() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, call) in [
        (&["start", "docker"][..], "start"),
        (&["start", "docker.service"], "start"),
        (&["--no-pager", "start", "docker", "--quiet"], "start"),
        (&["start", "containerd", "docker"], "start"),
        (&["stop", "docker.socket", "docker"], "stop"),
        (&["restart", "docker"], "restart"),
        (&["enable", "--now", "docker"], "start"),
        (&["enable", "docker"], ""),
        (&["disable", "--now", "docker"], "stop"),
        (&["daemon-reload"], ""),
        (&["start", "containerd.service"], ""),
        (&["stop", "docker.socket"], ""),
        (&["is-enabled", "docker"], ""),
        (&["status", "docker"], "status"),
    ] {
        let (output, calls) = systemctl(folder.path(), true, arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        assert_eq!(calls, call, "{arguments:?}");
    }
}

#[test]
fn is_active_answers_with_systemds_words_and_codes() {
    let folder = tempfile::tempdir().unwrap();
    let (output, _) = systemctl(folder.path(), true, &["is-active", "docker"]);
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), b"active\n".as_slice()));
    let (output, _) = systemctl(folder.path(), false, &["is-active", "docker"]);
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(3), b"inactive\n".as_slice()));
    let (output, _) = systemctl(folder.path(), false, &["is-active", "--quiet", "docker"]);
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(3), b"".as_slice()));
}

#[test]
fn everything_else_is_refused_in_words_and_never_done() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [&["start", "nginx"][..], &["start", "docker", "nginx"], &["mask", "docker"], &["start"], &[]] {
        let (output, calls) = systemctl(folder.path(), true, arguments);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(message.contains("not supported") && message.contains("only Docker"), "{arguments:?}: {message}");
        assert_eq!(calls, "", "{arguments:?}");
    }
}

#[test]
fn a_wrong_word_for_the_docker_tool_shows_its_usage() {
    let output = Command::new("sh").arg(format!("{SCRIPTS}/deskrun-docker.sh")).arg("begin").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("start|stop|restart|is-active|status|finish"));
}
