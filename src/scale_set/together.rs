//! What the scale sets of one input mean together: names that meet, and directories of slots that overlap.
//!
//! Leases keep runners apart that draw from one pool. Two pools that share a directory would not be kept apart by
//! anything (`design.md` 3.10), so that is refused.

use super::cache::{BuiltIn, Storage};
use super::{Rule, ScaleSet, Source};
use crate::crd::Document;
use crate::problem::{FieldPath, Problem};

/// Enough instances to see every form that a name of one can have.
const INSTANCES: usize = 16;

/// A scale set with the document it came from.
pub type Placed<'a> = (&'a Document, &'a ScaleSet);

/// All problems between two scale sets, and between two instances of one.
pub fn check_together(all: &[Placed<'_>]) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut earlier: Vec<Holding<'_>> = Vec::new();
    for (number, placed) in all.iter().enumerate() {
        problems.extend(all[..number].iter().find_map(|other| same_name(other, placed)));
        let (document, scale_set) = placed;
        for holding in holdings(scale_set) {
            let overlap = earlier.iter().find(|other| other.overlaps(&holding));
            if let Some(other) = overlap {
                let message = format!(
                    "a slot of `{}` ({}) may be a directory of `{}` ({})",
                    holding.source.as_written(),
                    holding.instance,
                    other.source.as_written(),
                    other.instance
                );
                let hint = "choose directories side by side, or the very same source for both";
                let problem = document.problem(Rule::CacheSlotOverlap.id(), &holding.path, message, hint);
                if !problems.iter().any(|known: &Problem| known.path == problem.path && known.file == problem.file) {
                    problems.push(problem);
                }
            }
            earlier.push(holding);
        }
    }
    problems
}

fn same_name(other: &Placed<'_>, new: &Placed<'_>) -> Option<Problem> {
    let ((_, other), (document, scale_set)) = (other, new);
    let names = |scale_set: &ScaleSet| -> Vec<String> {
        scale_set.instances().into_iter().map(|instance| instance.name).collect()
    };
    let taken = names(other);
    let name = names(scale_set).into_iter().find(|name| taken.contains(name))?;
    if other.namespace != scale_set.namespace {
        return None;
    }
    let message = format!("`{name}` is already the name of a scale set in {}", other.file);
    let hint = "give each a `metadata.name` of its own; `instances` add `-1`, `-2` and so on";
    Some(document.metadata_problem(Rule::NameDuplicate.id(), "name", message, hint))
}

/// A source that an instance uses.
struct Holding<'a> {
    path: FieldPath,
    source: &'a Source,
    exclusive: bool,
    instance: String,
}

impl Holding<'_> {
    fn overlaps(&self, other: &Holding<'_>) -> bool {
        let one_pool =
            self.exclusive == other.exclusive && self.source.pool(&self.instance) == other.source.pool(&other.instance);
        // Within one instance the caches were compared when it was validated.
        self.instance != other.instance
            && (self.exclusive || other.exclusive)
            && !one_pool
            && self.source.meets(&self.instance, other.source, &other.instance)
    }
}

fn holdings(scale_set: &ScaleSet) -> Vec<Holding<'_>> {
    let mut holdings = Vec::new();
    for instance in scale_set.instances().into_iter().take(INSTANCES) {
        for cache in &scale_set.caches {
            if let Storage::HostPath { source, .. } = &cache.storage {
                let path = FieldPath::root().key("cachePaths").index(cache.index).key("source");
                let instance = instance.name.clone();
                holdings.push(Holding { path, source, exclusive: cache.exclusive, instance });
            }
        }
        let replaced = scale_set.caches.iter().any(|cache| cache.replaces == Some(BuiltIn::DockerCache));
        if let Some(docker) = scale_set.docker.as_ref().filter(|_| !replaced) {
            let path = FieldPath::root().key("docker");
            holdings.push(Holding { path, source: &docker.source, exclusive: true, instance: instance.name });
        }
    }
    holdings
}
