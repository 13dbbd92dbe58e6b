//! Between types: JSON numbers, numbers as text, Base64.

use serde_json::Value as Json;

use super::value::Value;

/// Integers are ints. Only those too large for an int are uints: as doubles they would come out
/// as other numbers than they went in.
pub(super) fn number(n: &serde_json::Number) -> Value {
    match (n.as_i64(), n.as_u64()) {
        (Some(n), _) => Value::Int(n),
        (None, Some(n)) => Value::Uint(n),
        (None, None) => Value::Double(n.as_f64().unwrap_or(f64::NAN)),
    }
}

/// JSON has no infinities and no NaN: they become text, as in protobuf's JSON form.
pub(super) fn double_to_json(n: f64) -> Json {
    if n.is_finite() { Json::from(n) } else { Json::from(double_to_string(n)) }
}

/// Shortest text that reads back as the same double: `1`, `0.25`, `6.02214e+23`.
pub(super) fn double_to_string(n: f64) -> String {
    if n.is_nan() {
        return "NaN".into();
    }
    if n.is_infinite() {
        return if n > 0.0 { "Infinity".into() } else { "-Infinity".into() };
    }
    let size = n.abs();
    if size == 0.0 || (1e-7..1e21).contains(&size) {
        return n.to_string();
    }
    let text = format!("{n:e}");
    match text.split_once('e') {
        Some((digits, power)) if !power.starts_with('-') => format!("{digits}e+{power}"),
        _ => text,
    }
}

/// Text to double: decimal notation, `inf`, `NaN`.
pub(super) fn parse_double(text: &str) -> Option<f64> {
    text.parse().ok()
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Standard Base64 with padding.
pub(super) fn base64(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |i: usize| u32::from(chunk.get(i).copied().unwrap_or(0));
        let group = byte(0) << 16 | byte(1) << 8 | byte(2);
        for i in 0..4 {
            let digit = DIGITS[(group >> (18 - 6 * i) & 63) as usize];
            out.push(if i <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    out
}

/// Bytes of standard Base64, with padding or without.
pub(super) fn from_base64(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=');
    if text.len() - digits.len() > 2 || digits.len() % 4 == 1 {
        return None;
    }
    let mut out = Vec::with_capacity(digits.len() / 4 * 3 + 2);
    for chunk in digits.as_bytes().chunks(4) {
        let mut group = 0u32;
        for i in 0..4 {
            let value = match chunk.get(i) {
                Some(c) => DIGITS.iter().position(|d| d == c)? as u32,
                None => 0,
            };
            group = group << 6 | value;
        }
        let bytes = group.to_be_bytes();
        out.extend_from_slice(&bytes[1..chunk.len()]);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_print_shortest() {
        for (n, text) in [
            (1.0, "1"),
            (-0.0045, "-0.0045"),
            (4.5e9, "4500000000"),
            (6.02214e23, "6.02214e+23"),
            (1e-9, "1e-9"),
            (0.1 + 0.2, "0.30000000000000004"),
            (f64::INFINITY, "Infinity"),
        ] {
            assert_eq!(double_to_string(n), text);
            assert_eq!(parse_double(text), Some(n), "{text}");
        }
    }

    #[test]
    fn base64_round_trips() {
        for (bytes, text) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")]
        {
            assert_eq!(base64(bytes.as_bytes()), text);
            assert_eq!(from_base64(text).as_deref(), Some(bytes.as_bytes()));
        }
        assert_eq!(from_base64("Zg").as_deref(), Some(b"f".as_slice()));
        for bad in ["Z", "Zg===", "Z-==", "Zg=a"] {
            assert_eq!(from_base64(bad), None, "{bad}");
        }
    }
}
