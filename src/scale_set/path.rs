//! Paths as text: the same rules for targets in the container and sources on the host.
//!
//! Nothing here touches a file system.

/// Why a path cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PathFault {
    Relative,
    /// The part that is not allowed.
    Form(String),
}

/// The path without doubled and trailing slashes. The API server compares mount paths as text, the runtime does not:
/// `/cache` and `/cache/` would pass there and collide here (`runner-pods.md` 6).
pub(super) fn normalise(path: &str) -> Result<String, PathFault> {
    if let Some(character) = path.chars().find(|character| character.is_control() || *character == ':') {
        return Err(PathFault::Form(character.escape_default().to_string()));
    }
    if !path.starts_with('/') {
        return Err(PathFault::Relative);
    }
    let components: Vec<&str> = path.split('/').filter(|component| !component.is_empty()).collect();
    if let Some(dots) = components.iter().find(|component| matches!(**component, "." | "..")) {
        return Err(PathFault::Form((*dots).to_owned()));
    }
    Ok(format!("/{}", components.join("/")))
}

/// Whether `path` lies below `parent` (and is not `parent`). Both are normalised.
pub(super) fn is_below(path: &str, parent: &str) -> bool {
    let parent = parent.trim_end_matches('/');
    path.strip_prefix(parent).is_some_and(|rest| rest.len() > 1 && rest.starts_with('/'))
}

/// Whether `path` is `other` or lies below it.
pub(super) fn is_in(path: &str, other: &str) -> bool {
    path == other || is_below(path, other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slashes_are_collapsed_and_dots_refused() {
        assert_eq!(normalise("//a///b/"), Ok("/a/b".to_owned()));
        assert_eq!(normalise("/"), Ok("/".to_owned()));
        assert_eq!(normalise("a/b"), Err(PathFault::Relative));
        assert_eq!(normalise("/a/../b"), Err(PathFault::Form("..".to_owned())));
        assert_eq!(normalise("/a:b"), Err(PathFault::Form(":".to_owned())));
        assert_eq!(normalise("/a\nb"), Err(PathFault::Form("\\n".to_owned())));
    }

    #[test]
    fn below_means_a_whole_component_deeper() {
        assert!(is_below("/a/b", "/a"));
        assert!(is_below("/a", "/"));
        assert!(!is_below("/ab", "/a"));
        assert!(!is_below("/a", "/a"));
    }
}
