//! From layers to manifests: [`prepare()`] runs the templates once per scale set, [`PreparedRunner::fill`] makes the
//! manifest of one runner.
//!
//! Templates are text with strict rules: an undefined variable is an error, a list must be written as JSON. What
//! depends on the single runner is a hole until `fill`, so that a burst of runners costs microseconds each.
//! Credentials and JIT configs never come here.

mod companions;
mod context;
mod error;
mod expansion;
mod explain;
mod finish;
mod hole;
mod line_marks;
mod order;
mod podman;
mod prepare;
mod short_hash;
mod template;

pub use context::config_url_hash;
pub use error::{RenderError, TemplateError};
pub use explain::{Explained, Place, Previous, explain};
pub use hole::RunnerIdentity;
pub use prepare::{PreparedRunner, Request, prepare};
