//! What can be missing on a machine.

use std::path::PathBuf;

/// The private Podman did not come about.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// Programs that are not there.
    #[error("this machine lacks {missing}: `apt-get install --no-install-recommends {packages}`")]
    Missing {
        /// The commands, in words.
        missing: String,
        /// The Debian packages that have them.
        packages: String,
    },
    /// A file or folder that cannot be made, read or removed.
    #[error("cannot {what} {path}")]
    File {
        /// What was attempted.
        what: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// A command that failed.
    #[error("cannot {what}: {said}")]
    Command {
        /// What was attempted.
        what: String,
        /// What the command said.
        said: String,
    },
}

impl DemoError {
    /// For `map_err` of what concerns a file.
    pub(super) fn file<P: Into<PathBuf>>(what: &'static str, path: P) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { what, path, source }
    }
}
