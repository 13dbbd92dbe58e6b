//! Takes secrets out of what an attempt says, by value.
//!
//! A secret that was given to an attempt must not come back in its log, its output or its errors.
//! Looked for are the value itself and the forms in which programs usually print one: escaped for
//! JSON, percent-encoded, hexadecimal, base64 (at every alignment, so that it is found inside a
//! longer encoded text too), and each long line of a value of several lines. Absent: a promise that
//! an agent that wants to give a secret away can't.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::ops::Range;

use aho_corasick::AhoCorasick;
use moa_core::ids::Name;
use serde_json::Value as Json;
use zeroize::Zeroizing;

/// What stands where a secret was.
pub const MARK: &str = "***";

/// Values with fewer bytes are not redacted: they would be found everywhere.
pub const SECRET_BYTES_MIN: usize = 4;

/// Lines of a value of several lines are looked for on their own from this length on.
const LINE_BYTES_MIN: usize = 8;

/// Parts of base64 text are looked for on their own from this length on.
const BASE64_PART_MIN: usize = 6;

/// Keys under which a file or a plan names a part of itself, or another one.
const NAMING: [&str; 6] = ["id", "agent", "workflow", "action", "depends_on", "hash"];

/// Keys of what is given to an agent, which may be anything.
const GIVEN: [&str; 6] = ["params", "env", "headers", "body", "data", "with"];

/// How an expression begins that goes on with a name.
const REFERRING: [&str; 3] = ["steps.", "params.", "secrets."];

/// Finds the secrets of one attempt.
#[derive(Default)]
pub struct Redactor {
    finder: Option<AhoCorasick>,
    forms: Zeroizing<Vec<Vec<u8>>>,
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redactor").field("forms", &self.forms.len()).finish_non_exhaustive()
    }
}

impl Redactor {
    /// One that looks for `secrets`, in all their forms.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Self {
        Self::of(secrets.into_iter().flat_map(forms).map(String::into_bytes).collect())
    }

    /// One that looks for `secrets` too.
    pub fn and<'a>(&self, secrets: impl IntoIterator<Item = &'a str>) -> Self {
        let more = secrets.into_iter().flat_map(forms).map(String::into_bytes);
        Self::of(self.forms.iter().cloned().chain(more).collect())
    }

    fn of(mut forms: Vec<Vec<u8>>) -> Self {
        forms.sort_unstable();
        forms.dedup();
        if forms.is_empty() {
            return Self::default();
        }
        // Building fails only for more patterns or states than a u32 can number. Then nothing that
        // the attempt says may pass: `finder` stays `None` and `blind` holds.
        let finder = AhoCorasick::new(&forms).ok();
        Self { finder, forms: Zeroizing::new(forms) }
    }

    /// Whether there is nothing to look for.
    pub fn is_empty(&self) -> bool {
        self.forms.is_empty()
    }

    /// `text` without secrets.
    pub fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        self.without(text, |_| false)
    }

    /// `text` without secrets, but for those that `stay`.
    fn without<'a>(&self, text: &'a str, stay: impl Fn(&Range<usize>) -> bool) -> Cow<'a, str> {
        let mut found = self.find(text.as_bytes(), 0);
        found.retain(|part| !stay(part));
        if found.is_empty() {
            return Cow::Borrowed(text);
        }
        let mut out = Vec::with_capacity(text.len());
        let mut at = 0;
        for part in found {
            out.extend_from_slice(&text.as_bytes()[at..part.start]);
            out.extend_from_slice(MARK.as_bytes());
            at = part.end;
        }
        out.extend_from_slice(&text.as_bytes()[at..]);
        Cow::Owned(String::from_utf8_lossy(&out).into_owned())
    }

    /// Takes secrets out of every text, key and number in `value`.
    pub fn json(&self, value: &mut Json) {
        if self.is_empty() {
            return;
        }
        match value {
            Json::String(text) => {
                if let Cow::Owned(clean) = self.text(text) {
                    *text = clean;
                }
            }
            Json::Number(number) => {
                if let Cow::Owned(clean) = self.text(&number.to_string()) {
                    *value = Json::String(clean);
                }
            }
            Json::Array(items) => items.iter_mut().for_each(|item| self.json(item)),
            Json::Object(map) => {
                map.values_mut().for_each(|item| self.json(item));
                if map.keys().any(|key| !self.find(key.as_bytes(), 0).is_empty()) {
                    let old = std::mem::take(map);
                    map.extend(old.into_iter().map(|(k, v)| (self.text(&k).into_owned(), v)));
                }
            }
            Json::Null | Json::Bool(_) => {}
        }
    }

    /// Takes secrets out of what a file of a project or a plan says, which stays one: no key is
    /// touched, and no name by which its parts find each other. Numbers become texts.
    pub fn document(&self, value: &mut Json) {
        if !self.is_empty() {
            self.part(value, false);
        }
    }

    /// A part of a document; `free` = it is what an agent is given, in which nothing is a name.
    fn part(&self, value: &mut Json, free: bool) {
        match value {
            Json::Object(map) => {
                for (key, item) in map {
                    if free || !NAMING.contains(&key.as_str()) || !is_names(item) {
                        self.part(item, free || GIVEN.contains(&key.as_str()));
                    }
                }
            }
            Json::Array(items) => items.iter_mut().for_each(|item| self.part(item, free)),
            Json::String(text) => {
                if let Cow::Owned(clean) = self.without(text, |part| refers(text, part)) {
                    *text = clean;
                }
            }
            other => self.json(other),
        }
    }

    /// Where secrets are, merged and in order. The first `masked` bytes count as one.
    fn find(&self, bytes: &[u8], masked: usize) -> Vec<Range<usize>> {
        let mut found: Vec<Range<usize>> = Vec::new();
        if masked > 0 {
            found.push(0..masked);
        }
        match &self.finder {
            Some(finder) => {
                found.extend(finder.find_overlapping_iter(bytes).map(|m| m.start()..m.end()));
            }
            None if !self.is_empty() && !bytes.is_empty() => found.push(0..bytes.len()),
            None => {}
        }
        found.sort_unstable_by_key(|part| part.start);
        let mut merged: Vec<Range<usize>> = Vec::with_capacity(found.len());
        for part in found {
            match merged.last_mut() {
                Some(last) if part.start < last.end => last.end = last.end.max(part.end),
                _ => merged.push(part),
            }
        }
        merged
    }

    /// Bytes at the end of `bytes` that may be the beginning of a secret.
    fn unsure(&self, bytes: &[u8]) -> usize {
        let longest = |form: &Vec<u8>| {
            let most = form.len().saturating_sub(1).min(bytes.len());
            (1..=most).rev().find(|&n| bytes.ends_with(&form[..n])).unwrap_or(0)
        };
        self.forms.iter().map(longest).max().unwrap_or(0)
    }
}

/// Redacts a stream that comes in pieces: what may be the beginning of a secret is held back until
/// the next piece tells.
#[derive(Debug, Default)]
pub struct Redacting {
    held: Vec<u8>,
    /// How many of the held bytes belong to a secret whose mark was already given out.
    masked: usize,
}

impl Redacting {
    /// Takes the next piece and appends to `out` what is sure.
    pub fn push(&mut self, redactor: &Redactor, bytes: &[u8], out: &mut Vec<u8>) {
        if redactor.is_empty() {
            out.extend_from_slice(bytes);
            return;
        }
        self.held.extend_from_slice(bytes);
        let sure = self.held.len() - redactor.unsure(&self.held);
        self.give(redactor, sure, out);
    }

    /// Appends to `out` what was held back; nothing more comes.
    pub fn finish(&mut self, redactor: &Redactor, out: &mut Vec<u8>) {
        self.give(redactor, self.held.len(), out);
    }

    fn give(&mut self, redactor: &Redactor, sure: usize, out: &mut Vec<u8>) {
        if sure == 0 {
            return;
        }
        let (mut at, mut masked) = (0, 0);
        for part in redactor.find(&self.held, self.masked) {
            if part.start >= sure {
                break;
            }
            out.extend_from_slice(&self.held[at..part.start]);
            if part.start > 0 || self.masked == 0 {
                out.extend_from_slice(MARK.as_bytes());
            }
            at = part.end.min(sure);
            masked = part.end.saturating_sub(sure);
        }
        out.extend_from_slice(&self.held[at..sure]);
        self.held.drain(..sure);
        self.masked = masked;
    }
}

/// Whether something is a name, or a list of some.
fn is_names(value: &Json) -> bool {
    match value {
        Json::String(text) => Name::new(text).is_ok(),
        Json::Array(items) => items.iter().all(is_names),
        _ => false,
    }
}

/// Whether a part of a text is a whole name in an expression.
fn refers(text: &str, part: &Range<usize>) -> bool {
    let (before, after) = (text.get(..part.start), text.get(part.end..));
    let begins = before.is_some_and(|before| REFERRING.iter().any(|of| before.ends_with(of)));
    let goes_on = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    begins && after.is_some_and(|after| !after.starts_with(goes_on))
}

/// Everything that `secret` may look like.
fn forms(secret: &str) -> Vec<String> {
    let mut forms = Vec::new();
    let trimmed = secret.trim();
    let lines = trimmed.lines().map(str::trim).filter(|line| line.len() >= LINE_BYTES_MIN);
    for text in [secret, trimmed].into_iter().chain(lines) {
        if text.len() < SECRET_BYTES_MIN {
            continue;
        }
        forms.push(text.to_owned());
        let json = Json::String(text.to_owned()).to_string();
        forms.push(json[1..json.len() - 1].to_owned());
        forms.extend([percent(text, true), percent(text, false), form_encoded(text)]);
        forms.extend([hex(text, true), hex(text, false)]);
        base64_forms(text.as_bytes(), &mut forms);
    }
    forms
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

fn percent(text: &str, upper: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        let _ = match byte {
            _ if is_unreserved(byte) => out.write_char(byte.into()),
            _ if upper => write!(out, "%{byte:02X}"),
            _ => write!(out, "%{byte:02x}"),
        };
    }
    out
}

fn form_encoded(text: &str) -> String {
    percent(text, true).replace("%20", "+")
}

fn hex(text: &str, upper: bool) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        let _ = if upper { write!(out, "{byte:02X}") } else { write!(out, "{byte:02x}") };
        out
    })
}

/// Base64 of `bytes` alone, and the part of it that is the same whatever stands before and after.
fn base64_forms(bytes: &[u8], forms: &mut Vec<String>) {
    for alphabet in [b"+/", b"-_"] {
        let whole = base64(bytes, alphabet);
        let padding = (3 - bytes.len() % 3) % 3;
        forms.push(format!("{whole}{}", &"=="[..padding]));
        for before in 0..3 {
            let mut shifted = vec![0; before];
            shifted.extend_from_slice(bytes);
            let text = base64(&shifted, alphabet);
            let (start, end) = ((before * 8).div_ceil(6), shifted.len() * 8 / 6);
            if end.saturating_sub(start) >= BASE64_PART_MIN {
                forms.push(text[start..end].to_owned());
            }
        }
    }
}

/// RFC 4648 without padding; `last` are the two characters in which the alphabets differ.
fn base64(bytes: &[u8], last: &[u8; 2]) -> String {
    let letter = |six: u32| match six as u8 {
        n @ 0..26 => b'A' + n,
        n @ 26..52 => b'a' + n - 26,
        n @ 52..62 => b'0' + n - 52,
        n => last[usize::from(n - 62)],
    };
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().fold(0u32, |all, b| all << 8 | u32::from(*b));
        let group = group << (8 * (3 - chunk.len()));
        for i in 0..=chunk.len() {
            out.push(letter(group >> (18 - 6 * i) & 63).into());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const SECRET: &str = "s3cr&t \"pass\"/wörd";

    #[test]
    fn a_document_keeps_its_keys_and_its_names() {
        let redactor = Redactor::new(["postgres"]);
        let mut file = json!({"steps": [
            {"id": "postgres", "agent": "postgres", "params": {"id": "postgres", "postgres": 1}},
            {"depends_on": ["postgres"], "run": "a postgres ${{ steps.postgres.output }}"},
            {"id": "no postgres", "run": "steps.postgresql"},
        ]});
        redactor.document(&mut file);
        let clean = json!({"steps": [
            {"id": "postgres", "agent": "postgres", "params": {"id": "***", "postgres": 1}},
            {"depends_on": ["postgres"], "run": "a *** ${{ steps.postgres.output }}"},
            {"id": "no ***", "run": "steps.***ql"},
        ]});
        assert_eq!(file, clean);
    }

    #[test]
    fn every_usual_form_is_found() {
        let redactor = Redactor::new([SECRET]);
        let json = serde_json::to_string(SECRET).expect("text is JSON");
        let auth = base64(format!("user:{SECRET}").as_bytes(), b"+/");
        for form in [
            SECRET.to_owned(),
            json,
            percent(SECRET, true),
            percent(SECRET, false),
            form_encoded(SECRET),
            hex(SECRET, false),
            base64(SECRET.as_bytes(), b"-_"),
            auth,
        ] {
            let clean = redactor.text(&form).into_owned();
            assert!(clean.contains(MARK), "{form} -> {clean}");
            assert!(clean.len() <= 12, "{form} -> {clean}");
        }
        assert_eq!(redactor.text("nothing here"), "nothing here");
    }

    #[test]
    fn base64_is_what_rfc_4648_says() {
        for (plain, coded) in [("f", "Zg"), ("fo", "Zm8"), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(plain.as_bytes(), b"+/"), coded);
        }
    }

    #[test]
    fn short_values_are_left_alone_and_lines_are_found() {
        assert!(Redactor::new(["abc", ""]).is_empty());
        let key = "-----BEGIN-----\nMIIEpAIBAAKCAQEA\n-----END-----\n";
        assert_eq!(Redactor::new([key]).text("got MIIEpAIBAAKCAQEA!"), "got ***!");
    }

    #[test]
    fn keys_and_numbers_of_json_are_cleaned() {
        let redactor = Redactor::new(["12345678", "topsecret"]);
        let mut value = serde_json::json!({"a topsecret b": [12345678, "x12345678", 1]});
        redactor.json(&mut value);
        assert_eq!(value, serde_json::json!({"a *** b": ["***", "x***", 1]}));
    }

    proptest! {
        /// However a text is cut into pieces, the same comes out, and no secret is in it.
        #[test]
        fn pieces_do_not_matter(
            text in "[ab]{0,40}",
            secrets in proptest::collection::vec("[ab]{4,7}", 1..4),
            cuts in proptest::collection::vec(0usize..41, 0..6),
        ) {
            let redactor = Redactor::new(secrets.iter().map(String::as_str));
            let whole = redactor.text(&text).into_owned();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(text.len())).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let (mut stream, mut out) = (Redacting::default(), Vec::new());
            for pair in cuts.windows(2) {
                stream.push(&redactor, &text.as_bytes()[pair[0]..pair[1]], &mut out);
            }
            stream.finish(&redactor, &mut out);
            prop_assert_eq!(String::from_utf8_lossy(&out).into_owned(), whole.clone());
            for secret in &secrets {
                prop_assert!(!whole.contains(secret.as_str()));
            }
        }
    }
}
