//! What tasks, engine and messages tell goes into the records. Nothing is started here but the giving up of
//! registrations that belong to no runner, and a note of its job at each runner that gets one.

use jiff::Timestamp;

use super::audit;
use super::events::Event;
use super::publish::job_words;
use super::record::{Job, Record};
use super::rehearsal::Answer;
use super::serve::{Listing, ScaleSetController};
use crate::engine::{Observation, ObservedRunner, RunnerPhase};
use crate::github::{JobEvent, JobMessage, Runner};
use crate::metrics::Phase;
use crate::scaling::Registration;

impl ScaleSetController {
    /// Learns what a task has to tell.
    pub(super) fn learn(&mut self, event: Event) {
        let now = self.now();
        match event {
            Event::ScaleSetFound(scale_set) => {
                self.memory.keep_scale_set(Some(scale_set.id));
                self.github.found(scale_set);
            }
            Event::ScaleSetGone => self.github.gone(),
            Event::ScaleSetMissing(not_found) => {
                let reason = &not_found.words;
                tracing::warn!(scale_set = self.specification.name, reason, "the scale set cannot be served yet");
                self.github.not_found(not_found, now, self.shared.environment.fraction());
            }
            Event::Registered { runner, id } => self.with(&runner, |record| record.registered(id, now)),
            Event::NotRegistered { runner, words } => {
                self.with(&runner, |record| record.not_registered(words, now));
                self.shared.slots.release(&runner);
            }
            Event::HandedOver { runner } => {
                self.with(&runner, |record| record.handed_over(now));
                self.time_hand_over(&runner);
            }
            Event::NotHandedOver { runner, words, is_final } => {
                if is_final {
                    self.failures.refused(now, &words);
                }
                self.with(&runner, |record| record.not_handed_over(words));
            }
            Event::Deregistered { runner } => self.with(&runner, Record::deregistered),
            Event::Busy { runner } => self.with(&runner, |record| record.is_busy(now)),
            Event::Removed { runner } => {
                self.with(&runner, |record| record.removed(now));
                self.shared.slots.release(&runner);
            }
            Event::RemovalFailed { runner, words } => {
                tracing::warn!(scale_set = self.specification.name, runner, reason = words, "a runner stays for now");
                self.with(&runner, |record| record.removal_failed(now));
            }
            Event::Answer { runner, answer } => {
                if let Err(words) = &answer {
                    tracing::warn!(scale_set = self.specification.name, runner, reason = words, "GitHub does not say");
                }
                self.with(&runner, |record| match answer {
                    Ok(found) => record.hear(found.as_ref(), now),
                    // Asked again when it is due the next time.
                    Err(_) if record.registration == Registration::GivenUp => {}
                    Err(_) => record.registration = Registration::Online { at: now },
                });
            }
            Event::Registrations(Ok(runners)) => self.compare(&runners, now),
            Event::Registrations(Err(words)) => {
                tracing::warn!(
                    scale_set = self.specification.name,
                    reason = words,
                    "the registrations are not known yet"
                );
                self.list_again(now);
            }
            Event::Rehearsed { manifest, answer } => {
                let refusal = if let Answer::Refused(words) = &answer { Some(words) } else { None };
                if let Some(words) = refusal.filter(|words| self.rehearsal.refusal() != Some(*words)) {
                    tracing::error!(
                        scale_set = self.specification.name,
                        reason = words,
                        "its runners would be refused: none is made until that is mended"
                    );
                }
                self.rehearsal.ended(&manifest, answer, now);
            }
            Event::Prepared(Ok(config)) => self.stock.fill(config, now),
            Event::Prepared(Err(words)) => {
                tracing::info!(scale_set = self.specification.name, reason = words, "no JIT config in stock");
                if let Some(name) = self.stock.fail(now) {
                    self.forget(name, None);
                }
            }
            Event::Forgotten => self.forgetting = self.forgetting.saturating_sub(1),
        }
    }

    fn with(&mut self, runner: &str, step: impl FnOnce(&mut Record)) {
        if let Some(record) = self.records.get_mut(runner) {
            step(record);
        }
    }

    /// Learns what the engine shows.
    pub(super) fn observe(&mut self, observation: Observation) {
        let now = self.now();
        match observation {
            Observation::Snapshot(runners) => {
                self.has_seen_engine = true;
                self.engine_trouble = None;
                for record in self.records.values_mut().filter(|record| record.must_show(now)) {
                    if !runners.iter().any(|runner| runner.name == record.name) {
                        record.vanish(now);
                    }
                }
                for runner in runners {
                    self.show(&runner, now);
                }
            }
            Observation::Changed(runner) => self.show(&runner, now),
            Observation::Gone(name) => self.with(&name, |record| record.vanish(now)),
            Observation::Unreachable(words) => {
                tracing::warn!(scale_set = self.specification.name, reason = words, "the engine cannot be asked");
                self.engine_trouble = Some(words);
            }
        }
    }

    fn show(&mut self, runner: &ObservedRunner, now: Timestamp) {
        if self.buried.contains_key(&runner.name) && !self.records.contains_key(&runner.name) {
            return;
        }
        if let Some(record) = self.records.get_mut(&runner.name) {
            let was_running = record.milestones.running;
            record.observe(&runner.phase, now);
            if was_running.is_none() && matches!(runner.phase, RunnerPhase::Running { .. }) {
                let from = record.milestones.handed_over.unwrap_or(now);
                self.shared.metrics.phase(&self.specification.metric_labels(), Phase::Start, seconds(from, now));
            }
        } else {
            tracing::info!(scale_set = self.specification.name, runner = runner.name, "a runner of a former process");
            self.shared.slots.adopt(runner);
            self.records.insert(runner.name.clone(), Record::adopt(runner, now));
        }
    }

    /// Reads what the listener has to tell.
    pub(super) fn read_messages(&mut self) {
        let Some(line) = &mut self.github.listener else { return };
        let (_, news) = line.read();
        for news in news {
            self.hear_of_job(news.message);
        }
    }

    fn hear_of_job(&mut self, message: JobMessage) {
        let now = self.now();
        if let JobEvent::Started { runner_name, .. } | JobEvent::Completed { runner_name, .. } = &message.event {
            // A job that was withdrawn and given to another runner leaves the first one free (4.2).
            let has_it =
                |record: &Record| matches!(&record.job, Job::Running(Some(known)) if known.job_id == message.job_id);
            for record in self.records.values_mut().filter(|record| record.name != *runner_name && has_it(record)) {
                record.loses_job();
            }
        }
        match &message.event {
            JobEvent::Available | JobEvent::Assigned => {}
            JobEvent::Started { runner_name, .. } => {
                // Whatever made runners fail, it does not any more.
                self.failures.clear(now);
                let queued = message.queued_at.map(|queued| seconds(queued, message.started_at.unwrap_or(now)));
                self.shared.metrics.job_started(&self.specification.metric_labels(), queued);
                let Some(record) = self.records.get_mut(runner_name) else { return };
                // Its end was heard before its start. Another job is another matter: the first was withdrawn.
                let over = matches!(record.job, Job::Completed { .. });
                if over && record.job.message().is_none_or(|known| known.job_id == message.job_id) {
                    return;
                }
                record.milestones.job_started = Some(now);
                if let Some(running) = record.milestones.running {
                    self.shared.metrics.phase(
                        &self.specification.metric_labels(),
                        Phase::Online,
                        seconds(running, now),
                    );
                }
                tracing::info!(
                    scale_set = self.specification.name,
                    runner = record.name,
                    repository = message.repository,
                    job = message.display_name,
                    "a job has started"
                );
                let is_known = record.job.message().is_some_and(|known| known.job_id == message.job_id);
                let words = job_words(&message);
                record.job = Job::Running(Some(Box::new(message)));
                audit::gets_job(&self.specification, record, now);
                // News may be delivered again.
                if !is_known {
                    self.tasks.spawn(self.hands.clone().note_job(record.name.clone(), words));
                }
            }
            JobEvent::Completed { runner_name, result, .. } => {
                let length = message.started_at.map(|started| seconds(started, message.finished_at.unwrap_or(now)));
                self.shared.metrics.job_completed(&self.specification.metric_labels(), result, length);
                let Some(record) = self.records.get_mut(runner_name) else { return };
                if matches!(record.job, Job::Completed { .. }) {
                    return;
                }
                tracing::info!(
                    scale_set = self.specification.name,
                    runner = record.name,
                    job = message.display_name,
                    result,
                    "a job has ended"
                );
                record.job = Job::Completed { at: now, message: Some(Box::new(message)) };
            }
        }
    }

    fn time_hand_over(&self, runner: &str) {
        let Some(milestones) = self.records.get(runner).map(|record| record.milestones) else { return };
        let labels = &self.specification.metric_labels();
        if let (Some(registered), Some(handed_over)) = (milestones.registered, milestones.handed_over) {
            self.shared.metrics.phase(labels, Phase::Register, seconds(milestones.created, registered));
            self.shared.metrics.phase(labels, Phase::HandOver, seconds(registered, handed_over));
        }
    }

    /// Compares all registrations with the records: who is busy, who is gone, what belongs to no one.
    fn compare(&mut self, runners: &[Runner], now: Timestamp) {
        self.listing = Listing::Done;
        let Some(scale_set) = self.github.scale_set.as_ref().map(|scale_set| scale_set.id) else { return };
        let ours = |runner: &&Runner| runner.scale_set_id == scale_set;
        for record in self.records.values_mut().filter(|record| record.adopted) {
            // Whoever is missing is asked about by id when it matters: a list may be short of one.
            if let Some(found) = runners.iter().find(|runner| runner.name == record.name) {
                record.registration_id = Some(found.id);
                record.hear(Some(found), now);
            }
        }
        let orphans = runners.iter().filter(ours).filter(|runner| {
            let known = self.records.contains_key(&runner.name)
                || self.buried.contains_key(&runner.name)
                || self.stock.name() == Some(&runner.name);
            // One that is online or busy has a process somewhere, though the engine does not show it.
            !known && runner.busy != Some(true) && runner.status != "online"
        });
        let orphans: Vec<(String, i64)> = orphans.map(|runner| (runner.name.clone(), runner.id)).collect();
        for (name, id) in orphans {
            tracing::info!(
                scale_set = self.specification.name,
                runner = name,
                "a registration without a runner is given up"
            );
            self.forget(name, Some(id));
        }
    }
}

/// From one moment to another, never less than nothing: clocks differ.
fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64().max(0.0)
}
