//! Alerts: raised, grouped, held back at night, over by themselves.

use super::*;
use crate::schedule::Zone;

const MINUTE: Span = Span::minutes(1);

fn at(minutes: i64) -> Millis {
    Millis(minutes * 60_000)
}

fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

fn finding(about: &str, severity: Severity) -> Finding {
    Finding {
        rule: Rule::Late,
        about: about.to_owned(),
        severity,
        hold: Span(0),
        title: format!("{about} is late"),
        text: "by 5m".to_owned(),
        channels: [name("ops")].into(),
    }
}

fn late(about: &str) -> Finding {
    finding(about, Severity::Warning)
}

fn policy() -> Policy {
    Policy { group: Span(0), per_hour: 20, quiet: None }
}

struct World {
    book: Book,
    policy: Policy,
}

impl World {
    fn new(policy: Policy) -> Self {
        Self { book: Book::default(), policy }
    }

    /// Looks at a minute, finds this, and takes what is to be told.
    fn look(&mut self, minute: i64, findings: Vec<Finding>) -> Vec<String> {
        self.book.judge(at(minute), &[Rule::Late].into(), findings, Span::minutes(5));
        let messages = self.book.messages(at(minute), &self.policy);
        messages.iter().for_each(|message| self.book.taken(&message.id));
        messages
            .into_iter()
            .map(|message| format!("{}: {}", message.channel, message.title))
            .collect()
    }
}

#[test]
fn an_alert_is_told_once_and_again_when_it_is_over() {
    let mut world = World::new(policy());
    assert_eq!(world.look(0, vec![late("a")]), ["ops: a is late"]);
    assert_eq!(world.look(1, vec![late("a")]), [""; 0]);
    assert_eq!(world.look(2, vec![]), [""; 0]);
    assert_eq!(world.look(7, vec![]), ["ops: Resolved: a is late"]);
    assert!(world.book.open().is_empty());
    let past = world.book.get("late/a").expect("it is kept");
    assert_eq!((past.raised_at, past.resolved_at), (Some(at(0)), Some(at(7))));
    // What other rules found is left as it is by one that was not looked at.
    world.look(10, vec![late("b")]);
    world.book.judge(at(99), &[Rule::Disk].into(), vec![], Span(0));
    assert_eq!(world.book.open().len(), 1);
}

#[test]
fn what_comes_and_goes_is_one_alert() {
    let mut world = World::new(policy());
    let mut told = Vec::new();
    for minute in 0..60 {
        let findings = if minute % 4 == 0 { vec![late("a")] } else { vec![] };
        told.extend(world.look(minute, findings));
    }
    assert_eq!(told, ["ops: a is late"]);
    assert_eq!(world.book.get("late/a").expect("it is open").returns, 14);
}

#[test]
fn what_does_not_last_is_no_alert() {
    let mut world = World::new(policy());
    let slow = || Finding { hold: Span::minutes(10), ..late("a") };
    assert_eq!(world.look(0, vec![slow()]), [""; 0]);
    assert_eq!(world.look(9, vec![slow()]), [""; 0]);
    assert_eq!(world.look(10, vec![]), [""; 0]);
    assert_eq!(world.look(11, vec![slow()]), [""; 0]);
    assert_eq!(world.look(20, vec![slow()]), [""; 0]);
    assert_eq!(world.look(21, vec![slow()]), ["ops: a is late"]);
    assert_eq!(world.book.get("late/a").expect("it is open").since, at(11));
}

#[test]
fn what_is_new_together_is_told_together() {
    let mut world = World::new(Policy { group: MINUTE, ..policy() });
    assert_eq!(world.look(0, vec![late("a")]), [""; 0]);
    assert_eq!(world.look(1, vec![late("a"), late("b")]), ["ops: 2 alerts"]);
    // A hundred are one message, which names some of them.
    let many: Vec<Finding> = (0..100).map(|n| late(&format!("x{n}"))).collect();
    assert_eq!(world.look(2, many.clone()), [""; 0]);
    world.book.judge(at(3), &[Rule::Late].into(), many, Span::minutes(5));
    let [message] = &world.book.messages(at(3), &world.policy)[..] else { panic!("one message") };
    assert_eq!((message.title.as_str(), message.alerts.len()), ("100 alerts", 50));
    assert!(message.text.ends_with("... and 50 more"), "{}", message.text);
    assert!(message.id.starts_with("alerts-180000-"), "{}", message.id);
}

#[test]
fn a_storm_is_told_so_many_times_an_hour() {
    let mut world = World::new(Policy { per_hour: 3, ..policy() });
    let mut told = Vec::new();
    for minute in 0..61 {
        let findings = (0..=minute).map(|n| late(&format!("x{n}"))).collect();
        told.extend(world.look(minute, findings));
    }
    let first = ["ops: x0 is late", "ops: x1 is late", "ops: x2 is late", "ops: 58 alerts"];
    assert_eq!(told, first);
}

#[test]
fn at_night_only_what_is_bad_enough_is_told() {
    let zone = Zone::get("Europe/Berlin").expect("a zone");
    let quiet = Quiet { from: 22 * 60, to: 7 * 60, zone, unless: Severity::Critical };
    // In winter the night there is from 21 to 6 o'clock UTC.
    for (minute, expected) in
        [(20 * 60 + 59, false), (21 * 60, true), (5 * 60 + 59, true), (6 * 60, false)]
    {
        assert_eq!(quiet.holds(at(minute)), expected, "{minute}");
    }
    let mut world = World::new(Policy { quiet: Some(quiet), ..policy() });
    let night = 22 * 60;
    let both = || vec![late("a"), late("b")];
    assert_eq!(world.look(night, both()), [""; 0]);
    let worse = || vec![finding("a", Severity::Critical), late("b")];
    assert_eq!(world.look(night + 1, worse()), ["ops: a is late"]);
    // One that is over by the morning was never told, so its end is not told either.
    assert_eq!(world.look(night + 2, vec![finding("a", Severity::Critical)]), [""; 0]);
    assert_eq!(world.look(night + 8, vec![finding("a", Severity::Critical)]), [""; 0]);
    assert_eq!(world.look(30 * 60, vec![finding("a", Severity::Critical)]), [""; 0]);
    assert_eq!(world.book.open().len(), 1);
}

#[test]
fn a_message_is_handed_out_until_it_is_taken() {
    let mut world = World::new(policy());
    world.book.judge(at(0), &[Rule::Late].into(), vec![late("a")], MINUTE);
    let first = world.book.messages(at(0), &policy());
    // The process died here, and read the book again.
    let text = serde_json::to_string(&world.book).expect("JSON");
    world.book = serde_json::from_str(&text).expect("a book");
    world.book.judge(at(1), &[Rule::Late].into(), vec![late("a")], MINUTE);
    assert_eq!(world.book.messages(at(1), &policy()), first);
    world.book.taken(&first[0].id);
    assert_eq!(world.book.messages(at(2), &policy()), []);
}

#[test]
fn what_somebody_has_noticed_stays_so_until_it_is_worse() {
    let mut world = World::new(policy());
    let by = || Acknowledged { by: "ann".into(), at: at(1), note: None };
    assert_eq!(world.book.acknowledge("late/a", by()), Err(Refused::Unknown));
    world.look(0, vec![late("a")]);
    let noticed = world.book.acknowledge("late/a", by()).expect("it is open");
    assert_eq!(noticed.acknowledged, Some(by()));
    let again = Acknowledged { by: "bob".into(), ..by() };
    let noticed = world.book.acknowledge("late/a", again).expect("it is open");
    assert_eq!(noticed.acknowledged, Some(by()));
    world.look(1, vec![late("a")]);
    assert!(world.book.get("late/a").expect("it is open").acknowledged.is_some());
    assert_eq!(world.look(2, vec![finding("a", Severity::Critical)]), ["ops: a is late"]);
    assert_eq!(world.book.get("late/a").expect("it is open").acknowledged, None);
}

#[test]
fn a_broken_channel_is_told_of_over_others_alone() {
    let mut world = World::new(policy());
    let channels: BTreeSet<Name> = ["ops", "mail"].map(name).into();
    let broken = Finding { rule: Rule::Channel, channels, ..late("ops") };
    world.book.judge(at(0), &[Rule::Channel].into(), vec![broken], MINUTE);
    let messages = world.book.messages(at(0), &policy());
    assert_eq!(messages.iter().map(|m| m.channel.as_str()).collect::<Vec<_>>(), ["mail"]);
    messages.iter().for_each(|message| world.book.taken(&message.id));
    world.book.judge(at(9), &[Rule::Channel].into(), vec![], Span(0));
    let messages = world.book.messages(at(9), &policy());
    assert_eq!(messages.len(), 1, "{messages:?}");
    assert!(messages[0].resolved);
}

#[test]
fn long_texts_and_many_alerts_have_their_limits() {
    let mut world = World::new(policy());
    let long = Finding { text: "ü".repeat(1 << 20), ..late("a") };
    let many = (0..5000).map(|n| late(&format!("x{n}")));
    world.look(0, std::iter::once(long).chain(many).collect());
    assert_eq!(world.book.open().len(), OPEN_MAX);
    assert!(world.book.get("late/a").expect("it is open").text.len() < 5000);
}

#[test]
fn what_happened_lately_is_counted() {
    let (flow, agent) = (name("letters"), name("writer"));
    let mut watch = Watch::default();
    for minute in 0..10 {
        let error = (minute % 2 == 0).then_some("no ink");
        watch.see(at(minute), &Seen::RunEnded { workflow: &flow, error });
        watch.see(at(minute), &Seen::Attempt { agent: &agent, error: Some("no ink") });
    }
    assert_eq!(watch.ended(at(10), Span::minutes(4)), [(&flow, 4, 2)]);
    let failing = |watch: &Watch| watch.failing().map(|(_, s)| (s.failures, s.since)).next();
    assert_eq!(failing(&watch), Some((10, at(0))));
    watch.see(at(11), &Seen::Attempt { agent: &agent, error: None });
    assert_eq!(failing(&watch), None);
    watch.see(at(11), &Seen::Dead { workflow: &flow, error: "no ink" });
    assert_eq!(watch.dead(at(12), MINUTE), [(&flow, 1, "no ink")]);
    assert_eq!(watch.dead(at(13), MINUTE), []);
    watch.forget(at(12));
    assert_eq!(watch.ended(at(12), Span::minutes(99)), []);
}

#[test]
fn what_somebody_settled_is_raised_again_once_it_was_gone_or_is_worse() {
    let by = |minute| Acknowledged { by: "ann".to_owned(), at: at(minute), note: None };
    let mut world = World::new(policy());
    assert_eq!(world.look(0, vec![late("nightly")]), ["ops: nightly is late"]);
    let over = world.book.resolve("late/nightly", by(1)).expect("it is open");
    assert_eq!(over.resolved_at, Some(at(1)));
    assert_eq!(world.book.resolve("late/nightly", by(1)), Err(Refused::Unknown));
    // Whoever was told that it began is told that it is over; it is still found, and quiet.
    assert_eq!(world.look(2, vec![late("nightly")]), ["ops: Resolved: nightly is late"]);
    assert!(world.book.open().is_empty());
    assert_eq!(world.look(3, vec![]), [""; 0]);
    assert_eq!(world.look(4, vec![late("nightly")]), ["ops: nightly is late"]);
    world.book.resolve("late/nightly", by(5)).expect("it is open");
    let worse = finding("nightly", Severity::Critical);
    assert_eq!(world.look(6, vec![worse]).len(), 1, "worse than what was settled");
    assert_eq!(world.book.open().len(), 1);
}
