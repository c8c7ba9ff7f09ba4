//! The URL that says where runners register: a repository, an organisation or an enterprise.
//!
//! The rules are GitHub's own client's (`scale-set-protocol.md` 1), with the stricter ones it recommends: a scheme, a host,
//! no user, query or fragment, and plain `http` only where the caller allows it. No environment is read here.

use std::fmt;

use http::Uri;

/// A parsed config URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigUrl {
    text: String,
    scheme: String,
    authority: String,
    hosted: bool,
    /// What the runners belong to.
    pub scope: Scope,
}

/// What runners belong to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// One repository.
    Repository {
        /// Its owner.
        owner: String,
        /// Its name.
        name: String,
    },
    /// An organisation.
    Organisation(String),
    /// An enterprise.
    Enterprise(String),
}

/// How a config URL is read.
#[derive(Clone, Copy, Debug, Default)]
pub struct ConfigUrlOptions {
    /// Takes every host for a GitHub Enterprise Server, as `GITHUB_ACTIONS_FORCE_GHES` does.
    pub force_server: bool,
    /// Allows plain `http` to hosts other than this machine.
    pub allow_http: bool,
}

/// A text that is no config URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigUrlError {
    /// The scheme is missing or unknown.
    #[error("the config URL `{0}` must begin with `https://`")]
    Scheme(String),
    /// Plain HTTP would show the token to the network.
    #[error("the config URL `{0}` would send credentials without encryption")]
    PlainHttp(String),
    /// There is a user, a query, a fragment, or no host.
    #[error("the config URL `{0}` must be a host and a path, without user, query and fragment")]
    Form(String),
    /// The path is not that of an enterprise, organisation or repository.
    #[error("the config URL `{0}` must point at an enterprise, an organisation or a repository")]
    Path(String),
}

impl ConfigUrl {
    /// Reads a config URL.
    pub fn parse(text: &str, options: ConfigUrlOptions) -> Result<Self, ConfigUrlError> {
        let text = text.trim_matches('/');
        let Some((scheme @ ("http" | "https"), rest)) = text.split_once("://") else {
            return Err(ConfigUrlError::Scheme(redacted(text)));
        };
        let form = || ConfigUrlError::Form(redacted(text));
        if text.contains(['?', '#']) || text.contains(char::is_whitespace) {
            return Err(form());
        }
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let uri: Uri = format!("{scheme}://{authority}").parse().map_err(|_| form())?;
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(form)?;
        if authority.contains('@') {
            return Err(form());
        }
        if scheme == "http" && !options.allow_http && !is_loopback(host) {
            return Err(ConfigUrlError::PlainHttp(text.to_owned()));
        }
        let scope = scope(path).ok_or_else(|| ConfigUrlError::Path(text.to_owned()))?;
        let hosted = !options.force_server && is_hosted(authority);
        Ok(Self { text: text.to_owned(), scheme: scheme.to_owned(), authority: authority.to_owned(), hosted, scope })
    }

    /// The normalised text, which is what GitHub is told (`scale-set-protocol.md` 1.1).
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it is GitHub's own service, not a server of one's own.
    pub fn is_hosted(&self) -> bool {
        self.hosted
    }

    /// The URL of a REST path such as `/app` (`scale-set-protocol.md` 1.3).
    pub fn api(&self, path: &str) -> String {
        let (scheme, authority) = (&self.scheme, &self.authority);
        match (self.hosted, authority.eq_ignore_ascii_case("www.github.com")) {
            (true, true) => format!("{scheme}://api.github.com{path}"),
            (true, false) => format!("{scheme}://api.{authority}{path}"),
            (false, _) => format!("{scheme}://{authority}/api/v3{path}"),
        }
    }

    /// The path of the call that gives a registration token (`scale-set-protocol.md` 2.4).
    pub fn registration_token_path(&self) -> String {
        let scope = match &self.scope {
            Scope::Repository { owner, name } => format!("repos/{owner}/{name}"),
            Scope::Organisation(name) => format!("orgs/{name}"),
            Scope::Enterprise(name) => format!("enterprises/{name}"),
        };
        format!("/{scope}/actions/runners/registration-token")
    }
}

impl fmt::Display for ConfigUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

fn scope(path: &str) -> Option<Scope> {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    match parts.as_slice() {
        [name] if !name.is_empty() && !name.eq_ignore_ascii_case("enterprises") => {
            Some(Scope::Organisation((*name).to_owned()))
        }
        [kind, name] if kind.eq_ignore_ascii_case("enterprises") && !name.is_empty() => {
            Some(Scope::Enterprise((*name).to_owned()))
        }
        [owner, name] if !owner.is_empty() && !name.is_empty() => {
            Some(Scope::Repository { owner: (*owner).to_owned(), name: (*name).to_owned() })
        }
        _ => None,
    }
}

/// The comparison takes the port with it: `github.com:443` is not hosted (`scale-set-protocol.md` 1.2).
fn is_hosted(authority: &str) -> bool {
    let known = ["github.com", "www.github.com", "github.localhost"];
    known.iter().any(|host| authority.eq_ignore_ascii_case(host)) || authority.ends_with(".ghe.com")
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_matches(['[', ']']);
    host == "localhost"
        || host.ends_with(".localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// A user and password in a URL are not repeated.
fn redacted(text: &str) -> String {
    match text.rsplit_once('@') {
        Some((_, rest)) => format!("…@{rest}"),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<ConfigUrl, ConfigUrlError> {
        ConfigUrl::parse(text, ConfigUrlOptions::default())
    }

    fn repository(owner: &str, name: &str) -> Scope {
        Scope::Repository { owner: owner.to_owned(), name: name.to_owned() }
    }

    #[test]
    fn every_row_of_the_protocols_table_gives_its_scope_and_whether_it_is_hosted() {
        let organisation = |name: &str| Scope::Organisation(name.to_owned());
        let enterprise = || Scope::Enterprise("my-enterprise".to_owned());
        for (text, scope, hosted) in [
            ("https://github.com/org/repo", repository("org", "repo"), true),
            ("https://github.com/org/repo/", repository("org", "repo"), true),
            ("https://github.com/org", organisation("org"), true),
            ("https://github.com/enterprises/my-enterprise", enterprise(), true),
            ("https://github.com/enterprises/my-enterprise/", enterprise(), true),
            ("https://github.com/Enterprises/my-enterprise/", enterprise(), true),
            ("https://www.github.com/org", organisation("org"), true),
            ("https://www.github.com/org/", organisation("org"), true),
            ("https://github.localhost/org", organisation("org"), true),
            ("https://GitHub.com/org", organisation("org"), true),
            ("https://my-ghes.com/org", organisation("org"), false),
            ("https://my-ghes.com/org/", organisation("org"), false),
            ("https://my-ghes.ghe.com/org/", organisation("org"), true),
            ("https://github.com:443/org", organisation("org"), false),
            ("http://github.localhost:8080/org", organisation("org"), false),
        ] {
            let url = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!((&url.scope, url.is_hosted()), (&scope, hosted), "{text}");
        }
    }

    #[test]
    fn the_environment_switch_makes_every_host_a_server() {
        let options = ConfigUrlOptions { force_server: true, ..ConfigUrlOptions::default() };
        let url = ConfigUrl::parse("https://test.ghe.com/org/repo", options).unwrap();
        assert_eq!((url.scope.clone(), url.is_hosted()), (repository("org", "repo"), false));
        assert_eq!(url.api("/x"), "https://test.ghe.com/api/v3/x");
    }

    #[test]
    fn the_rest_base_follows_from_the_host() {
        for (text, api) in [
            ("https://github.com/o", "https://api.github.com/x"),
            ("https://www.github.com/o", "https://api.github.com/x"),
            ("https://acme.ghe.com/o", "https://api.acme.ghe.com/x"),
            ("http://github.localhost/o", "http://api.github.localhost/x"),
            ("https://ghes.corp/o", "https://ghes.corp/api/v3/x"),
            ("http://127.0.0.1:7878/o", "http://127.0.0.1:7878/api/v3/x"),
            ("http://[::1]:7878/o", "http://[::1]:7878/api/v3/x"),
        ] {
            assert_eq!(parse(text).unwrap().api("/x"), api);
        }
    }

    #[test]
    fn what_is_no_config_url_is_refused_by_its_own_error() {
        use ConfigUrlError::{Form, Path, PlainHttp, Scheme};
        let kind = |text: &str| parse(text).expect_err(text);
        for text in ["https://github.com/", "https://github.com", "https://github.com/some/random/path"] {
            assert!(matches!(kind(text), Path(_)), "{text}");
        }
        for text in ["https://github.com/enterprises", "https://github.com/enterprises/"] {
            assert!(matches!(kind(text), Path(_)), "{text}");
        }
        for text in ["github.com/org", "ftp://github.com/org", ""] {
            assert!(matches!(kind(text), Scheme(_)), "{text}");
        }
        for text in [
            "https:///org",
            "https://u:p@github.com/o",
            "https://github.com/o?x",
            "https://github.com/o#x",
            "https://a b/o",
        ] {
            assert!(matches!(kind(text), Form(_)), "{text}");
        }
        assert!(matches!(kind("http://ghes.corp/org"), PlainHttp(_)));
        let allowed = ConfigUrlOptions { allow_http: true, ..ConfigUrlOptions::default() };
        assert!(ConfigUrl::parse("http://ghes.corp/org", allowed).is_ok());
    }

    #[test]
    fn a_password_in_a_refused_url_is_not_repeated() {
        assert!(!parse("https://user:hunter2@github.com/o").unwrap_err().to_string().contains("hunter2"));
    }

    #[test]
    fn the_registration_token_comes_from_the_scopes_own_path() {
        for (text, path) in [
            ("https://github.com/o/r", "/repos/o/r/actions/runners/registration-token"),
            ("https://github.com/o", "/orgs/o/actions/runners/registration-token"),
            ("https://github.com/enterprises/e", "/enterprises/e/actions/runners/registration-token"),
        ] {
            assert_eq!(parse(text).unwrap().registration_token_path(), path);
        }
    }
}
