//! What two caches of one scale set mean together: duplicates, nesting, overlapping slots.

use super::Docker;
use super::cache::{BuiltIn, Cache, Storage};
use super::cache_target::NIX_STORE;
use super::path::{is_below, is_in};
use super::report::{Broken, Report};
use super::rule::Rule;
use super::slot::Source;
use crate::problem::FieldPath;

/// Checks every cache against those before it, and against the mounts that the Nix feature makes.
pub(super) fn validate(caches: &[Cache], scale_set: &str, nix: bool, docker: Option<&Docker>, report: &mut Report<'_>) {
    for (number, cache) in caches.iter().enumerate() {
        for earlier in &caches[..number] {
            check_targets(earlier, cache, report);
            check_sources(earlier, cache, scale_set, report);
        }
        if !caches.iter().any(|cache| cache.replaces == Some(BuiltIn::DockerCache)) {
            check_docker_default(cache, docker, scale_set, report);
        }
        if nix && cache.target == "/nix/store" {
            check_one_store(caches, cache, report);
        }
        if nix && is_below(&cache.target, NIX_STORE) {
            let path = entry(cache).key("target");
            report.refuse(&path, below_read_only(&cache.target, NIX_STORE));
        }
    }
}

/// Both mounts of the store show one store.
fn check_one_store(caches: &[Cache], cache: &Cache, report: &mut Report<'_>) {
    let other = caches.iter().find(|cache| cache.replaces == Some(BuiltIn::NixStore)).and_then(host_source);
    if let Some(other) = other.filter(|source| source.as_written() != "/nix/store") {
        let message = format!("`/nix/store` is already mounted from `{}`", other.as_written());
        let hint = "remove this entry: the store is mounted at both places";
        report.refuse(&entry(cache).key("target"), Broken::new(Rule::CacheTargetDuplicate, message, hint));
    }
}

/// The Docker data root that is used where no entry replaces it.
fn check_docker_default(cache: &Cache, docker: Option<&Docker>, scale_set: &str, report: &mut Report<'_>) {
    let (Some(docker), Some(source)) = (docker, host_source(cache)) else { return };
    if source.meets(scale_set, &docker.source, scale_set) {
        let message = format!("`{}` meets the Docker data root `{}`", source.as_written(), docker.source.as_written());
        let hint = "choose another directory, or give `/var/lib/docker` an entry of its own";
        report.refuse(&entry(cache).key("source"), Broken::new(Rule::CacheSlotOverlap, message, hint));
    }
}

fn check_targets(earlier: &Cache, cache: &Cache, report: &mut Report<'_>) {
    let path = entry(cache).key("target");
    if canonical(&cache.target) == canonical(&earlier.target) {
        let message = format!("`{}` is already the target of `{}`", cache.target, entry(earlier));
        report.refuse(&path, Broken::new(Rule::CacheTargetDuplicate, message, "remove one of the two entries"));
        return;
    }
    for (child, parent) in [(cache, earlier), (earlier, cache)] {
        if !is_below(&child.target, &parent.target) {
            continue;
        }
        let path = entry(child).key("target");
        if parent.read_only {
            report.refuse(&path, below_read_only(&child.target, &parent.target));
        } else {
            let message = format!("`{}` lies in `{}`, another cache", child.target, parent.target);
            let hint = format!("an empty directory stays behind in the source of `{}`", entry(parent));
            report.warn("cache-target-nested", &path, message, hint);
        }
    }
}

fn check_sources(earlier: &Cache, cache: &Cache, scale_set: &str, report: &mut Report<'_>) {
    let (Some(first), Some(second)) = (host_source(earlier), host_source(cache)) else { return };
    let path = entry(cache).key("source");
    let (first_path, second_path) = (first.of_slot(scale_set, 0), second.of_slot(scale_set, 0));
    if first_path == second_path {
        if !(earlier.read_only && cache.read_only) {
            let message = format!("`{second_path}` is already the source of `{}`", entry(earlier));
            let hint = "give each target a directory of its own, or mount both read-only";
            report.refuse(&path, Broken::new(Rule::CacheSourceDuplicate, message, hint));
        }
        return;
    }
    if is_in(&first_path, &second_path) || is_in(&second_path, &first_path) {
        let message =
            format!("the sources `{second_path}` and `{first_path}` of `{}` lie in one another", entry(earlier));
        let hint = "choose directories side by side";
        if earlier.exclusive || cache.exclusive {
            report.refuse(&path, Broken::new(Rule::CacheSourceNestedExclusive, message, hint));
        } else {
            report.warn("cache-source-nested", &path, message, hint);
        }
        return;
    }
    if (first.has_slots() || second.has_slots()) && first.meets(scale_set, second, scale_set) {
        let message =
            format!("the directories of the slots of `{}` and `{}` overlap", first.as_written(), second.as_written());
        let hint = "slot n uses `<source>-<n>`: choose names that do not end like that, or place `{slot}` yourself";
        report.refuse(&path, Broken::new(Rule::CacheSlotOverlap, message, hint));
    }
}

/// `/var/run` is a link to `/run` in every image of ours.
fn canonical(target: &str) -> String {
    target.strip_prefix("/var/run").map_or_else(|| target.to_owned(), |rest| format!("/run{rest}"))
}

fn below_read_only(child: &str, parent: &str) -> Broken {
    Broken::new(
        Rule::CacheTargetBelowReadOnly,
        format!("`{child}` lies in `{parent}`, which is read-only: the mount point cannot be made"),
        "choose a target outside of it",
    )
}

fn host_source(cache: &Cache) -> Option<&Source> {
    match &cache.storage {
        Storage::HostPath { source, .. } => Some(source),
        _ => None,
    }
}

fn entry(cache: &Cache) -> FieldPath {
    FieldPath::root().key("cachePaths").index(cache.index)
}
