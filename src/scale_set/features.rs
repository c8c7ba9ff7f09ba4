//! The features of a runner beyond its caches: Nix, Docker, proxy, certificates, timeouts.
//!
//! Each function takes what the user wrote and gives the feature as the layers need it.

use std::time::Duration;

use super::report::{Broken, Report};
use super::rule::Rule;
use super::slot::Source;
use crate::crd::{self, ContainerMode, DockerStart, KeyReference, RunnerScaleSetSpec};
use crate::github::Proxies;
use crate::problem::FieldPath;
use crate::secret::Secret;

/// The host's Nix store in the runner (`runner-pods.md` 4).
#[derive(Clone, Debug, PartialEq)]
pub struct Nix {
    /// Also mounted at the real paths, where store paths resolve.
    pub in_place: bool,
    /// The profile whose `bin` is on `PATH`.
    pub profile: String,
    /// `PATH` without the profile.
    pub search_path: String,
    /// Client-side experimental features.
    pub experimental_features: Vec<String>,
}

/// Docker inside the runner (`runner-pods.md` 5).
#[derive(Clone, Debug, PartialEq)]
pub struct Docker {
    /// Who starts the daemon.
    pub start: DockerStart,
    /// The data root on the host, unless a cache replaces it.
    pub source: Source,
}

/// The way out through a proxy.
#[derive(Clone, Debug, PartialEq)]
pub struct Proxy {
    /// Proxy for `http://`.
    pub http: Option<ProxyUrl>,
    /// Proxy for `https://`.
    pub https: Option<ProxyUrl>,
    /// Hosts that are reached directly.
    pub no_proxy: Vec<String>,
    /// Secret with `username` and `password`.
    pub credentials_secret: Option<String>,
}

impl Proxy {
    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        self.http.is_none() && self.https.is_none() && self.no_proxy.is_empty()
    }

    /// The controller's own way to GitHub, with user and password of the Secret; `None` if no proxy is named.
    pub fn to_github(&self, credentials: Option<(Secret, Secret)>) -> Option<Proxies> {
        let url = |proxy: &ProxyUrl| format!("{}://{}", proxy.scheme, proxy.authority);
        let (http, https) = (self.http.as_ref().map(url), self.https.as_ref().map(url));
        let is_named = http.is_some() || https.is_some();
        is_named.then(|| Proxies { http, https, no_proxy: self.no_proxy.clone(), credentials })
    }
}

/// A proxy's address, apart so that credentials can stand between.
#[derive(Clone, Debug, PartialEq)]
pub struct ProxyUrl {
    /// `http` or `https`.
    pub scheme: String,
    /// Host and port.
    pub authority: String,
}

/// Where the certificates to trust are.
#[derive(Clone, Debug, PartialEq)]
pub enum CertificateAuthority {
    /// Given with the spec.
    Inline(String),
    /// A key of a ConfigMap in the cluster.
    ConfigMap(KeyReference),
}

/// How long each phase of a runner's life may take (`runner-pods.md` 8.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// From creation to a running runner container.
    pub start: Duration,
    /// From running to online at GitHub.
    pub online: Duration,
    /// Idle beyond the wanted number.
    pub idle: Duration,
    /// From the job's end to the container's.
    pub completed: Duration,
    /// From SIGTERM to SIGKILL.
    pub grace: Duration,
}

/// `PATH` of GitHub's runner image.
const IMAGE_SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Not below `/tmp`, which is cleared at boot and often a tmpfs (`runner-pods.md` 6).
const DEFAULT_DOCKER_SOURCE: &str = "/var/lib/deskrun/cache/{scaleSet}/var-lib-docker";
const DEFAULT_PROFILE: &str = "/nix/var/nix/profiles/default";

pub(super) fn nix(spec: &RunnerScaleSetSpec, report: &mut Report<'_>) -> Option<Nix> {
    let flagship = spec.container_mode == ContainerMode::CachedPrivilegedKubernetes;
    let given = spec.nix.clone().unwrap_or_default();
    let enabled = given.enabled.unwrap_or(flagship);
    let path = FieldPath::root().key("nix");
    if (enabled || spec.nix.is_some() && given.enabled.is_none()) && !flagship {
        let message = "the host's Nix store is only mounted in mode `cached-privileged-kubernetes`";
        let hint = "use that mode, or mount the store read-only with `cachePaths`";
        report.refuse(&path, Broken::new(Rule::ModeFeature, message, hint));
    }
    if let Some(feature) = given.experimental_features.iter().find(|feature| !is_word(feature)) {
        let message = format!("`{feature}` is not the name of an experimental feature");
        let hint = "names look like `nix-command` and `flakes`";
        report.refuse(&path.key("experimentalFeatures"), Broken::new(Rule::NixSetting, message, hint));
    }
    let profile = given.profile.unwrap_or_else(|| DEFAULT_PROFILE.to_owned());
    if !profile.starts_with("/nix/") || profile.contains([':', '\n']) {
        let message = format!("the profile `{profile}` does not lie below `/nix`");
        let hint = "name a profile of the host, such as `/nix/var/nix/profiles/default`";
        report.refuse(&path.key("profile"), Broken::new(Rule::NixSetting, message, hint));
    }
    (enabled && flagship).then(|| Nix {
        in_place: given.in_place.unwrap_or(true),
        profile: profile.trim_end_matches('/').to_owned(),
        search_path: given.search_path.unwrap_or_else(|| IMAGE_SEARCH_PATH.to_owned()),
        experimental_features: given.experimental_features,
    })
}

pub(super) fn docker(spec: &RunnerScaleSetSpec, report: &mut Report<'_>) -> Option<Docker> {
    use ContainerMode::{CachedPrivilegedKubernetes, Dind};
    let given = spec.docker.clone().unwrap_or_default();
    let path = FieldPath::root().key("docker");
    let refuse = |field: &str, message: &str, hint: &str, report: &mut Report<'_>| {
        report.refuse(&path.key(field), Broken::new(Rule::ModeFeature, message, hint));
    };
    match spec.container_mode {
        CachedPrivilegedKubernetes => {
            if given.image.is_some() {
                let message = "there is no Docker sidecar in this mode: the daemon is the runner image's own";
                refuse("image", message, "remove it, or use mode `dind`", report);
            }
            let source = Source::parse(DEFAULT_DOCKER_SOURCE).ok()?.with_slots();
            given.enabled.unwrap_or(true).then(|| Docker { start: given.start.unwrap_or_default(), source })
        }
        Dind => {
            if given.enabled == Some(false) {
                refuse("enabled", "mode `dind` is Docker in a sidecar", "choose another `containerMode`", report);
            }
            if given.start == Some(DockerStart::JobStarted) {
                refuse("start", "in mode `dind` the daemon runs before the runner", "remove it", report);
            }
            None
        }
        _ => {
            if given.enabled.unwrap_or(spec.docker.is_some()) {
                let message = "there is no Docker in an unprivileged runner";
                refuse("enabled", message, "use mode `cached-privileged-kubernetes` or `dind`", report);
            }
            None
        }
    }
}

pub(super) fn proxy(given: &crd::Proxy, report: &mut Report<'_>) -> Proxy {
    let path = FieldPath::root().key("proxy");
    let mut url = |name: &str, given: &Option<String>| {
        let given = given.as_deref()?;
        report.accept(&path.key(name), proxy_url(given))
    };
    let (http, https) = (url("http", &given.http), url("https", &given.https));
    if given.credentials_secret.is_some() && given.http.is_none() && given.https.is_none() {
        let message = "credentials without a proxy";
        let hint = "give `http` or `https`, or remove `credentialsSecret`";
        report.refuse(&path.key("credentialsSecret"), Broken::new(Rule::ProxyCredentials, message, hint));
    }
    Proxy { http, https, no_proxy: given.no_proxy.clone(), credentials_secret: given.credentials_secret.clone() }
}

fn proxy_url(text: &str) -> Result<ProxyUrl, Broken> {
    let broken = |message: &str, hint: &str| Err(Broken::new(Rule::ProxyUrl, message.to_owned(), hint.to_owned()));
    let (scheme, authority) = match text.split_once("://") {
        Some((scheme @ ("http" | "https"), rest)) => (scheme, rest.trim_end_matches('/')),
        _ => return broken("not a proxy URL", "write `http://host:port`"),
    };
    if authority.contains('@') {
        // The URL is not repeated in the message: it holds a password.
        return broken(
            "a proxy URL must not contain user and password",
            "put `username` and `password` into a Secret and name it as `credentialsSecret`",
        );
    }
    if authority.is_empty() || authority.contains(|c: char| c == '/' || c.is_whitespace() || c.is_control()) {
        return broken("a proxy URL is a scheme, a host and a port", "write `http://host:port`");
    }
    Ok(ProxyUrl { scheme: scheme.to_owned(), authority: authority.to_owned() })
}

pub(super) fn certificate_authority(given: &crd::Tls, report: &mut Report<'_>) -> Option<CertificateAuthority> {
    let path = FieldPath::root().key("tls").key("certificateAuthority");
    let refuse = |message: &str, hint: &str, report: &mut Report<'_>| {
        report.refuse(&path, Broken::new(Rule::CertificateAuthority, message, hint));
        None
    };
    let given = given.certificate_authority.as_ref()?;
    match (&given.inline, &given.config_map) {
        (Some(inline), None) if inline.contains("PRIVATE KEY") => {
            refuse("`inline` holds a private key", "paste the certificates alone", report)
        }
        (Some(inline), None) if inline.contains("-----BEGIN CERTIFICATE-----") => {
            Some(CertificateAuthority::Inline(inline.clone()))
        }
        (Some(_), None) => refuse("`inline` holds no certificate", "paste the PEM text, with its BEGIN line", report),
        (None, Some(reference)) => Some(CertificateAuthority::ConfigMap(reference.clone())),
        _ => refuse("exactly one of `inline` and `configMap` is needed", "remove one, or give one", report),
    }
}

pub(super) fn timeouts(spec: &RunnerScaleSetSpec, report: &mut Report<'_>) -> Timeouts {
    const MINUTE: u64 = 60;
    let given = spec.timeouts.clone().unwrap_or_default();
    let path = FieldPath::root().key("timeouts");
    let grace = if spec.container_mode == ContainerMode::CachedPrivilegedKubernetes { 3 } else { 2 };
    let mut timeout = |name: &str, given: Option<String>, default: u64| {
        let parsed = given.map(|text| report.accept(&path.key(name), duration(&text)));
        parsed.flatten().unwrap_or(Duration::from_secs(default * MINUTE))
    };
    Timeouts {
        start: timeout("start", given.start, 10),
        online: timeout("online", given.online, 6),
        idle: timeout("idle", given.idle, 10),
        completed: timeout("completed", given.completed, 3),
        grace: timeout("grace", given.grace, grace),
    }
}

fn duration(text: &str) -> Result<Duration, Broken> {
    let broken = || {
        let message = format!("`{text}` is not a duration of at least one second");
        Broken::new(Rule::Duration, message, "write it like `90s`, `10m` or `1h30m`")
    };
    let mut seconds: u64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = rest[..digits].parse().map_err(|_| broken())?;
        let unit = match rest[digits..].chars().next() {
            Some('s') => 1,
            Some('m') => 60,
            Some('h') => 3600,
            _ => return Err(broken()),
        };
        seconds = number.checked_mul(unit).and_then(|part| seconds.checked_add(part)).ok_or_else(broken)?;
        rest = &rest[digits + 1..];
    }
    if seconds == 0 { Err(broken()) } else { Ok(Duration::from_secs(seconds)) }
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_with_their_units() {
        for (text, seconds) in [("90s", 90), ("10m", 600), ("1h30m", 5400)] {
            assert_eq!(duration(text).ok(), Some(Duration::from_secs(seconds)));
        }
        for text in ["", "10", "m", "0s", "1d", "10 m", "99999999999999999999h"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_password_in_a_proxy_url_is_not_repeated() {
        let broken = proxy_url("http://user:hunter2@proxy:3128").err().unwrap();
        assert!(!broken.message.contains("hunter2") && !broken.hint.contains("hunter2"));
        assert_eq!(proxy_url("http://proxy:3128/").ok().unwrap().authority, "proxy:3128");
    }
}
