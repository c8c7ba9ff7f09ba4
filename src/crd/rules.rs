//! What an API server can say about a spec before any controller has seen it, in the words of our own validation.
//!
//! A rule here never refuses what [`crate::scale_set`] accepts for a cluster. The other way round many remain: whatever
//! needs several entries, the templates or knowledge of the container is judged there, and said in the status.

use super::limits::{INSTANCES_MAX, MAX_RUNNERS_DEFAULT, SCALE_SET_NAME_MAX};

/// A CEL rule for the field at `path`, with the words for whoever breaks it.
pub(super) struct Rule {
    /// Names with dots between them, `[]` behind the name of a list for its items. Empty for the object itself.
    pub(super) path: &'static str,
    /// The field below it that is blamed, where that is another.
    pub(super) blamed: Option<&'static str>,
    pub(super) expression: String,
    pub(super) message: String,
}

/// A plain bound of a field. Those of texts and lists are far beyond what anyone writes: an API server estimates what a
/// rule may cost by them.
pub(super) struct Bound {
    pub(super) path: &'static str,
    pub(super) keyword: &'static str,
    pub(super) value: u32,
}

fn rule(path: &'static str, expression: impl Into<String>, message: impl Into<String>) -> Rule {
    Rule { path, blamed: None, expression: expression.into(), message: message.into() }
}

/// A rule about a field of the spec that looks at other fields as well, or at its absence.
fn about(field: &'static str, expression: impl Into<String>, message: impl Into<String>) -> Rule {
    Rule { blamed: Some(field), ..rule("spec", expression, message) }
}

/// All rules; each has a bad object in `tests/cluster/`.
pub(super) fn rules() -> Vec<Rule> {
    [object(), registration(), features(), caches(), timeouts()].into_iter().flatten().collect()
}

fn object() -> Vec<Rule> {
    let room = "self.metadata.name.size() + (has(self.spec.instances) ? 1 + string(self.spec.instances).size() : 0)";
    vec![
        rule(
            "",
            "self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",
            "the name is the scale set's as well: only a-z, 0-9 and `-` are allowed, with a letter or digit at both ends",
        ),
        rule(
            "",
            format!("{room} <= {SCALE_SET_NAME_MAX}"),
            format!("the name, with the number of its last instance, is longer than {SCALE_SET_NAME_MAX} characters"),
        ),
    ]
}

fn registration() -> Vec<Rule> {
    let minimum = "(has(self.minRunners) ? self.minRunners : 0)";
    vec![
        about(
            "githubConfigUrl",
            "has(self.githubConfigUrl)",
            "`githubConfigUrl` is required: the repository, organisation or enterprise whose jobs are served",
        ),
        about(
            "githubConfigSecret",
            "has(self.githubConfigSecret)",
            "`githubConfigSecret` is required: the name of a Secret with `github_token`, or with `github_app_id`, \
             `github_app_installation_id` and `github_app_private_key`",
        ),
        about(
            "credentials",
            "!has(self.credentials)",
            "`credentials` are for `deskrun run`: in a cluster put them into a Secret and name it as `githubConfigSecret`",
        ),
        about(
            "minRunners",
            format!("{minimum} <= (has(self.maxRunners) ? self.maxRunners : {MAX_RUNNERS_DEFAULT})"),
            format!("`minRunners` may not exceed `maxRunners`, which is {MAX_RUNNERS_DEFAULT} if unset"),
        ),
        rule(
            "spec.githubConfigUrl",
            r"self.matches('^/*https?://[^/@?#\\s]+/+[^/?#\\s]+(/[^/?#\\s]+)?/*$') && !self.matches('^/*https?://[^/]+/+enterprises/*$')",
            "write `https://github.com/OWNER/REPOSITORY`, `…/ORGANISATION` or `…/enterprises/NAME`",
        ),
        rule(
            "spec.githubConfigUrl",
            "self == oldSelf",
            "`githubConfigUrl` cannot be changed, for the scale set is registered there: delete the object and create it \
             anew",
        ),
        rule(
            "spec.githubConfigSecret",
            "self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')",
            "name a Secret of the same namespace; tokens and keys belong into it",
        ),
        rule(
            "spec.labels[]",
            r"self.matches('^[^,[:cntrl:]]*[^,[:cntrl:]\\s][^,[:cntrl:]]*$')",
            "a label must be printable, without commas, and not empty",
        ),
    ]
}

fn features() -> Vec<Rule> {
    const FLAGSHIP: &str = "cached-privileged-kubernetes";
    const IMAGE: &str = r"self.matches('^[^\\s[:cntrl:]]+$')";
    const IMAGE_WORDS: &str =
        "an image is a reference such as `ghcr.io/actions/actions-runner:TAG`, without white space";
    const PROXY: &str = r"self.matches('^https?://([^/@\\s[:cntrl:]]*@)?[^/@\\s[:cntrl:]]+/*$')";
    const PROXY_WORDS: &str = "a proxy URL is `http://host:port`";
    const NO_PASSWORD: &str = "!self.contains('@')";
    const NO_PASSWORD_WORDS: &str = "a proxy URL must not contain user and password: put `username` and `password` into \
                                     a Secret and name it as `credentialsSecret`";
    vec![
        about(
            "containerHooks",
            "!(self.containerMode == 'dind' && has(self.containerHooks) && self.containerHooks)",
            "in mode `dind` Docker runs the containers: remove `containerHooks`",
        ),
        about(
            "containerHooks",
            "!(self.containerMode.startsWith('kubernetes') && has(self.containerHooks) && !self.containerHooks)",
            format!("this mode runs every job by the container hooks: they can be switched off in `{FLAGSHIP}` only"),
        ),
        about(
            "nix",
            format!(
                "self.containerMode == '{FLAGSHIP}' || !has(self.nix) || (has(self.nix.enabled) && !self.nix.enabled)"
            ),
            format!("the host's Nix store is only mounted in mode `{FLAGSHIP}`"),
        ),
        about(
            "docker",
            "!self.containerMode.startsWith('kubernetes') || !has(self.docker) || (has(self.docker.enabled) && \
             !self.docker.enabled)",
            format!("there is no Docker in an unprivileged runner: use mode `{FLAGSHIP}` or `dind`"),
        ),
        about(
            "docker",
            "!(self.containerMode == 'dind' && has(self.docker) && has(self.docker.enabled) && !self.docker.enabled)",
            "mode `dind` is Docker in a sidecar: choose another `containerMode`",
        ),
        about(
            "docker",
            "!(self.containerMode == 'dind' && has(self.docker) && has(self.docker.start) && self.docker.start == \
             'job-started')",
            "in mode `dind` the daemon runs before the runner: remove `docker.start`",
        ),
        about(
            "docker",
            format!("!(self.containerMode == '{FLAGSHIP}' && has(self.docker) && has(self.docker.image))"),
            "there is no Docker sidecar in this mode: remove `docker.image`, or use mode `dind`",
        ),
        rule("spec.image", IMAGE, IMAGE_WORDS),
        rule("spec.docker.image", IMAGE, IMAGE_WORDS),
        rule(
            "spec.nix.profile",
            r"self.startsWith('/nix/') && !self.matches('[:\\n]')",
            "name a profile of the host below `/nix`, such as `/nix/var/nix/profiles/default`",
        ),
        rule(
            "spec.nix.experimentalFeatures[]",
            "self.matches('^[a-zA-Z0-9-]+$')",
            "names of features look like `nix-command` and `flakes`",
        ),
        rule("spec.proxy.http", NO_PASSWORD, NO_PASSWORD_WORDS),
        rule("spec.proxy.https", NO_PASSWORD, NO_PASSWORD_WORDS),
        rule("spec.proxy.http", PROXY, PROXY_WORDS),
        rule("spec.proxy.https", PROXY, PROXY_WORDS),
        rule(
            "spec.proxy",
            "!has(self.credentialsSecret) || has(self.http) || has(self.https)",
            "credentials without a proxy: give `http` or `https`, or remove `credentialsSecret`",
        ),
        rule(
            "spec.tls.certificateAuthority",
            "has(self.inline) != has(self.configMap)",
            "exactly one of `inline` and `configMap` is needed",
        ),
        rule(
            "spec.tls.certificateAuthority.inline",
            "self.contains('-----BEGIN CERTIFICATE-----') && !self.contains('PRIVATE KEY')",
            "paste the PEM text of the certificates alone, with its BEGIN line and without a private key",
        ),
        rule(
            "spec.layers[]",
            "!has(self.file)",
            "a cluster has no files: write the layer as `inline` text, or put it into a ConfigMap and name it as `configMap`",
        ),
        rule(
            "spec.layers[]",
            "has(self.file) || has(self.inline) != has(self.configMap)",
            "exactly one of `inline` and `configMap` is needed",
        ),
    ]
}

fn caches() -> Vec<Rule> {
    vec![
        rule(
            "spec.cachePaths[]",
            "has(self.source) || has(self.volume)",
            "neither `source` nor `volume`: write `source: \"\"` for an emptyDir, or the path of a directory of the host",
        ),
        rule(
            "spec.cachePaths[]",
            "!(has(self.source) && has(self.volume))",
            "`source` and `volume` exclude each other",
        ),
        rule(
            "spec.cachePaths[]",
            "!has(self.type) || (has(self.source) && self.source != '')",
            "`type` says what the source must be on the host: remove it, or give a source",
        ),
        rule(
            "spec.cachePaths[]",
            "!(has(self.medium) || has(self.sizeLimit)) || !has(self.source) && !has(self.volume) || has(self.source) && \
             self.source == ''",
            "`medium` and `sizeLimit` are for emptyDirs: remove them, or write `source: \"\"`",
        ),
        rule(
            "spec.cachePaths[].medium",
            "self in ['', 'Memory'] || self.startsWith('HugePages')",
            "write `Memory`, or leave it out for the node's disk",
        ),
        rule(
            "spec.cachePaths[].sizeLimit",
            "isQuantity(self) && !self.startsWith('-')",
            "write a Kubernetes quantity such as `20Gi`",
        ),
        rule(
            "spec.cachePaths[].target",
            "self.startsWith('/') && !self.matches('^/+$')",
            "a target is an absolute path below `/`, such as `/home/runner/.cargo`",
        ),
        rule(
            "spec.cachePaths[].target",
            "!self.matches('[:{}[:cntrl:]]|/[.][.]?(/|$)')",
            "write the path without `.`, `..`, `:`, placeholders and control characters",
        ),
        rule(
            "spec.cachePaths[].source",
            "self == '' || self.startsWith('/')",
            "a source is an absolute path of the host, or `\"\"` for an emptyDir",
        ),
        rule(
            "spec.cachePaths[].source",
            "!self.matches('[:[:cntrl:]]|/[.][.]?(/|$)')",
            "write the path without `.`, `..`, `:` and control characters",
        ),
        rule(
            "spec.cachePaths[].source",
            "!self.replace('{slot}', '').replace('{scaleSet}', '').contains('{')",
            "known placeholders are `{slot}` and `{scaleSet}`",
        ),
        rule(
            "spec.cachePaths[]",
            "has(self.allowSystemPath) && self.allowSystemPath || !has(self.source) || !self.source.matches( \
             '^/+((etc|boot|proc|sys|dev|var/+lib/+(kubelet|containerd)|(var/+)?run/+containerd)(/|$)|(var(/+(lib|run))?|run)?/*$)')",
            "the source is, or contains, a system directory of the host: choose one made for caches; if you mean it, say \
             `allowSystemPath: true`",
        ),
    ]
}

fn timeouts() -> Vec<Rule> {
    const FIELDS: [&str; 5] = [
        "spec.timeouts.start",
        "spec.timeouts.online",
        "spec.timeouts.idle",
        "spec.timeouts.completed",
        "spec.timeouts.grace",
    ];
    let form = "self.matches('^([0-9]{1,9}[smh])+$') && !self.matches('^(0+[smh])+$')";
    let words = "a duration of at least one second is written like `90s`, `10m` or `1h30m`";
    FIELDS.into_iter().map(|path| rule(path, form, words)).collect()
}

/// All bounds.
pub(super) fn bounds() -> Vec<Bound> {
    let bound = |(path, keyword, value)| Bound { path, keyword, value };
    let numbers = [
        ("spec.instances", "minimum", 1),
        ("spec.instances", "maximum", INSTANCES_MAX),
        ("spec.maxRunners", "minimum", 1),
    ];
    let lists =
        [("spec.labels", 128), ("spec.cachePaths", 128), ("spec.layers", 64), ("spec.nix.experimentalFeatures", 64)];
    let texts = [
        ("spec.githubConfigUrl", 2048),
        ("spec.githubConfigSecret", 253),
        ("spec.labels[]", 256),
        ("spec.image", 1024),
        ("spec.docker.image", 1024),
        ("spec.nix.profile", 4096),
        ("spec.nix.experimentalFeatures[]", 128),
        ("spec.proxy.http", 2048),
        ("spec.proxy.https", 2048),
        ("spec.tls.certificateAuthority.inline", 1_048_576),
        ("spec.cachePaths[].source", 4096),
        ("spec.cachePaths[].target", 4096),
        ("spec.cachePaths[].medium", 64),
        ("spec.cachePaths[].sizeLimit", 64),
        ("spec.timeouts.start", 64),
        ("spec.timeouts.online", 64),
        ("spec.timeouts.idle", 64),
        ("spec.timeouts.completed", 64),
        ("spec.timeouts.grace", 64),
    ];
    let lists = lists.map(|(path, most)| (path, "maxItems", most));
    let texts = texts.map(|(path, most)| (path, "maxLength", most));
    numbers.into_iter().chain(lists).chain(texts).map(bound).collect()
}
