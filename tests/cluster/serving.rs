//! The operator against a real API server: from nothing to running jobs and back, and through everything that happens on
//! the way.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use deskrun::crd::deletion_policy;
use deskrun::simulator::Options;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, Pod, Secret};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::api::rbac::v1::Role;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{
    ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams, PostParams, TypeMeta,
};
use kube::runtime::wait::{await_condition, conditions};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::proxy::Proxy;
use crate::support::simulated::Manner;
use crate::user::User;
use crate::world::{TOKEN, World, find};
use crate::{Cluster, Trials};

pub fn add(trials: Trials<'_>) -> Trials<'_> {
    trials
        .test("what_a_namespace_would_refuse_is_said_before_a_job_comes", a_namespace_that_refuses)
        .test("github_is_reached_through_the_proxy_that_a_spec_names", behind_a_proxy)
        .test("a_deletion_waits_as_long_as_pods_cannot_be_listed", pods_that_cannot_be_listed)
        .test("jobs_of_a_scale_set_run_and_nothing_is_left_of_it", jobs_run_and_nothing_is_left)
        .test("a_deletion_in_the_foreground_is_refused_before_it_ends_a_job", a_deletion_in_the_foreground)
        .test("a_changed_template_rolls_idle_runners_and_leaves_the_busy_one", a_changed_template)
        .test("a_wrong_credential_is_said_and_a_right_one_is_taken_over", a_wrong_credential)
        .test("what_strangers_write_to_our_objects_changes_nothing", what_strangers_write)
        .test("a_wrong_spec_is_said_and_the_last_good_one_stays_in_force", a_wrong_spec)
        .test("a_deletion_does_not_wait_for_a_dead_github_for_ever", a_dead_github)
        .test("a_successor_begins_within_three_seconds_of_a_graceful_stop", a_hand_over)
        .test("scale_sets_that_were_dropped_while_no_one_led_are_taken_out", scale_sets_dropped_meanwhile)
        .test("an_instance_that_is_wanted_again_on_its_way_out_is_told_of", an_instance_wanted_again)
        .test("a_killed_leader_costs_no_job_in_a_burst_of_a_hundred", a_killed_leader)
        .test("an_api_server_that_restarts_and_watches_that_expire_cost_no_job", an_api_server_that_restarts)
        .test("a_deleted_secret_of_a_runner_costs_that_runner_alone", a_deleted_secret)
}

async fn jobs_run_and_nothing_is_left(cluster: Arc<Cluster>) {
    let world = World::new(cluster).await;
    let operator = world.operator();
    world.apply("ws", &json!({})).await;
    world.condition("ws", "Ready", "True").await;
    let jobs = world.queue("ws", 6, "true");
    world.until_jobs_end().await;
    world.assert_each_ran_once(&jobs);
    let object = world.resource("ws", "idle", |object| object.data["status"]["runners"] == 0).await;
    assert_eq!(object.data["status"]["jobs"], 0);
    world.delete("ws").await;
    world.assert_nothing_left().await;
    operator.stop().await;
}

async fn a_deletion_in_the_foreground(cluster: Arc<Cluster>) {
    for object in deletion_policy() {
        let types = TypeMeta { api_version: text(&object["apiVersion"]), kind: text(&object["kind"]) };
        let gvk = GroupVersionKind::try_from(&types).expect("a kind");
        let api: Api<DynamicObject> = Api::all_with(cluster.control_plane.client(), &ApiResource::from_gvk(&gvk));
        let name = text(&object["metadata"]["name"]);
        api.patch(&name, &PatchParams::apply("test").force(), &Patch::Apply(object)).await.expect("it is applied");
    }
    let world = World::new(cluster).await;
    let operator = world.operator();
    world.apply("ws", &json!({})).await;
    let jobs = world.queue("ws", 1, "sleep 8");
    world.resource("ws", "busy", |object| object.data["status"]["busyRunners"] == 1).await;
    let foreground = DeleteParams::foreground();
    // Policies come into force a moment after they were made, and there is no event of that.
    let tried = foreground.clone().dry_run();
    while world.resources().delete("ws", &tried).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let refused = world.resources().delete("ws", &foreground).await.expect_err("it is refused").to_string();
    assert!(refused.contains("would end busy runners") && refused.contains("in the background"), "{refused}");
    world.until_jobs_end().await;
    world.assert_each_ran_once(&jobs);
    world.delete("ws").await;
    world.assert_nothing_left().await;
    operator.stop().await;
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

async fn a_changed_template(cluster: Arc<Cluster>) {
    let world = World::new(cluster).await;
    let _operator = world.operator();
    world.apply("ws", &json!({"minRunners": 2})).await;
    let first = world.pods(2).await;
    world.queue("ws", 1, "sleep 12");
    let busy = world.resource("ws", "busy", |object| object.data["status"]["busyRunners"] == 1).await;
    let session = session(&busy);
    let before = world.pods(3).await;
    world.apply("ws", &json!({"minRunners": 2, "image": "ghcr.io/actions/actions-runner:2.330.0"})).await;
    let pods: Api<Pod> = world.api();
    let images = || async {
        let list = pods.list(&ListParams::default().labels("deskrun.dev/runner")).await.expect("a list");
        let image = |pod: &Pod| pod.spec.as_ref().and_then(|spec| spec.containers[0].image.clone()).unwrap_or_default();
        list.items.iter().map(|pod| (pod.metadata.name.clone().unwrap_or_default(), image(pod))).collect::<Vec<_>>()
    };
    let is_new = |image: &str| image.ends_with("2.330.0");
    let end = Instant::now() + Duration::from_secs(10);
    let after = loop {
        let images = images().await;
        if images.len() == 3 && images.iter().filter(|(_, image)| is_new(image)).count() == 2 {
            break images;
        }
        assert!(Instant::now() < end, "two idle runners are not rolled while one is busy: {images:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let old: Vec<&String> = after.iter().filter(|(_, image)| !is_new(image)).map(|(name, _)| name).collect();
    assert!(old.len() == 1 && before.contains(old[0]), "{first:?} {before:?} {after:?}");
    world.until_jobs_end().await;
    assert_eq!(world.jobs()[0]["conclusion"], "success");
    let object = world.resource("ws", "idle", |object| object.data["status"]["idleRunners"] == 2).await;
    assert_eq!(self::session(&object), session, "the listener never stops");
    world.delete("ws").await;
    world.assert_nothing_left().await;
}

fn session(object: &kube::api::DynamicObject) -> Value {
    object.data["status"]["instances"][0]["sessionId"].clone()
}

async fn a_wrong_credential(cluster: Arc<Cluster>) {
    let world = World::new(cluster).await;
    world.set_token("ghp_wrong").await;
    let _operator = world.operator();
    world.apply("ws", &json!({"instances": 2})).await;
    let condition = world.condition("ws", "Degraded", "True").await;
    assert_eq!(condition["reason"], "GitHubUnavailable");
    assert!(condition["message"].as_str().is_some_and(|words| words.contains("401")), "{condition}");
    // Nothing is written while nothing changes.
    let version = || async { world.resources().get("ws").await.expect("it is there").metadata.resource_version };
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before = version().await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(version().await, before, "the status is written again and again");
    assert!(calls(&world) < 20, "{:#}", world.simulator.ledger()["calls"]);
    world.set_token(TOKEN).await;
    world.condition("ws", "Ready", "True").await;
    let object = world.resources().get("ws").await.expect("it is there");
    assert_eq!(find(&object, "Degraded").expect("a condition")["status"], "False");
    world.delete("ws").await;
    world.assert_nothing_left().await;
}

fn calls(world: &World) -> u64 {
    let ledger = world.simulator.ledger();
    ledger["calls"].as_object().into_iter().flatten().filter_map(|(_, count)| count.as_u64()).sum()
}

async fn what_strangers_write(cluster: Arc<Cluster>) {
    let world = World::new(cluster).await;
    let _operator = world.operator();
    world.apply("ws", &json!({"minRunners": 1})).await;
    world.condition("ws", "Ready", "True").await;
    let pods = world.pods(1).await;
    world.resource("ws", "idle", |object| object.data["status"]["idleRunners"] == 1).await;
    let patch = Patch::Merge(json!({"metadata": {"labels": {"team": "x"}, "annotations": {"note": "hello"}}}));
    let (parameters, api) = (PatchParams::default(), world.api::<Pod>());
    api.patch(&pods[0], &parameters, &patch).await.expect("a label can be put on a pod");
    world.api::<Secret>().patch(&pods[0], &parameters, &patch).await.expect("a label can be put on a secret");
    let touched = world.resources().patch("ws", &parameters, &patch).await.expect("a label can be put on a resource");
    tokio::time::sleep(Duration::from_secs(3)).await;
    let later = world.resources().get("ws").await.expect("it is there");
    assert_eq!(later.metadata.resource_version, touched.metadata.resource_version, "the resource was written again");
    assert_eq!(world.pods(1).await, pods);
    world.queue("ws", 1, "true");
    world.until_jobs_end().await;
    world.delete("ws").await;
    world.assert_nothing_left().await;
}

async fn a_wrong_spec(cluster: Arc<Cluster>) {
    let world = World::new(cluster).await;
    let _operator = world.operator();
    world.apply("ws", &json!({})).await;
    world.condition("ws", "Ready", "True").await;
    // What only validation can say: the schema cannot.
    let layers = json!([{"inline": "spec: {containers: [{name: runner, image: {{ nonsense }}}]}"}]);
    world.apply("ws", &json!({"layers": layers})).await;
    let condition = world.condition("ws", "Degraded", "True").await;
    assert_eq!(condition["reason"], "InvalidSpec", "{condition}");
    assert!(condition["message"].as_str().is_some_and(|words| words.contains("layers[0]")), "{condition}");
    world.queue("ws", 1, "true");
    world.until_jobs_end().await;
    let events: Api<Event> = world.api();
    let list = events.list(&ListParams::default()).await.expect("a list");
    let told = |reason: &str| list.items.iter().any(|event| event.reason.as_deref() == Some(reason));
    assert!(told("InvalidSpec") && told("Listening"), "{:?}", list.items);
    world.apply("ws", &json!({})).await;
    world.condition("ws", "Ready", "True").await;
    world.delete("ws").await;
    world.assert_nothing_left().await;
}

async fn a_dead_github(cluster: Arc<Cluster>) {
    let world = World::new(cluster).await;
    let _operator = world.operator_called("operator-0", Duration::from_secs(3));
    world.apply("ws", &json!({"minRunners": 1})).await;
    world.condition("ws", "Ready", "True").await;
    world.pods(1).await;
    world.set_token("ghp_wrong").await;
    world.go_dark();
    let begun = Instant::now();
    world.delete("ws").await;
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    // Its owner is gone: pods and secrets go with it.
    world.pods(0).await;
    let list = world.api::<Event>().list(&ListParams::default()).await.expect("a list");
    let left = list.items.iter().find(|event| event.reason.as_deref() == Some("LeftBehind"));
    let note = left.and_then(|event| event.note.clone()).unwrap_or_default();
    assert!(note.contains("the scale set `ws`") && note.contains("/acme"), "{note}");
}

async fn a_hand_over(cluster: Arc<Cluster>) {
    let world = World::new(cluster).await;
    let first = world.operator_called("first", Duration::from_mins(5));
    world.apply("ws", &json!({"minRunners": 1})).await;
    world.condition("ws", "Ready", "True").await;
    let idle = world.pods(1).await;
    let second = world.operator_called("second", Duration::from_mins(5));
    let begun = Instant::now();
    first.stop().await;
    let leases: Api<Lease> = world.api();
    let lease = loop {
        let lease = leases.get("deskrun").await.expect("a lease");
        let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.clone());
        if holder.as_deref() == Some("second") {
            break lease;
        }
        assert!(begun.elapsed() < Duration::from_secs(3), "{holder:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert_eq!(lease.spec.and_then(|spec| spec.lease_transitions), Some(2));
    world.until("a session of the successor", |world| sessions(world) == 1).await;
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    assert_eq!(world.pods(1).await, idle, "the idle runner is kept");
    let jobs = world.queue("ws", 3, "true");
    world.until_jobs_end().await;
    world.assert_each_ran_once(&jobs);
    world.delete("ws").await;
    world.assert_nothing_left().await;
    second.stop().await;
}

async fn scale_sets_dropped_meanwhile(cluster: Arc<Cluster>) {
    let world = World::new(cluster).await;
    let first = world.operator();
    world.apply("ws", &json!({"instances": 3, "maxRunners": 1})).await;
    world.condition("ws", "Ready", "True").await;
    let jobs = world.queue("ws-3", 1, "sleep 600");
    let is_busy = |world: &World| world.jobs().iter().any(|job| job["status"] == "running");
    world.until("a busy runner", is_busy).await;
    first.stop().await;
    world.apply("ws", &json!({"instances": 1, "maxRunners": 1})).await;
    let second = world.operator();
    let names = |world: &World| -> BTreeSet<String> {
        let ledger = world.simulator.ledger();
        let all = ledger["scaleSets"].as_array().cloned().unwrap_or_default();
        all.iter().map(|one| one["name"].as_str().unwrap_or_default().to_owned()).collect()
    };
    let only = |names: &[&str]| -> BTreeSet<String> { names.iter().map(|&name| name.to_owned()).collect() };
    world.until("the end of what is idle", |world| names(world) == only(&["ws-1", "ws-3"])).await;
    assert!(is_busy(&world), "it was not waited for");
    assert!(world.simulator.cancel(&jobs[0]));
    world.until("the end of what was busy", |world| names(world) == only(&["ws-1"])).await;
    world.assert_each_ran_once(&jobs);
    let is_told = |object: &kube::api::DynamicObject| {
        object.data["status"]["instances"].as_array().is_some_and(|instances| instances.len() == 1)
    };
    world.resource("ws", "told of one instance", is_told).await;
    world.delete("ws").await;
    world.assert_nothing_left().await;
    second.stop().await;
}

async fn an_instance_wanted_again(cluster: Arc<Cluster>) {
    let world = World::new(cluster).await;
    let operator = world.operator();
    world.apply("ws", &json!({"instances": 2, "maxRunners": 1})).await;
    world.condition("ws", "Ready", "True").await;
    let jobs = world.queue("ws-2", 1, "sleep 600");
    world.until("a busy runner", |world| world.jobs()[0]["status"] == "running").await;
    let phase = |object: &kube::api::DynamicObject, name: &str| {
        let instances = object.data["status"]["instances"].as_array().cloned().unwrap_or_default();
        let of_it = instances.into_iter().find(|instance| instance["name"] == name);
        of_it.and_then(|instance| instance["phase"].as_str().map(str::to_owned)).unwrap_or_default()
    };
    world.apply("ws", &json!({"instances": 1, "maxRunners": 1})).await;
    let leaving = world.resource("ws", "leaving", |object| phase(object, "ws-2") == "draining").await;
    assert_eq!(find(&leaving, "Ready").expect("a condition")["status"], "True", "what is wanted is served");
    world.apply("ws", &json!({"instances": 2, "maxRunners": 1})).await;
    world.resource("ws", "served again", |object| phase(object, "ws-2") == "listening").await;
    assert!(world.simulator.cancel(&jobs[0]));
    world.resource("ws", "idle", |object| object.data["status"]["runners"] == 0).await;
    world.delete("ws").await;
    world.assert_nothing_left().await;
    operator.stop().await;
}

fn sessions(world: &World) -> usize {
    world.simulator.ledger()["sessions"].as_array().map_or(0, Vec::len)
}

async fn a_killed_leader(cluster: Arc<Cluster>) {
    let world = World::new(cluster).await;
    let first = world.operator();
    world.apply("ws", &json!({"maxRunners": 100})).await;
    world.condition("ws", "Ready", "True").await;
    let jobs = world.queue("ws", 100, "sleep 1");
    world.until("the first jobs", |world| running(world) > 5).await;
    first.kill().await;
    // The same pod starts again: it has the same name, and need not wait for the lease to run out.
    let _second = world.operator();
    world.until_jobs_end().await;
    world.assert_each_ran_once(&jobs);
    let runners = world.runner.secrets.lock().expect("no panic").len();
    assert_eq!(runners, 100, "surplus runners");
    world.delete("ws").await;
    world.assert_nothing_left().await;
}

fn running(world: &World) -> usize {
    world.jobs().iter().filter(|job| job["status"] != "queued").count()
}

async fn an_api_server_that_restarts(_: Arc<Cluster>) {
    // Other tests would not like it: this one has a control plane of its own.
    let cluster = Arc::new(Cluster::start().await.expect("a control plane"));
    let world = World::with(cluster, Options::default(), Manner::default()).await;
    let _operator = world.operator();
    world.apply("ws", &json!({"maxRunners": 100})).await;
    world.condition("ws", "Ready", "True").await;
    let user = User::of(&world.cluster.control_plane);
    let _watching = user.start(&["status", "--watch", "-n", &world.namespace], "watched");
    world.until("the watch's first line", |_| user.text("watched").contains("ws ")).await;
    let jobs = world.queue("ws", 100, "sleep 1");
    world.until("the first jobs", |world| running(world) > 5).await;
    world.cluster.control_plane.stop_api_server().await;
    world.cluster.control_plane.start_api_server().await;
    world.until_jobs_end().await;
    world.assert_each_ran_once(&jobs);
    let more = world.queue("ws", 5, "true");
    world.cluster.control_plane.expire_watches().await;
    world.until_jobs_end().await;
    world.assert_each_ran_once(&more);
    // Who watches goes on as well.
    world.apply("later", &json!({"maxRunners": 1})).await;
    world.until("the watch's next line", |_| user.text("watched").contains("later ")).await;
    world.delete("later").await;
    world.delete("ws").await;
    world.assert_nothing_left().await;
}

/// A new leader that may not list pods: with the resource they would go, and one of them is busy.
async fn pods_that_cannot_be_listed(cluster: Arc<Cluster>) {
    let world = World::new(cluster).await;
    let first = world.operator_called("operator-0", Duration::from_secs(2));
    world.apply("ws", &json!({})).await;
    let jobs = world.queue("ws", 1, "sleep 15");
    world.resource("ws", "busy", |object| object.data["status"]["busyRunners"] == 1).await;
    first.stop().await;
    let roles: Api<Role> = world.api();
    let role = roles.get("deskrun-runners").await.expect("the chart's");
    let mut blind = role.clone();
    for rule in blind.rules.iter_mut().flatten() {
        if rule.resources.iter().flatten().any(|resource| resource == "pods") {
            rule.verbs.retain(|verb| verb != "list" && verb != "watch");
        }
    }
    roles.replace("deskrun-runners", &PostParams::default(), &blind).await.expect("it is replaced");
    world.resources().delete("ws", &DeleteParams::default()).await.expect("it can be deleted");
    let _second = world.operator_called("operator-1", Duration::from_secs(2));
    let is_said = |object: &DynamicObject| object.data["status"].to_string().contains("pods is forbidden");
    world.resource("ws", "told why it waits", is_said).await;
    assert_eq!(world.jobs()[0]["status"], "running");
    // The limit is over long before.
    world.until_jobs_end().await;
    world.assert_each_ran_once(&jobs);
    assert_eq!(world.jobs()[0]["conclusion"], "success");
    let still = world.resources().get("ws").await.expect("it waits");
    let role = Role { metadata: ObjectMeta { resource_version: None, ..role.metadata }, ..role };
    roles.replace("deskrun-runners", &PostParams::default(), &role).await.expect("it is replaced");
    let uid = still.uid().expect("a uid");
    let gone = await_condition(world.resources(), "ws", conditions::is_deleted(&uid));
    tokio::time::timeout(Duration::from_mins(2), gone).await.expect("it goes").expect("it can be watched");
    world.assert_nothing_left().await;
}

/// GitHub is reached through the proxy that the spec names, with what its Secret holds.
async fn behind_a_proxy(cluster: Arc<Cluster>) {
    let (world, mut proxy) = (World::new(cluster).await, Proxy::start().await);
    let _operator = world.operator();
    let spec = json!({"proxy": {"http": proxy.url, "credentialsSecret": "proxy"}});
    world.apply("ws", &spec).await;
    let degraded = world.condition("ws", "Degraded", "True").await;
    assert_eq!(degraded["message"], "there is no Secret `proxy` in the namespace");
    world.make::<Secret>("proxy", &json!({"stringData": {"username": "runner", "password": "p@ss"}})).await;
    let is_told = |object: &DynamicObject| find(object, "Degraded").is_some_and(|one| one["reason"] == "ProxyUnusable");
    let refused = world.resource("ws", "told that it is not encoded", is_told).await;
    let words = "the key `password` of the Secret `proxy` is empty, or not percent-encoded";
    assert_eq!(find(&refused, "Degraded").expect("it was found")["message"], words);
    let right = Patch::Merge(json!({"stringData": {"password": "p%40ss"}}));
    world.api::<Secret>().patch("proxy", &PatchParams::default(), &right).await.expect("it is there");
    world.condition("ws", "Ready", "True").await;
    let head = proxy.heads.recv().await.expect("the proxy was asked");
    assert!(head.contains(&format!(" {}/", world.url)), "{head}");
    // runner:p@ss
    assert!(head.to_lowercase().contains("proxy-authorization: basic "), "{head}");
    assert!(head.contains("cnVubmVyOnBAc3M="), "{head}");
    let jobs = world.queue("ws", 1, "true");
    world.until_jobs_end().await;
    world.assert_each_ran_once(&jobs);
    world.delete("ws").await;
    world.api::<Secret>().delete("proxy", &DeleteParams::default()).await.expect("it is there");
    world.assert_nothing_left().await;
}

async fn a_deleted_secret(cluster: Arc<Cluster>) {
    let manner = Manner { online_after: Duration::from_millis(500), ..Manner::default() };
    let world = World::with(cluster, Options::default(), manner).await;
    let _operator = world.operator();
    world.apply("ws", &json!({"minRunners": 1})).await;
    let pods = world.pods(1).await;
    world.api::<Secret>().delete(&pods[0], &DeleteParams::default()).await.expect("it is there");
    let jobs = world.queue("ws", 2, "true");
    world.until_jobs_end().await;
    world.assert_each_ran_once(&jobs);
    world.delete("ws").await;
    world.assert_nothing_left().await;
}

async fn a_namespace_that_refuses(cluster: Arc<Cluster>) {
    let world = World::new(cluster).await;
    let label = |level: &str| {
        let label = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": level}}});
        let namespaces: Api<Namespace> = Api::all(world.cluster.control_plane.client());
        let name = world.namespace.clone();
        async move { namespaces.patch(&name, &PatchParams::default(), &Patch::Merge(label)).await }
    };
    label("baseline").await.expect("it is there");
    let _operator = world.operator();
    world.apply("ws", &json!({"containerMode": "dind"})).await;
    let degraded = world.condition("ws", "Degraded", "True").await;
    assert_eq!(degraded["reason"], "RunnersRefused");
    let words = degraded["message"].as_str().unwrap_or_default();
    assert!(words.contains("pod-security.kubernetes.io/enforce=privileged"), "{words}");
    let jobs = world.queue("ws", 1, "true");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(world.names::<Pod>().await, Vec::<String>::new());
    assert_eq!(world.names::<Secret>().await, ["github"], "no JIT config is used up");
    // Mended without a restart.
    label("privileged").await.expect("it is there");
    world.until_jobs_end().await;
    world.assert_each_ran_once(&jobs);
    world.condition("ws", "Degraded", "False").await;
    world.delete("ws").await;
    world.assert_nothing_left().await;
}
