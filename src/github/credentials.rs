//! What proves to GitHub that we may register runners (`scale-set-protocol.md` 2.1, 2.2).

use std::collections::BTreeMap;

use jiff::Timestamp;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;

use crate::secret::Secret;

/// A personal access token, or a GitHub App's installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// A personal access token.
    Token(Secret),
    /// A GitHub App.
    App {
        /// The App.
        issuer: AppIssuer,
        /// Where it is installed.
        installation_id: u64,
        /// Its key in PEM form.
        private_key: Secret,
    },
}

/// Where credentials are kept outside of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CredentialsSource {
    /// A file with a token.
    TokenFile(String),
    /// An environment variable with a token.
    TokenVariable(String),
    /// A GitHub App with its key in a file.
    App {
        /// The App.
        issuer: AppIssuer,
        /// Where it is installed.
        installation_id: u64,
        /// File with its key in PEM form.
        private_key_file: String,
    },
}

impl CredentialsSource {
    /// The file, where it is one.
    pub fn file(&self) -> Option<&str> {
        match self {
            Self::TokenFile(file) | Self::App { private_key_file: file, .. } => Some(file),
            Self::TokenVariable(_) => None,
        }
    }

    /// Gets the credentials; files and the environment are the caller's to read.
    pub fn load(
        &self,
        file: impl Fn(&str) -> std::io::Result<String>,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Credentials, CredentialsError> {
        let read = |name: &str| match file(name) {
            Ok(text) if !text.trim().is_empty() => Ok(Secret::new(&text)),
            Ok(_) => Err(CredentialsError::Empty(name.to_owned())),
            Err(source) => Err(CredentialsError::File { name: name.to_owned(), source }),
        };
        match self {
            Self::TokenFile(name) => read(name).map(Credentials::Token),
            Self::TokenVariable(name) => match variable(name).filter(|text| !text.trim().is_empty()) {
                Some(text) => Ok(Credentials::Token(Secret::new(&text))),
                None => Err(CredentialsError::Variable(name.clone())),
            },
            Self::App { issuer, installation_id, private_key_file } => Ok(Credentials::App {
                issuer: issuer.clone(),
                installation_id: *installation_id,
                private_key: read(private_key_file)?,
            }),
        }
    }
}

/// How an App is named: by its client id, or by its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppIssuer(pub String);

/// Credentials that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// A part is missing or empty.
    #[error("`{0}` is missing or empty")]
    Missing(&'static str),
    /// Nothing is there.
    #[error(
        "there is neither `github_token` nor `github_app_id`, `github_app_installation_id` and `github_app_private_key`"
    )]
    NoKeys,
    /// A token and an App at once.
    #[error("there are both `github_token` and a GitHub App: which of the two counts would be a guess")]
    Both,
    /// The installation's id is no number.
    #[error("`github_app_installation_id` is not a number")]
    InstallationId,
    /// The key cannot be read.
    #[error("the GitHub App's private key is not an RSA key in PEM form")]
    Key,
    /// A file cannot be read.
    #[error("cannot read the credentials from `{name}`")]
    File {
        /// The file.
        name: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file holds nothing.
    #[error("the file `{0}` is empty, where credentials should be")]
    Empty(String),
    /// A variable is not set.
    #[error("the environment variable `{0}` is not set, where a token should be")]
    Variable(String),
    /// Apps do not exist there.
    #[error("GitHub Apps cannot register runners for an enterprise; use a token with `manage_runners:enterprise`")]
    Enterprise,
}

impl Credentials {
    /// Reads the keys that ARC uses in its secrets. One that is empty counts as not there.
    pub fn from_secret(data: &BTreeMap<String, Secret>) -> Result<Self, CredentialsError> {
        const APP: [&str; 3] = ["github_app_id", "github_app_installation_id", "github_app_private_key"];
        let given = |name: &str| data.get(name).map(|text| text.expose().trim()).filter(|text| !text.is_empty());
        // The id of an installation alone, beside a token, is a leftover.
        let has_app = given(APP[0]).is_some() || given(APP[2]).is_some();
        match given("github_token") {
            Some(_) if has_app => Err(CredentialsError::Both),
            Some(token) => Ok(Self::Token(Secret::new(token))),
            None if APP.iter().all(|name| given(name).is_none()) => Err(CredentialsError::NoKeys),
            None => {
                let part = |name: &'static str| given(name).ok_or(CredentialsError::Missing(name));
                Ok(Self::App {
                    issuer: AppIssuer(part(APP[0])?.to_owned()),
                    installation_id: part(APP[1])?.parse().map_err(|_| CredentialsError::InstallationId)?,
                    private_key: Secret::new(part(APP[2])?),
                })
            }
        }
    }
}

#[derive(Serialize)]
struct Claims<'a> {
    iat: i64,
    exp: i64,
    iss: &'a str,
}

/// The App's own token: issued a minute ago, for clocks differ, and good for eight more.
pub(super) fn app_token(issuer: &AppIssuer, key: &Secret, now: Timestamp) -> Result<Secret, CredentialsError> {
    const SKEW: i64 = 60;
    const LIFE: i64 = 9 * 60;
    let key = EncodingKey::from_rsa_pem(key.expose().as_bytes()).map_err(|_| CredentialsError::Key)?;
    let iat = now.as_second() - SKEW;
    let claims = Claims { iat, exp: iat + LIFE, iss: &issuer.0 };
    let token = jsonwebtoken::encode(&Header::new(Algorithm::RS256), &claims, &key);
    token.map(|token| Secret::new(&token)).map_err(|_| CredentialsError::Key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(pairs: &[(&str, &str)]) -> BTreeMap<String, Secret> {
        pairs.iter().map(|(name, text)| ((*name).to_owned(), Secret::new(text))).collect()
    }

    #[test]
    fn arcs_secret_keys_are_read_and_half_credentials_refused() {
        assert!(matches!(Credentials::from_secret(&data(&[("github_token", "t\n")])), Ok(Credentials::Token(_))));
        let app = [("github_app_id", "Iv1"), ("github_app_installation_id", "7"), ("github_app_private_key", "k")];
        assert!(matches!(
            Credentials::from_secret(&data(&app)),
            Ok(Credentials::App { installation_id: 7, ref issuer, .. }) if issuer.0 == "Iv1"
        ));
        let both = [&app[..], &[("github_token", "t")]].concat();
        assert!(matches!(Credentials::from_secret(&data(&both)), Err(CredentialsError::Both)));
        assert!(matches!(
            Credentials::from_secret(&data(&app[..2])),
            Err(CredentialsError::Missing("github_app_private_key"))
        ));
        assert!(matches!(Credentials::from_secret(&data(&[("token", "t")])), Err(CredentialsError::NoKeys)));
        let empty = [&app[..], &[("github_token", " \n")]].concat();
        assert!(
            matches!(Credentials::from_secret(&data(&empty)), Ok(Credentials::App { .. })),
            "a key that was emptied"
        );
        let leftover = [("github_token", "t"), app[1]];
        assert!(matches!(Credentials::from_secret(&data(&leftover)), Ok(Credentials::Token(_))));
        let odd = [app[0], ("github_app_installation_id", "x"), app[2]];
        let odd = Credentials::from_secret(&data(&odd)).unwrap_err();
        assert_eq!(odd.to_string(), "`github_app_installation_id` is not a number", "what it is, is not shown");
    }

    #[test]
    fn credentials_are_read_from_files_and_the_environment_that_the_caller_provides() {
        let file = |name: &str| match name {
            "token" => Ok("t\n".to_owned()),
            "empty" => Ok("\n".to_owned()),
            _ => Err(std::io::ErrorKind::NotFound.into()),
        };
        let variable = |name: &str| (name == "TOKEN").then(|| "t".to_owned());
        let load = |source: CredentialsSource| source.load(file, variable);
        for source in [CredentialsSource::TokenFile("token".into()), CredentialsSource::TokenVariable("TOKEN".into())] {
            assert!(matches!(load(source), Ok(Credentials::Token(token)) if token.expose() == "t"));
        }
        let app = |key: &str| CredentialsSource::App {
            issuer: AppIssuer("1".into()),
            installation_id: 7,
            private_key_file: key.to_owned(),
        };
        assert!(matches!(load(app("token")), Ok(Credentials::App { installation_id: 7, .. })));
        for (source, words) in [
            (CredentialsSource::TokenFile("none".into()), "cannot read the credentials from `none`"),
            (CredentialsSource::TokenFile("empty".into()), "`empty` is empty"),
            (CredentialsSource::TokenVariable("NONE".into()), "`NONE` is not set"),
            (app("none"), "`none`"),
        ] {
            let error = load(source).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn a_key_that_is_none_is_refused_without_being_shown() {
        let error = app_token(&AppIssuer("1".into()), &Secret::new("-----BEGIN hunter2"), Timestamp::UNIX_EPOCH);
        assert!(!error.unwrap_err().to_string().contains("hunter2"));
    }
}
