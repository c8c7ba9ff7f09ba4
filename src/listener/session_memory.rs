//! Remembers the message session's id across restarts, so that a successor can close it at once.
//!
//! Losing it costs the service's own conflict time (about 90 s), never correctness. A token is never kept.

use std::fmt;
use std::path::PathBuf;
use std::sync::Mutex;

/// Where the id of a scale set's session is kept.
pub trait SessionMemory: fmt::Debug + Send + Sync {
    /// The id that was kept last, if any. What cannot be read counts as lost.
    fn recall(&self) -> Option<String>;
    /// Keeps an id, or forgets it. Failures are logged: they cost time only.
    fn keep(&self, id: Option<&str>);
}

/// Keeps the id as long as the process lives.
#[derive(Debug, Default)]
pub struct Volatile(Mutex<Option<String>>);

impl SessionMemory for Volatile {
    fn recall(&self) -> Option<String> {
        self.0.lock().ok()?.clone()
    }

    fn keep(&self, id: Option<&str>) {
        if let Ok(mut kept) = self.0.lock() {
            *kept = id.map(str::to_owned);
        }
    }
}

/// Keeps the id in a file.
#[derive(Debug)]
pub struct SessionFile(pub PathBuf);

impl SessionMemory for SessionFile {
    fn recall(&self) -> Option<String> {
        let text = std::fs::read_to_string(&self.0).ok()?;
        let id = text.trim();
        // Whatever else a damaged file holds must not become a part of a URL.
        let is_id =
            !id.is_empty() && id.len() <= 64 && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        is_id.then(|| id.to_owned())
    }

    fn keep(&self, id: Option<&str>) {
        let result = match id {
            Some(id) => self.0.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| {
                let next = self.0.with_extension("next");
                std::fs::write(&next, id).and_then(|()| std::fs::rename(&next, &self.0))
            }),
            None => match std::fs::remove_file(&self.0) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
                other => other,
            },
        };
        if let Err(error) = result {
            tracing::warn!(file = %self.0.display(), %error, "cannot keep the message session's id");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_keeps_the_id_and_a_damaged_one_counts_as_lost() {
        let folder = tempfile::tempdir().unwrap();
        let memory = SessionFile(folder.path().join("state/ws.session"));
        assert_eq!(memory.recall(), None);
        memory.keep(Some("6f1c2d7e-93b8"));
        assert_eq!(memory.recall().as_deref(), Some("6f1c2d7e-93b8"));
        std::fs::write(&memory.0, "../../evil?x").unwrap();
        assert_eq!(memory.recall(), None);
        memory.keep(None);
        memory.keep(None);
        assert!(!memory.0.exists());
    }
}
