//! What a leader does: brings what is served into agreement with the resources, whatever it was that changed.
//!
//! One pass reads everything that is known and is safe to repeat. It writes nothing itself: publishers write statuses,
//! short tasks set and take away finalizers, controllers make runners.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kube::api::{Api, DynamicObject};
use kube::runtime::events::Recorder;
use tokio::sync::{Notify, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep};

use super::case::{Case, Claims, Removal};
use super::deletion::look_again;
use super::memory::Ids;
use super::publish::{self, Publisher};
use super::references::{Lookup, Reference, References};
use super::removal::Outcome;
use super::resource::{Resource, api_resource};
use super::resources::Resources;
use super::wanted::{Fault, Prepared, Reader, ServiceKey, Verdict};
use super::{Settings, finalizer};
use crate::causes;
use crate::controller::{Order, Shared, Slots};
use crate::engine::kubernetes::Scope;
use crate::github::{ActionsService, ConfigUrl, ConfigUrlOptions, Credentials, Identity, counted, over_http};
use crate::operator::{Desired, Handle, Operator};

/// A removal that failed, or a finalizer that could not be written, is tried again after this.
pub(super) const AGAIN: Duration = Duration::from_secs(10);

/// Serves the resources of a cluster. Dropped, it leaves everything as `kill -9` would.
pub(super) struct Leader {
    pub(super) settings: Settings,
    pub(super) operator: Handle,
    pub(super) bell: Arc<Notify>,
    resources: Resources,
    references: References,
    reader: Reader,
    pub(super) recorder: Recorder,
    services: BTreeMap<ServiceKey, ActionsService>,
    /// By uid: resources that are known.
    pub(super) cases: BTreeMap<String, Case>,
    /// Which resource has which name at GitHub, by key.
    holders: BTreeMap<String, String>,
    /// Whether the operator was told once what there is to serve.
    has_applied: bool,
    following: JoinHandle<()>,
    /// Finalizers that are being written, and removals; each ends with the uid it was about.
    pub(super) tasks: JoinSet<Done>,
}

/// What a task has done.
pub(super) enum Done {
    /// The finalizer's write has ended; true if it succeeded.
    Finalizer(String, bool),
    /// What came of it, and when a runner was last seen busy, if one was.
    Removal(String, Outcome, Option<Instant>),
    /// It is time to look again.
    Look,
}

impl Drop for Leader {
    fn drop(&mut self) {
        self.following.abort();
    }
}

impl Leader {
    pub(super) fn start(settings: Settings) -> Self {
        let shared = Shared {
            engine: Arc::clone(&settings.engine),
            environment: settings.environment.clone(),
            slots: Slots::default(),
            metrics: settings.metrics.clone(),
            calls: Shared::calls(),
            owner: format!("deskrun-{}", settings.controller),
            keeps_stock: settings.keeps_stock,
        };
        let operator = Arc::new(Mutex::new(Operator::start(shared, settings.controller.clone())));
        let bell = Arc::new(Notify::new());
        let resources = Resources::default();
        let following = tokio::spawn(resources.clone().follow(api_of(&settings), Arc::clone(&bell)));
        let references = References::new(settings.client.clone(), Arc::clone(&bell));
        let reader = Reader::new(settings.controller.clone());
        let reporter = format!("deskrun/{}", settings.controller).into();
        let recorder = Recorder::new(settings.client.clone(), reporter);
        Self {
            settings,
            operator,
            bell,
            resources,
            references,
            reader,
            recorder,
            services: BTreeMap::new(),
            cases: BTreeMap::new(),
            holders: BTreeMap::new(),
            has_applied: false,
            following,
            tasks: JoinSet::new(),
        }
    }

    /// The operator, for metrics.
    pub(super) fn handle(&self) -> Handle {
        Arc::clone(&self.operator)
    }

    /// The resources, for probes.
    pub(super) fn resources(&self) -> Resources {
        self.resources.clone()
    }

    /// Serves until it is dropped.
    pub(super) async fn serve(&mut self) {
        let mut ends = self.operator.lock().unwrap_or_else(PoisonError::into_inner).ends();
        loop {
            self.pass();
            let bell = Arc::clone(&self.bell);
            tokio::select! {
                () = bell.notified() => {}
                Ok(()) = ends.changed() => {}
                Some(done) = self.tasks.join_next() => match done {
                    Ok(done) => self.note(done),
                    Err(error) => tracing::error!(%error, "a task of the operator broke"),
                },
            }
        }
    }

    /// Closes all sessions and stops, so that a successor goes on with everything at once.
    pub(super) async fn hand_over(&mut self) {
        let ended = self.operator.lock().unwrap_or_else(PoisonError::into_inner).end(Order::HandOver);
        for (scale_set, words) in ended.await {
            tracing::info!(scale_set, left = words, "handed over");
        }
    }

    /// Brings everything into agreement once.
    fn pass(&mut self) {
        let Some(resources) = self.resources.all() else { return };
        let ours: Vec<Resource> = resources
            .into_iter()
            // What is on its way out without our finalizer was never served.
            .filter(|resource| resource.deleted_at.is_none() || resource.has_finalizer)
            .collect();
        let mut wanted = self.reader.read(&ours);
        // Those of the last good specs as well.
        wanted.extend(self.cases.values().filter_map(|case| Some(case.good.as_ref()?.service.secret.clone())));
        self.references.keep(&wanted);
        let references = &self.references;
        let verdicts = self.reader.judge(|reference| references.look_up(reference));
        self.take_over(ours);
        for (uid, verdict) in &verdicts {
            self.decide(uid, verdict);
        }
        // Before everything is known once, what is missing is no reason to stop anything.
        if !self.has_applied && verdicts.values().any(|verdict| matches!(verdict, Verdict::Pending)) {
            return;
        }
        self.has_applied = true;
        self.apply();
        self.begin_removals(&verdicts);
        self.tell();
    }

    /// Opens cases of new resources, and closes those of resources that are gone.
    fn take_over(&mut self, resources: Vec<Resource>) {
        let uids: BTreeSet<&str> = resources.iter().map(|resource| resource.uid.as_str()).collect();
        let mut operator = self.operator.lock().unwrap_or_else(PoisonError::into_inner);
        self.cases.retain(|uid, case| {
            let stays = uids.contains(uid.as_str());
            if !stays {
                // Another of the same name may come.
                operator.forget_removal(&case.resource.key());
            }
            stays
        });
        drop(operator);
        for resource in resources {
            if let Some(case) = self.cases.get_mut(&resource.uid) {
                case.setting_finalizer &= !resource.has_finalizer;
                case.resource = resource;
            } else {
                let case = self.open(resource);
                self.cases.insert(case.resource.uid.clone(), case);
            }
        }
    }

    fn open(&self, resource: Resource) -> Case {
        let ids = Ids::recalled(&resource.status);
        let (served, served_in) = watch::channel(None);
        let publisher = Publisher {
            resource: resource.clone(),
            api: self.api(&resource),
            recorder: self.recorder.clone(),
            environment: self.settings.environment.clone(),
            served: served_in,
            kept: ids.subscribe(),
        };
        let publishing = tokio::spawn(publisher.run());
        Case {
            resource,
            good: None,
            fault: None,
            ids,
            served,
            publishing,
            setting_finalizer: false,
            was_served: false,
            removal: Removal::No,
            take_out_again: BTreeMap::new(),
            removing_since: None,
        }
    }

    /// Takes a verdict over into its case. A spec that cannot be served leaves the last good one in force.
    fn decide(&mut self, uid: &str, verdict: &Verdict) {
        let Some(case) = self.cases.get_mut(uid) else { return };
        match verdict {
            Verdict::Pending => {}
            Verdict::Faulty(fault) => case.fault = Some(fault.clone()),
            Verdict::Serve(prepared) => {
                case.fault = None;
                case.good = Some(Arc::clone(prepared));
            }
        }
    }

    /// Tells the operator what is to be served: whatever has our finalizer, so that nothing is registered that a deletion
    /// would not take out.
    fn apply(&mut self) {
        let mut services = self.renewed_services();
        let mut claims = Vec::new();
        for (uid, case) in &mut self.cases {
            let Some(prepared) = case.good.clone() else { continue };
            if !case.resource.has_finalizer {
                if !case.setting_finalizer {
                    case.setting_finalizer = true;
                    self.tasks.spawn(set_finalizer(api_for(&self.settings, &case.resource), case.resource.clone()));
                }
                // Someone took it away from a resource that is served: that is no reason to stop.
                if !case.was_served {
                    continue;
                }
            }
            if matches!(case.removal, Removal::Done | Removal::Pausing(_)) {
                continue;
            }
            let service = match services.get(&prepared.service) {
                Some(service) => Ok(service.clone()),
                None => connect(&self.settings, &prepared),
            };
            match service {
                Err(fault) => case.fault = Some(fault),
                Ok(service) => {
                    case.was_served = true;
                    services.insert(prepared.service.clone(), service.clone());
                    for specification in &prepared.specifications {
                        let memory = case.ids.memory(&specification.name);
                        let (specification, service) = (specification.clone(), service.clone());
                        claims.push((uid.clone(), Desired { specification, service, memory }));
                    }
                }
            }
        }
        self.services = services;
        let desired = self.settle(claims);
        self.operator.lock().unwrap_or_else(PoisonError::into_inner).apply(desired, Order::Drain);
        self.take_out_dropped();
    }

    /// Takes out what no resource names any more.
    fn take_out_dropped(&mut self) {
        let now = Instant::now();
        let claims = self.claims();
        let mut operator = self.operator.lock().unwrap_or_else(PoisonError::into_inner);
        for (uid, case) in self.cases.iter_mut().filter(|(_, case)| case.was_served && case.removal == Removal::No) {
            let Some(service) = case.good.as_ref().and_then(|good| self.services.get(&good.service)) else { continue };
            for (name, id) in case.dropped() {
                if claims.is_anothers(uid, case, &name, id) {
                    continue;
                }
                let Some(dropped) = case.to_take_out(&name, service) else { continue };
                if operator.is_at_work(&dropped.key()) || case.take_out_again.get(&name).is_some_and(|at| now < *at) {
                    continue;
                }
                // If it fails: there is time in between, and this looks again then.
                case.take_out_again.insert(name, now + AGAIN);
                self.tasks.spawn(look_again());
                operator.take_out(dropped);
            }
        }
    }

    /// What all resources name, and have at GitHub.
    pub(super) fn claims(&self) -> Claims {
        let have =
            |(uid, case): (&String, &Case)| (uid.clone(), case.place(), case.ids.scale_sets().into_values().collect());
        Claims { named: self.reader.names(), ids: self.cases.iter().map(have).collect() }
    }

    /// The clients that are still wanted, each with the credentials that its Secret holds now: a resource whose new spec is
    /// wrong goes on with the last good one, but not with the credentials of then.
    fn renewed_services(&mut self) -> BTreeMap<ServiceKey, ActionsService> {
        let wanted: BTreeSet<&ServiceKey> =
            self.cases.values().filter_map(|case| Some(&case.good.as_ref()?.service)).collect();
        let mut services = BTreeMap::new();
        for key in wanted {
            let Some(service) = self.services.remove(key) else { continue };
            let fresh = match (&key.secret, self.references.look_up(&key.secret)) {
                (Reference::Secret { .. }, Lookup::Found(data)) => Credentials::from_secret(&data).ok(),
                _ => None,
            };
            if fresh.is_some_and(|fresh| service.renew_credentials(fresh)) {
                tracing::info!(secret = %key.secret, config_url = key.config_url, "the credentials have changed");
            }
            services.insert(key.clone(), service);
        }
        services
    }

    /// Gives each name at GitHub to one resource: to the one that has it already, else to the first. The last good spec of
    /// one may meet the new one of another.
    fn settle(&mut self, claims: Vec<(String, Desired)>) -> Vec<Desired> {
        let held = std::mem::take(&mut self.holders);
        let holds = |claim: &(String, Desired)| held.get(&claim.1.key()) == Some(&claim.0);
        let (first, others): (Vec<_>, Vec<_>) = claims.into_iter().partition(holds);
        let mut desired = Vec::new();
        for (uid, claim) in first.into_iter().chain(others) {
            let key = claim.key();
            if let Some(other) = self.holders.get(&key) {
                let other = self.cases.get(other).map(|case| case.resource.key()).unwrap_or_default();
                let words =
                    format!("`{}` is served for {other} already: rename one of the two", claim.specification.name);
                if let Some(case) = self.cases.get_mut(&uid) {
                    case.fault.get_or_insert(Fault { reason: "Conflict", words });
                }
                continue;
            }
            self.holders.insert(key, uid);
            desired.push(claim);
        }
        desired
    }

    /// Lets publishers say how it stands.
    fn tell(&self) {
        let operator = self.operator.lock().unwrap_or_else(PoisonError::into_inner);
        for case in self.cases.values() {
            let statuses = operator.statuses_of(&case.resource.key());
            let next = publish::Served {
                generation: case.resource.generation,
                fault: case.fault.clone(),
                warnings: case.good.as_ref().map(|good| good.warnings.clone()).unwrap_or_default(),
                is_deleted: case.resource.deleted_at.is_some(),
                statuses,
            };
            case.served.send_if_modified(|known| {
                let changed = known.as_ref().is_none_or(|known| !known.is_same(&next));
                if changed {
                    *known = Some(next);
                }
                changed
            });
        }
    }

    fn note(&mut self, done: Done) {
        match done {
            Done::Look => {}
            Done::Finalizer(uid, succeeded) => {
                // The watch brings the resource back with it. One that was not written is tried again.
                if let Some(case) = self.cases.get_mut(&uid)
                    && !succeeded
                {
                    case.setting_finalizer = false;
                }
            }
            Done::Removal(uid, outcome, busy_until) => self.removed(&uid, outcome, busy_until),
        }
    }

    pub(super) fn api(&self, resource: &Resource) -> Api<DynamicObject> {
        api_for(&self.settings, resource)
    }
}

async fn set_finalizer(api: Api<DynamicObject>, resource: Resource) -> Done {
    let written = finalizer::set(&api, &resource).await;
    if let Err(error) = &written {
        let error = causes::in_one_line(error);
        tracing::warn!(resource = resource.key(), error, "the finalizer is not set yet");
        sleep(AGAIN).await;
    }
    Done::Finalizer(resource.uid, written.is_ok())
}

fn connect(settings: &Settings, prepared: &Prepared) -> Result<ActionsService, Fault> {
    let fault = |reason, error: &dyn std::error::Error| Fault { reason, words: causes::in_one_line(error) };
    let config_url = ConfigUrl::parse(&prepared.service.config_url, ConfigUrlOptions::default())
        .map_err(|error| fault("InvalidSpec", &error))?;
    let transport = over_http(&prepared.service.http).map_err(|error| fault("CertificatesUnusable", &error))?;
    let metrics = settings.metrics.clone();
    let transport = counted(transport, move |call| metrics.github_called(call));
    let identity = Identity { subsystem: "controller", scale_set_id: 0 };
    let environment = settings.environment.clone();
    Ok(ActionsService::new(config_url, prepared.credentials.clone(), transport, environment, &identity))
}

fn api_of(settings: &Settings) -> Api<DynamicObject> {
    match &settings.scope {
        Scope::AllNamespaces => Api::all_with(settings.client.clone(), &api_resource()),
        Scope::Namespace(namespace) => Api::namespaced_with(settings.client.clone(), namespace, &api_resource()),
    }
}

fn api_for(settings: &Settings, resource: &Resource) -> Api<DynamicObject> {
    Api::namespaced_with(settings.client.clone(), &resource.namespace, &api_resource())
}
