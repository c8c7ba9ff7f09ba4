//! What a real kubelet with containerd makes of our manifests. `make tools` installs and builds what is needed.
//!
//! The tests share one node of this machine, which has to be cleared away after the last of them: so this suite has its own
//! `main`.

#[path = "support/cluster/mod.rs"]
mod cluster;
#[path = "kubelet/flagship.rs"]
mod flagship;
#[path = "kubelet/operator.rs"]
mod operator;
#[path = "support/operator_image.rs"]
mod operator_image;
mod support;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use cluster::{ControlPlane, Kubelet, Network, Options};
use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::json;

const PROGRAM: &str = env!("CARGO_BIN_EXE_deskrun");

/// A control plane, and this machine as its node.
pub struct Machine {
    pub control_plane: ControlPlane,
    pub kubelet: Kubelet,
    pub network: Network,
}

impl Machine {
    async fn start() -> Result<Self, String> {
        if !is_root()? {
            return Err(
                "a kubelet runs as root only: sudo env PATH=$PATH HOME=$HOME cargo test --test kubelet".to_owned()
            );
        }
        let network = Network::new();
        let options = Options { network: Some(network.clone()), ..Options::default() };
        let control_plane = ControlPlane::start(options).await?;
        let kubelet = Kubelet::start(&control_plane, &network).await?;
        let root = kubelet.folder().join("runner");
        deskrun::demo::write_image(&root, Path::new(PROGRAM)).await.map_err(|error| error.to_string())?;
        let settings = json!({
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/home/runner"],
            "WorkingDir": "/home/runner",
            "Cmd": ["/home/runner/run.sh"],
            "User": "runner",
        });
        kubelet.import(&root, deskrun::demo::IMAGE, &settings)?;
        Ok(Self { control_plane, kubelet, network })
    }
}

fn is_root() -> Result<bool, String> {
    let status = std::fs::read_to_string("/proc/self/status").map_err(|error| error.to_string())?;
    Ok(status.lines().any(|line| line.starts_with("Uid:") && line.split_whitespace().nth(2) == Some("0")))
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let machine = if arguments.list { None } else { Some(runtime.block_on(Machine::start())) };
    let machine = match machine.transpose() {
        Ok(machine) => machine.map(Arc::new),
        Err(error) => {
            eprintln!("error: there is no node to test with: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut trials = flagship::trials(machine.as_ref(), &runtime);
    trials.extend(operator::trials(machine.as_ref(), &runtime));
    let conclusion = libtest_mimic::run(&arguments, trials);
    let Some(machine) = machine else { return conclusion.exit_code() };
    let Some(Machine { control_plane, kubelet, .. }) = Arc::into_inner(machine) else {
        eprintln!("error: a test still holds the node");
        return ExitCode::FAILURE;
    };
    match runtime.block_on(kubelet.stop(&control_plane)) {
        Ok(()) => conclusion.exit_code(),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A test that has ten minutes.
pub fn trial<F>(
    name: &str,
    machine: Option<&Arc<Machine>>,
    runtime: &tokio::runtime::Runtime,
    test: impl FnOnce(Arc<Machine>) -> F + Send + 'static,
) -> Trial
where
    F: Future<Output = ()>,
{
    let (machine, handle) = (machine.cloned(), runtime.handle().clone());
    let run = move || -> Result<(), Failed> {
        let machine = machine.ok_or("there is no node")?;
        let limit = Duration::from_mins(10);
        let ran = handle.block_on(async { tokio::time::timeout(limit, test(machine)).await });
        ran.map_err(|_| Failed::from("it does not end"))
    };
    Trial::test(name.replace('_', " "), run)
}
