//! `deskrun remove` on a cluster: deletes the object, and waits until the operator has taken it out at GitHub.

use std::io::Write;

use tokio::time::Instant;

use super::Remove;
use crate::cli::down::{delete_made, gone};
use crate::cli::objects::shown;
use crate::cli::scale_sets::{list, named, scale_sets};
use crate::cli::up::until;
use crate::cli::{ExitCode, Printer};

pub(super) async fn run(remove: &Remove, printer: &mut Printer<impl Write, impl Write>) -> anyhow::Result<ExitCode> {
    let cluster = remove.cluster.connect().await?;
    let namespace = cluster.namespace.clone();
    let there = list(&cluster, Some(&namespace)).await?;
    // One that went after the last command had given up waiting left what was made for it.
    if there.iter().all(|found| found.name() != remove.name)
        && delete_made(&cluster, Some(&namespace), Some(&remove.name), printer).await? > 0
    {
        return Ok(0);
    }
    let found = named(there, &remove.name, &namespace)?;
    let shown = shown(&found.json());
    found.delete(&cluster).await?;
    let deadline = Instant::now() + remove.timeout;
    let api = scale_sets(&cluster, Some(&namespace));
    if let Err(words) = until(api, &remove.name, &shown, gone, deadline, printer).await? {
        printer.note("error", &format!("{shown} is still there: {words}"))?;
        let hint = format!(
            "it is deleted as soon as that is over, if an operator runs; `deskrun remove {}` waits again",
            remove.name
        );
        printer.hint(Some(&hint))?;
        return Ok(1);
    }
    printer.note("removed", &shown)?;
    delete_made(&cluster, Some(&namespace), Some(&remove.name), printer).await?;
    Ok(0)
}
