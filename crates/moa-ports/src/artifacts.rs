//! References to artifacts: how an event says that its run needs one.
//!
//! An output that was too large for the history stands in it as `{"artifact": HASH, "path":
//! ".moa/artifacts/HH/HASH", …}`. Runs hand such values on, whole or in part, to other steps and
//! runs; every one of them comes in by an event. So a store that looks through the text of the
//! events that it writes knows which run needs which artifact, and an artifact that no run needs
//! can be deleted. Absent: where artifacts are kept.

use std::sync::LazyLock;

use memchr::memmem::Finder;

/// The BLAKE3 hash of an artifact's content, by which it is known.
pub type ArtifactHash = [u8; 32];

/// Hexadecimal digits of a hash.
const DIGITS: usize = 64;
/// Bytes that may stand between the word and the hash: `": "`, escaped quotes, `s/ab/`.
const GAP_BYTES_MAX: usize = 12;
const WORD: &[u8] = b"artifact";

/// Calls `found` for each artifact that a text (the events of a commit, as JSON) refers to; for one
/// that stands in it twice, twice.
pub fn references(text: &str, mut found: impl FnMut(ArtifactHash)) {
    static FINDER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(WORD));
    let bytes = text.as_bytes();
    for at in FINDER.find_iter(bytes) {
        let rest = &bytes[at + WORD.len()..];
        let hash = (1..=GAP_BYTES_MAX).find_map(|gap| parse(rest.get(gap..gap + DIGITS)?));
        if let Some(hash) = hash {
            found(hash);
        }
    }
}

/// The hash that a file of the artifact store is named after.
pub fn hash_of_name(name: &str) -> Option<ArtifactHash> {
    (name.len() == DIGITS).then(|| parse(name.as_bytes())).flatten()
}

fn parse(digits: &[u8]) -> Option<ArtifactHash> {
    let mut hash = ArtifactHash::default();
    for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(hash)
}

fn digit(c: u8) -> Option<u8> {
    match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Vec<ArtifactHash> {
        let mut all = Vec::new();
        references(text, |hash| all.push(hash));
        all
    }

    #[test]
    fn references_are_found_however_they_are_written() {
        let hash = "0a".repeat(32);
        let texts = [
            format!(r#"{{"artifact":"{hash}","bytes":1}}"#),
            format!(r#"{{ "artifact" : "{hash}" }}"#),
            format!(r#"{{"text":"{{\\"artifact\\":\\"{hash}\\"}}"}}"#),
            format!(r#"{{"file":".moa/artifacts/0a/{hash}"}}"#),
        ];
        for text in texts {
            assert_eq!(all(&text), [[0x0a; 32]], "{text}");
        }
        let both = format!(r#"{{"artifact":"{hash}","path":".moa/artifacts/0a/{hash}"}}"#);
        assert_eq!(all(&both).len(), 2);
    }

    #[test]
    fn other_words_are_passed_over() {
        let hash = "0a".repeat(32);
        for text in ["artifact", "artifacts are good", "{\"artifact\":null}", "ünartifactü"] {
            assert_eq!(all(text), Vec::<ArtifactHash>::new(), "{text}");
        }
        assert_eq!(all(&format!(r#"{{"hash":"{hash}"}}"#)), Vec::<ArtifactHash>::new());
        assert_eq!(all(&format!(r#"{{"artifact":"{}"}}"#, &hash[1..])), Vec::<ArtifactHash>::new());
        assert_eq!(hash_of_name(&hash), Some([0x0a; 32]));
        assert_eq!(hash_of_name(&hash.to_uppercase()), None);
        assert_eq!(hash_of_name(&format!("{hash}0")), None);
    }
}
