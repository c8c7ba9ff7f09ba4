//! An error with everything that caused it, where there is one line for it: logs, statuses, other programs.

use std::error::Error;

/// The error and its causes, from the outermost in. A cause that the text before it repeats at its end is left out.
pub fn in_one_line(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let words = inner.to_string();
        if !text.ends_with(&words) {
            text = format!("{text}: {words}");
        }
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Link(&'static str, #[source] Option<Box<Link>>);

    #[test]
    fn every_cause_is_said_once() {
        let error = Link("cannot list", Some(Box::new(Link("no route", Some(Box::new(Link("no route", None)))))));
        assert_eq!(in_one_line(&error), "cannot list: no route");
    }
}
