//! Cron expressions: what they name, and what is wrong with those that name nothing.

use std::fmt::Write as _;

use insta::assert_snapshot;
use moa_core::schedule::Cron;

use super::{cron, preview, table};

fn next(zone: &str, expression: &str, after: &str, count: usize) -> Vec<String> {
    preview(&table(cron(zone, &[expression])), after, count)
}

#[test]
fn a_day_needs_to_meet_one_of_two_restricted_fields_and_both_of_others() {
    // Both restricted: the 13th, and Fridays.
    let either = next("UTC", "0 0 13 * FRI", "2026-02-28T00:00:00Z", 5);
    assert_snapshot!(either.join("\n"), @r"
    Fri 2026-03-06 00:00:00+00:00
    Fri 2026-03-13 00:00:00+00:00
    Fri 2026-03-20 00:00:00+00:00
    Fri 2026-03-27 00:00:00+00:00
    Fri 2026-04-03 00:00:00+00:00
    ");
    // A field that begins with `*` isn't restricted, steps or not: odd days that are Mondays.
    let both = next("UTC", "0 0 */2 * MON", "2026-02-28T00:00:00Z", 4);
    assert_snapshot!(both.join("\n"), @r"
    Mon 2026-03-09 00:00:00+00:00
    Mon 2026-03-23 00:00:00+00:00
    Mon 2026-04-13 00:00:00+00:00
    Mon 2026-04-27 00:00:00+00:00
    ");
}

#[test]
fn special_days() {
    let cases = [
        ("0 9 L * *", "the month's last day"),
        ("0 9 L-3 * *", "three days before it"),
        ("0 9 LW * *", "the month's last day from Monday to Friday"),
        ("0 9 15W * *", "the one nearest to the 15th"),
        ("0 9 1W * *", "the one nearest to the 1st, in the same month"),
        ("0 9 31W * *", "months without a 31st have none"),
        ("0 9 * * FRI#L", "the last Friday"),
        ("0 9 * * 5L", "the last Friday again"),
        ("0 9 * * MON#1", "the first Monday"),
        ("0 9 * * MON#5", "the fifth Monday, where there is one"),
        ("0 9 29 2 *", "leap days"),
        ("0 0 9 29 2 ? 2030-2099/2", "leap days of a range of years"),
        ("0 9 * * FRI-MON", "a range around the end of the week"),
        ("0 22-2/2 * * *", "a range around midnight"),
        ("5/25 9 * * *", "from the fifth minute on"),
        ("*/20 30 9 ? * SUN", "seconds stand before"),
        ("@weekly", "a short form"),
    ];
    let mut shown = String::new();
    for (expression, what) in cases {
        writeln!(shown, "{expression:24} {what}").unwrap();
        for slot in next("UTC", expression, "2026-01-01T00:00:00Z", 4) {
            writeln!(shown, "    {slot}").unwrap();
        }
    }
    assert_snapshot!(shown);
}

#[test]
fn mistakes_have_a_place_and_a_fix() {
    let cases = [
        "",
        "* * * *",
        "* * * * * * * *",
        "60 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "* * * 13 *",
        "* * * * 8",
        "* * 30 2 *",
        "0 0 31 4,6,9,11 *",
        "*/90 * * * *",
        "* */30 * * *",
        "*/0 * * * *",
        "*/x * * * *",
        "1,,2 * * * *",
        "1, * * * *",
        "5- * * * *",
        "* * * JAM *",
        "* * * * MNO",
        "* * * * L",
        "H * * * *",
        "* * W * *",
        "* * L-31 * *",
        "* * * * MON#6",
        "? * * * *",
        "@reboot",
        "@dayly",
        "CRON_TZ=Europe/Berlin 0 9 * * *",
        "0 0 1 1 * 2050",
        "0 0 0 1 1 * 2050-2040",
        "0 0 0 1 1 * 1969",
        "0 0 0 29 2 * 2027",
        "٣ * * * *",
        "a b c d e",
        "-1 * * * *",
        "1-2-3 * * * *",
        "99999999999 * * * *",
        "  0  9 *  * MOON ",
    ];
    let mut shown = String::new();
    for text in cases {
        let error = Cron::parse(text).expect_err(text);
        let before = text[..error.span.start].chars().count();
        let width = text[error.span.clone()].chars().count().max(1);
        let carets = format!("{}{}", " ".repeat(before), "^".repeat(width));
        writeln!(shown, "{text:?}\n {carets} {error}").unwrap();
        if let Some(hint) = error.hint {
            writeln!(shown, "    hint: {hint}").unwrap();
        }
    }
    assert_snapshot!(shown);
}

#[test]
fn an_expression_is_written_as_its_text() {
    let cron = Cron::parse("*/5 * * * MON").unwrap();
    let json = serde_json::to_string(&cron).unwrap();
    assert_eq!(json, "\"*/5 * * * MON\"");
    assert_eq!(serde_json::from_str::<Cron>(&json).unwrap(), cron);
    assert!(serde_json::from_str::<Cron>("\"0 0 30 2 *\"").is_err());
}
