//! `deskrun add` on a cluster: makes a `RunnerScaleSet`, and a Secret where credentials are given otherwise.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, ensure};

use super::Add;
use crate::cli::input::documents;
use crate::cli::objects::{apply, patiently, plain, shown};
use crate::cli::resource::resources;
use crate::cli::scale_sets::scale_sets;
use crate::cli::{ExitCode, Printer};
use crate::manifest::EngineKind;

/// Where the document stands, for messages.
const PLACE: &str = "<command line>";

pub(super) async fn run(add: &Add, printer: &mut Printer<impl Write, impl Write>) -> anyhow::Result<ExitCode> {
    ensure!(add.host.is_none(), "`--host` is a Podman host, which means nothing in a cluster");
    let place = Path::new(PLACE);
    let input = match documents(vec![(PLACE.to_owned(), add.document()?)], None, &[]) {
        Ok(input) => input,
        Err(error) => return add.refuse(error, place, printer),
    };
    add.check(&input, place, EngineKind::Kubernetes, printer)?;
    let cluster = add.cluster.connect().await?;
    let wanted = resources(&input, None, &cluster.namespace)?;
    let api = scale_sets(&cluster, Some(&wanted.namespace));
    let there = patiently(|| api.get_opt(&add.name)).await.map_err(plain);
    let there = there.with_context(|| {
        format!("the cluster at {} cannot be asked for RunnerScaleSets: `deskrun up` makes them known", cluster.url)
    })?;
    ensure!(
        add.replace || there.is_none(),
        "there is a RunnerScaleSet `{0}` in {1}: `--replace` changes it, `deskrun remove {0} -n {1}` takes it out",
        add.name,
        wanted.namespace
    );
    for object in wanted.secrets()?.iter().chain(&wanted.scale_sets) {
        let applied = apply(&cluster.client, object, false).await?;
        printer.data(&format!("{} {applied}\n", shown(object)))?;
    }
    let words = format!("`deskrun status {} -n {}` shows how it is", add.name, wanted.namespace);
    printer.note("note", &words)?;
    Ok(0)
}
