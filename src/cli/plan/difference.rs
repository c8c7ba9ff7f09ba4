//! Compares what files ask for with what there is: which runners are up to date, which would be rolled, which busy ones a
//! change waits for. Pure; who asks whom is [`super`]'s business.

use std::collections::BTreeSet;

use serde::Serialize;

/// A scale set that the files ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) key: Key,
    /// The resource.
    pub(super) resource: String,
    pub(super) settings: Settings,
    /// Hash of the manifest its runners are made from; `None` where only the cluster can tell.
    pub(super) manifest: Option<String>,
    /// What the engine will not do, and what layers say without effect.
    pub(super) notes: Vec<String>,
}

/// A scale set that is served now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Served {
    pub(super) key: Key,
    pub(super) resource: String,
    /// `None` where no one can be asked for them.
    pub(super) settings: Option<Settings>,
    /// Other fields of the spec that would change, where they can be compared.
    pub(super) fields: Vec<String>,
}

/// What a scale set is known by.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    /// Hash of the URL it is registered at.
    pub(super) config_url: String,
    /// Its name, as `runs-on` has it.
    pub(super) name: String,
}

/// What may change without making runners anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) min_runners: u32,
    pub(super) max_runners: u32,
}

/// A runner that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Existing {
    pub(super) name: String,
    pub(super) key: Key,
    pub(super) resource: String,
    /// Hash of the manifest it was made from, where that is known.
    pub(super) manifest: Option<String>,
    pub(super) life: Life,
}

/// What is known of a runner's life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", tag = "phase")]
pub(super) enum Life {
    /// On its way to being idle.
    Starting,
    /// Waits for a job.
    Idle,
    /// Has one.
    Busy { job: Option<String> },
    /// Runs; whether it has a job is not known.
    Running,
    /// Has ended, or is being taken out anyway.
    Ending,
}

/// What becomes of scale sets that the files do not name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unnamed {
    /// They are not served any more: idle runners go. They stay at GitHub.
    LetGo,
    /// Nothing.
    Stay,
}

/// Everything that would happen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Difference {
    pub(super) scale_sets: Vec<Planned>,
}

/// What would happen to one scale set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Planned {
    pub(super) name: String,
    pub(super) resource: String,
    pub(super) action: Action,
    pub(super) changes: Vec<Change>,
    /// Other fields of the spec that change.
    pub(super) fields: Vec<String>,
    pub(super) runners: Vec<PlannedRunner>,
    pub(super) notes: Vec<String>,
}

/// What would be done with a scale set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Action {
    /// It is not served yet.
    New,
    /// Settings change, or runners are made anew.
    Change,
    /// Nothing.
    Unchanged,
    /// Its idle runners go, and it is served no more.
    LetGo,
    /// The files do not name it, and it stays as it is.
    Untouched,
}

/// A setting with its two values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Change {
    pub(super) field: &'static str,
    pub(super) from: u32,
    pub(super) to: u32,
}

/// What would happen to one runner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PlannedRunner {
    pub(super) name: String,
    #[serde(flatten)]
    pub(super) life: Life,
    pub(super) fate: Fate,
}

/// What would happen to a runner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Fate {
    /// It is as the files want it.
    Stays,
    /// It is taken out; one of the new kind comes where it is needed.
    Rolled,
    /// The change waits for the end of its job.
    WaitsForJob,
    /// Rolled if it is idle, waited for if it has a job.
    RolledUnlessBusy,
    /// It ends anyway.
    Ends,
    /// What it was made from cannot be compared.
    Unknown,
}

impl Difference {
    /// Whether nothing would happen.
    pub(super) fn is_empty(&self) -> bool {
        self.scale_sets.iter().all(|planned| matches!(planned.action, Action::Unchanged | Action::Untouched))
    }
}

/// Compares. `runners` are those of the controller that would do it, and no others.
pub(super) fn compare(asked: &[Asked], served: &[Served], runners: &[Existing], unnamed: Unnamed) -> Difference {
    let mut scale_sets: Vec<Planned> = asked
        .iter()
        .map(|asked| {
            let its = runners.iter().filter(|runner| runner.key == asked.key);
            named(asked, served.iter().find(|served| served.key == asked.key), its)
        })
        .collect();
    let known = served.iter().map(|served| (&served.key, &served.resource));
    let others: BTreeSet<(&Key, &String)> = known
        .chain(runners.iter().map(|runner| (&runner.key, &runner.resource)))
        .filter(|(key, _)| asked.iter().all(|asked| asked.key != **key))
        .collect();
    for (key, resource) in others {
        // A resource that is named has fewer scale sets now, or they are elsewhere.
        let is_named = asked.iter().any(|asked| asked.resource == *resource);
        let unnamed = if is_named { Unnamed::LetGo } else { unnamed };
        let runners = runners.iter().filter(|runner| runner.key == *key);
        scale_sets.push(not_named(key, resource, runners, unnamed));
    }
    Difference { scale_sets }
}

fn named<'a>(asked: &Asked, served: Option<&Served>, runners: impl Iterator<Item = &'a Existing>) -> Planned {
    let runners: Vec<PlannedRunner> = runners
        .map(|runner| {
            let fate = match (&asked.manifest, &runner.manifest) {
                (Some(wanted), Some(made)) if wanted == made => Fate::Stays,
                (Some(_), Some(_)) => leaving(&runner.life),
                (None, _) | (_, None) => Fate::Unknown,
            };
            planned(runner, fate)
        })
        .collect();
    let changes = served.and_then(|served| served.settings).map(|from| changes(from, asked.settings));
    let changes = changes.unwrap_or_default();
    let fields = served.map(|served| served.fields.clone()).unwrap_or_default();
    let stays = |runner: &PlannedRunner| matches!(runner.fate, Fate::Stays | Fate::Ends | Fate::Unknown);
    let action = match served {
        None if runners.is_empty() => Action::New,
        _ if changes.is_empty() && fields.is_empty() && runners.iter().all(stays) => Action::Unchanged,
        _ => Action::Change,
    };
    let Asked { key, resource, notes, .. } = asked;
    Planned {
        name: key.name.clone(),
        resource: resource.clone(),
        action,
        changes,
        fields,
        runners,
        notes: notes.clone(),
    }
}

fn not_named<'a>(key: &Key, resource: &str, runners: impl Iterator<Item = &'a Existing>, unnamed: Unnamed) -> Planned {
    let (action, fate): (Action, fn(&Life) -> Fate) = match unnamed {
        Unnamed::LetGo => (Action::LetGo, leaving),
        Unnamed::Stay => (Action::Untouched, |_| Fate::Stays),
    };
    Planned {
        name: key.name.clone(),
        resource: resource.to_owned(),
        action,
        changes: Vec::new(),
        fields: Vec::new(),
        runners: runners.map(|runner| planned(runner, fate(&runner.life))).collect(),
        notes: Vec::new(),
    }
}

fn planned(runner: &Existing, fate: Fate) -> PlannedRunner {
    let fate = if runner.life == Life::Ending { Fate::Ends } else { fate };
    PlannedRunner { name: runner.name.clone(), life: runner.life.clone(), fate }
}

/// How a runner goes that is not wanted as it is. A busy one is never removed.
fn leaving(life: &Life) -> Fate {
    match life {
        // One that starts may get a job as soon as it is up.
        Life::Starting | Life::Idle => Fate::Rolled,
        Life::Busy { .. } => Fate::WaitsForJob,
        Life::Running => Fate::RolledUnlessBusy,
        Life::Ending => Fate::Ends,
    }
}

fn changes(from: Settings, to: Settings) -> Vec<Change> {
    let fields = [("minRunners", from.min_runners, to.min_runners), ("maxRunners", from.max_runners, to.max_runners)];
    let changed = fields.into_iter().filter(|(_, from, to)| from != to);
    changed.map(|(field, from, to)| Change { field, from, to }).collect()
}

#[cfg(test)]
mod tests;
