//! `--engine memory`: the stand-in for GitHub's runner process, as a task of this process.

use std::sync::atomic::{AtomicU64, Ordering};

use futures::future::BoxFuture;
use tokio::sync::watch;

use crate::engine::memory::{Process, Start};
use crate::simulator::stand_in::{self, JIT_CONFIG};

/// Runs stand-ins below a folder of temporary files: what `--engine memory` runs in place of containers.
#[derive(Debug, Default)]
pub struct StandIn {
    count: AtomicU64,
}

impl Process for StandIn {
    fn run(&self, start: Start) -> BoxFuture<'static, i32> {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move {
            let Start { runner, environment: mut variables, jit_config, signals: mut told, log: lines } = start;
            let root = std::env::temp_dir().join(format!("deskrun-{}-{number}-{runner}", std::process::id()));
            // Scripts of the runner's image; there is no image here.
            variables.retain(|name, _| !name.starts_with("ACTIONS_RUNNER_HOOK_"));
            variables.insert(JIT_CONFIG.to_owned(), jit_config.expose().to_owned());
            let path = std::env::var("PATH").unwrap_or_default();
            variables.entry("PATH".to_owned()).or_insert(path);
            let (signal, signals) = watch::channel(None);
            let start =
                stand_in::Start { environment: variables, root: root.clone(), is_root: false, misbehaviour: None };
            let log = |line: &str| lines.line(line);
            let life = stand_in::run(start, signals, log);
            tokio::pin!(life);
            let end = tokio::select! {
                end = &mut life => end,
                () = async { drop(told.wait_for(Option::is_some).await) } => {
                    signal.send_replace(Some(stand_in::Signal::Terminate));
                    life.await
                }
            };
            // It is only there if a job ran.
            let _ = tokio::fs::remove_dir_all(&root).await;
            i32::from(end.code())
        })
    }
}
