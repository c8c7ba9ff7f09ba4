//! A text that is never shown: tokens, keys, JIT configs.

use std::fmt;

/// A secret. It prints as a placeholder; whoever needs the text says so with [`Secret::expose`].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Secret(String);

impl Secret {
    /// Takes a text that must not be shown; white space around it (a file's last line break) is not part of it.
    pub fn new(text: &str) -> Self {
        Self(text.trim().to_owned())
    }

    /// The text itself, for the request it belongs to and nothing else.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether there is no text.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("<secret>")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("<secret>")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_never_prints_its_text() {
        let secret = Secret::new("ghp_example\n");
        assert_eq!(format!("{secret} {secret:?} {:#?}", Some(&secret)), "<secret> <secret> Some(\n    <secret>,\n)");
        assert_eq!(secret.expose(), "ghp_example");
    }
}
