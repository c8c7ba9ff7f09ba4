//! A Podman of one's own, for trying `DeskRun` out and for its tests.
//!
//! [`PrivatePodman`] runs Podman's service with directories, socket and configuration below one folder, so that nothing of
//! the user's own Podman is touched and everything can be taken away at the end. It has an image whose runner is the
//! stand-in (`deskrun simulator runner`). What runs in it is the engine's business.

mod error;
mod host;
mod image;
mod podman;

pub use error::DemoError;
pub use image::{IMAGE, write_image};
pub use podman::PrivatePodman;
