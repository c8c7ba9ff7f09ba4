//! Which verdict follows from which facts.

use super::*;

fn key(name: &str) -> Key {
    Key { config_url: "u".to_owned(), name: name.to_owned() }
}

fn asked(name: &str, manifest: &str, max_runners: u32) -> Asked {
    Asked {
        key: key(name),
        resource: name.to_owned(),
        settings: Settings { min_runners: 0, max_runners },
        manifest: Some(manifest.to_owned()),
        notes: Vec::new(),
    }
}

fn served(name: &str, max_runners: u32) -> Served {
    let settings = Some(Settings { min_runners: 0, max_runners });
    Served { key: key(name), resource: name.to_owned(), settings, fields: Vec::new() }
}

fn runner(name: &str, scale_set: &str, manifest: &str, life: Life) -> Existing {
    Existing {
        name: name.to_owned(),
        key: key(scale_set),
        resource: scale_set.to_owned(),
        manifest: Some(manifest.to_owned()),
        life,
    }
}

fn busy() -> Life {
    Life::Busy { job: Some("acme/app build".to_owned()) }
}

fn only(difference: Difference) -> Planned {
    let [planned] = <[Planned; 1]>::try_from(difference.scale_sets).unwrap();
    planned
}

#[test]
fn what_becomes_of_a_runner_follows_from_its_manifest_and_its_life() {
    let table = [
        ("now", Life::Idle, Fate::Stays, Action::Unchanged),
        ("now", busy(), Fate::Stays, Action::Unchanged),
        ("now", Life::Running, Fate::Stays, Action::Unchanged),
        ("now", Life::Ending, Fate::Ends, Action::Unchanged),
        ("old", Life::Starting, Fate::Rolled, Action::Change),
        ("old", Life::Idle, Fate::Rolled, Action::Change),
        ("old", busy(), Fate::WaitsForJob, Action::Change),
        ("old", Life::Running, Fate::RolledUnlessBusy, Action::Change),
        ("old", Life::Ending, Fate::Ends, Action::Unchanged),
    ];
    for (manifest, life, fate, action) in table {
        let runners = [runner("m-1", "metal", manifest, life.clone())];
        let planned = only(compare(&[asked("metal", "now", 2)], &[served("metal", 2)], &runners, Unnamed::LetGo));
        assert_eq!((planned.runners[0].fate, planned.action), (fate, action), "{manifest} {life:?}");
    }
}

#[test]
fn scale_sets_are_new_changed_unchanged_or_let_go() {
    let is = |asked: &[Asked], served: &[Served], runners: &[Existing], unnamed| {
        only(compare(asked, served, runners, unnamed)).action
    };
    let wanted = [asked("metal", "now", 2)];
    assert_eq!(is(&wanted, &[], &[], Unnamed::LetGo), Action::New);
    assert_eq!(is(&wanted, &[served("metal", 2)], &[], Unnamed::LetGo), Action::Unchanged);
    assert_eq!(is(&wanted, &[served("metal", 3)], &[], Unnamed::LetGo), Action::Change);
    // Without a controller only its runners tell that it was served.
    let left = [runner("m-1", "metal", "now", Life::Running)];
    assert_eq!(is(&wanted, &[], &left, Unnamed::LetGo), Action::Unchanged);
    assert_eq!(is(&[], &[served("metal", 2)], &left, Unnamed::LetGo), Action::LetGo);
    assert_eq!(is(&[], &[], &left, Unnamed::LetGo), Action::LetGo);
    assert_eq!(is(&[], &[served("metal", 2)], &left, Unnamed::Stay), Action::Untouched);
    assert!(compare(&wanted, &[served("metal", 2)], &left, Unnamed::LetGo).is_empty());
}

#[test]
fn an_instance_that_a_named_resource_has_no_more_goes_whatever_becomes_of_others() {
    let one = Asked { resource: "metal".to_owned(), ..asked("metal-1", "now", 2) };
    let [first, second] = ["metal-1", "metal-2"].map(|name| Served { resource: "metal".to_owned(), ..served(name, 2) });
    let difference = compare(&[one], &[first, second, served("iron", 2)], &[], Unnamed::Stay);
    let actions: Vec<(&str, Action)> =
        difference.scale_sets.iter().map(|planned| (planned.name.as_str(), planned.action)).collect();
    let expected = [("metal-1", Action::Unchanged), ("iron", Action::Untouched), ("metal-2", Action::LetGo)];
    assert_eq!(actions, expected);
    let changed = Served { fields: vec!["image".to_owned()], ..served("metal", 2) };
    assert_eq!(only(compare(&[asked("metal", "now", 2)], &[changed], &[], Unnamed::Stay)).action, Action::Change);
}

#[test]
fn a_scale_set_that_is_let_go_keeps_its_busy_runners_until_their_jobs_end() {
    let runners = [runner("m-1", "metal", "now", Life::Idle), runner("m-2", "metal", "now", busy())];
    let planned = only(compare(&[], &[served("metal", 2)], &runners, Unnamed::LetGo));
    let fates: Vec<Fate> = planned.runners.iter().map(|runner| runner.fate).collect();
    assert_eq!(fates, [Fate::Rolled, Fate::WaitsForJob]);
    let planned = only(compare(&[], &[served("metal", 2)], &runners, Unnamed::Stay));
    assert!(planned.runners.iter().all(|runner| runner.fate == Fate::Stays));
}

#[test]
fn a_setting_is_told_with_both_values_and_the_same_name_elsewhere_is_another_scale_set() {
    let planned = only(compare(&[asked("metal", "now", 4)], &[served("metal", 2)], &[], Unnamed::LetGo));
    assert_eq!(planned.changes, [Change { field: "maxRunners", from: 2, to: 4 }]);
    let mut elsewhere = served("metal", 2);
    elsewhere.key.config_url = "other".to_owned();
    let difference = compare(&[asked("metal", "now", 4)], &[elsewhere], &[], Unnamed::LetGo);
    let actions: Vec<Action> = difference.scale_sets.iter().map(|planned| planned.action).collect();
    assert_eq!(actions, [Action::New, Action::LetGo]);
}
