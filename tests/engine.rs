//! What every engine has to do, done by a real Podman in a folder of its own, over its socket and over SSH, and by a real
//! API server whose node is played.
//!
//! The tests share one of each, which have to be stopped after the last of them: so this suite has its own `main`.

#[path = "engine/bench.rs"]
mod bench;
#[path = "support/cluster/mod.rs"]
mod cluster;
#[path = "engine/conformance.rs"]
mod conformance;
#[path = "engine/flagship.rs"]
mod flagship;
#[path = "engine/inspected.rs"]
mod inspected;
#[path = "engine/kubernetes_bench.rs"]
mod kubernetes_bench;
#[path = "engine/kubernetes_only.rs"]
mod kubernetes_only;
#[path = "engine/memory_bench.rs"]
mod memory_bench;
#[path = "engine/podman_bench.rs"]
mod podman_bench;
#[path = "engine/podman_only.rs"]
mod podman_only;
#[path = "engine/served.rs"]
mod served;
#[path = "engine/ssh.rs"]
mod ssh;
#[path = "engine/ssh_server.rs"]
mod ssh_server;
mod support;
#[path = "engine/watcher.rs"]
mod watcher;

use std::process::ExitCode;
use std::sync::Arc;

use kubernetes_bench::KubernetesBench;
use libtest_mimic::{Arguments, Failed, Trial};
use podman_bench::PodmanBench;

/// What the tests of this suite share.
struct Benches {
    podman: [Arc<PodmanBench>; 2],
    kubernetes: Arc<KubernetesBench>,
}

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // They wait for containers most of the time.
    arguments.test_threads.get_or_insert(4);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    if arguments.list {
        return trials(&runtime, None, &arguments);
    }
    match runtime.block_on(benches()) {
        Ok(benches) => trials(&runtime, Some(benches), &arguments),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn benches() -> Result<Benches, String> {
    let missing = |error: String| format!("there is no Podman to test with: {error}");
    let first = PodmanBench::start().await.map_err(missing)?;
    // A controller must not wait for what the other tests do to their Podman.
    let second = first.another().await.map_err(missing)?;
    let kubernetes = KubernetesBench::start().await;
    let kubernetes = kubernetes.map_err(|error| format!("there is no control plane to test with: {error}"))?;
    Ok(Benches { podman: [first, second].map(Arc::new), kubernetes: Arc::new(kubernetes) })
}

fn trials(runtime: &tokio::runtime::Runtime, benches: Option<Benches>, arguments: &Arguments) -> ExitCode {
    let (kubernetes, podman) = benches.map(|benches| (benches.kubernetes, benches.podman)).unzip();
    let (bench, second) = podman.map(|[first, second]| (first, second)).unzip();
    let mut trials = conformance::trials("podman", bench.as_ref(), runtime);
    trials.extend(conformance::trials("kubernetes", kubernetes.as_ref(), runtime));
    trials.extend(kubernetes_only::trials(kubernetes.as_ref(), runtime));
    drop(kubernetes);
    let memory = Arc::new(memory_bench::MemoryBench::default());
    trials.extend(conformance::trials("memory", Some(&memory), runtime));
    trials.extend(podman_only::trials(bench.as_ref(), runtime));
    trials.extend(flagship::trials(bench.as_ref(), runtime));
    trials.extend(ssh::trials(bench.as_ref(), runtime));
    trials.extend(served::trials(second.as_ref(), runtime));
    let conclusion = libtest_mimic::run(arguments, trials);
    let mut code = conclusion.exit_code();
    for bench in [bench, second].into_iter().flatten() {
        let bench = Arc::into_inner(bench).expect("no test holds it any more");
        let left = runtime.block_on(bench.stop(arguments.filter.is_none() && !conclusion.has_failed()));
        if let Err(error) = left {
            eprintln!("error: {error}");
            code = ExitCode::FAILURE;
        }
    }
    code
}

/// A test that runs on the suite's runtime with a bench of its kind.
fn trial<B, F>(
    name: &str,
    kind: &str,
    bench: Option<Arc<B>>,
    runtime: &tokio::runtime::Runtime,
    test: impl FnOnce(Arc<B>) -> F + Send + 'static,
) -> Trial
where
    B: Send + Sync + 'static,
    F: Future<Output = ()>,
{
    let handle = runtime.handle().clone();
    let run = move || -> Result<(), Failed> {
        let bench = bench.ok_or("there is no bench")?;
        handle.block_on(async {
            let limit = std::time::Duration::from_mins(4);
            tokio::time::timeout(limit, test(bench)).await.map_err(|_| Failed::from("it does not end"))
        })
    };
    Trial::test(name.replace('_', " "), run).with_kind(kind)
}
