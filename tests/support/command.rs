//! Runs the program as a user would.

use std::path::Path;
use std::process::{Command, Output};

/// Runs `deskrun` in a folder.
pub fn deskrun(folder: &Path, arguments: &[&str]) -> Finished {
    deskrun_with_input(folder, arguments, None)
}

/// Runs `deskrun` in a folder with a text on standard input.
pub fn deskrun_with_input(folder: &Path, arguments: &[&str], input: Option<&str>) -> Finished {
    use std::io::Write;
    use std::process::Stdio;
    let mut child = Command::new(env!("CARGO_BIN_EXE_deskrun"))
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program under test can be started");
    if let Some(input) = input {
        child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("the program reads its input");
    }
    let Output { status, stdout, stderr } = child.wait_with_output().expect("the program ends");
    Finished {
        code: status.code(),
        stdout: String::from_utf8(stdout).expect("output is text"),
        stderr: String::from_utf8(stderr).expect("errors are text"),
    }
}

/// How the program ended.
#[derive(Debug)]
pub struct Finished {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// The lines of a file, if it is there: further arguments of a case.
pub fn lines(file: &Path) -> Vec<String> {
    std::fs::read_to_string(file).map(|text| text.lines().map(str::to_owned).collect()).unwrap_or_default()
}
