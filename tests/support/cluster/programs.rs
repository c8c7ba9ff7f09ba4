//! Where the parts of a control plane are: one program that is all of them, or a folder with one each.

use std::path::{Path, PathBuf};
use std::process::Command;

pub enum Programs {
    One(PathBuf),
    Folder(PathBuf),
}

impl Programs {
    /// What `make tools` has found or built. Nothing is built here: it takes minutes.
    pub fn find() -> Result<Self, String> {
        let path = PathBuf::from(ask("control-plane.sh")?);
        Ok(if path.is_dir() { Self::Folder(path) } else { Self::One(path) })
    }

    /// The command that runs a part.
    pub fn command(&self, part: &str) -> Command {
        match self {
            Self::One(program) => {
                let mut command = Command::new(program);
                command.arg(part);
                command
            }
            Self::Folder(folder) => Command::new(folder.join(part)),
        }
    }
}

/// Where Helm 3 is.
pub fn helm() -> Result<PathBuf, String> {
    ask("helm.sh").map(PathBuf::from)
}

fn ask(script: &str) -> Result<String, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts").join(script);
    let output = Command::new(&path).arg("find").output().map_err(|error| format!("{}: {error}", path.display()))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
}
