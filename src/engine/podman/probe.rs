//! What a host says of itself, and what a container sees of it: for `deskrun doctor`. Nothing is left behind.

use std::time::Duration;

use serde_json::json;

use super::service::CallError;
use super::{PodmanEngine, logs};
use crate::engine::EngineError;

const ASK: &str = "ask Podman about its host";
const TRY: &str = "try out a container";
/// It looks at a few paths; pulling an image is not part of it.
const LIMIT: Duration = Duration::from_secs(30);
/// One word a path, in their order.
const LOOK: &str = r#"for path; do
  if [ -d "/host$path" ]; then echo directory
  elif [ -S "/host$path" ]; then echo socket
  elif [ -e "/host$path" ]; then echo file
  else echo missing
  fi
done"#;

/// A Podman host, by its own words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodmanHostFacts {
    /// Podman's version.
    pub version: String,
    /// `v1` or `v2`.
    pub cgroups: String,
    /// `runc`, `crun`.
    pub runtime: String,
    /// Whether Podman runs as an ordinary user.
    pub rootless: bool,
}

/// What stands at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathKind {
    /// A directory.
    Directory,
    /// A socket.
    Socket,
    /// Anything else.
    File,
    /// Nothing.
    Missing,
}

/// What came of trying a container out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trial {
    /// The image is not on the host; it was not pulled for this.
    NoImage,
    /// It ran, and found this at the paths.
    Saw(Vec<PathKind>),
    /// It ran, and its image has no shell to look with.
    Blind,
}

impl PodmanEngine {
    /// Asks the host about itself.
    pub async fn host(&self) -> Result<PodmanHostFacts, EngineError> {
        let info = self.inner.service.info().await.map_err(self.inner.failure(ASK))?;
        let text = |pointer: &str| info.pointer(pointer).and_then(|value| value.as_str()).unwrap_or("?").to_owned();
        Ok(PodmanHostFacts {
            version: text("/version/Version"),
            cgroups: text("/host/cgroupVersion"),
            runtime: text("/host/ociRuntime/name"),
            rootless: info.pointer("/host/security/rootless").is_some_and(|value| value == true),
        })
    }

    /// Starts a container of an image with the host's files read-only in it, looks what stands at paths, and removes it.
    pub async fn try_out(&self, image: &str, paths: &[String]) -> Result<Trial, EngineError> {
        self.look(image, paths).await.map_err(self.inner.failure(TRY))
    }

    async fn look(&self, image: &str, paths: &[String]) -> Result<Trial, CallError> {
        let service = &self.inner.service;
        if !service.image_exists(image).await? {
            return Ok(Trial::NoImage);
        }
        let entrypoint = ["/bin/sh", "-c", LOOK, "doctor"];
        let container = service
            .create_container(&json!({
                "image": image,
                "entrypoint": entrypoint,
                "command": paths,
                "user": "0",
                "netns": {"nsmode": "none"},
                "mounts": [{"type": "bind", "source": "/", "destination": "/host", "options": ["ro", "rbind"]}],
            }))
            .await?;
        let seen = self.run(&container).await;
        let removed = service.remove_container(&container).await;
        let words = match seen {
            Err(error) if error.says("/bin/sh") => return Ok(Trial::Blind),
            seen => seen?,
        };
        removed?;
        let kinds = words.lines().map(|word| match word {
            "directory" => PathKind::Directory,
            "socket" => PathKind::Socket,
            "missing" => PathKind::Missing,
            _ => PathKind::File,
        });
        let kinds: Vec<PathKind> = kinds.collect();
        Ok(if kinds.len() == paths.len() { Trial::Saw(kinds) } else { Trial::Blind })
    }

    async fn run(&self, container: &str) -> Result<String, CallError> {
        let service = &self.inner.service;
        service.start_container(container).await?;
        service.wait_for_end(container, LIMIT).await;
        let frames = service.logs(container, usize::from(u16::MAX)).await?.unwrap_or_default();
        Ok(logs::text(&frames))
    }
}
