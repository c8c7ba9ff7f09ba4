//! An operator of all namespaces, with the rights that the chart gives one. On a control plane of its own: it would serve what
//! the other tests make.

use std::sync::Arc;

use deskrun::simulator::Options;
use serde_json::json;

use crate::permissions::operator_client_everywhere;
use crate::support::simulated::Manner;
use crate::world::{World, operator_everywhere};
use crate::{Cluster, Trials};

pub fn add(trials: Trials<'_>) -> Trials<'_> {
    trials.test("an_operator_of_all_namespaces_serves_each_with_its_own_secret", two_namespaces)
}

async fn two_namespaces(_: Arc<Cluster>) {
    let cluster = Arc::new(Cluster::start().await.expect("a control plane"));
    let here = World::with(Arc::clone(&cluster), Options::default(), Manner::default()).await;
    let there = World::with(Arc::clone(&cluster), Options::default(), Manner::default()).await;
    let system = cluster.control_plane.namespace(&[]).await;
    let client = operator_client_everywhere(&cluster.control_plane, &system).await;
    let _operator = operator_everywhere(client, &system);
    // Of one name, at two places of GitHub.
    for world in [&here, &there] {
        world.apply("ws", &json!({"minRunners": 1, "containerMode": "kubernetes-novolume"})).await;
    }
    for world in [&here, &there] {
        world.condition("ws", "Ready", "True").await;
        let jobs = world.queue("ws", 3, "true");
        world.until_jobs_end().await;
        world.assert_each_ran_once(&jobs);
    }
    here.delete("ws").await;
    here.assert_nothing_left().await;
    let jobs = there.queue("ws", 2, "true");
    there.until_jobs_end().await;
    there.assert_each_ran_once(&jobs);
    there.delete("ws").await;
    there.assert_nothing_left().await;
}
