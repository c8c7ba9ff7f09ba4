//! `make bench`: what two hundred idle listeners of one process cost, against a simulator in another. One line per figure,
//! `name value unit bound verdict`; exit 1 when a bound is missed.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use deskrun::github::{
    ActionsService, ConfigUrl, ConfigUrlOptions, Credentials, Environment, HttpOptions, Identity, NewScaleSet,
    over_http,
};
use deskrun::listener::{Demand, Listener, Outlets, Phase, Volatile};
use deskrun::secret::Secret;
use serde_json::Value;
use tokio::sync::{mpsc, watch};

const SCALE_SETS: u32 = 200;
/// Short, so that several holds fit into a bench; the figure is per hold.
const HOLD: Duration = Duration::from_secs(5);
const HOLDS: u32 = 4;

struct Simulator(Child);

impl Drop for Simulator {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let hold = format!("{}s", HOLD.as_secs());
    let mut process = Command::new(env!("CARGO_BIN_EXE_deskrun"))
        .args(["simulator", "serve", "--listen", "127.0.0.1:0", "--hold", &hold])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the simulator starts");
    let mut line = String::new();
    BufReader::new(process.stdout.take().expect("piped")).read_line(&mut line).expect("a first line");
    let _simulator = Simulator(process);
    let addresses: Value = serde_json::from_str(&line).expect("JSON");
    let url = ConfigUrl::parse(addresses["configUrl"].as_str().expect("a URL"), ConfigUrlOptions::default());
    let service = ActionsService::new(
        url.expect("a config URL"),
        Credentials::Token(Secret::new("ghp_example")),
        over_http(&HttpOptions::default()).expect("a transport"),
        Environment::system(),
        &Identity { subsystem: "listener", scale_set_id: 0 },
    );
    let started = Instant::now();
    let listeners = listen(&service).await;
    for mut demand in listeners.demands.clone() {
        demand.wait_for(|demand| demand.phase == Phase::Listening).await.expect("listening");
    }
    let up = started.elapsed();
    let before = polls(&addresses).await;
    tokio::time::sleep(HOLD * HOLDS).await;
    let polls = polls(&addresses).await - before;
    let per_hold = polls / f64::from(SCALE_SETS) / f64::from(HOLDS);
    let good = [
        figure("listeners_200_all_up", up.as_secs_f64(), "s", 20.0),
        figure("listeners_200_idle_polls_per_hold_each", per_hold, "polls", 1.1),
        figure("listeners_200_resident_memory", resident(), "MB", 100.0),
    ];
    // Listeners whose channels are gone would stop: they are held until here.
    assert_eq!(listeners.kept.len(), listeners.demands.len());
    if good.into_iter().all(|good| good) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The channels that keep the listeners going, and their demands.
struct Listeners {
    demands: Vec<watch::Receiver<Demand>>,
    kept: Vec<(watch::Sender<u32>, watch::Sender<bool>, mpsc::UnboundedReceiver<deskrun::listener::JobNews>)>,
}

async fn listen(service: &ActionsService) -> Listeners {
    let mut listeners = Listeners { demands: Vec::new(), kept: Vec::new() };
    for number in 0..SCALE_SETS {
        let new = NewScaleSet { name: format!("set-{number}"), runner_group_id: 1, labels: Vec::new() };
        let scale_set = service.create_scale_set(&new).await.expect("a scale set");
        let (capacity, capacity_in) = watch::channel(4);
        let (demand_out, demand) = watch::channel(Demand::default());
        let (news_out, news) = mpsc::unbounded_channel();
        let (stop, stop_in) = watch::channel(false);
        let outlets = Outlets { capacity: capacity_in, demand: demand_out, news: news_out, stop: stop_in };
        let memory = Arc::new(Volatile::default());
        let owner = "bench".to_owned();
        let listener = Listener::new(service.clone(), Environment::system(), scale_set.id, owner, memory, outlets);
        tokio::spawn(listener.run());
        listeners.demands.push(demand);
        listeners.kept.push((capacity, stop, news));
    }
    listeners
}

async fn polls(addresses: &Value) -> f64 {
    let url = addresses["controlUrl"].as_str().expect("a URL").to_owned();
    let state = tokio::task::spawn_blocking(move || {
        Command::new(env!("CARGO_BIN_EXE_deskrun")).args(["simulator", "state", "--url", &url]).output().expect("runs")
    });
    let ledger: Value = serde_json::from_slice(&state.await.expect("no panic").stdout).expect("JSON");
    ledger["calls"]["poll"].as_f64().unwrap_or_default()
}

fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a line");
    let kilobytes: f64 = line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number");
    kilobytes / 1024.0
}

fn figure(name: &str, value: f64, unit: &str, bound: f64) -> bool {
    let holds = value <= bound;
    println!("{name} {value:.2} {unit} <={bound} {}", if holds { "holds" } else { "MISSED" });
    holds
}
