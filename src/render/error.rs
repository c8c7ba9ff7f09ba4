//! What can go wrong between layers and manifests.

use crate::layers::{MergeError, Origin};
use crate::problem::Problems;

/// Layers that do not make a manifest.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// A template failed.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// A layer does not fit those below it.
    #[error(transparent)]
    Merge(#[from] MergeError),
    /// A layer has fields that Kubernetes does not know.
    #[error("a layer has fields that Kubernetes does not know")]
    Fields(#[source] Problems),
    /// The merged result lacks something.
    #[error("{origin}: {path}: {message}")]
    Incomplete {
        /// The field.
        path: String,
        /// Where it was set.
        origin: Origin,
        /// What is missing.
        message: String,
        /// The way out.
        hint: String,
    },
    /// A text uses characters that stand for holes and marks.
    #[error("{place} contains the private-use character U+{code:04X}, which templates cannot carry")]
    ReservedCharacter {
        /// The layer, or the spec.
        place: String,
        /// The character.
        code: u32,
    },
    /// A layer computes with what is only known later.
    #[error("layer `{layer}` ({file}) computes with `runner.…`, which is filled in after the layers are merged")]
    ComputesWithHole {
        /// The layer.
        layer: String,
        /// Its file.
        file: String,
    },
    /// Podman has no way to run the manifest.
    #[error("Podman cannot run this: {path}: {message}")]
    Podman {
        /// The field.
        path: String,
        /// What is in the way.
        message: String,
        /// The way out.
        hint: String,
    },
}

/// A template that could not be rendered or is not YAML afterwards.
#[derive(Debug, thiserror::Error)]
#[error("{file}:{line}: layer `{layer}`: {message}\n{excerpt}")]
pub struct TemplateError {
    /// Name of the layer.
    pub layer: String,
    /// Its file.
    pub file: String,
    /// Line in that file.
    pub line: u32,
    /// What is wrong.
    pub message: String,
    /// The line itself.
    pub excerpt: String,
    /// The way out, where there is an obvious one.
    pub hint: Option<String>,
}

impl RenderError {
    /// The way out, where there is an obvious one.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Template(error) => error.hint.clone(),
            Self::Merge(error) => Some(error.hint.to_owned()),
            Self::Fields(_) => None,
            Self::Incomplete { hint, .. } | Self::Podman { hint, .. } => Some(hint.clone()),
            Self::ReservedCharacter { .. } => Some("remove the character".to_owned()),
            Self::ComputesWithHole { .. } => {
                Some("print `runner.name`, `runner.slot` and so on as they are, without filters and conditions".into())
            }
        }
    }
}
