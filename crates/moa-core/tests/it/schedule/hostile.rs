//! Texts and instants that nobody meant.

use moa_core::schedule::{Cron, DayRule, Dst, Every, Schedule, Zone};
use moa_core::time::Millis;
use proptest::prelude::*;

use super::{schedule, table};

/// Whatever it is, the next slots are found, and each is behind the one before.
fn slots_advance(schedule: Schedule, after: i64) {
    let table = table(schedule);
    let mut after = Millis(after);
    for _ in 0..20 {
        let Some(slot) = table.next_slot(after) else { return };
        assert!(slot.at > after, "{:?} after {after}", table.schedule());
        after = slot.at;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_an_expression_or_a_mistake_with_a_place(
        text in "([0-9*,/?LW# @-]|[A-Za-z]|MON|FRI|JAN|\\PC){0,40}",
        after in any::<i64>(),
    ) {
        match Cron::parse(&text) {
            Ok(cron) => slots_advance(Schedule { cron: vec![cron], ..schedule() }, after),
            Err(error) => {
                let span = error.span;
                prop_assert!(span.start <= span.end && span.end <= text.len().max(1));
                prop_assert!(text.get(span).is_some() || text.is_empty());
                prop_assert!(!error.message.is_empty());
            }
        }
    }

    #[test]
    fn likely_fields_never_hang(
        time in "(\\*|[0-9]|[1-5][0-9]|\\*/[1-9]|[0-9]-[1-5][0-9](/[1-9])?) \
            (\\*|[0-9]|1[0-9]|2[0-3]|\\*/[1-9]|[0-9]-1[0-9](/[1-9])?|[12][0-3]-[0-9])",
        day in "(\\*|\\?|[1-9]|[12][0-9]|3[01]|\\*/[1-9]|L|L-[1-9]|L-[12][0-9]|LW|[1-9]W|3[01]W)",
        month in "(\\*|[1-9]|1[0-2]|JAN|FEB|DEC-FEB|\\*/[2-9])",
        weekday in "(\\*|\\?|[0-7]|[0-7]#[1-5L]|[0-7]L|FRI-MON|\\*/[2-6])",
        second in "(([0-9]|\\*|\\*/[1-9]) )?",
        after in -100_000_000_000_000i64..250_000_000_000_000,
        zone in prop::sample::select(vec!["UTC", "Europe/Berlin", "Australia/Lord_Howe",
            "Pacific/Apia", "America/Havana", "Antarctica/Casey", "Africa/Casablanca"]),
        literal in any::<bool>(),
    ) {
        match Cron::parse(&format!("{second}{time} {day} {month} {weekday}")) {
            Ok(cron) => {
                let dst = if literal { Dst::Literal } else { Dst::Vixie };
                let zone = Zone::get(zone).unwrap();
                slots_advance(Schedule { cron: vec![cron], zone, dst, ..schedule() }, after);
            }
            Err(error) => prop_assert_eq!(error.to_string(),
                "there is no such date, so this would never be due"),
        }
    }

    #[test]
    fn any_text_is_an_interval_or_isnt(text in "[0-9smhdw/ ]{0,20}|\\PC{0,20}", after in any::<i64>()) {
        if let Ok(every) = text.parse::<Every>() {
            prop_assert_eq!(every.to_string().parse::<Every>(), Ok(every));
            slots_advance(Schedule { every: vec![every], ..schedule() }, after);
        }
    }

    #[test]
    fn any_text_is_a_rule_for_days_or_isnt(
        text in "[0-9-]{0,12}(\\.\\.)?[0-9-]{0,12}|[a-zA-Z,#0-9-]{0,20}|\\PC{0,20}",
        after in any::<i64>(),
    ) {
        if let Ok(rule) = text.parse::<DayRule>() {
            prop_assert_eq!(rule.to_string().parse::<DayRule>(), Ok(rule.clone()));
            if let DayRule::Named(_) = rule {
                return Ok(());
            }
            let mut excluding = schedule();
            excluding.every = vec!["12h".parse().unwrap()];
            let mut including = excluding.clone();
            excluding.calendar.exclude = vec![rule.clone()];
            including.calendar.include = vec![rule];
            slots_advance(excluding, after);
            slots_advance(including, after);
        }
    }
}

#[test]
fn instants_of_other_ages_are_in_days_too() {
    for rule in ["10-01", "MON", "2026-01-01..2026-02-01"] {
        for after in [185_480_111_433_600_000, i64::MAX, i64::MIN, -185_542_587_187_200_000] {
            let mut excluding = schedule();
            excluding.every = vec!["12h".parse().unwrap()];
            excluding.calendar.exclude = vec![rule.parse().unwrap()];
            slots_advance(excluding, after);
        }
    }
}

#[test]
fn a_schedule_that_never_comes_is_searched_for_once_and_given_up() {
    let mut never = schedule();
    never.cron = vec![Cron::parse("* * * * * *").unwrap()];
    never.calendar.exclude = vec!["0001-01-01..9999-12-31".parse().unwrap()];
    assert_eq!(table(never.clone()).next_slot(Millis(0)), None);
    never.calendar.exclude.clear();
    never.calendar.include = vec!["2020-02-02".parse().unwrap()];
    assert_eq!(table(never.clone()).next_slot(Millis(1_700_000_000_000)), None);
    never.cron = vec![Cron::parse("0 0 29 2 *").unwrap()];
    never.calendar.include = vec!["02-28".parse().unwrap()];
    assert_eq!(table(never).next_slot(Millis(0)), None);
}
