//! What facts mean: each becomes a finding with its way out. Pure.

use serde::Serialize;

use crate::cli::output::one_line;
use crate::engine::podman::{PathKind, PodmanHostFacts, Trial};

/// Something that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub(super) level: Level,
    /// What was looked at, and how it is.
    pub(super) text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) hint: Option<String>,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    /// As it should be.
    Ok,
    /// Jobs may run all the same.
    Warning,
    /// Jobs will not run.
    Problem,
}

impl Finding {
    pub(super) fn ok(text: impl Into<String>) -> Self {
        Self { level: Level::Ok, text: text.into(), hint: None }
    }

    pub(super) fn warning(text: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { level: Level::Warning, text: text.into(), hint: Some(hint.into()) }
    }

    pub(super) fn problem(text: impl Into<String>, hint: Option<String>) -> Self {
        Self { level: Level::Problem, text: text.into(), hint }
    }

    /// For people.
    pub(super) fn line(&self) -> String {
        let level = match self.level {
            Level::Ok => "ok",
            Level::Warning => "warning",
            Level::Problem => "problem",
        };
        let hint = self.hint.as_ref().map(|hint| format!("hint: {}\n", one_line(hint)));
        format!("{level}: {}\n{}", one_line(&self.text), hint.unwrap_or_default())
    }
}

/// What a scale set needs of its host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Needs {
    pub(super) scale_set: String,
    pub(super) image: String,
    pub(super) privileged: bool,
    pub(super) paths: Vec<NeededPath>,
}

/// A path of the host that a runner mounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NeededPath {
    pub(super) path: String,
    /// The type of the hostPath, as Kubernetes has it; empty if it says none.
    pub(super) type_: String,
}

pub(super) fn of_host(name: &str, host: &PodmanHostFacts) -> Vec<Finding> {
    let PodmanHostFacts { version, cgroups, runtime, .. } = host;
    vec![Finding::ok(format!("{name} answers: Podman {version} with {runtime}, cgroup {cgroups}"))]
}

/// What came of trying a scale set's container out.
pub(super) fn of_trial(
    needs: &Needs,
    host: &PodmanHostFacts,
    trial: &Result<Trial, (String, Option<String>)>,
) -> Vec<Finding> {
    let Needs { scale_set, image, privileged, paths } = needs;
    let mut findings = Vec::new();
    if *privileged && host.rootless {
        findings.push(Finding::warning(
            format!(
                "{scale_set}: its runners are privileged, and Podman runs without root: they own less than they expect"
            ),
            "use the socket of root: /run/podman/podman.sock",
        ));
    }
    let unseen = |why: &str| format!("{scale_set}: the host's paths were not looked at: {why}");
    match trial {
        Ok(Trial::NoImage) => findings.push(Finding::warning(
            format!("{scale_set}: the image {image} is not on the host: the first job waits for it, and no container was tried out"),
            format!("on that host: podman pull {image}"),
        )),
        Err((words, hint)) => findings.push(Finding::problem(
            format!("{scale_set}: a container of {image} does not start: {words}"),
            Some(hint.clone().unwrap_or_else(|| runtime_hint(host))),
        )),
        Ok(Trial::Blind) => {
            findings.push(Finding::ok(format!("{scale_set}: a container of {image} starts")));
            let hint = "an image for runners has /bin/sh: check `image`";
            findings.push(Finding::warning(unseen("the image has no shell"), hint));
        }
        Ok(Trial::Saw(kinds)) => {
            findings.push(Finding::ok(format!("{scale_set}: a container of {image} starts")));
            findings.extend(paths.iter().zip(kinds).map(|(path, kind)| of_path(scale_set, path, *kind)));
        }
    }
    findings
}

/// Where containers do not start at all, it is mostly the runtime that the host cannot bear.
fn runtime_hint(host: &PodmanHostFacts) -> String {
    if host.cgroups == "v1" && host.runtime == "crun" {
        return "crun does not start on hosts with cgroup v1 and v2 side by side: set `runtime = \"runc\"` in \
                containers.conf"
            .to_owned();
    }
    "on that host: podman run --rm IMAGE true; then containers.conf and `podman info`".to_owned()
}

fn of_path(scale_set: &str, needed: &NeededPath, kind: PathKind) -> Finding {
    let NeededPath { path, type_ } = needed;
    let is = match kind {
        PathKind::Directory => "a directory",
        PathKind::Socket => "a socket",
        PathKind::File => "a file",
        PathKind::Missing => "missing",
    };
    let fits = match (type_.as_str(), kind) {
        ("Directory" | "DirectoryOrCreate", PathKind::Directory)
        | ("File" | "FileOrCreate", PathKind::File)
        | ("Socket", PathKind::Socket)
        | ("", PathKind::Directory | PathKind::File | PathKind::Socket) => true,
        ("DirectoryOrCreate" | "FileOrCreate", PathKind::Missing) => {
            return Finding::ok(format!("{scale_set}: {path} is made by the first runner"));
        }
        _ => false,
    };
    if fits {
        return Finding::ok(format!("{scale_set}: {path} is {is}"));
    }
    let hint = if path.starts_with("/nix") {
        "install Nix on the host, or say `nix: {enabled: false}`".to_owned()
    } else {
        "make it on the host, or change `source` or `type` of the cache".to_owned()
    };
    Finding::problem(format!("{scale_set}: {path} is {is}, and {} is needed", wanted(type_)), Some(hint))
}

fn wanted(type_: &str) -> &'static str {
    match type_ {
        "Directory" | "DirectoryOrCreate" => "a directory",
        "File" | "FileOrCreate" => "a file",
        "Socket" => "a socket",
        _ => "something",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(cgroups: &str, runtime: &str, rootless: bool) -> PodmanHostFacts {
        let text = str::to_owned;
        PodmanHostFacts { version: text("4.3.1"), cgroups: text(cgroups), runtime: text(runtime), rootless }
    }

    #[test]
    fn a_path_is_judged_by_its_type_and_by_what_stands_there() {
        use PathKind::{Directory, File, Missing, Socket};
        let table = [
            ("DirectoryOrCreate", Missing, Level::Ok),
            ("DirectoryOrCreate", Directory, Level::Ok),
            ("DirectoryOrCreate", File, Level::Problem),
            ("Directory", Missing, Level::Problem),
            ("Directory", Directory, Level::Ok),
            ("File", File, Level::Ok),
            ("File", Directory, Level::Problem),
            ("FileOrCreate", Missing, Level::Ok),
            ("Socket", Socket, Level::Ok),
            ("Socket", File, Level::Problem),
            ("", Missing, Level::Problem),
            ("", File, Level::Ok),
        ];
        for (type_, kind, level) in table {
            let path = NeededPath { path: "/p".to_owned(), type_: type_.to_owned() };
            assert_eq!(of_path("metal", &path, kind).level, level, "{type_} {kind:?}");
        }
        let store = NeededPath { path: "/nix/store".to_owned(), type_: "Directory".to_owned() };
        let hint = of_path("metal", &store, PathKind::Missing).hint.unwrap();
        assert!(hint.contains("nix: {enabled: false}"), "{hint}");
    }

    #[test]
    fn a_container_that_does_not_start_is_a_problem_with_the_likely_cause() {
        let needs = Needs { scale_set: "metal".to_owned(), image: "i".to_owned(), ..Needs::default() };
        let only = |host: &PodmanHostFacts, trial| {
            let [finding] = <[Finding; 1]>::try_from(of_trial(&needs, host, &trial)).unwrap();
            (finding.level, finding.hint.unwrap())
        };
        let failed = Err(("boom".to_owned(), None));
        let (level, hint) = only(&host("v1", "crun", false), failed.clone());
        assert!(level == Level::Problem && hint.contains("runc"), "{hint}");
        assert!(only(&host("v2", "crun", false), failed).1.contains("podman run"));
        let (level, hint) = only(&host("v2", "crun", false), Ok(Trial::NoImage));
        assert!(level == Level::Warning && hint.contains("podman pull i"), "{hint}");
        let privileged = Needs { privileged: true, ..needs.clone() };
        let findings = of_trial(&privileged, &host("v2", "crun", true), &Ok(Trial::Saw(Vec::new())));
        assert_eq!(findings.iter().map(|finding| finding.level).collect::<Vec<_>>(), [Level::Warning, Level::Ok]);
    }

    #[test]
    fn a_finding_is_a_line_with_its_hint_below() {
        assert_eq!(Finding::ok("all is well").line(), "ok: all is well\n");
        assert_eq!(Finding::warning("it is late", "sleep").line(), "warning: it is late\nhint: sleep\n");
        assert_eq!(Finding::problem("it is\x1b late", None).line(), "problem: it is  late\n");
    }
}
