//! `deskrun add`: writes a scale set into the configuration folder. What `deskrun run` would refuse is not written, and no
//! secret is: the file says where they are.

mod cache;
mod cluster;
mod document;
mod host;
mod write;

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use clap::{ArgGroup, Args};

use self::cache::CacheArgument;
use super::cluster::ClusterArguments;
use super::input::{self, Input};
use super::render::OFFLINE;
use super::run::{configuration_folder, configured, load_credentials};
use super::socket::Controller;
use super::{ExitCode, Printer};
use crate::github::{ConfigUrl, ConfigUrlOptions};
use crate::layers::stack;
use crate::manifest::EngineKind;
use crate::problem::{Problem, Problems};
use crate::render::{Request, prepare};
use crate::scale_set::{ScaleSet, Validated};

/// How tokens of GitHub's begin. What is written down is where a token is, never the token.
const TOKENS: [&str; 6] = ["ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"];

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("credentials").required(true).args(["pat_file", "pat_env", "app_id", "app_client_id", "secret"]))]
#[command(group = ArgGroup::new("app").args(["app_id", "app_client_id"]))]
pub(super) struct Add {
    /// Name of the scale set, which is what `runs-on` says
    name: String,
    /// URL of the repository, organisation or enterprise
    #[arg(long, value_name = "URL")]
    repository: String,
    /// How jobs are run; the flagship is `cached-privileged-kubernetes`
    #[arg(long, value_name = "MODE", default_value = "dind",
        value_parser = ["kubernetes", "kubernetes-novolume", "dind", "cached-privileged-kubernetes"])]
    mode: String,
    /// Image of the runner container
    #[arg(long)]
    image: Option<String>,
    /// A directory of the host that outlives the runner; an empty SRC is an emptyDir. May be repeated
    #[arg(long = "cache", value_name = "SRC:TARGET[:TYPE]")]
    caches: Vec<CacheArgument>,
    /// Makes N scale sets, NAME-1 to NAME-N
    #[arg(long, value_name = "N")]
    instances: Option<u32>,
    /// Idle runners kept ready
    #[arg(long, value_name = "N")]
    min_runners: Option<u32>,
    /// The most runners
    #[arg(long, value_name = "N")]
    max_runners: Option<u32>,
    /// File that holds a personal access token
    #[arg(long, value_name = "FILE")]
    pat_file: Option<PathBuf>,
    /// Environment variable of the controller that holds a personal access token
    #[arg(long, value_name = "VARIABLE")]
    pat_env: Option<String>,
    /// Numeric id of a GitHub App
    #[arg(long, value_name = "N", requires = "app_installation_id", requires = "app_private_key_file")]
    app_id: Option<u64>,
    /// Client id of a GitHub App
    #[arg(long, value_name = "ID", requires = "app_installation_id", requires = "app_private_key_file")]
    app_client_id: Option<String>,
    /// Id of the App's installation
    #[arg(long, value_name = "N", requires = "app")]
    app_installation_id: Option<u64>,
    /// File with the App's private key in PEM form
    #[arg(long, value_name = "FILE", requires = "app")]
    app_private_key_file: Option<PathBuf>,
    /// In a cluster: name of a Secret with credentials; of the other ways, one is made
    #[arg(long, value_name = "NAME")]
    secret: Option<String>,
    /// The Podman host, written into `host.yaml` once: `ssh://user@host[:port]/path/podman.sock`
    #[arg(long, value_name = "URL")]
    host: Option<String>,
    /// Replace the file if there is one
    #[arg(long)]
    replace: bool,
    /// The controller's socket; `$XDG_RUNTIME_DIR/deskrun.sock` if not given
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    #[command(flatten)]
    cluster: ClusterArguments,
}

impl Add {
    pub(super) async fn run(self, printer: &mut Printer<impl Write, impl Write>) -> anyhow::Result<ExitCode> {
        self.refuse_secrets()?;
        if self.cluster.is_given() {
            return cluster::run(&self, printer).await;
        }
        ensure!(
            self.secret.is_none(),
            "`--secret` names a Secret of a cluster: say which with `--context` or `--namespace`"
        );
        let folder = configuration_folder()?;
        let folder = std::path::absolute(&folder).with_context(|| format!("cannot find {}", folder.display()))?;
        let file = folder.join(format!("{}.yaml", self.name));
        ensure!(
            file.file_name().is_some_and(|name| name != host::FILE),
            "a scale set cannot be called `{}`: {} is where the Podman host is written down; choose another name",
            self.name,
            host::FILE
        );
        ensure!(
            self.replace || !file.exists(),
            "{} exists already: `--replace` writes it anew, `deskrun remove {}` takes the scale set out",
            file.display(),
            self.name
        );
        let text = self.document()?;
        let input = match with_others(&folder, &file, &text) {
            Ok(input) => input,
            Err(error) => return self.refuse(error, &file, printer),
        };
        self.check(&input, &file, EngineKind::Podman, printer)?;
        let host = self.host.as_deref().map(|url| host::new_document(url, &folder, &input)).transpose()?.flatten();
        if let Some(host) = host {
            write::replace(&folder.join(host::FILE), &host)?;
        }
        write::replace(&file, &text)?;
        printer.data(&format!("{}\n", file.display()))?;
        self.tell_controller(printer).await?;
        Ok(0)
    }

    /// A token in the place of its whereabouts would be written down, or shown in a message.
    fn refuse_secrets(&self) -> anyhow::Result<()> {
        let file = self.pat_file.as_deref().and_then(Path::to_str);
        for (flag, value, what) in [("--pat-file", file, "file"), ("--pat-env", self.pat_env.as_deref(), "variable")] {
            let is_token = value.is_some_and(|value| TOKENS.iter().any(|token| value.starts_with(token)));
            ensure!(!is_token, "`{flag}` was given a token: put it into a {what}, and give the {what}'s name");
        }
        Ok(())
    }

    /// What `render --check` and the start of `run` would say.
    fn check(
        &self,
        input: &Input,
        file: &Path,
        engine: EngineKind,
        printer: &mut Printer<impl Write, impl Write>,
    ) -> anyhow::Result<()> {
        let is_ours = |validated: &&Validated| Path::new(&validated.scale_set.file) == file;
        let Some(Validated { scale_set, warnings }) = input.scale_sets.iter().find(is_ours) else {
            bail!("{} would hold no scale set", file.display());
        };
        for warning in warnings {
            self.say("warning", warning, printer)?;
        }
        ConfigUrl::parse(&self.repository, ConfigUrlOptions::default()).context("`--repository` cannot be used")?;
        prepared(scale_set, input, engine).with_context(|| format!("`--mode {}` cannot be used", self.mode))?;
        // The controller's environment is not ours.
        if let Some(credentials) = scale_set.credentials.as_ref().filter(|credentials| credentials.pat_env.is_none()) {
            let flag = if self.pat_file.is_some() { "--pat-file" } else { "--app-private-key-file" };
            load_credentials(credentials, &scale_set.file).with_context(|| format!("`{flag}` cannot be used"))?;
        }
        Ok(())
    }

    /// Says what is wrong, by the flags that say it; problems of other files by their places.
    fn refuse(
        &self,
        error: anyhow::Error,
        file: &Path,
        printer: &mut Printer<impl Write, impl Write>,
    ) -> anyhow::Result<ExitCode> {
        let problems = error.downcast::<Problems>()?;
        for problem in problems.as_slice() {
            if Path::new(&problem.file) == file {
                self.say("error", problem, printer)?;
            } else {
                printer.problems(&Problems::one(problem.clone()))?;
            }
        }
        Ok(1)
    }

    fn say(&self, kind: &str, problem: &Problem, printer: &mut Printer<impl Write, impl Write>) -> anyhow::Result<()> {
        printer.note(kind, &format!("`{}`: {} [{}]", self.flag(problem), problem.message, problem.rule))?;
        printer.hint(problem.hint.as_deref())?;
        Ok(())
    }

    async fn tell_controller(&self, printer: &mut Printer<impl Write, impl Write>) -> anyhow::Result<()> {
        let controller = Controller::at(self.socket.as_deref())?;
        let (kind, text) = match controller.reload().await {
            Ok(None) => ("note", format!("no controller answers at {}: `deskrun run` starts one", controller.place())),
            Ok(Some(Err(words))) => ("warning", format!("the controller cannot serve it yet: {words}")),
            Err(error) => ("warning", format!("the controller could not be told: {error:#}")),
            Ok(Some(Ok(()))) => match controller.status().await {
                Ok(Some(report)) if report.scale_sets.iter().any(|status| status.resource == self.name) => {
                    ("note", format!("the controller serves it: `deskrun status {}` shows how it is", self.name))
                }
                _ => ("warning", format!("the controller at {} serves other files", controller.place())),
            },
        };
        Ok(printer.note(kind, &text)?)
    }
}

/// Renders as `run` would.
fn prepared(scale_set: &ScaleSet, input: &Input, engine: EngineKind) -> anyhow::Result<()> {
    let stack = stack(scale_set, engine, &input.layers(scale_set, &[])?)?;
    for instance in scale_set.instances() {
        prepare(&Request { scale_set, instance: &instance, engine, stack: &stack, controller: OFFLINE, owner: None })?;
    }
    Ok(())
}

/// What the folder will hold; the file that is written replaces its predecessor.
fn with_others(folder: &Path, file: &Path, text: &str) -> anyhow::Result<Input> {
    let file = file.display().to_string();
    let mut others = configured(folder)?;
    others.retain(|other| *other != file);
    let mut texts = input::texts(&others)?;
    texts.push((file, text.to_owned()));
    input::documents(texts, None, &[])
}
