//! `deskrun run` as its own process, with twenty idle scale sets, against a simulator in another.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::FLAGSHIP;

pub const SCALE_SETS: u32 = 20;
const IDLE: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(30);
/// The kernel counts a process's time in hundredths of a second, whatever its own clock does.
const TICKS_PER_SECOND: f64 = 100.0;

/// What idle scale sets cost.
pub struct Cost {
    pub up: Duration,
    pub resident_megabytes: f64,
    /// Of one core, over [`IDLE`].
    pub cpu_percent: f64,
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts both, waits until all scale sets listen, and looks at the process for a while.
pub fn measure() -> Cost {
    let mut simulator = Command::new(env!("CARGO_BIN_EXE_deskrun"));
    let simulator = simulator.args(["simulator", "serve", "--listen", "127.0.0.1:0"]).stdout(Stdio::piped());
    let mut simulator = Running(simulator.spawn().expect("the simulator starts"));
    let mut line = String::new();
    BufReader::new(simulator.0.stdout.take().expect("piped")).read_line(&mut line).expect("a first line");
    let addresses: Value = serde_json::from_str(&line).expect("JSON");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("scale-sets.yaml");
    let spec = specification(addresses["configUrl"].as_str().expect("a URL"));
    std::fs::write(&file, spec).expect("a temporary file");
    let admin = free_address();
    let started = Instant::now();
    let controller = Running(run(folder.path(), &file, &admin));
    while !is_ready(&admin) {
        assert!(started.elapsed() < PATIENCE, "not all scale sets listen; see its log above");
        std::thread::sleep(Duration::from_millis(20));
    }
    let up = started.elapsed();
    // What follows the start: the first list of registrations, a JIT config in stock for each scale set.
    std::thread::sleep(Duration::from_secs(2));
    let (id, before) = (controller.0.id(), Instant::now());
    let cpu_before = cpu_seconds(id);
    std::thread::sleep(IDLE);
    let cpu = (cpu_seconds(id) - cpu_before) / before.elapsed().as_secs_f64();
    Cost { up, resident_megabytes: resident(id), cpu_percent: cpu * 100.0 }
}

fn run(folder: &Path, file: &Path, admin: &str) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_deskrun"));
    command.arg("run").arg("-f").arg(file).args(["--engine", "memory", "--metrics", admin]);
    command.arg("--state").arg(folder.join("state")).arg("--socket").arg(folder.join("s"));
    // Warnings of what an engine in memory cannot honour are not what is looked for here.
    command.args(["--log-filter", "error"]).env("DESKRUN_BENCH_TOKEN", "ghp_example");
    command.spawn().expect("the controller starts")
}

fn specification(config_url: &str) -> String {
    format!(
        "apiVersion: deskrun.dev/v1alpha1\nkind: RunnerScaleSet\nmetadata: {{name: metal}}\nspec:\n  \
         githubConfigUrl: {config_url}\n  credentials: {{patEnv: DESKRUN_BENCH_TOKEN}}\n  \
         instances: {SCALE_SETS}\n{FLAGSHIP}"
    )
}

/// An address that no one listens on a moment before.
fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").to_string()
}

/// Whether `/readyz` says that every scale set listens.
fn is_ready(admin: &str) -> bool {
    let mut answer = String::new();
    let asked = TcpStream::connect(admin).and_then(|mut stream| {
        stream.write_all(b"GET /readyz HTTP/1.0\r\n\r\n")?;
        stream.read_to_string(&mut answer)
    });
    asked.is_ok() && answer.split(' ').nth(1) == Some("200")
}

fn resident(id: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a line");
    let kilobytes: f64 = line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number");
    kilobytes / 1024.0
}

/// User and system time; in `stat` they are the 14th and 15th field, and the second is a name that may hold anything.
fn cpu_seconds(id: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).expect("Linux");
    let (_, fields) = stat.rsplit_once(") ").expect("a name");
    let ticks = fields.split(' ').skip(11).take(2).filter_map(|field| field.parse::<f64>().ok());
    ticks.sum::<f64>() / TICKS_PER_SECOND
}
