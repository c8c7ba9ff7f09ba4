//! Short fingerprints of texts, for names and labels.

use sha2::{Digest, Sha256};

/// The first `bytes` bytes of the text's SHA-256 in hexadecimal.
pub(super) fn short_hash(text: &str, bytes: usize) -> String {
    Sha256::digest(text.as_bytes()).iter().take(bytes).map(|byte| format!("{byte:02x}")).collect()
}
