//! Durations and timestamps: text forms and arithmetic.

use jiff::{SignedDuration, Timestamp};

/// Longest duration, from CEL: about 10,000 years.
const DURATION_SECONDS_MAX: i64 = 315_576_000_000;

/// `1h30m`, `1.5s`, `-250ms`, also days (`2d`) and weeks (`1w`), which CEL does not have.
pub(super) fn parse_duration(text: &str) -> Option<SignedDuration> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(SignedDuration::ZERO);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total = 0i128;
    while !rest.is_empty() {
        let number = rest.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
        let (digits, tail) = rest.split_at(number);
        let unit = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit);
        total = total.checked_add(part(digits, unit_nanos(unit)?)?)?;
        rest = tail;
    }
    from_nanos(if negative { -total } else { total })
}

fn unit_nanos(unit: &str) -> Option<i128> {
    Some(match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        "d" => 86_400_000_000_000,
        "w" => 604_800_000_000_000,
        _ => return None,
    })
}

/// `digits` units of so many nanoseconds each; fractions below a nanosecond are cut off.
fn part(digits: &str, unit: i128) -> Option<i128> {
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let is_number = |s: &str| s.len() <= 18 && s.bytes().all(|b| b.is_ascii_digit());
    if whole.len() + fraction.len() == 0 || !is_number(whole) {
        return None;
    }
    let mut total = if whole.is_empty() { 0 } else { whole.parse::<i128>().ok()? * unit };
    if !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let mut scale = unit;
    for digit in fraction.bytes().take(18) {
        total += i128::from(digit - b'0') * scale / 10;
        scale /= 10;
    }
    Some(total)
}

fn from_nanos(nanos: i128) -> Option<SignedDuration> {
    let seconds = i64::try_from(nanos / 1_000_000_000).ok()?;
    in_range(SignedDuration::new(seconds, (nanos % 1_000_000_000) as i32))
}

fn in_range(duration: SignedDuration) -> Option<SignedDuration> {
    (duration.as_secs().unsigned_abs() <= DURATION_SECONDS_MAX as u64).then_some(duration)
}

pub(super) fn add(a: SignedDuration, b: SignedDuration) -> Option<SignedDuration> {
    a.checked_add(b).and_then(in_range)
}

pub(super) fn subtract(a: SignedDuration, b: SignedDuration) -> Option<SignedDuration> {
    a.checked_sub(b).and_then(in_range)
}

pub(super) fn negate(d: SignedDuration) -> Option<SignedDuration> {
    SignedDuration::ZERO.checked_sub(d)
}

/// The time from `b` to `a`.
pub(super) fn between(a: Timestamp, b: Timestamp) -> Option<SignedDuration> {
    in_range(a.duration_since(b))
}

/// Shifted by the duration, within the years 1 to 9999.
pub(super) fn shift(t: Timestamp, d: SignedDuration) -> Option<Timestamp> {
    t.checked_add(d).ok().filter(|t| since_year_1(*t))
}

/// Whether it is 0001-01-01T00:00:00Z or later.
fn since_year_1(t: Timestamp) -> bool {
    t.as_nanosecond() >= -62_135_596_800_000_000_000
}

/// RFC 3339 text to an instant.
pub(super) fn parse_timestamp(text: &str) -> Option<Timestamp> {
    let has_time = text.as_bytes().get(10).is_some_and(|b| matches!(b, b'T' | b't' | b' '));
    let t: Timestamp = if has_time { text.parse().ok()? } else { return None };
    since_year_1(t).then_some(t)
}

/// An instant by seconds of the Unix epoch.
pub(super) fn from_second(seconds: i64) -> Option<Timestamp> {
    Timestamp::from_second(seconds).ok().filter(|t| since_year_1(*t))
}

/// As CEL's `string()` has it: seconds, `5400s`, `0.25s`.
pub(super) fn seconds_text(d: SignedDuration) -> String {
    let sign = if d.is_negative() { "-" } else { "" };
    let seconds = d.as_secs().unsigned_abs();
    let nanos = d.subsec_nanos().unsigned_abs();
    if nanos == 0 {
        return format!("{sign}{seconds}s");
    }
    let fraction = format!("{nanos:09}");
    format!("{sign}{seconds}.{}s", fraction.trim_end_matches('0'))
}

/// As workflows have it: `1h30m`, `250ms`.
pub(super) fn short_text(d: SignedDuration) -> String {
    let sign = if d.is_negative() { "-" } else { "" };
    let seconds = d.as_secs().unsigned_abs();
    let nanos = u64::from(d.subsec_nanos().unsigned_abs());
    let parts = [
        (seconds / 86_400, "d"),
        (seconds / 3_600 % 24, "h"),
        (seconds / 60 % 60, "m"),
        (seconds % 60, "s"),
        (nanos / 1_000_000, "ms"),
        (nanos / 1_000 % 1_000, "us"),
        (nanos % 1_000, "ns"),
    ];
    let text: String =
        parts.iter().filter(|(n, _)| *n > 0).map(|(n, unit)| format!("{n}{unit}")).collect();
    if text.is_empty() { "0s".into() } else { format!("{sign}{text}") }
}

/// Seconds east of Greenwich of `UTC`, `+05:30`, `-08:00` or `02:00`.
pub(super) fn parse_offset(zone: &str) -> Option<i32> {
    if matches!(zone, "UTC" | "Z" | "Etc/UTC" | "GMT") {
        return Some(0);
    }
    let (sign, rest) = match zone.as_bytes().first()? {
        b'-' => (-1, &zone[1..]),
        b'+' => (1, &zone[1..]),
        _ => (1, zone),
    };
    let (hours, minutes) = rest.split_once(':')?;
    let digits = |s: &str| s.len() == 2 && s.bytes().all(|b| b.is_ascii_digit());
    if !digits(hours) || !digits(minutes) {
        return None;
    }
    let (hours, minutes): (i32, i32) = (hours.parse().ok()?, minutes.parse().ok()?);
    (hours <= 23 && minutes <= 59).then_some(sign * (hours * 3600 + minutes * 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_parse_and_print() {
        for (text, seconds, short) in [
            ("1h30m", "5400s", "1h30m"),
            ("1.5s", "1.5s", "1s500ms"),
            ("-250ms", "-0.25s", "-250ms"),
            ("2d", "172800s", "2d"),
            ("0", "0s", "0s"),
            ("1ns", "0.000000001s", "1ns"),
            ("1.5h", "5400s", "1h30m"),
            (".5s", "0.5s", "500ms"),
        ] {
            let d = parse_duration(text).expect(text);
            assert_eq!(seconds_text(d), seconds);
            assert_eq!(short_text(d), short);
            assert_eq!(parse_duration(short), Some(d));
        }
        for bad in ["", "-", "5", "s", "5 m", "1..5s", "1x", "9999999999999h", "."] {
            assert_eq!(parse_duration(bad), None, "{bad:?}");
        }
    }
}
