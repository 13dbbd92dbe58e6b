//! The oracle: what cron expressions name, one value after the other, and what Vixie's cron does as
//! the minutes pass. Written from the documentation, and sharing nothing with what it judges.

use jiff::civil::{Date, DateTime};

/// Numbers that are as good as random, the same each time.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(moa_core::ids::mix(seed))
    }

    /// From 0 to less than `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 = moa_core::ids::mix(self.0);
        self.0 % n
    }

    pub fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len() as u64) as usize]
    }
}

/// An item of a field, and from what to what its numbers go.
fn item(dice: &mut Dice, least: u64, most: u64) -> String {
    let mut number = || least + dice.below(most - least + 1);
    let (a, b) = (number(), number());
    let step = 1 + dice.below(most - least);
    match dice.below(8) {
        0 => format!("*/{step}"),
        1 => format!("{}-{}", a.min(b), a.max(b)),
        2 => format!("{}-{}/{step}", a.min(b), a.max(b)),
        3 => format!("{}-{}", a.max(b), a.min(b)),
        4 => format!("{a}/{step}"),
        _ => a.to_string(),
    }
}

/// A field: `*` with a chance of `stars` in ten.
pub fn field(dice: &mut Dice, least: u64, most: u64, stars: u64) -> String {
    if dice.below(10) < stars {
        return "*".to_owned();
    }
    let count = 1 + dice.below(3) * dice.below(2);
    let items: Vec<String> = (0..count).map(|_| item(dice, least, most)).collect();
    items.join(",")
}

/// Whether a field names a number. `cycle` is how many numbers there are from `least` on.
pub fn names(field: &str, number: i64, least: i64, cycle: i64) -> bool {
    field.split(',').any(|item| {
        let (range, step) = item.split_once('/').unwrap_or((item, ""));
        let stepped = !step.is_empty();
        let step: i64 = if stepped { step.parse().unwrap() } else { 1 };
        let (first, last) = match range.split_once('-') {
            Some((a, b)) => (a.parse().unwrap(), b.parse().unwrap()),
            None if range == "*" || range == "?" => (least, least + cycle - 1),
            None if stepped => (range.parse().unwrap(), least + cycle - 1),
            None => (range.parse().unwrap(), range.parse().unwrap()),
        };
        // Walk from the first to the last, around the end if need be.
        let length = if first <= last { last - first } else { last + cycle - first };
        (0..=length)
            .step_by(step as usize)
            .any(|n| (first + n - least).rem_euclid(cycle) + least == number)
    })
}

/// The five fields of an expression.
#[derive(Debug, Clone)]
pub struct Five(pub [String; 5]);

impl Five {
    /// Of any kind; `stars` as in [`field`], for minute and hour.
    pub fn any(dice: &mut Dice, stars: u64) -> Self {
        Self([
            field(dice, 0, 59, stars),
            field(dice, 0, 23, stars),
            field(dice, 1, 31, 6),
            field(dice, 1, 12, 8),
            field(dice, 0, 6, 6),
        ])
    }

    pub fn text(&self) -> String {
        self.0.join(" ")
    }

    /// Whether minute and hour are both fixed.
    pub fn is_fixed(&self) -> bool {
        !self.0[0].starts_with('*') && !self.0[1].starts_with('*')
    }
}

/// An expression whose answers are kept: the oracle asks for each minute of weeks.
pub struct Oracle {
    minutes: Vec<bool>,
    days: Vec<bool>,
    months: Vec<bool>,
    weekdays: Vec<bool>,
    /// Whether a day has to meet both of its fields.
    both: bool,
    fixed: bool,
}

impl Oracle {
    pub fn new(five: &Five) -> Self {
        let [minute, hour, day, month, weekday] = &five.0;
        let all = |field: &str, least: i64, cycle: i64| -> Vec<bool> {
            (0..least + cycle).map(|n| n >= least && names(field, n, least, cycle)).collect()
        };
        let (hours, of_hour) = (all(hour, 0, 24), all(minute, 0, 60));
        Self {
            minutes: (0..1440).map(|m| hours[m / 60] && of_hour[m % 60]).collect(),
            days: all(day, 1, 31),
            months: all(month, 1, 12),
            weekdays: all(weekday, 0, 7),
            both: day.starts_with('*') || weekday.starts_with('*'),
            fixed: five.is_fixed(),
        }
    }

    pub fn names_day(&self, date: Date) -> bool {
        let day = self.days[date.day() as usize];
        let weekday = self.weekdays[date.weekday().to_sunday_zero_offset() as usize];
        let met = if self.both { day && weekday } else { day || weekday };
        met && self.months[date.month() as usize]
    }

    fn names(&self, wall: DateTime) -> bool {
        self.minutes[wall.hour() as usize * 60 + wall.minute() as usize]
            && self.names_day(wall.date())
    }

    /// The minutes of `clock` (instant, what the clock shows) at which it is due when the clock is
    /// read literally.
    pub fn literal(&self, clock: &[(i64, DateTime)]) -> Vec<i64> {
        clock.iter().filter(|(_, wall)| self.names(*wall)).map(|(at, _)| *at).collect()
    }

    /// The same as Vixie's cron has it: it keeps a time of its own that never goes back; when the
    /// clock is ahead of that by up to three hours, fixed times in between are due now.
    pub fn vixie(&self, clock: &[(i64, DateTime)]) -> Vec<i64> {
        if !self.fixed {
            return self.literal(clock);
        }
        let minute = jiff::Span::new().minutes(1);
        let mut own = clock[0].1.checked_sub(minute).unwrap();
        let mut due = Vec::new();
        for (at, wall) in clock {
            if *wall <= own {
                continue;
            }
            let ahead = wall.duration_since(own).as_mins();
            let mut is_due = self.names(*wall);
            let mut missed =
                if (2..=181).contains(&ahead) { own.checked_add(minute).unwrap() } else { *wall };
            while missed < *wall {
                is_due |= self.names(missed);
                missed = missed.checked_add(minute).unwrap();
            }
            if is_due {
                due.push(*at);
            }
            own = *wall;
        }
        due
    }
}
