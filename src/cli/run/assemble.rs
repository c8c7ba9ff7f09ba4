//! Puts a controller together: a place, an engine and what is to be served become an operator. Nothing is served yet.

use super::desired::Sources;
use super::engine::EngineArguments;
use super::place::Place;
use crate::cli::cluster::ClusterArguments;
use crate::cli::input::Input;
use crate::controller::{Shared, Slots};
use crate::github::Environment;
use crate::metrics::Metrics;
use crate::operator::{Desired, Operator};

/// An operator that knows its engine, what to apply to it, and where more of that comes from. What is wrong with the input
/// is said before the engine is touched.
pub(in crate::cli) async fn assemble(
    place: &Place,
    engine: &EngineArguments,
    cluster: &ClusterArguments,
    input: &Input,
    keeps_stock: bool,
) -> anyhow::Result<(Operator, Sources, Vec<Desired>)> {
    let environment = Environment::system();
    let metrics = Metrics::default();
    let engine = engine.connect(input, &environment, cluster).await?;
    let mut sources = Sources::new(environment.clone(), metrics.clone(), place.clone(), engine.kind, engine.namespaces);
    let desired = sources.desired(input)?;
    let shared = Shared {
        engine: engine.engine,
        environment,
        slots: Slots::default(),
        metrics,
        calls: Shared::calls(),
        owner: place.owner(),
        keeps_stock,
    };
    Ok((Operator::start(shared, place.controller.clone()), sources, desired))
}
