//! Kubernetes' strategic merge, with a memory: mappings merge, known lists merge by key, other lists and scalars are
//! replaced, `null` deletes, `$patch: delete|replace` and `$retainKeys` do what they do for `kubectl patch`.
//!
//! Four things differ from `kubectl` on purpose. New list items are appended, where `kubectl` puts them first. A volume
//! (or environment variable) that is given another kind of source loses the old one: `kubectl` keeps both, and the API
//! then refuses the object. Directives in what a patch adds anew are obeyed, where `kubectl` leaves them standing. And
//! lists of plain values are always replaced; `finalizers`, which `kubectl` merges, are none of a runner's business.

use std::collections::HashSet;

use super::node::{Node, NodeKind, Origin, Replaced};
use crate::problem::nearest;

/// A patch that cannot be applied.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{origin}: {path}: {message}")]
pub struct MergeError {
    /// The field.
    pub path: String,
    /// Where the patch says so.
    pub origin: Origin,
    /// What is wrong.
    pub message: String,
    /// The way out.
    pub hint: &'static str,
}

/// A part of a patch that changed nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct Unmatched {
    /// The field.
    pub path: String,
    /// Where the patch says so.
    pub origin: Origin,
    /// What it did not find.
    pub message: String,
}

/// Lays `patch` over `base`. What changed nothing is added to `unmatched`.
pub fn merge(base: &mut Node, patch: Node, path: &str, unmatched: &mut Vec<Unmatched>) -> Result<(), MergeError> {
    Merge { unmatched }.node(base, patch, path, "")
}

/// The field by which items of a list are matched (Kubernetes' `patchMergeKey`); `None`: the list is replaced.
fn merge_key(field: &str) -> Option<&'static str> {
    Some(match field {
        "containers"
        | "initContainers"
        | "ephemeralContainers"
        | "env"
        | "volumes"
        | "imagePullSecrets"
        | "resourceClaims"
        | "schedulingGates" => "name",
        "volumeMounts" => "mountPath",
        "volumeDevices" => "devicePath",
        "ports" => "containerPort",
        "hostAliases" => "ip",
        "topologySpreadConstraints" => "topologyKey",
        "ownerReferences" => "uid",
        _ => return None,
    })
}

/// Lists whose items hold one of several sources, and what else an item may have.
fn source_holder(field: &str) -> bool {
    matches!(field, "volumes" | "env")
}

struct Merge<'a> {
    unmatched: &'a mut Vec<Unmatched>,
}

impl Merge<'_> {
    fn node(&mut self, base: &mut Node, patch: Node, path: &str, field: &str) -> Result<(), MergeError> {
        match (&mut base.kind, &patch.kind) {
            (NodeKind::Mapping(_), NodeKind::Mapping(_)) => {
                let dropped = if field == "valueFrom" { drop_other_sources(base, &patch, "") } else { Vec::new() };
                self.mapping(base, patch, path, "")?;
                remember(base, dropped);
                Ok(())
            }
            (NodeKind::Sequence(_), NodeKind::Sequence(_)) => match merge_key(field) {
                Some(key) => self.keyed_list(base, patch, path, field, key),
                None => self.replace(base, patch, path),
            },
            (NodeKind::Scalar(_), NodeKind::Scalar(_)) => self.replace(base, patch, path),
            _ => {
                let message = format!(
                    "{} cannot be laid over {}, which {}:{} (layer `{}`) set",
                    describe(&patch),
                    describe(base),
                    base.origin.file,
                    base.origin.line,
                    base.origin.layer
                );
                let hint = "write the same kind of value, or delete the old one with `null` in an earlier layer";
                Err(MergeError { path: path.to_owned(), origin: patch.origin, message, hint })
            }
        }
    }

    fn replace(&mut self, base: &mut Node, patch: Node, path: &str) -> Result<(), MergeError> {
        let new = self.clean(patch, path)?;
        let old = std::mem::replace(base, new);
        base.replaced = old.into_replaced();
        Ok(())
    }

    /// `key` is the one by which the mapping was found, where it is an item of a list.
    fn mapping(&mut self, base: &mut Node, mut patch: Node, path: &str, key: &str) -> Result<(), MergeError> {
        match directive(&patch, path)?.as_deref() {
            Some("replace") => {
                patch.remove("$patch");
                return self.replace(base, patch, path);
            }
            Some("delete") => {
                let empty = Node { kind: NodeKind::Mapping(Vec::new()), ..patch };
                return self.replace(base, empty, path);
            }
            Some(_) | None => {}
        }
        if let Some(retained) = patch.remove("$retainKeys") {
            let names: Option<Vec<&str>> = match &retained.kind {
                NodeKind::Sequence(items) => items.iter().map(Node::as_str).collect(),
                NodeKind::Scalar(_) | NodeKind::Mapping(_) => None,
            };
            let Some(names) = names else {
                let message = "`$retainKeys` is no list of names".to_owned();
                let hint = "list the keys that shall stay";
                return Err(MergeError { path: path.to_owned(), origin: retained.origin, message, hint });
            };
            retain(base, |name| name == key || names.contains(&name));
        }
        let NodeKind::Mapping(entries) = patch.kind else { return Ok(()) };
        for (key, value) in entries {
            self.entry(base, key, value, path)?;
        }
        Ok(())
    }

    fn entry(&mut self, base: &mut Node, key: String, value: Node, path: &str) -> Result<(), MergeError> {
        let below = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        refuse_directive(&key, &value, &below)?;
        if value.is_null() {
            if base.remove(&key).is_none() {
                self.note(&below, &value.origin, "there is nothing to delete".to_owned());
            }
            return Ok(());
        }
        if let Some(old) = base.get_mut(&key) {
            return self.node(old, value, &below, &key);
        }
        let value = self.clean_list(value, &below, &key)?;
        if let NodeKind::Mapping(entries) = &mut base.kind {
            entries.push((key, value));
        }
        Ok(())
    }

    fn keyed_list(
        &mut self,
        base: &mut Node,
        patch: Node,
        path: &str,
        field: &str,
        key: &str,
    ) -> Result<(), MergeError> {
        let NodeKind::Sequence(items) = &patch.kind else { return Ok(()) };
        if replaces_list(items) {
            let NodeKind::Sequence(items) = patch.kind else { return Ok(()) };
            let kept: Vec<Node> = items.into_iter().filter(|item| item.get("$patch").is_none()).collect();
            check_items(&kept, path, key, field)?;
            let list = Node { kind: NodeKind::Sequence(kept), origin: patch.origin, replaced: Vec::new() };
            return self.replace(base, list, path);
        }
        check_items(items, path, key, "")?;
        let NodeKind::Sequence(items) = patch.kind else { return Ok(()) };
        for item in items {
            self.item(base, item, path, field, key)?;
        }
        Ok(())
    }

    fn item(&mut self, list: &mut Node, mut item: Node, path: &str, field: &str, key: &str) -> Result<(), MergeError> {
        let id = item.get(key).and_then(Node::scalar).cloned().unwrap_or_default();
        let below = format!("{path}[{}]", label(&id));
        let deletes = directive(&item, &below)?.as_deref() == Some("delete");
        let Some(items) = list.items_mut() else { return Ok(()) };
        let position = items.iter().position(|old| old.get(key).and_then(Node::scalar) == Some(&id));
        match position {
            Some(index) if deletes => {
                items.remove(index);
                Ok(())
            }
            None if deletes => {
                let known: Vec<String> = items.iter().filter_map(|old| old.get(key)?.scalar()).map(label).collect();
                let message = not_found(&label(&id), &known);
                self.note(&below, &item.origin, message);
                Ok(())
            }
            Some(index) => {
                let old = &mut items[index];
                // The key matched: it is not set anew, so it keeps the origin of whoever named the item first.
                item.remove(key);
                let dropped = if source_holder(field) { drop_other_sources(old, &item, key) } else { Vec::new() };
                self.mapping(old, item, &below, key)?;
                remember(old, dropped);
                Ok(())
            }
            None => {
                let item = self.clean(item, &below)?;
                if let Some(items) = list.items_mut() {
                    items.push(item);
                }
                Ok(())
            }
        }
    }

    /// A new list: keyed ones are checked like patches of lists that exist.
    fn clean_list(&mut self, node: Node, path: &str, field: &str) -> Result<Node, MergeError> {
        if let (NodeKind::Sequence(items), Some(key)) = (&node.kind, merge_key(field))
            && !replaces_list(items)
        {
            check_items(items, path, key, field)?;
        }
        self.clean(node, path)
    }

    /// What a patch adds where nothing was: without its directives and deletions.
    fn clean(&mut self, node: Node, path: &str) -> Result<Node, MergeError> {
        let Node { kind, origin, replaced } = node;
        let kind = match kind {
            NodeKind::Mapping(entries) => {
                let mut kept = Vec::with_capacity(entries.len());
                for (key, value) in entries {
                    let below = format!("{path}.{key}");
                    refuse_directive(&key, &value, &below)?;
                    let deletes = directive(&value, &below)?.as_deref() == Some("delete");
                    if value.is_null() || deletes {
                        self.note(&below, &value.origin, "there is nothing to delete".to_owned());
                    } else if !key.starts_with('$') {
                        let value = self.clean_list(value, &below, &key)?;
                        kept.push((key, value));
                    }
                }
                NodeKind::Mapping(kept)
            }
            NodeKind::Sequence(items) => {
                let mut kept = Vec::with_capacity(items.len());
                for (index, item) in items.into_iter().enumerate() {
                    let below = format!("{path}[{index}]");
                    match directive(&item, &below)?.as_deref() {
                        Some("delete") => self.note(&below, &item.origin, "there is nothing to delete".to_owned()),
                        Some("replace") => {}
                        _ => kept.push(self.clean(item, &below)?),
                    }
                }
                NodeKind::Sequence(kept)
            }
            scalar @ NodeKind::Scalar(_) => scalar,
        };
        Ok(Node { kind, origin, replaced })
    }

    fn note(&mut self, path: &str, origin: &Origin, message: String) {
        self.unmatched.push(Unmatched { path: path.to_owned(), origin: origin.clone(), message });
    }
}

/// The `$patch` of a mapping; anything but the three known words is an error.
fn directive(node: &Node, path: &str) -> Result<Option<String>, MergeError> {
    let Some(patch) = node.get("$patch") else { return Ok(None) };
    match patch.as_str() {
        Some(word @ ("delete" | "replace")) => Ok(Some(word.to_owned())),
        _ => Err(MergeError {
            path: path.to_owned(),
            origin: patch.origin.clone(),
            message: "there is no such directive".to_owned(),
            hint: "`$patch` is `delete` or `replace`; merging needs no word",
        }),
    }
}

fn refuse_directive(key: &str, value: &Node, path: &str) -> Result<(), MergeError> {
    if !key.starts_with('$') || matches!(key, "$patch" | "$retainKeys") {
        return Ok(());
    }
    Err(MergeError {
        path: path.to_owned(),
        origin: value.origin.clone(),
        message: format!("the directive `{key}` is not known here"),
        hint: "use `$patch` or `$retainKeys`",
    })
}

fn replaces_list(items: &[Node]) -> bool {
    items.iter().any(|item| item.get("$patch").and_then(Node::as_str) == Some("replace"))
}

/// Every item of a keyed list needs its key, and no two the same. A new list (`field` names it) of ports or topology
/// constraints may have a key twice, as in `53/TCP` and `53/UDP`: nothing has to be found in it.
fn check_items(items: &[Node], path: &str, key: &str, field: &str) -> Result<(), MergeError> {
    let may_repeat = matches!(field, "ports" | "topologySpreadConstraints");
    let mut seen = HashSet::new();
    for item in items {
        let error =
            |message, hint| Err(MergeError { path: path.to_owned(), origin: item.origin.clone(), message, hint });
        match item.get(key).and_then(Node::scalar) {
            None => {
                let message = format!("an item of this list has no `{key}`");
                return error(message, "items are found by it: write it in every item");
            }
            Some(id) if !seen.insert(label(id)) && !may_repeat => {
                let message = format!("two items of this list have the {key} `{}`", label(id));
                return error(message, "keep one of them");
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// Removes what the patch brings another source for, and returns it.
fn drop_other_sources(old: &mut Node, patch: &Node, key: &str) -> Vec<Replaced> {
    let brings_another = patch
        .entries()
        .iter()
        .any(|(name, value)| !name.starts_with('$') && !value.is_null() && old.get(name).is_none());
    // With explicit deletions or directives the user has said what shall happen.
    if !brings_another || patch.entries().iter().any(|(name, value)| name.starts_with('$') || value.is_null()) {
        return Vec::new();
    }
    let given: Vec<&str> = patch.entries().iter().map(|(name, _)| name.as_str()).collect();
    let mut dropped = Vec::new();
    let NodeKind::Mapping(entries) = &mut old.kind else { return dropped };
    let mut kept = Vec::with_capacity(entries.len());
    for (name, value) in entries.drain(..) {
        if name == key || given.contains(&name.as_str()) {
            kept.push((name, value));
        } else {
            let origin = value.origin.clone();
            dropped.push(Replaced { value: serde_json::json!({ name: value.to_json() }), origin });
        }
    }
    *entries = kept;
    dropped
}

/// Notes on the newest part of a node what was dropped for it.
fn remember(node: &mut Node, dropped: Vec<Replaced>) {
    if let (NodeKind::Mapping(entries), false) = (&mut node.kind, dropped.is_empty())
        && let Some((_, newest)) = entries.last_mut()
    {
        newest.replaced.extend(dropped);
    }
}

fn retain(node: &mut Node, keep: impl Fn(&str) -> bool) {
    if let NodeKind::Mapping(entries) = &mut node.kind {
        entries.retain(|(key, _)| keep(key));
    }
}

fn not_found(id: &str, known: &[String]) -> String {
    match nearest(id, known.iter().map(String::as_str)) {
        Some(near) => format!("there is no `{id}` to delete; did you mean `{near}`?"),
        None => format!("there is no `{id}` to delete"),
    }
}

fn label(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn describe(node: &Node) -> &'static str {
    match &node.kind {
        NodeKind::Scalar(_) => "a single value",
        NodeKind::Sequence(_) => "a list",
        NodeKind::Mapping(_) => "a mapping",
    }
}
