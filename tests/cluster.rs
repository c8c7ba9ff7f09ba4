//! What needs a real Kubernetes API server: `make tools` builds one, and all tests here share it.
//!
//! It has to be stopped after the last of them: so this suite has its own `main`.

#[path = "cluster/chart.rs"]
mod chart;
#[path = "cluster/cli.rs"]
mod cli;
#[path = "support/cluster/mod.rs"]
mod cluster;
#[path = "cluster/definition.rs"]
mod definition;
#[path = "cluster/down.rs"]
mod down;
#[path = "cluster/everywhere.rs"]
mod everywhere;
#[path = "cluster/goldens.rs"]
mod goldens;
#[path = "cluster/killed.rs"]
mod killed;
#[path = "cluster/permissions.rs"]
mod permissions;
#[path = "cluster/played.rs"]
mod played;
#[path = "cluster/proxy.rs"]
mod proxy;
#[path = "cluster/serving.rs"]
mod serving;
#[path = "cluster/standalone.rs"]
mod standalone;
mod support;
#[path = "cluster/transcript.rs"]
mod transcript;
#[path = "cluster/user.rs"]
mod user;
#[path = "cluster/world.rs"]
mod world;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use cluster::{ControlPlane, FakeKubelet, Node, Options};
use libtest_mimic::{Arguments, Failed, Trial};

/// A control plane with a node that is played.
pub struct Cluster {
    pub control_plane: ControlPlane,
    pub kubelet: FakeKubelet,
}

impl Cluster {
    async fn start() -> Result<Self, String> {
        let control_plane = ControlPlane::start(Options { audit: true, ..Options::default() }).await?;
        let kubelet = FakeKubelet::start(control_plane.client()).await?;
        kubelet.add_node(Node::new("node-1")).await;
        Ok(Self { control_plane, kubelet })
    }
}

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // They wait for the API server and for timers most of the time.
    arguments.test_threads.get_or_insert(4);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let cluster = if arguments.list { None } else { Some(runtime.block_on(Cluster::start())) };
    let cluster = match cluster.transpose() {
        Ok(cluster) => cluster.map(Arc::new),
        Err(error) => {
            eprintln!("error: there is no control plane to test with: {error}");
            return ExitCode::FAILURE;
        }
    };
    let trials = Trials { cluster: cluster.clone(), runtime: &runtime, list: Vec::new() };
    // Those that wait longest come first: the others fill the time beside them.
    let parts: [fn(Trials<'_>) -> Trials<'_>; 12] = [
        permissions::add,
        serving::add,
        everywhere::add,
        cli::add,
        down::add,
        transcript::add,
        chart::add,
        played::add,
        killed::add,
        standalone::add,
        definition::add,
        goldens::add,
    ];
    let trials = parts.into_iter().fold(trials, |trials, add| add(trials));
    let conclusion = libtest_mimic::run(&arguments, trials.list);
    // Its processes end here, also if a test that failed still holds it.
    drop(cluster);
    conclusion.exit_code()
}

/// The tests of this suite, as they are put together.
pub struct Trials<'a> {
    cluster: Option<Arc<Cluster>>,
    runtime: &'a tokio::runtime::Runtime,
    list: Vec<Trial>,
}

impl Trials<'_> {
    /// Adds a test, which has four minutes.
    #[must_use]
    pub fn test<F>(mut self, name: &str, test: impl FnOnce(Arc<Cluster>) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()>,
    {
        let (cluster, handle) = (self.cluster.clone(), self.runtime.handle().clone());
        let run = move || -> Result<(), Failed> {
            let cluster = cluster.ok_or("there is no cluster")?;
            let limit = Duration::from_mins(4);
            let ran = handle.block_on(async { tokio::time::timeout(limit, test(cluster)).await });
            ran.map_err(|_| Failed::from("it does not end"))
        };
        self.list.push(Trial::test(name.replace('_', " "), run));
        self
    }
}
