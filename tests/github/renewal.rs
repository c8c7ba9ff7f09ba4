//! The admin token is renewed ahead of time, by one of many, and not at all when nothing is served.

use std::time::Duration;

use deskrun::github::NewScaleSet;
use deskrun::simulator::{Generation, Trigger};

use crate::world::World;

const THREE_HOURS: Duration = Duration::from_hours(3);
/// Tokens live 17 minutes, and are renewed five minutes before that.
const RENEWALS: std::ops::RangeInclusive<usize> = 14..=17;

#[tokio::test(start_paused = true)]
async fn of_many_listeners_one_renews_the_token_before_it_ends() {
    let world = World::new(Generation::Broker, 31);
    let mut all = Vec::new();
    for number in 0..50 {
        let new = NewScaleSet { name: format!("metal-{number}"), runner_group_id: 1, labels: Vec::new() };
        let scale_set = world.service.create_scale_set(&new).await.unwrap();
        let mut ears = world.listen(scale_set.id, "deskrun");
        ears.until_listening(&world).await;
        all.push(ears);
    }
    let before = world.calls("registration-token");
    // Nothing but polls is asked meanwhile.
    tokio::time::sleep(THREE_HOURS).await;
    let renewals = world.calls("registration-token") - before;
    assert!(RENEWALS.contains(&renewals), "{renewals} renewals of one token");
    for ears in all {
        ears.close().await;
    }
    let before = world.simulator.calls().as_array().map(Vec::len);
    tokio::time::sleep(THREE_HOURS).await;
    assert_eq!(world.simulator.calls().as_array().map(Vec::len), before, "nothing is served");
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_fails_is_tried_again_before_the_token_ends_and_disturbs_no_one() {
    let world = World::new(Generation::Broker, 32);
    let scale_set = world.scale_set().await;
    let mut ears = world.listen(scale_set.id, "deskrun");
    ears.until_listening(&world).await;
    // From before the renewal is due to a minute before the token ends.
    tokio::time::sleep(Duration::from_mins(11)).await;
    world.fault("registration-token", Trigger::Seconds(240.0), deskrun::simulator::Action::Unauthorized);
    let before = world.calls("registration-token");
    tokio::time::sleep(Duration::from_mins(4)).await;
    let attempts = world.calls("registration-token") - before;
    assert!((3..=8).contains(&attempts), "{attempts} attempts in three minutes");
    let now = world.simulator.now();
    world.service.find_runner("someone").await.expect("the old token is good");
    assert_eq!(world.simulator.now(), now, "no one waits");
    tokio::time::sleep(Duration::from_mins(4)).await;
    let before = world.calls("registration-token");
    world.service.find_runner("someone").await.expect("there is a new one");
    assert_eq!(world.calls("registration-token"), before);
    ears.close().await;
}
