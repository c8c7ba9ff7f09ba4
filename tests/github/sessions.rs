//! One session per scale set: conflicts, take-overs, restarts, shutdown.

use std::sync::Arc;
use std::time::Duration;

use deskrun::listener::{FileMemory, Phase};
use deskrun::simulator::Generation;
use tokio::time::Instant;

use crate::world::World;

#[tokio::test(start_paused = true)]
async fn a_second_controller_waits_in_words_and_takes_over_when_the_first_dies() {
    let world = World::new(Generation::Broker, 2);
    let scale_set = world.scale_set().await;
    let mut first = world.listen(scale_set.id, "first");
    first.until_listening(&world).await;
    let mut second = world.listen(scale_set.id, "second");
    let waits = |phase: &Phase, words: &str| matches!(phase, Phase::Waiting(text) if text.contains(words));
    second.until(&world, "a wait", |demand| waits(&demand.phase, "previous message session")).await;
    second.until(&world, "a suspicion", |demand| waits(&demand.phase, "another controller")).await;
    first.task.abort();
    let died = Instant::now();
    second.until_listening(&world).await;
    // The service's own conflict time, and our slowest question after it.
    assert!(died.elapsed() < Duration::from_secs(90 + 46), "took {:?}", died.elapsed());
    world.queue(1);
    second.until_assigned(&world, 1).await;
    second.close().await;
    assert_eq!(world.sessions(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_killed_listener_resumes_at_once_through_the_id_it_kept() {
    let world = World::new(Generation::Broker, 3);
    let scale_set = world.scale_set().await;
    // Nothing of the killed one is left but its file, as after `kill -9`.
    let folder = tempfile::tempdir().unwrap();
    let memory = || Arc::new(FileMemory(folder.path().join("metal.session")));
    let mut killed = world.listen_with(scale_set.id, "deskrun", memory());
    killed.until_listening(&world).await;
    world.queue(1);
    killed.until_assigned(&world, 1).await;
    killed.task.abort();
    let restarted = Instant::now();
    let mut next = world.listen_with(scale_set.id, "deskrun", memory());
    next.until_assigned(&world, 1).await;
    assert!(restarted.elapsed() < Duration::from_secs(1), "took {:?}", restarted.elapsed());
    next.close().await;
}

#[tokio::test(start_paused = true)]
async fn without_the_id_a_restart_waits_for_the_services_own_time() {
    let world = World::new(Generation::Broker, 4);
    let scale_set = world.scale_set().await;
    let mut killed = world.listen(scale_set.id, "deskrun");
    killed.until_listening(&world).await;
    killed.task.abort();
    let restarted = Instant::now();
    let mut next = world.listen(scale_set.id, "deskrun");
    next.until_listening(&world).await;
    assert!(restarted.elapsed() > Duration::from_mins(1), "the simulator lets go too early");
    assert!(restarted.elapsed() < Duration::from_secs(110), "took {:?}", restarted.elapsed());
    next.close().await;
}

#[tokio::test(start_paused = true)]
async fn capacity_is_read_anew_for_every_poll_and_gates_what_is_assigned() {
    let world = World::new(Generation::Broker, 5);
    let scale_set = world.scale_set().await;
    let mut ears = world.listen(scale_set.id, "deskrun");
    ears.capacity.send_replace(0);
    ears.until_listening(&world).await;
    // The poll that is held now still carries the old capacity: let it end.
    tokio::time::sleep(Duration::from_mins(1)).await;
    world.queue(3);
    tokio::time::sleep(Duration::from_mins(2)).await;
    assert_eq!(world.owned(), 0);
    ears.capacity.send_replace(2);
    let demand = ears.until_assigned(&world, 2).await;
    assert_eq!(demand.waiting, 2);
    assert!(demand.oldest_queued_at.is_some());
    ears.close().await;
}

#[tokio::test(start_paused = true)]
async fn an_idle_listener_costs_one_poll_per_hold() {
    let world = World::new(Generation::Broker, 6);
    let scale_set = world.scale_set().await;
    let mut ears = world.listen(scale_set.id, "deskrun");
    ears.until_listening(&world).await;
    let before = world.calls("poll");
    tokio::time::sleep(Duration::from_secs(50 * 20)).await;
    let polls = world.calls("poll") - before;
    assert!((19..=21).contains(&polls), "{polls} polls in twenty holds");
    ears.close().await;
}
