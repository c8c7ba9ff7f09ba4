//! `make bench`: how fast manifests are made. One line per figure, `name value unit bound verdict`; exit 1 when a bound
//! is missed. Figures are medians, and ratios where there is something to compare with in the same run.

use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use deskrun::crd;
use deskrun::layers::stack;
use deskrun::manifest::EngineKind;
use deskrun::render::{PreparedRunner, Request, RunnerIdentity, prepare};
use deskrun::scale_set::{RunnerName, ScaleSet, validate};

const FLAGSHIP: &str = "containerMode: cached-privileged-kubernetes
cachePaths:
  - {source: /nvme/nix-store, target: /nix/store-host}
  - {source: /nvme/docker-cache, target: /var/lib/docker}
  - {source: /nvme/cargo-cache, target: /home/runner/.cargo}
  - {source: '', target: /tmp/builds}
";

fn main() -> ExitCode {
    let scale_set = scale_set();
    let prepared = prepared(&scale_set);
    let fill = per_call(20_000, |slot| drop(prepared.fill(&runner(slot))));
    let pod = prepared.fill(&runner(0)).pod;
    let clone = per_call(20_000, |_| drop(serde_json::Value::clone(std::hint::black_box(&pod))));
    let prepare = per_call(200, |_| drop(self::prepared(&scale_set)));
    let (process, nothing) = processes();
    let difference = process.saturating_sub(nothing).as_secs_f64() * 1e3;
    let figures = [
        Figure::at_least("flagship_manifests", 1.0 / fill.as_secs_f64(), "per_second", 5_000.0),
        Figure::at_most("flagship_fill_over_clone_of_its_json", fill.as_secs_f64() / clone.as_secs_f64(), "ratio", 4.0),
        Figure::at_most("flagship_prepare_once_per_scale_set", prepare.as_secs_f64() * 1e3, "ms", 20.0),
        Figure::at_most("render_process_over_bin_true", difference, "ms_more", 10.0),
    ];
    figures.iter().for_each(Figure::print);
    if figures.iter().all(Figure::holds) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

struct Figure {
    name: &'static str,
    value: f64,
    unit: &'static str,
    bound: f64,
    at_least: bool,
}

impl Figure {
    fn at_least(name: &'static str, value: f64, unit: &'static str, bound: f64) -> Self {
        Self { name, value, unit, bound, at_least: true }
    }

    fn at_most(name: &'static str, value: f64, unit: &'static str, bound: f64) -> Self {
        Self { name, value, unit, bound, at_least: false }
    }

    fn holds(&self) -> bool {
        if self.at_least { self.value >= self.bound } else { self.value <= self.bound }
    }

    fn print(&self) {
        let (sign, verdict) = (if self.at_least { ">=" } else { "<=" }, if self.holds() { "holds" } else { "MISSED" });
        println!("{} {:.2} {} {sign}{} {verdict}", self.name, self.value, self.unit, self.bound);
    }
}

fn scale_set() -> ScaleSet {
    let documents = crd::read("flagship.yaml", FLAGSHIP, &[]).documents;
    validate(&documents[0], None).expect("it is a scale set").expect("it breaks no rule").scale_set
}

fn prepared(scale_set: &ScaleSet) -> PreparedRunner {
    let instance = scale_set.instances().remove(0);
    let stack = stack(scale_set, EngineKind::Kubernetes, &[]).expect("Kubernetes runs every mode");
    let request = Request {
        scale_set,
        instance: &instance,
        engine: EngineKind::Kubernetes,
        stack: &stack,
        controller: "bench",
        owner: None,
    };
    prepare(&request).expect("the layers fit")
}

fn runner(slot: u32) -> RunnerIdentity {
    let name = RunnerName::new("flagship", &format!("{slot:05}")).expect("a name");
    RunnerIdentity { name, id: u64::from(slot), slot: slot % 8 }
}

/// The median time of one call, over batches.
fn per_call(calls: u32, mut call: impl FnMut(u32)) -> Duration {
    const BATCHES: u32 = 9;
    let batch = calls / BATCHES;
    let mut times: Vec<Duration> = (0..BATCHES)
        .map(|_| {
            let start = Instant::now();
            (0..batch).for_each(&mut call);
            start.elapsed() / batch
        })
        .collect();
    times.sort();
    times[times.len() / 2]
}

/// Whole processes, in turn so that both see the same machine: `deskrun render` and one that does nothing.
fn processes() -> (Duration, Duration) {
    let folder = std::env::temp_dir().join(format!("deskrun-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    let file = folder.join("flagship.yaml");
    std::fs::write(&file, FLAGSHIP).expect("a temporary file");
    let time = |command: &mut Command| {
        let start = Instant::now();
        let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status().expect("the program starts");
        assert!(status.success(), "{command:?} failed");
        start.elapsed()
    };
    let mut pairs: Vec<(Duration, Duration)> = (0..60)
        .map(|_| {
            let render = time(Command::new(env!("CARGO_BIN_EXE_deskrun")).arg("render").arg(&file));
            (render, time(&mut Command::new("/bin/true")))
        })
        .collect();
    std::fs::remove_dir_all(&folder).expect("the folder is ours");
    pairs.sort_by_key(|(render, nothing)| render.saturating_sub(*nothing));
    pairs[pairs.len() / 2]
}
