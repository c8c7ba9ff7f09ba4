//! `scale-set-protocol.md` 8 by our client, call by call.

use deskrun::github::{Exception, JobEvent, MessageSession, Poll};
use deskrun::simulator::Generation;

use crate::world::{NAME, World};

/// The routes of all calls, in order.
fn routes(world: &World) -> Vec<String> {
    let calls = world.simulator.calls();
    let route = |call: &serde_json::Value| call["route"].as_str().unwrap_or_default().to_owned();
    calls.as_array().into_iter().flatten().map(route).collect()
}

fn events(poll: Poll) -> (i64, Vec<JobEvent>, i64) {
    match poll {
        Poll::Message(envelope) => {
            let assigned = envelope.statistics.expect("statistics").assigned_jobs;
            (envelope.id, envelope.messages.into_iter().map(|message| message.event).collect(), assigned)
        }
        other => panic!("no message but {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn the_worked_example_runs_call_by_call_on_the_broker_generation() {
    let world = World::new(Generation::Broker, 1);
    assert_eq!(world.service.find_scale_set(1, NAME).await.unwrap(), None);
    let scale_set = world.scale_set().await;
    let mut session = MessageSession::open(&world.service, scale_set.id, "deskrun-0").await.unwrap();
    assert_eq!(session.statistics.unwrap().assigned_jobs, 0);
    assert_eq!(session.poll(0, 5).await.unwrap(), Poll::Nothing);
    world.queue(1);
    let (first, assigned, total) = events(session.poll(0, 5).await.unwrap());
    assert_eq!((assigned, total), (vec![JobEvent::Assigned], 1));
    let config = world.service.register_runner(scale_set.id, "metal-q7x2m").await.unwrap();
    session.acknowledge(first).await.unwrap();
    assert_eq!(config.runner.name, "metal-q7x2m");
    // The registration is there before any process runs.
    assert_eq!(world.service.runner(config.runner.id).await.unwrap().unwrap().scale_set_id, scale_set.id);
    world.simulator.expire_tokens("queue");
    assert_eq!(session.poll(first, 5).await.unwrap(), Poll::Nothing, "a token that has ended is renewed");
    world.service.remove_runner(config.runner.id).await.unwrap();
    assert_eq!(world.service.runner(config.runner.id).await.unwrap(), None);
    session.close().await.unwrap();
    assert_eq!(world.sessions(), 0);
    assert_eq!(
        routes(&world),
        [
            "registration-token",
            "runner-registration",
            "scale-set-list",
            "scale-set-create",
            "session-create",
            "poll",
            "poll",
            "jit-config",
            "acknowledge",
            "runner-get",
            "poll",
            "session-refresh",
            "poll",
            "runner-delete",
            "runner-get",
            "session-delete",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn on_the_pipelines_generation_jobs_are_acquired_first_and_the_delivery_deleted_afterwards() {
    let world = World::new(Generation::Pipelines, 1);
    let scale_set = world.scale_set().await;
    let mut ears = world.listen(scale_set.id, "deskrun-0");
    ears.until_listening(&world).await;
    world.queue(1);
    ears.until_assigned(&world, 1).await;
    let news = ears.news.recv().await.unwrap();
    assert_eq!(news.message.event, JobEvent::Available);
    assert_ne!(news.message.request_id, 0);
    assert_eq!(ears.news.recv().await.unwrap().message.event, JobEvent::Assigned);
    // The acknowledgement of the assignment is under way when the demand is published.
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    ears.close().await;
    assert_eq!(
        routes(&world),
        [
            "registration-token",
            "runner-registration",
            "scale-set-create",
            "session-create",
            "poll",
            "acquire",
            "acknowledge",
            "poll",
            "acknowledge",
            "session-delete",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn labels_are_changed_by_making_the_scale_set_anew_unless_it_is_busy() {
    let world = World::new(Generation::Broker, 1);
    let scale_set = world.scale_set().await;
    let new =
        deskrun::github::NewScaleSet { name: NAME.to_owned(), runner_group_id: 1, labels: vec!["nvme".to_owned()] };
    let recreated = world.service.recreate_scale_set(scale_set.id, &new).await.unwrap().unwrap();
    let labels: Vec<&str> = recreated.labels.iter().map(|label| label.name.as_str()).collect();
    assert_eq!(labels, [NAME, "nvme"]);
    assert_ne!(recreated.id, scale_set.id);
    let renamed = world.service.update_scale_set(recreated.id, Some("other"), None).await.unwrap();
    assert_eq!(renamed.name, "other");
    assert_eq!(world.service.runner_group("default").await.unwrap(), Some(1));
    assert_eq!(world.service.runner_group("nobodys").await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn a_name_that_is_our_own_lost_attempt_is_taken_over_and_a_foreign_one_is_not() {
    let world = World::new(Generation::Broker, 1);
    let ours = world.scale_set().await;
    let first = world.service.register_runner(ours.id, "metal-a").await.unwrap();
    let second = world.service.register_runner(ours.id, "metal-a").await.unwrap();
    assert_ne!(first.runner.id, second.runner.id);
    assert_eq!(world.service.runner(first.runner.id).await.unwrap(), None, "the leftover is gone");
    let new = deskrun::github::NewScaleSet { name: "other".to_owned(), runner_group_id: 1, labels: Vec::new() };
    let other = world.service.create_scale_set(&new).await.unwrap();
    let error = world.service.register_runner(other.id, "metal-a").await.unwrap_err();
    assert_eq!(*error.exception(), Exception::RunnerExists);
    assert!(world.service.runner(second.runner.id).await.unwrap().is_some(), "the foreign one is left alone");
}

#[tokio::test(start_paused = true)]
async fn deleting_what_is_gone_is_no_error_and_someone_elses_scale_set_is_adopted() {
    let world = World::new(Generation::Broker, 1);
    let scale_set = world.scale_set().await;
    assert_eq!(world.scale_set().await.id, scale_set.id, "created twice is found the second time");
    world.service.remove_runner(4711).await.unwrap();
    world.service.delete_scale_set(scale_set.id).await.unwrap();
    world.service.delete_scale_set(scale_set.id).await.unwrap();
    assert_eq!(world.service.find_scale_set(1, NAME).await.unwrap(), None);
}
