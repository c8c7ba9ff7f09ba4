//! Layers: which templates make up a runner, in which order, and how their results are merged.
//!
//! A layer renders to partial Kubernetes objects (that is [`crate::render`]'s business); here they are laid over each
//! other with Kubernetes' own strategic-merge rules, and every leaf remembers where it came from. Later layers win.

mod builtin;
mod merge;
mod node;
mod objects;
mod preparation;
mod stack;

pub use builtin::{TEMPLATES, Template, script, template};
pub use merge::{MergeError, Unmatched, merge};
pub use node::{Lines, Node, NodeKind, Origin, Replaced};
pub use objects::{Object, ObjectKey, Objects};
pub use preparation::{Preparation, is_in_job};
pub use stack::{Layer, LayerStack, LayerText, StackError, UserLayer, stack};
