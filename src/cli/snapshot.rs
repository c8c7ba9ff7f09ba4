//! What an engine has right now, for commands that look once.

use std::time::Duration;

use anyhow::{Context, bail};
use futures::StreamExt;

use crate::engine::{Engine, Observation, ObservedRunner};

/// How long an engine may take to say what it has.
const PATIENCE: Duration = Duration::from_mins(1);

/// All runners of all controllers, by name.
pub(super) async fn snapshot(engine: &dyn Engine) -> anyhow::Result<Vec<ObservedRunner>> {
    let mut observations = engine.observe();
    let first = tokio::time::timeout(PATIENCE, observations.next()).await.context("the engine does not answer")?;
    let mut runners = match first {
        Some(Observation::Snapshot(runners)) => runners,
        Some(Observation::Unreachable(words)) => bail!("the engine cannot be asked: {words}"),
        _ => bail!("the engine does not say what it has"),
    };
    runners.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(runners)
}
