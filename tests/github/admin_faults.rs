//! Every call of the controller under every fault: when the fault is over the call succeeds, and nothing is there twice.

use deskrun::github::{GitHubError, NewScaleSet};
use deskrun::simulator::{Generation, Trigger};

use crate::faults::faults;
use crate::world::{NAME, World};

const CALLS: &[&str] = &[
    "runner-groups",
    "scale-set-list",
    "scale-set-get",
    "scale-set-create",
    "scale-set-update",
    "scale-set-delete",
    "jit-config",
    "runner-list",
    "runner-get",
    "runner-delete",
];

fn new() -> NewScaleSet {
    NewScaleSet { name: NAME.to_owned(), runner_group_id: 1, labels: Vec::new() }
}

/// The call behind a route, with what is wanted of its result.
async fn call(world: &World, route: &str, scale_set: i64, runner: i64) -> Result<(), GitHubError> {
    let service = &world.service;
    match route {
        "runner-groups" => service.runner_group("some").await.map(|_| ()),
        "scale-set-list" => service.find_scale_set(1, NAME).await.map(|_| ()),
        "scale-set-get" => service.scale_set(scale_set).await.map(|_| ()),
        "scale-set-create" => service.create_scale_set(&new()).await.map(|_| ()),
        "scale-set-update" => service.update_scale_set(scale_set, Some(NAME), None).await.map(|_| ()),
        "scale-set-delete" => service.delete_scale_set(scale_set).await.map(|_| ()),
        "jit-config" => service.register_runner(scale_set, "metal-new").await.map(|_| ()),
        "runner-list" => service.find_runner("metal-a").await.map(|_| ()),
        "runner-get" => service.runner(runner).await.map(|_| ()),
        _ => service.remove_runner(runner).await,
    }
}

#[tokio::test(start_paused = true)]
async fn every_call_of_the_controller_succeeds_after_every_fault_and_leaves_nothing_twice() {
    for generation in [Generation::Broker, Generation::Pipelines] {
        for route in CALLS {
            for (name, action) in faults() {
                let world = World::new(generation, 9);
                let scale_set = world.scale_set().await.id;
                let runner = world.service.register_runner(scale_set, "metal-a").await.unwrap().runner.id;
                world.fault(route, Trigger::Next(2), action);
                // Whether it fails now is the fault's business; that it ends is ours.
                let _ = call(&world, route, scale_set, runner).await;
                world.simulator.clear_faults();
                let again = call(&world, route, scale_set, runner).await;
                let gone = *route == "scale-set-delete";
                assert!(again.is_ok() || gone, "{generation:?} {route} {name}: {again:?}");
                let ledger = world.simulator.ledger();
                let count = |list: &str, name: &str| {
                    let items = ledger[list].as_array().cloned().unwrap_or_default();
                    items.iter().filter(|item| item["name"] == name).count()
                };
                assert_eq!(count("scaleSets", NAME), usize::from(!gone), "{generation:?} {route} {name}");
                let registered = usize::from(*route == "jit-config");
                assert_eq!(count("runners", "metal-new"), registered, "{generation:?} {route} {name}");
                if *route == "runner-delete" {
                    assert_eq!(count("runners", "metal-a"), 0, "{generation:?} {route} {name}");
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_registration_whose_answer_was_lost_is_noticed_and_made_again_under_the_same_name() {
    let world = World::new(Generation::Broker, 10);
    let scale_set = world.scale_set().await.id;
    world.fault("jit-config", Trigger::Next(1), deskrun::simulator::Action::DropAfter);
    let config = world.service.register_runner(scale_set, "metal-a").await.unwrap();
    let runners = world.simulator.ledger()["runners"].as_array().cloned().unwrap();
    assert_eq!(runners.len(), 1, "{runners:?}");
    assert_eq!(runners[0]["id"].as_i64(), Some(config.runner.id), "the config in hand is that of the registration");
}
