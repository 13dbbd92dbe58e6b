//! `video-production` on virtual time.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use jiff::civil::{Date, date};
use jiff::tz::TimeZone;
use moa_core::time::{Millis, Span};

use super::calendar::{Calendar, Daily};
use super::channel::Channel;
use super::ledger::Counted;
use super::{DAY, HOUR, MINUTE, Plan, Soak, Told};
use crate::metrics::Counters;

/// 2026-01-01T00:00:00Z, a Thursday.
const NEW_YEAR: Millis = Millis(1_767_225_600_000);

const fn times(n: u64, span: Span) -> Span {
    Span(n * span.0)
}

/// A year with an outage each five weeks or so, of minutes or many hours.
fn outages() -> Vec<(Span, Span)> {
    let away =
        [Span::minutes(13), Span::minutes(9 * 60), Span::minutes(95), Span::minutes(26 * 60)];
    let at = |n: u64| Span(n * 37 * DAY.0 + n * 71 * MINUTE.0 + 3 * HOUR.0);
    (1..10).zip(away.into_iter().cycle()).map(|(n, away)| (at(n), away)).collect()
}

fn plan() -> Plan {
    Plan {
        template: "video-production",
        // A new schedule begins when it is read.
        from: Millis(NEW_YEAR.0 - MINUTE.0 as i64),
        jobs_every: times(12, HOUR),
        failing: [15, 2, 3],
        outages: outages(),
        retention: true,
        upkeep: false,
    }
}

/// The schedules of the template.
fn calendar(zone: &str) -> Calendar {
    let schedules = [
        ("content-curation", Daily::at(&[(0, 0)])),
        ("video-production", Daily::each(4, 60)),
        ("upload-batch", Daily::at(&[(12, 0)])),
        ("analytics", Daily::each(6, 60)),
        ("style-guide", Daily::on_sundays(0)),
        ("gap-analysis", Daily::on_sundays(6)),
    ];
    Calendar { zone: TimeZone::get(zone).expect("a zone"), schedules: BTreeMap::from(schedules) }
}

#[test]
fn a_year_of_video_production_loses_no_slot_and_stays_as_large_as_it_is() {
    let youtube_from = NEW_YEAR.after(times(60, DAY));
    let channel = Rc::new(RefCell::new(Channel::with_youtube_from(youtube_from)));
    let mut soak = Soak::new(plan(), channel.clone());
    let calendar = calendar("UTC");
    // What is kept longest is kept for 90 days; from 180 days on as much goes as comes.
    soak.until_day(202);
    soak.check_slots(&calendar);
    let before = soak.size();
    soak.until_day(367);
    soak.check_slots(&calendar);
    let after = soak.size();
    soak.check_store();
    assert_eq!(after.grown(&before), Vec::<String>::new());

    let counted = &soak.ledger.counted;
    let slots: Vec<u64> = counted.values().map(|counted| counted.slots).collect();
    assert_eq!(slots, [1460, 365, 52, 52, 365, 2190], "{counted:?}");
    // Enough has gone wrong for that to mean something.
    let all = counted.values().fold(Counted::default(), |all, one| all.and(one));
    assert!(all.missed > 10 && all.caught_up > 10 && all.failed > 50 && all.late > 5, "{all:?}");
    assert!(counted["upload-batch"].overlapped > 0, "{counted:?}");
    check_channel(&soak, &channel.borrow());
}

/// What the channel has been through is what was counted, and what people were told.
fn check_channel(soak: &Soak, channel: &Channel) {
    channel.check();
    let counted = &soak.ledger.counted;
    let counters = Counters::read(&soak.layout.state()).expect("counters");
    let total = |name| counters.get(name).expect("it is counted").total;
    assert_eq!(total("videos_produced"), channel.released as f64);
    assert_eq!(total("videos_rejected"), channel.rejected as f64);
    // What was made has been published, but for what waits for the next noon.
    assert!(channel.ready.len() <= 12, "{:?}", channel.ready);
    // Each run that failed has told so once. Runs of other workflows may have made more of them.
    let told = soak.told("team");
    let tells = BTreeMap::from([
        ("video-production", "no video was made"),
        ("analytics", "no analytics"),
        ("upload-batch", "the upload failed"),
        ("content-curation", "no topic was picked"),
    ]);
    for (workflow, failed) in &soak.ledger.failed {
        let Some(text) = tells.get(workflow) else { continue };
        let texts: Vec<&Told> = told.iter().filter(|told| told.run == *failed).collect();
        assert_eq!(texts.len(), 1, "{workflow} {failed}: {texts:?}");
        assert!(texts[0].text.contains(text), "{texts:?}");
    }
    // Each video that is released has its variants A, B and C; each round of analytics judges them.
    assert!(channel.asked("ab_test_orchestrator.create_variants") >= channel.released);
    let rounds = counted["analytics"].started - counted["analytics"].failed;
    let rounds = rounds - counted["analytics"].late;
    assert!(channel.asked("analytics_committee.decide_tests") >= rounds);
}

/// Weeks around a day on which a zone's clocks are changed at midnight, where most schedules of the
/// template are due: on one day there is no midnight, on the other one there are two.
#[track_caller]
fn weeks_in_havana(changed_on: Date) {
    let day = changed_on.checked_sub(jiff::Span::new().days(10)).expect("a day");
    let utc = day.to_zoned(TimeZone::UTC).expect("an instant");
    let from = Millis(utc.timestamp().as_millisecond() + MINUTE.0 as i64);
    let plan = Plan { from, outages: Vec::new(), ..plan() };
    let channel = Rc::new(RefCell::new(Channel::default()));
    let in_havana =
        |text: &str| text.replace("schedule: {", "schedule: {timezone: America/Havana, ");
    let mut soak = Soak::edited(plan, channel.clone(), &in_havana);
    soak.until_day(22);
    let calendar = calendar("America/Havana");
    let (from, to) = soak.ledger.read();
    let slots = calendar.slots(from, to);
    soak.check_slots(&calendar);
    check_channel(&soak, &channel.borrow());
    // What is due at a named time is due once on each day, whatever the clock does.
    let days = |workflow| {
        let day = |at: &Millis| jiff::Timestamp::from_millisecond(at.0).expect("an instant");
        let days = slots[workflow].iter().map(|at| day(at).to_zoned(calendar.zone.clone()).date());
        days.collect::<BTreeSet<Date>>()
    };
    for workflow in ["content-curation", "upload-batch"] {
        assert_eq!((slots[workflow].len(), days(workflow).len()), (20, 20), "{workflow}");
    }
}

#[test]
fn weeks_with_a_day_without_midnight_lose_no_slot() {
    weeks_in_havana(date(2026, 3, 8));
}

#[test]
fn weeks_with_a_day_with_two_midnights_start_nothing_twice() {
    weeks_in_havana(date(2026, 11, 1));
}
