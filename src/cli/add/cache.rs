//! `--cache SRC:TARGET[:TYPE]`: a cache in one argument. Only its parts are told from each other here; what they mean is
//! judged with the rest of the spec.

use std::fmt;
use std::str::FromStr;

use serde_json::{Value, json};

use crate::crd::CacheType;
use crate::problem::nearest;

/// A cache as it was typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CacheArgument {
    source: String,
    target: String,
    kind: Option<&'static str>,
}

/// A text that is no cache.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum CacheArgumentError {
    #[error("there is no `:`: write `SRC:TARGET`, or `:TARGET` for an emptyDir")]
    Form,
    #[error("`{given}` is neither a target, which begins with `/`, nor a type{}", or_else(*near))]
    Type { given: String, near: Option<&'static str> },
}

fn or_else(near: Option<&str>) -> String {
    match near {
        Some(near) => format!(": did you mean `{near}`?"),
        None => format!(": types are {}", CacheType::NAMES.join(", ")),
    }
}

impl FromStr for CacheArgument {
    type Err = CacheArgumentError;

    /// The type is told by its name, from the end; a directory of the host may well have a `:` in its name.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let last = text.rsplit_once(':').map(|(_, last)| last);
        let kind = CacheType::NAMES.into_iter().find(|name| last == Some(name));
        let paths = kind.and_then(|kind| text.strip_suffix(kind)?.strip_suffix(':')).unwrap_or(text);
        let (source, target) = paths.rsplit_once(':').ok_or(CacheArgumentError::Form)?;
        if kind.is_none() && source.contains(':') && !target.starts_with('/') {
            let near = nearest(target, CacheType::NAMES);
            return Err(CacheArgumentError::Type { given: target.to_owned(), near });
        }
        Ok(Self { source: source.to_owned(), target: target.to_owned(), kind })
    }
}

impl fmt::Display for CacheArgument {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.source, self.target)?;
        self.kind.map_or(Ok(()), |kind| write!(formatter, ":{kind}"))
    }
}

impl CacheArgument {
    /// The entry of `cachePaths`.
    pub(super) fn entry(&self) -> Value {
        let Self { source, target, kind } = self;
        match kind {
            Some(kind) => json!({"source": source, "target": target, "type": kind}),
            None => json!({"source": source, "target": target}),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> Result<(String, String, Option<&'static str>), CacheArgumentError> {
        text.parse().map(|CacheArgument { source, target, kind }| (source, target, kind))
    }

    #[test]
    fn a_type_is_told_by_its_name_and_from_the_end() {
        for (text, source, target, kind) in [
            ("/a:/b", "/a", "/b", None),
            ("a:b:Socket", "a", "b", Some("Socket")),
            ("/run/x.sock:/run/y.sock:Socket", "/run/x.sock", "/run/y.sock", Some("Socket")),
            (":/tmp/builds", "", "/tmp/builds", None),
            ("/odd:name:/b", "/odd:name", "/b", None),
            ("/odd:name:/b:File", "/odd:name", "/b", Some("File")),
            ("/a:/b/Socket", "/a", "/b/Socket", None),
        ] {
            assert_eq!(parts(text), Ok((source.to_owned(), target.to_owned(), kind)), "{text}");
            assert_eq!(text.parse::<CacheArgument>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_cache_is_refused_with_the_way_out() {
        let refused = |text: &str| parts(text).unwrap_err().to_string();
        assert!(refused("/tmp/builds").contains("`:TARGET` for an emptyDir"));
        assert!(refused("/a:Socket").contains("no `:`"), "a type alone is no target");
        assert!(refused("/a:/b:socket").contains("did you mean `Socket`?"));
        assert!(refused("/a:/b:ro").contains("types are DirectoryOrCreate, Directory"));
    }

    #[test]
    fn every_name_is_that_of_a_type() {
        for name in CacheType::NAMES {
            assert!(serde_json::from_value::<CacheType>(json!(name)).is_ok(), "{name}");
        }
    }
}
