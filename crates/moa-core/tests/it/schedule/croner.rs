//! Another engine, asked the same: the crate `croner`. Left out is what it is known to do otherwise:
//! a step in a day field beside another restricted day field (it takes the days of either, Vixie's
//! cron those of both), `5/15`, ranges around the end, lists of hours in a gap.

use croner::parser::{CronParser, Seconds, Year};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use moa_core::schedule::Cron;
use moa_core::time::Millis;

use super::naive::Dice;
use super::{cron, table};

fn plain(dice: &mut Dice, least: u64, most: u64) -> String {
    let mut number = || least + dice.below(most - least + 1);
    let (a, b, c) = (number(), number(), number());
    let (low, high) = (a.min(b), a.max(b));
    match dice.below(6) {
        0 => format!("{low}-{high}"),
        1 => format!("{low}-{high}/{}", 1 + c % 7),
        2 => format!("{low},{high},{c}"),
        3 => format!("{a},{low}-{high}"),
        4 => format!("*/{}", 1 + c % 7),
        _ => a.to_string(),
    }
}

fn month_day(dice: &mut Dice) -> String {
    match dice.below(8) {
        0 => "L".to_owned(),
        1 => "LW".to_owned(),
        2 => format!("{}W", 1 + dice.below(28)),
        3 => format!("{},L", 1 + dice.below(28)),
        4 => plain(dice, 1, 31).replace("*/", "1-31/"),
        5 => (1 + dice.below(31)).to_string(),
        _ => "*".to_owned(),
    }
}

fn week_day(dice: &mut Dice) -> String {
    let names = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];
    match dice.below(8) {
        0 => format!("{}#{}", dice.pick(&names), 1 + dice.below(5)),
        1 => format!("{}L", dice.below(7)),
        2 => format!("{}#L", dice.below(7)),
        3 => "MON-FRI".to_owned(),
        4 => plain(dice, 0, 6).replace("*/", "0-6/"),
        5 => dice.pick(&names).to_owned(),
        _ => "*".to_owned(),
    }
}

fn expression(dice: &mut Dice) -> String {
    let star = |dice: &mut Dice, text: String| if dice.below(3) == 0 { "*".into() } else { text };
    let mut fields = Vec::new();
    let shape = dice.below(3);
    if shape > 0 {
        fields.push(plain(dice, 0, 59));
    }
    for most in [59, 23] {
        let field = plain(dice, 0, most);
        fields.push(star(dice, field));
    }
    fields.push(month_day(dice));
    let months = plain(dice, 1, 12);
    fields.push(star(dice, months));
    fields.push(week_day(dice));
    if shape == 2 {
        fields.push(dice.pick(&["*", "2027", "2026-2040/3", "2028,2032"]).to_owned());
    }
    fields.join(" ")
}

#[test]
fn another_engine_agrees() {
    let parser = CronParser::builder().seconds(Seconds::Optional).year(Year::Optional).build();
    let mut dice = Dice::new(5);
    let mut compared = 0;
    for _ in 0..800 {
        let text = expression(&mut dice);
        if Cron::parse(&text).is_err() {
            // It finds out only by searching for thousands of years, so it isn't asked.
            continue;
        }
        let theirs = parser.parse(&text).unwrap_or_else(|e| panic!("{text}: {e}"));
        let ours = table(cron("UTC", &[&text]));
        let start = 1_767_225_600 + dice.below(86_400 * 365) as i64;
        let mut at = Timestamp::from_second(start).unwrap().to_zoned(TimeZone::UTC);
        let mut after = Millis(start * 1000);
        for _ in 0..5 {
            let ours = ours.next_slot(after);
            let Ok(next) = theirs.find_next_occurrence(&at, false) else {
                let far = ours.is_none_or(|slot| slot.at.0 > 3_000_000_000_000);
                assert!(far, "{text}: they find nothing after {at}, we {ours:?}");
                break;
            };
            let expected = next.timestamp().as_millisecond();
            assert_eq!(ours.map(|slot| slot.at.0), Some(expected), "{text} after {at}");
            (at, after) = (next, Millis(expected));
            compared += 1;
        }
    }
    assert!(compared > 2500, "{compared}");
}
