//! A report as people read it: scale sets, runners, slots. Reasons stand below what they are about.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::cli::output::{NOTHING, Table, age, one_line};
use crate::controller::{RunnerPhase, ScaleSetStatus};
use crate::operator::Report;

pub(super) fn text(report: &Report, now: Timestamp) -> String {
    let mut parts = vec![scale_sets(report)];
    if report.scale_sets.iter().any(|scale_set| !scale_set.runners.is_empty()) {
        parts.push(runners(report, now));
    }
    let pools = pools(report);
    if !pools.is_empty() {
        parts.push(slots(report, &pools));
    }
    if !report.unclaimed.is_empty() {
        parts.push(format!("not served any more: {}\n", report.unclaimed.join(", ")));
    }
    parts.join("\n")
}

fn scale_sets(report: &Report) -> String {
    let heading = ["SCALE SET", "PHASE", "JOBS", "IDLE/BUSY/STARTING", "WANTED", "MIN-MAX"];
    let mut table = Table::new(&heading);
    for scale_set in &report.scale_sets {
        let count =
            |phases: &[RunnerPhase]| scale_set.runners.iter().filter(|runner| phases.contains(&runner.phase)).count();
        let (idle, busy) = (count(&[RunnerPhase::Idle]), count(&[RunnerPhase::Busy]));
        let starting = count(&[RunnerPhase::Creating, RunnerPhase::Starting]);
        let ScaleSetStatus { name, phase, jobs, wanted, min_runners, max_runners, reasons, .. } = scale_set;
        table.row([
            name.clone(),
            phase.name().to_owned(),
            jobs.map_or_else(|| NOTHING.to_owned(), |jobs| jobs.to_string()),
            format!("{idle}/{busy}/{starting}"),
            wanted.to_string(),
            format!("{min_runners}-{max_runners}"),
        ]);
        for reason in reasons {
            table.remark(&one_line(reason));
        }
    }
    table.text()
}

fn runners(report: &Report, now: Timestamp) -> String {
    let mut table = Table::new(&["RUNNER", "PHASE", "SLOT", "AGE", "JOB", "REASON"]);
    for runner in report.scale_sets.iter().flat_map(|scale_set| &scale_set.runners) {
        let or_nothing = |text: &Option<String>| text.as_deref().map_or_else(|| NOTHING.to_owned(), one_line);
        table.row([
            runner.name.clone(),
            runner.phase.name().to_owned(),
            runner.slot.to_string(),
            age(runner.created_at, now),
            or_nothing(&runner.job),
            or_nothing(&runner.reason),
        ]);
    }
    table.text()
}

/// Pools that are held, and those of scale sets that hold nothing.
fn pools(report: &Report) -> BTreeSet<&String> {
    let used = report.scale_sets.iter().flat_map(|scale_set| &scale_set.slot_pools);
    report.slots.keys().chain(used).collect()
}

fn slots(report: &Report, pools: &BTreeSet<&String>) -> String {
    let mut table = Table::new(&["POOL", "SLOT", "HOLDER"]);
    for &pool in pools {
        let held = report.slots.get(pool).filter(|held| !held.is_empty());
        match held {
            None => table.row([pool.clone(), NOTHING.to_owned(), NOTHING.to_owned()]),
            Some(held) => held.iter().for_each(|(slot, holder)| {
                table.row([pool.clone(), slot.to_string(), holder.clone()]);
            }),
        }
    }
    table.text()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::controller::{RunnerStatus, ServingPhase};
    use crate::operator::STATUS_VERSION;

    fn report() -> Report {
        let runner = |name: &str, phase, slot, job: Option<&str>| RunnerStatus {
            name: name.to_owned(),
            phase,
            slot,
            job: job.map(str::to_owned),
            created_at: Timestamp::UNIX_EPOCH,
            reason: None,
            manifest: None,
        };
        let scale_set = ScaleSetStatus {
            name: "metal".to_owned(),
            resource: "metal".to_owned(),
            phase: ServingPhase::Listening,
            reasons: vec!["as many runners as there may be are alive (maxRunners: 2)".to_owned()],
            max_runners: 2,
            wanted: 2,
            jobs: Some(3),
            slot_pools: vec!["/nvme/docker".to_owned(), "/nvme/tools".to_owned()],
            runners: vec![
                runner("metal-b1", RunnerPhase::Busy, 0, Some("acme/app build\x1b[2J")),
                runner("metal-c2", RunnerPhase::Creating, 1, None),
            ],
            ..ScaleSetStatus::default()
        };
        let held = BTreeMap::from([(0, "metal-b1".to_owned()), (1, "metal-c2".to_owned())]);
        Report {
            version: STATUS_VERSION,
            controller: "test".to_owned(),
            scale_sets: vec![scale_set],
            slots: BTreeMap::from([("/nvme/docker".to_owned(), held)]),
            unclaimed: vec!["old-x7".to_owned()],
        }
    }

    #[test]
    fn the_table_shows_scale_sets_with_reasons_runners_with_jobs_and_slots_with_holders() {
        let now = Timestamp::from_second(300).unwrap();
        let expected = "\
SCALE SET  PHASE      JOBS  IDLE/BUSY/STARTING  WANTED  MIN-MAX
metal      listening  3     0/1/1               2       0-2
  as many runners as there may be are alive (maxRunners: 2)

RUNNER    PHASE     SLOT  AGE  JOB                 REASON
metal-b1  busy      0     5m   acme/app build [2J  -
metal-c2  creating  1     5m   -                   -

POOL          SLOT  HOLDER
/nvme/docker  0     metal-b1
/nvme/docker  1     metal-c2
/nvme/tools   -     -

not served any more: old-x7
";
        assert_eq!(text(&report(), now), expected);
    }
}
