//! From the keys of a Secret to credentials, in the form that actions-runner-controller uses as well.

use std::collections::BTreeMap;

use crate::github::{AppIssuer, Credentials};
use crate::secret::Secret;

const TOKEN: &str = "github_token";
const APP: &str = "github_app_id";
const INSTALLATION: &str = "github_app_installation_id";
const KEY: &str = "github_app_private_key";

/// Why a Secret holds no credentials, in words that show none of it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SecretError {
    #[error("the Secret `{0}` has neither the key `{TOKEN}` nor `{APP}`, `{INSTALLATION}` and `{KEY}`")]
    NoKeys(String),
    #[error("the Secret `{0}` has both `{TOKEN}` and `{APP}`: which of the two counts would be a guess")]
    Both(String),
    #[error("the key `{1}` of the Secret `{0}` is missing or empty")]
    Empty(String, &'static str),
    #[error("the key `{INSTALLATION}` of the Secret `{0}` is not a number")]
    Installation(String),
}

/// Reads the data of the Secret of this name.
pub(super) fn credentials(name: &str, data: &BTreeMap<String, Secret>) -> Result<Credentials, SecretError> {
    let text = |key: &'static str| {
        let value = data.get(key).map(|value| value.expose().trim().to_owned());
        value.filter(|value| !value.is_empty()).ok_or_else(|| SecretError::Empty(name.to_owned(), key))
    };
    match (data.contains_key(TOKEN), data.contains_key(APP)) {
        (true, true) => Err(SecretError::Both(name.to_owned())),
        (true, false) => Ok(Credentials::Token(Secret::new(&text(TOKEN)?))),
        (false, true) => Ok(Credentials::App {
            issuer: AppIssuer(text(APP)?),
            installation_id: text(INSTALLATION)?.parse().map_err(|_| SecretError::Installation(name.to_owned()))?,
            private_key: Secret::new(&text(KEY)?),
        }),
        (false, false) => Err(SecretError::NoKeys(name.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(pairs: &[(&str, &str)]) -> BTreeMap<String, Secret> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), Secret::new(value))).collect()
    }

    #[test]
    fn a_token_and_an_app_are_read_and_their_line_ends_cut() {
        let token = credentials("github", &data(&[(TOKEN, "ghp_1\n")])).unwrap();
        assert!(matches!(token, Credentials::Token(token) if token.expose() == "ghp_1"));
        let app = credentials("github", &data(&[(APP, "Iv1.x"), (INSTALLATION, "17\n"), (KEY, "-----BEGIN")])).unwrap();
        assert!(matches!(app, Credentials::App { installation_id: 17, .. }));
    }

    #[test]
    fn what_is_missing_is_named_and_nothing_is_shown() {
        let words = |pairs: &[(&str, &str)]| credentials("github", &data(pairs)).unwrap_err().to_string();
        assert!(words(&[("token", "ghp_secret")]).contains("neither the key `github_token`"));
        assert!(words(&[(TOKEN, " ")]).contains("`github_token` of the Secret `github` is missing or empty"));
        assert!(words(&[(TOKEN, "a"), (APP, "1")]).contains("both"));
        assert!(words(&[(APP, "1"), (INSTALLATION, "12")]).contains(KEY));
        let words = words(&[(APP, "1"), (INSTALLATION, "ghp_secret"), (KEY, "key")]);
        assert!(words.contains("is not a number") && !words.contains("ghp_secret"));
    }
}
