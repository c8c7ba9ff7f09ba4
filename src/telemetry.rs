//! Logs: to stderr, filtered by the user; audit records always, whatever the filter says.

use std::io::IsTerminal;

use tracing::Metadata;
use tracing_subscriber::filter::{FilterFn, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::controller::AUDIT_TARGET;

/// Form of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogForm {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Never logged: the Kubernetes client writes out answers that it cannot read, and those may be secrets. What goes wrong there
/// is told by whoever asked.
const SILENT: &str = "kube_client";

/// Starts logging. `filter` is in the form of `RUST_LOG`; what cannot be read of it is left out. A second call changes
/// nothing.
pub fn start(form: LogForm, filter: &str) {
    let levels = EnvFilter::builder().parse_lossy(filter);
    let colour = std::io::stderr().is_terminal();
    let layer = tracing_subscriber::fmt::layer().with_ansi(colour).with_writer(std::io::stderr);
    let audit = tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(std::io::stderr);
    let registry = tracing_subscriber::registry().with(audit.with_filter(only_audit()));
    // A test that has its own subscriber keeps it.
    let _ = match form {
        LogForm::Text => registry.with(layer.with_filter(levels).with_filter(no_audit())).try_init(),
        LogForm::Json => {
            registry.with(layer.json().flatten_event(true).with_filter(levels).with_filter(no_audit())).try_init()
        }
    };
}

fn only_audit() -> FilterFn<fn(&Metadata<'_>) -> bool> {
    filter_fn(|metadata| metadata.target() == AUDIT_TARGET)
}

fn no_audit() -> FilterFn<fn(&Metadata<'_>) -> bool> {
    filter_fn(|metadata| metadata.target() != AUDIT_TARGET && !metadata.target().starts_with(SILENT))
}
