//! Remembers across restarts what GitHub calls a scale set and its message session: so a successor closes the session at
//! once, and finds the scale set wherever it was moved meanwhile.
//!
//! Losing it costs time, never correctness: the service's own conflict time (about 90 s), or a scale set that is looked for
//! by its name. A token is never kept.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Where the ids of one scale set are kept. What cannot be read counts as lost; failures to write are logged.
pub trait Memory: fmt::Debug + Send + Sync {
    /// The message session's id that was kept last.
    fn session(&self) -> Option<String>;
    /// Keeps the message session's id, or forgets it.
    fn keep_session(&self, id: Option<&str>);
    /// The scale set's id that was kept last. Whoever asks for it looks whether it still has the name.
    fn scale_set(&self) -> Option<i64>;
    /// Keeps the scale set's id, or forgets it.
    fn keep_scale_set(&self, id: Option<i64>);
}

/// Keeps the ids as long as the process lives.
#[derive(Debug, Default)]
pub struct Volatile(Mutex<(Option<String>, Option<i64>)>);

impl Volatile {
    fn kept(&self) -> MutexGuard<'_, (Option<String>, Option<i64>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory for Volatile {
    fn session(&self) -> Option<String> {
        self.kept().0.clone()
    }

    fn keep_session(&self, id: Option<&str>) {
        self.kept().0 = id.map(str::to_owned);
    }

    fn scale_set(&self) -> Option<i64> {
        self.kept().1
    }

    fn keep_scale_set(&self, id: Option<i64>) {
        self.kept().1 = id;
    }
}

/// Keeps each id in a file; the path is theirs but for the extension.
#[derive(Debug)]
pub struct FileMemory(pub PathBuf);

impl FileMemory {
    fn session_file(&self) -> PathBuf {
        self.0.with_extension("session")
    }

    fn scale_set_file(&self) -> PathBuf {
        self.0.with_extension("scale-set")
    }
}

impl Memory for FileMemory {
    fn session(&self) -> Option<String> {
        let text = std::fs::read_to_string(self.session_file()).ok()?;
        let id = text.trim();
        is_session_id(id).then(|| id.to_owned())
    }

    fn keep_session(&self, id: Option<&str>) {
        keep(&self.session_file(), id);
    }

    fn scale_set(&self) -> Option<i64> {
        std::fs::read_to_string(self.scale_set_file()).ok()?.trim().parse().ok()
    }

    fn keep_scale_set(&self, id: Option<i64>) {
        if id.is_none() || self.scale_set() != id {
            keep(&self.scale_set_file(), id.map(|id| id.to_string()).as_deref());
        }
    }
}

/// Whether a text that was kept can be a session's id. Whatever else is there must not become a part of a URL.
pub(crate) fn is_session_id(id: &str) -> bool {
    !id.is_empty() && id.len() <= 64 && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

fn keep(file: &Path, id: Option<&str>) {
    let result = match id {
        Some(id) => file.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| {
            let next = file.with_added_extension("next");
            std::fs::write(&next, id).and_then(|()| std::fs::rename(&next, file))
        }),
        None => match std::fs::remove_file(file) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            other => other,
        },
    };
    if let Err(error) = result {
        tracing::warn!(file = %file.display(), %error, "an id of GitHub's cannot be kept");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_keep_the_ids_and_a_damaged_one_counts_as_lost() {
        let folder = tempfile::tempdir().unwrap();
        let memory = FileMemory(folder.path().join("state/ws"));
        assert_eq!((memory.session(), memory.scale_set()), (None, None));
        memory.keep_session(Some("6f1c2d7e-93b8"));
        memory.keep_scale_set(Some(42));
        assert_eq!((memory.session().as_deref(), memory.scale_set()), (Some("6f1c2d7e-93b8"), Some(42)));
        std::fs::write(memory.session_file(), "../../evil?x").unwrap();
        std::fs::write(memory.scale_set_file(), "4 2").unwrap();
        assert_eq!((memory.session(), memory.scale_set()), (None, None));
        for _ in 0..2 {
            memory.keep_session(None);
            memory.keep_scale_set(None);
        }
        assert_eq!(std::fs::read_dir(folder.path().join("state")).unwrap().count(), 0);
    }
}
