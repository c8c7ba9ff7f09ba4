//! A plan as people read it: scale sets with what changes, then the runners that something would happen to.

use super::difference::{Action, Difference, Fate, Life, Planned, PlannedRunner};
use crate::cli::output::{NOTHING, Table, one_line};

pub(super) fn table(difference: &Difference) -> String {
    if difference.scale_sets.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&["SCALE SET", "PLAN", "STAY", "ROLLED", "WAITED FOR"]);
    for planned in &difference.scale_sets {
        let count = |fates: &[Fate]| planned.runners.iter().filter(|runner| fates.contains(&runner.fate)).count();
        table.row([
            planned.name.clone(),
            action(planned.action).to_owned(),
            count(&[Fate::Stays]).to_string(),
            count(&[Fate::Rolled, Fate::RolledUnlessBusy]).to_string(),
            count(&[Fate::WaitsForJob]).to_string(),
        ]);
        for change in &planned.changes {
            table.remark(&format!("{}: {} -> {}", change.field, change.from, change.to));
        }
        if !planned.fields.is_empty() {
            table.remark(&format!("changed: {}", planned.fields.join(", ")));
        }
        for note in &planned.notes {
            table.remark(&one_line(note));
        }
    }
    let mut text = table.text();
    let touched = |planned: &&Planned| planned.runners.iter().any(is_touched);
    if difference.scale_sets.iter().any(|planned| touched(&planned)) {
        text.push('\n');
        text.push_str(&runners(difference));
    }
    text
}

fn runners(difference: &Difference) -> String {
    let mut table = Table::new(&["RUNNER", "SCALE SET", "PHASE", "PLAN", "JOB"]);
    for planned in &difference.scale_sets {
        for runner in planned.runners.iter().filter(|runner| is_touched(runner)) {
            let (phase, job) = life(&runner.life);
            table.row([
                runner.name.clone(),
                planned.name.clone(),
                phase.to_owned(),
                fate(runner.fate).to_owned(),
                job.map_or_else(|| NOTHING.to_owned(), one_line),
            ]);
        }
    }
    table.text()
}

fn is_touched(runner: &PlannedRunner) -> bool {
    runner.fate != Fate::Stays
}

fn action(action: Action) -> &'static str {
    match action {
        Action::New => "new",
        Action::Change => "change",
        Action::Unchanged => "unchanged",
        Action::LetGo => "let go",
        Action::Untouched => "not in the files",
    }
}

fn fate(fate: Fate) -> &'static str {
    match fate {
        Fate::Stays => "stays",
        Fate::Rolled => "rolled",
        Fate::WaitsForJob => "waits for its job",
        Fate::RolledUnlessBusy => "rolled if idle",
        Fate::Ends => "ends anyway",
        Fate::Unknown => "not known",
    }
}

fn life(life: &Life) -> (&'static str, Option<&str>) {
    match life {
        Life::Starting => ("starting", None),
        Life::Idle => ("idle", None),
        Life::Busy { job } => ("busy", job.as_deref()),
        Life::Running => ("running", None),
        Life::Ending => ("ending", None),
    }
}

#[cfg(test)]
mod tests {
    use super::super::difference::Change;
    use super::*;

    #[test]
    fn the_table_says_what_changes_and_which_busy_runner_is_waited_for() {
        let runner = |name: &str, life, fate| PlannedRunner { name: name.to_owned(), life, fate };
        let busy = Life::Busy { job: Some("acme/app build".to_owned()) };
        let planned = Planned {
            name: "metal".to_owned(),
            resource: "metal".to_owned(),
            action: Action::Change,
            changes: vec![Change { field: "maxRunners", from: 2, to: 4 }],
            fields: vec!["image".to_owned()],
            runners: vec![
                runner("metal-a", Life::Idle, Fate::Rolled),
                runner("metal-b", busy, Fate::WaitsForJob),
                runner("metal-c", Life::Idle, Fate::Stays),
            ],
            notes: vec!["not honoured: spec.hostPID: why".to_owned()],
        };
        let expected = "\
SCALE SET  PLAN    STAY  ROLLED  WAITED FOR
metal      change  1     1       1
  maxRunners: 2 -> 4
  changed: image
  not honoured: spec.hostPID: why

RUNNER   SCALE SET  PHASE  PLAN               JOB
metal-a  metal      idle   rolled             -
metal-b  metal      busy   waits for its job  acme/app build
";
        assert_eq!(table(&Difference { scale_sets: vec![planned] }), expected);
        assert_eq!(table(&Difference::default()), "");
    }
}
