//! What is known of each job: tells news from repetitions, and how long jobs have waited.

use std::collections::HashMap;

use jiff::Timestamp;

use crate::github::{JobEvent, JobMessage};

/// Jobs that have not ended, by id.
#[derive(Debug, Default)]
pub(super) struct Book {
    jobs: HashMap<String, Job>,
}

#[derive(Clone, Copy, Debug)]
struct Job {
    stage: Stage,
    queued_at: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Available,
    Assigned,
    Started,
}

impl Book {
    /// Whether a message of a job's assignment says anything new.
    pub(super) fn is_news(&self, message: &JobMessage) -> bool {
        self.jobs.get(&message.job_id).is_none_or(|job| job.stage < Stage::Assigned)
    }

    /// Notes a message; `false` if it says nothing new. A job may be assigned again after it was withdrawn.
    pub(super) fn note(&mut self, message: &JobMessage) -> bool {
        let stage = match message.event {
            JobEvent::Available => Stage::Available,
            JobEvent::Assigned => Stage::Assigned,
            JobEvent::Started { .. } => Stage::Started,
            // An end is always passed on: one that was not heard before may be of a job from before a restart.
            JobEvent::Completed { .. } => {
                self.jobs.remove(&message.job_id);
                return true;
            }
        };
        let known = self.jobs.get(&message.job_id).map(|job| job.stage);
        if known.is_some_and(|known| known >= stage) {
            return false;
        }
        self.jobs.insert(message.job_id.clone(), Job { stage, queued_at: message.queued_at });
        true
    }

    /// How many jobs wait for a runner, and when the oldest was queued.
    pub(super) fn waiting(&self) -> (usize, Option<Timestamp>) {
        let waiting = self.jobs.values().filter(|job| job.stage < Stage::Started);
        (waiting.clone().count(), waiting.filter_map(|job| job.queued_at).min())
    }

    /// What the service says of the whole: with no jobs left, whatever is noted was dropped without a message (4.2).
    pub(super) fn reconcile(&mut self, assigned: i64, available: i64) {
        if assigned == 0 && available == 0 {
            self.jobs.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(event: JobEvent, job: &str) -> JobMessage {
        JobMessage {
            event,
            job_id: job.to_owned(),
            request_id: 0,
            repository: String::new(),
            workflow: String::new(),
            display_name: String::new(),
            run_id: 0,
            queued_at: Timestamp::from_second(60).ok(),
            assigned_at: None,
            started_at: None,
            finished_at: None,
        }
    }

    fn started() -> JobEvent {
        JobEvent::Started { runner_id: 1, runner_name: "a".to_owned() }
    }

    fn completed() -> JobEvent {
        JobEvent::Completed { runner_id: 1, runner_name: "a".to_owned(), result: "succeeded".to_owned() }
    }

    #[test]
    fn repeated_and_late_messages_are_no_news() {
        let mut book = Book::default();
        assert!(book.note(&message(JobEvent::Assigned, "j")));
        assert!(!book.note(&message(JobEvent::Assigned, "j")), "a repetition");
        assert!(book.note(&message(started(), "j")));
        assert!(!book.note(&message(JobEvent::Assigned, "j")), "a replay of what came before");
        assert!(book.note(&message(completed(), "j")));
        assert!(book.note(&message(JobEvent::Assigned, "j")), "assigned again after it was withdrawn");
    }

    #[test]
    fn waiting_jobs_are_counted_until_a_runner_has_them() {
        let mut book = Book::default();
        book.note(&message(JobEvent::Assigned, "a"));
        book.note(&message(JobEvent::Available, "b"));
        assert_eq!(book.waiting(), (2, Timestamp::from_second(60).ok()));
        book.note(&message(started(), "a"));
        assert_eq!(book.waiting().0, 1);
        book.reconcile(0, 0);
        assert_eq!(book.waiting(), (0, None), "dropped without a message");
    }
}
