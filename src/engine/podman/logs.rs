//! What a runner wrote.

use super::super::{EngineError, label};
use super::Inner;
use super::judge;
use super::service::CallError;

const CALL: &str = "read the log of a runner";

impl Inner {
    pub(super) async fn logs(&self, runner: &str, lines: usize) -> Result<String, EngineError> {
        let text = self.lines(runner, lines).await.map_err(self.failure(CALL))?;
        text.ok_or_else(|| EngineError::Failed { call: CALL, message: format!("there is no runner {runner}") })
    }

    async fn lines(&self, runner: &str, lines: usize) -> Result<Option<String>, CallError> {
        let containers = self.service.containers(&format!("{}={runner}", label::RUNNER)).await?;
        let Some(container) = judge::speaks(runner, &containers) else {
            return Ok(self.service.pod_exists(runner).await?.then(String::new));
        };
        let frames = self.service.logs(&container.id, lines).await?;
        Ok(frames.map(|frames| last(&text(&frames), lines)))
    }
}

/// Takes the text out of its frames: one byte for which output it was, three of nothing, four for the length.
pub(super) fn text(mut frames: &[u8]) -> String {
    const HEAD: usize = 8;
    let mut bytes = Vec::with_capacity(frames.len());
    while let Some((head, rest)) = frames.split_at_checked(HEAD) {
        let length = head[4..].iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
        let (content, behind) = rest.split_at(length.min(rest.len()));
        bytes.extend_from_slice(content);
        frames = behind;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Podman counts the lines of each output on its own.
fn last(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].iter().flat_map(|line| [line, "\n"]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_both_outputs_become_lines_in_their_order() {
        let frames = b"\x01\0\0\0\0\0\0\x03up\n\x02\0\0\0\0\0\0\x05down\n\x01\0\0\0\0\0\0\x09cut";
        assert_eq!(text(frames), "up\ndown\ncut");
        assert_eq!(last(&text(frames), 2), "down\ncut\n");
    }
}
