//! The commands, over real sockets.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

struct Served {
    child: Child,
    control: String,
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn serve(extra: &[&str]) -> Served {
    let mut child = Command::new(env!("CARGO_BIN_EXE_deskrun"))
        .args(["simulator", "serve", "--listen", "127.0.0.1:0"])
        .args(extra)
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
    let urls: Value = serde_json::from_str(&line).expect("JSON");
    assert!(urls["configUrl"].as_str().expect("a URL").ends_with("/acme"));
    Served { child, control: urls["controlUrl"].as_str().expect("a URL").to_owned() }
}

fn deskrun(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_deskrun")).args(arguments).output().expect("it runs")
}

#[test]
fn serve_says_its_addresses_queue_prints_ids_state_the_ledger() {
    let served = serve(&[]);
    let queued = deskrun(&["simulator", "queue", "--url", &served.control, "--runs-on", "metal", "--count", "2"]);
    let ids = String::from_utf8(queued.stdout).expect("text");
    assert_eq!((queued.status.code(), ids.lines().count()), (Some(0), 2));
    let state = deskrun(&["simulator", "state", "--url", &served.control]);
    let ledger: Value = serde_json::from_slice(&state.stdout).expect("JSON");
    assert_eq!(ledger["jobs"][1]["id"], ids.lines().nth(1).expect("two"));
}

#[test]
fn waiting_ends_with_1_when_a_job_ends_otherwise_than_asked() {
    let served = serve(&[]);
    let waiting = Command::new(env!("CARGO_BIN_EXE_deskrun"))
        .args(["simulator", "queue", "--url", &served.control, "--runs-on", "metal", "--wait"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut waiting = waiting;
    let mut id = String::new();
    BufReader::new(waiting.stdout.take().expect("piped")).read_line(&mut id).expect("an id");
    let host = served.control.trim_start_matches("http://").trim_end_matches("/control").to_owned();
    let cancel =
        format!("POST /control/jobs/{}/cancel HTTP/1.1\r\nhost: {host}\r\ncontent-length: 0\r\n\r\n", id.trim());
    let mut stream = TcpStream::connect(&host).expect("a connection");
    stream.write_all(cancel.as_bytes()).expect("a request");
    stream.read_exact(&mut [0; 12]).expect("an answer: whoever leaves before it may not be heard");
    let ended = waiting.wait_with_output().expect("it ends");
    assert_eq!(ended.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&ended.stderr).contains("ended as cancelled, not success"));
}

#[test]
fn a_dropped_connection_ends_without_a_byte() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("faults.yaml");
    std::fs::write(&file, "- {route: '*', action: dropAfter}\n").expect("a file");
    let served = serve(&["--faults", file.to_str().expect("text"), "--generation", "pipelines", "--latency", "1ms"]);
    let host = served.control.trim_start_matches("http://").trim_end_matches("/control").to_owned();
    let mut stream = TcpStream::connect(&host).expect("a connection");
    let request = format!("POST /api/v3/orgs/acme/actions/runners/registration-token HTTP/1.1\r\nhost: {host}\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("a request");
    let mut answer = Vec::new();
    // A reset is as good as an end.
    let _ = stream.read_to_end(&mut answer);
    assert_eq!(answer, b"");
}

#[test]
fn wrong_input_says_what_is_wrong() {
    let refused = deskrun(&["simulator", "serve", "--faults", "/nonexistent"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("cannot read /nonexistent"));
    let unreachable = deskrun(&["simulator", "state", "--url", "http://127.0.0.1:1/control"]);
    assert_eq!(unreachable.status.code(), Some(1));
    assert_eq!(deskrun(&["simulator", "queue", "--url", "x"]).status.code(), Some(2), "--runs-on is missing");
}
