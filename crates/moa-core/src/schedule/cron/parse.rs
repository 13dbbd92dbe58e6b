//! From text to bit sets, with the place of the first mistake.

use std::ops::Range;

use super::CronError;
use super::fields::{Days, Fields, YEARS, Years};
use crate::limits::CRON_BYTES_MAX;
use crate::schedule::date::{MONTHS, WEEKDAYS, by_name};

type Result<T> = std::result::Result<T, CronError>;

/// What a field may hold.
struct Kind {
    what: &'static str,
    least: u32,
    most: u32,
    names: &'static [&'static str],
    /// The number of the first name.
    first_name: u32,
}

const fn plain(what: &'static str, least: u32, most: u32) -> Kind {
    Kind { what, least, most, names: &[], first_name: 0 }
}

const SECOND: Kind = plain("second", 0, 59);
const MINUTE: Kind = plain("minute", 0, 59);
const HOUR: Kind = plain("hour", 0, 23);
const DAY_OF_MONTH: Kind = plain("day of month", 1, 31);
const MONTH: Kind = Kind { names: &MONTHS, first_name: 1, ..plain("month", 1, 12) };
const DAY_OF_WEEK: Kind = Kind { names: &WEEKDAYS, ..plain("day of week", 0, 7) };
const YEAR: Kind = plain("year", YEARS.0, YEARS.1);

/// A field, or an item of one, and where it begins in the expression.
#[derive(Clone, Copy)]
struct Text<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Text<'t> {
    fn span(self) -> Range<usize> {
        self.at..self.at + self.text.len()
    }

    fn error(self, message: impl Into<String>) -> CronError {
        CronError::new(self.span(), message)
    }

    /// The parts between separators.
    fn split(self, separator: char) -> impl Iterator<Item = Text<'t>> {
        let mut at = self.at;
        self.text.split(separator).map(move |text| {
            let part = Text { text, at };
            at += text.len() + 1;
            part
        })
    }

    fn split_once(self, separator: char) -> Option<(Text<'t>, Text<'t>)> {
        let (before, after) = self.text.split_once(separator)?;
        let behind = Text { text: after, at: self.at + before.len() + 1 };
        Some((Text { text: before, at: self.at }, behind))
    }

    fn without_last(self) -> Text<'t> {
        let length = self.text.chars().next_back().map_or(0, char::len_utf8);
        Text { text: &self.text[..self.text.len() - length], at: self.at }
    }

    /// It without its last character, when that is `letter` in any case.
    fn strip_suffix(self, letter: char) -> Option<Text<'t>> {
        let last = self.text.chars().next_back()?;
        last.eq_ignore_ascii_case(&letter).then(|| self.without_last())
    }

    fn is(self, word: &str) -> bool {
        self.text.eq_ignore_ascii_case(word)
    }
}

pub(super) fn parse(text: &str) -> Result<Fields> {
    if text.len() > CRON_BYTES_MAX {
        let message = format!("a cron expression has at most {CRON_BYTES_MAX} characters");
        return Err(CronError::new(CRON_BYTES_MAX..text.len(), message));
    }
    let trimmed = text.trim_start();
    let whole = Text { text: trimmed.trim_end(), at: text.len() - trimmed.len() };
    if whole.text.starts_with('@') {
        return short_form(whole);
    }
    let words = words(whole);
    let fields = match words.as_slice() {
        [] => {
            return Err(CronError::new(0..text.len(), "a cron expression can't be empty")
                .hint("write five fields: minute, hour, day of month, month, day of week"));
        }
        [first, ..] if first.text.contains('=') => {
            return Err(first
                .error("a cron expression can't set a variable")
                .hint("give the zone by the key `timezone`"));
        }
        [minute, hour, day, month, weekday] => {
            fields(None, [*minute, *hour, *day, *month, *weekday], None)
        }
        [second, minute, hour, day, month, weekday] => {
            fields(Some(*second), [*minute, *hour, *day, *month, *weekday], None)
        }
        [second, minute, hour, day, month, weekday, year] => {
            fields(Some(*second), [*minute, *hour, *day, *month, *weekday], Some(*year))
        }
        others => return Err(wrong_number(whole, others)),
    }?;
    if !fields.names_a_date() {
        let days = words.len().min(6) - 3..words.len().min(6);
        let span = words[days.start].at..words[days.end - 1].span().end;
        return Err(CronError::new(span, "there is no such date, so this would never be due")
            .hint("check the day against the month: April has no 31st, February no 30th and seldom a 29th"));
    }
    Ok(fields)
}

fn wrong_number(whole: Text, words: &[Text]) -> CronError {
    let message = format!("a cron expression has 5, 6 or 7 fields, this one has {}", words.len());
    let error = match words.get(7) {
        Some(extra) => CronError::new(extra.at..whole.span().end, message),
        None => whole.error(message),
    };
    error.hint(
        "minute, hour, day of month, month, day of week; seconds may stand before, years behind",
    )
}

fn words(whole: Text) -> Vec<Text> {
    let mut words = Vec::new();
    let mut at = whole.at;
    for text in whole.text.split(|c: char| c.is_whitespace()) {
        if !text.is_empty() {
            words.push(Text { text, at });
        }
        // What separates words is at most four bytes long; find where the next one begins.
        at += text.len();
        let rest = &whole.text[at - whole.at..];
        at += rest.chars().next().map_or(0, char::len_utf8);
    }
    words
}

fn short_form(whole: Text) -> Result<Fields> {
    let expression = match whole.text.to_ascii_lowercase().as_str() {
        "@yearly" | "@annually" => "0 0 1 1 *",
        "@monthly" => "0 0 1 * *",
        "@weekly" => "0 0 * * 0",
        "@daily" | "@midnight" => "0 0 * * *",
        "@hourly" => "0 * * * *",
        "@reboot" => {
            return Err(whole.error("`@reboot` is not an instant").hint(
                "start the run from what starts moa, or use `after:` to go on after each run",
            ));
        }
        other => {
            let known = ["@yearly", "@monthly", "@weekly", "@daily", "@hourly", "@every 5m"];
            let error = whole.error(format!("there is no short form `{}`", whole.text));
            let near = crate::expr::suggest::nearest(other, known.into_iter());
            return Err(match near {
                Some(near) => error.hint(format!("did you mean `{near}`?")),
                None => error.hint(format!("write one of: {}", known.join(", "))),
            });
        }
    };
    parse(expression).map_err(|e| whole.error(e.message))
}

fn fields(second: Option<Text>, five: [Text; 5], year: Option<Text>) -> Result<Fields> {
    let [minute, hour, day, month, weekday] = five;
    let star = |text: Text| text.text.starts_with('*');
    let mut days = Days { month_star: star(day), week_star: star(weekday), ..Days::default() };
    let fields = Fields {
        seconds: second.map_or(Ok(1), |s| set(s, &SECOND))?,
        minutes: set(minute, &MINUTE)?,
        hours: set(hour, &HOUR)?,
        months: {
            days_of_month(day, &mut days)?;
            set(month, &MONTH)?
        },
        wild: second.is_some_and(star) || star(minute) || star(hour),
        years: None,
        days: Days::default(),
    };
    days_of_week(weekday, &mut days)?;
    let years = year.map(years).transpose()?.flatten();
    Ok(Fields { days, years, ..fields })
}

/// A field that is nothing but a set of numbers.
fn set(field: Text, kind: &Kind) -> Result<u64> {
    let mut set = 0;
    for item in field.split(',') {
        numbers(item, kind, &mut |n| set |= 1 << n)?;
    }
    Ok(set)
}

fn years(field: Text) -> Result<Option<Box<Years>>> {
    if field.text == "*" {
        return Ok(None);
    }
    let mut years = Years::default();
    for item in field.split(',') {
        numbers(item, &YEAR, &mut |n| years.insert(n))?;
    }
    Ok(Some(Box::new(years)))
}

fn days_of_month(field: Text, days: &mut Days) -> Result<()> {
    if field.text == "?" {
        (days.month_star, days.of_month) = (true, u64::MAX);
        return Ok(());
    }
    for item in field.split(',') {
        if item.is("LW") || item.is("WL") {
            days.last_workday = true;
        } else if item.is("L") {
            days.from_last |= 1;
        } else if let Some(back) = strip_last_minus(item) {
            let n = number(back, &plain("number of days before the last", 1, 30))?;
            days.from_last |= 1 << n;
        } else if let Some(day) = item.strip_suffix('W') {
            days.nearest |= 1
                << number(day, &DAY_OF_MONTH).map_err(|e| {
                    e.hint(
                        "`15W` is the weekday nearest to the 15th, `LW` the month's last weekday",
                    )
                })?;
        } else {
            numbers(item, &DAY_OF_MONTH, &mut |n| days.of_month |= 1 << n)?;
        }
    }
    Ok(())
}

/// The number of `L-3`.
fn strip_last_minus(item: Text) -> Option<Text> {
    let (last, back) = item.split_once('-')?;
    last.is("L").then_some(back)
}

fn days_of_week(field: Text, days: &mut Days) -> Result<()> {
    if field.text == "?" {
        (days.week_star, days.of_week) = (true, 0x7F);
        return Ok(());
    }
    for item in field.split(',') {
        if let Some((day, nth)) = item.split_once('#') {
            let day = number(day, &DAY_OF_WEEK)? % 7;
            if nth.is("L") {
                days.last_of_week |= 1 << day;
            } else {
                days.nth |= 1 << (5 * day + number(nth, &plain("week of the month", 1, 5))? - 1);
            }
        } else if item.is("L") {
            return Err(item
                .error("`L` alone names no day of the week")
                .hint("write `FRIL` or `5L` for the month's last Friday"));
        } else if let Some(day) = item.strip_suffix('L') {
            days.last_of_week |= 1 << (number(day, &DAY_OF_WEEK)? % 7);
        } else {
            numbers(item, &DAY_OF_WEEK, &mut |n| days.of_week |= 1 << (n % 7))?;
        }
    }
    Ok(())
}

/// The numbers of one item: `*`, `5`, `1-5`, each maybe with `/step`.
fn numbers(item: Text, kind: &Kind, add: &mut dyn FnMut(u32)) -> Result<()> {
    if item.text.is_empty() {
        let message = format!("the {} field has an empty item", kind.what);
        let span = item.at.saturating_sub(1)..item.at.max(1);
        return Err(CronError::new(span, message).hint("take the extra comma out"));
    }
    let (range, step) = match item.split_once('/') {
        Some((range, step)) => (range, Some(step)),
        None => (item, None),
    };
    // Sunday is 0 and 7; only a range that says so reaches 7.
    let is_week = kind.what == DAY_OF_WEEK.what;
    let most = if is_week { 6 } else { kind.most };
    let (first, last) = if range.text == "*" {
        (kind.least, most)
    } else if let Some((first, last)) = range.split_once('-') {
        (number(first, kind)?, number(last, kind)?)
    } else if range.text == "?" {
        return Err(range
            .error(format!("`?` can't stand in the {} field", kind.what))
            .hint("write `*`; `?` is for one of the two day fields"));
    } else {
        let n = number(range, kind)?;
        (n, if step.is_some() { most.max(n) } else { n })
    };
    let step = step.map_or(Ok(1), |step| step_of(step, kind, most))?;
    if first <= last {
        (first..=last).step_by(step as usize).for_each(add);
        return Ok(());
    }
    if kind.what == YEAR.what {
        return Err(range.error("this range of years ends before it begins"));
    }
    // A range that goes on from the beginning: 22-2, FRI-MON.
    let first = if is_week { first % 7 } else { first };
    let length = most - kind.least + 1;
    let last = if first <= last { last } else { last + length };
    let around = |n: u32| (n - kind.least) % length + kind.least;
    (first..=last).step_by(step as usize).map(around).for_each(add);
    Ok(())
}

fn step_of(step: Text, kind: &Kind, most: u32) -> Result<u32> {
    let widest = most - kind.least;
    let n = digits(step).ok_or_else(|| {
        step.error(format!("{:?} is not a step", step.text)).hint("write a number behind the `/`")
    })?;
    if n == 0 {
        return Err(step.error("a step of 0 goes nowhere").hint("write 1 or more"));
    }
    if n > widest {
        let message = format!("a step of {n} is wider than the {} field", kind.what);
        let unit = match kind.what {
            "second" => "s",
            "minute" => "m",
            "hour" => "h",
            "day of month" => "d",
            _ => return Err(step.error(message)),
        };
        let hint = format!("for a steady interval write `every: {n}{unit}` instead of cron");
        return Err(step.error(message).hint(hint));
    }
    Ok(n)
}

fn digits(text: Text) -> Option<u32> {
    let short = (1..=6).contains(&text.text.len());
    let all = text.text.bytes().all(|b| b.is_ascii_digit());
    (short && all).then(|| text.text.parse().ok()).flatten()
}

/// One number or name.
fn number(text: Text, kind: &Kind) -> Result<u32> {
    let Some(n) = digits(text) else {
        if let Some(n) = by_name(kind.names, text.text) {
            return Ok(n + kind.first_name);
        }
        return Err(not_a_number(text, kind));
    };
    if (kind.least..=kind.most).contains(&n) {
        return Ok(n);
    }
    let message = format!("the {} {n} is not in {} to {}", kind.what, kind.least, kind.most);
    let error = text.error(message);
    Err(match (kind.what, n) {
        ("hour", 24) => error.hint("midnight is hour 0"),
        ("day of week", 1970..) => {
            error.hint("a year needs seven fields: seconds stand first, years last")
        }
        ("minute" | "second", 60) => error.hint("the full one is 0"),
        _ => error,
    })
}

fn not_a_number(text: Text, kind: &Kind) -> CronError {
    if text.text.is_empty() {
        return CronError::new(
            text.at.saturating_sub(1)..text.at.max(1),
            format!("a {} is missing here", kind.what),
        );
    }
    let error = text.error(format!("{:?} is not a {}", text.text, kind.what));
    if text.text.starts_with(['H', 'h']) && text.text.len() <= 8 && kind.names.is_empty() {
        return error.hint("to spread runs give the key `jitter`");
    }
    let short = |name: &&'static str| -> &'static str { &name[..3] };
    let known = kind.names.iter().map(short);
    let near = crate::expr::suggest::nearest(&text.text.to_ascii_lowercase(), known);
    match near {
        Some(name) => error.hint(format!("did you mean `{}`?", name.to_uppercase())),
        None if kind.names.is_empty() => {
            error.hint(format!("write numbers from {} to {}", kind.least, kind.most))
        }
        None => error.hint(format!(
            "write {} to {}, or names such as {}",
            kind.least,
            kind.most,
            kind.names[1][..3].to_uppercase()
        )),
    }
}
