//! Waits for objects of a cluster by watching them, and tells what they wait for whenever that changes.

use std::io::Write;
use std::pin::pin;

use futures::StreamExt;
use kube::Api;
use kube::api::DynamicObject;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::watch_object;
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use super::judge::Progress;
use crate::cli::Printer;
use crate::cli::objects::watch_words;

/// Waits until an object is done; at the deadline, the words say what it still waits for.
pub(in crate::cli) async fn until(
    api: Api<DynamicObject>,
    name: &str,
    shown: &str,
    judge: impl Fn(Option<&Value>) -> Progress,
    deadline: Instant,
    printer: &mut Printer<impl Write, impl Write>,
) -> anyhow::Result<Result<(), String>> {
    let mut changes = pin!(watch_object(api, name).default_backoff());
    let mut words = String::from("the API server has not answered yet");
    loop {
        let Ok(Some(change)) = timeout_at(deadline, changes.next()).await else { return Ok(Err(words)) };
        let progress = match change {
            Ok(object) => judge(object.and_then(|object| serde_json::to_value(object).ok()).as_ref()),
            Err(error) => Progress::Waiting(watch_words(error)),
        };
        match progress {
            Progress::Done => return Ok(Ok(())),
            Progress::Waiting(new) if new != words => {
                printer.note("waiting", &format!("{shown}: {new}"))?;
                words = new;
            }
            Progress::Waiting(_) => {}
        }
    }
}
