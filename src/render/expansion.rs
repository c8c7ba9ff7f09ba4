//! Fills in `$(NAME)` in texts of a container as a kubelet does, for engines that do not.
//!
//! Kubernetes' rules: values come from the container's `env` in the order of definition, `$$(NAME)` is a literal
//! `$(NAME)`, and a name that is not defined stays as it is written.

use std::collections::BTreeMap;

use crate::layers::Node;

/// What a container's variables are worth, as far as it is known before the container runs.
#[derive(Default)]
pub(super) struct Variables {
    /// `None` for a value that comes from elsewhere, such as a secret.
    values: BTreeMap<String, Option<String>>,
}

/// A variable whose value is not known here.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unknown(pub(super) String);

impl Variables {
    /// Adds a variable of the container's `env`; its value is expanded by those before it. The result is the new value.
    pub(super) fn define(&mut self, item: &Node) -> Result<Option<String>, Unknown> {
        let name = item.get("name").and_then(Node::as_str).unwrap_or_default().to_owned();
        let value = item.get("value").and_then(Node::as_str).map(|value| self.expand(value)).transpose();
        let known = if item.get("valueFrom").is_some() { None } else { value.as_ref().ok().cloned().flatten() };
        self.values.insert(name, known.or_else(|| item.get("valueFrom").is_none().then(String::new)));
        value
    }

    /// The text with its references filled in.
    pub(super) fn expand(&self, text: &str) -> Result<String, Unknown> {
        let mut filled = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            filled.push_str(before);
            if let Some(after) = after.strip_prefix('$') {
                filled.push('$');
                rest = after;
                continue;
            }
            let reference = after.strip_prefix('(').and_then(|inside| inside.split_once(')'));
            match reference.map(|(name, after)| (name, self.values.get(name), after)) {
                Some((_, Some(Some(value)), after)) => {
                    filled.push_str(value);
                    rest = after;
                }
                Some((name, Some(None), _)) => return Err(Unknown(name.to_owned())),
                _ => {
                    filled.push('$');
                    rest = after;
                }
            }
        }
        filled.push_str(rest);
        Ok(filled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::Origin;

    fn variables(env: &serde_json::Value) -> Variables {
        let origin = Origin { layer: "l".into(), file: "f".into(), line: 1 };
        let mut variables = Variables::default();
        for item in Node::from_json(env, &origin).items() {
            let _ = variables.define(item);
        }
        variables
    }

    #[test]
    fn references_are_filled_in_by_kubernetes_rules() {
        let variables = variables(&serde_json::json!([
            {"name": "B", "value": "bee"}, {"name": "C", "value": "<$(B)>"}, {"name": "A", "value": "$(C)$(LATER)"},
            {"name": "LATER", "value": "x"}, {"name": "SECRET", "valueFrom": {}}, {"name": "EMPTY"},
        ]));
        for (text, expected) in [
            ("$(B)", "bee"),
            ("$(A)", "<bee>$(LATER)"),
            ("echo $(date) $B $", "echo $(date) $B $"),
            ("$$(B) $$", "$(B) $"),
            ("[$(EMPTY)]", "[]"),
            ("$(B", "$(B"),
        ] {
            assert_eq!(variables.expand(text).as_deref(), Ok(expected), "{text}");
        }
        assert_eq!(variables.expand("a $(SECRET)"), Err(Unknown("SECRET".to_owned())));
    }
}
