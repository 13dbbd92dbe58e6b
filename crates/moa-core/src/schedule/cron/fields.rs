//! A parsed expression as bit sets, and the days of a month that it names.

use crate::schedule::date::{day_number, month_length};

/// The years that a seventh field may name.
pub(super) const YEARS: (u32, u32) = (1970, 2099);
/// Every month names days in the same way again after so many years.
pub(super) const CYCLE_YEARS: i32 = 400;

/// An expression. Bit n of a set stands for the number n.
#[derive(Debug, Clone, Default)]
pub(super) struct Fields {
    pub(super) seconds: u64,
    pub(super) minutes: u64,
    pub(super) hours: u64,
    pub(super) months: u64,
    pub(super) days: Days,
    pub(super) years: Option<Box<Years>>,
    /// Whether the second, minute or hour begins with `*`.
    pub(super) wild: bool,
}

/// The two day fields.
#[derive(Debug, Clone, Default)]
pub(super) struct Days {
    /// Days of the month, bits 1 to 31.
    pub(super) of_month: u64,
    /// Whether the day of the month begins with `*` or is `?`.
    pub(super) month_star: bool,
    /// `L` is bit 0, `L-n` bit n: days before the last.
    pub(super) from_last: u64,
    /// `nW`: bit n.
    pub(super) nearest: u64,
    /// `LW`.
    pub(super) last_workday: bool,
    /// Days of the week, bit 0 = Sunday.
    pub(super) of_week: u64,
    /// Whether the day of the week begins with `*` or is `?`.
    pub(super) week_star: bool,
    /// `d#n`: bit `5 d + n - 1`.
    pub(super) nth: u64,
    /// `dL`: bit d.
    pub(super) last_of_week: u64,
}

/// A set of years.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Years([u64; 3]);

impl Years {
    pub(super) fn insert(&mut self, year: u32) {
        let bit = year - YEARS.0;
        self.0[bit as usize / 64] |= 1 << (bit % 64);
    }

    /// The first year of the set that is not before `year`.
    fn next(&self, year: i32) -> Option<i32> {
        let from = year.max(YEARS.0 as i32) as u32;
        let holds = |y: &u32| {
            let bit = y - YEARS.0;
            self.0[bit as usize / 64] >> (bit % 64) & 1 == 1
        };
        (from..=YEARS.1).find(holds).map(|y| y as i32)
    }
}

/// Numbers of a set that are not less than `from`.
pub(super) fn at_least(set: u64, from: u32) -> u64 {
    if from > 63 { 0 } else { set & (u64::MAX << from) }
}

/// The least number of a set.
pub(super) fn least(set: u64) -> Option<u32> {
    (set != 0).then(|| set.trailing_zeros())
}

impl Fields {
    /// The first year that may hold a match and is not before `year`.
    pub(super) fn next_year(&self, year: i32) -> Option<i32> {
        match &self.years {
            Some(years) => years.next(year),
            None => (year <= 9999).then_some(year),
        }
    }

    /// The days of a month that it names, bits 1 to 31.
    pub(super) fn days_of(&self, year: i32, month: u32) -> u64 {
        self.days.of(year, month)
    }

    /// Whether any date at all is named.
    pub(super) fn names_a_date(&self) -> bool {
        let any =
            |year: i32| (1..=12).any(|m| self.months >> m & 1 == 1 && self.days_of(year, m) != 0);
        match &self.years {
            Some(years) => {
                let mut year = years.next(0);
                while let Some(y) = year {
                    if any(y) {
                        return true;
                    }
                    year = years.next(y + 1);
                }
                false
            }
            None => (2000..2000 + CYCLE_YEARS).any(any),
        }
    }
}

impl Days {
    fn of(&self, year: i32, month: u32) -> u64 {
        let length = month_length(year, month);
        // Weekday of the 1st, 0 = Sunday.
        let first = (day_number(year, month, 1) + 4).rem_euclid(7) as u32;
        let month_days = self.by_month(first, length);
        let week_days = self.by_week(first, length);
        // Vixie's rule: when both fields are restricted a day needs to meet only one of them, and
        // a field counts as restricted unless its text begins with `*`, so `*/2` doesn't.
        if self.month_star || self.week_star {
            month_days & week_days
        } else {
            month_days | week_days
        }
    }

    fn by_month(&self, first: u32, length: u32) -> u64 {
        let real = real_days(length);
        let mut days = self.of_month & real;
        let mut back = self.from_last;
        while let Some(n) = least(back) {
            back &= back - 1;
            days |= (1 << (length.saturating_sub(n))) & real;
        }
        let mut near = self.nearest & real;
        while let Some(day) = least(near) {
            near &= near - 1;
            days |= 1 << workday_near(day, first, length);
        }
        if self.last_workday {
            days |= 1 << workday_near(length, first, length);
        }
        days
    }

    fn by_week(&self, first: u32, length: u32) -> u64 {
        let real = real_days(length);
        if self.of_week == 0x7F {
            return real;
        }
        let mut days = 0;
        for weekday in 0..7 {
            let earliest = 1 + (weekday + 7 - first) % 7;
            if self.of_week >> weekday & 1 == 1 {
                days |= (1 | 1 << 7 | 1 << 14 | 1 << 21 | 1 << 28) << earliest;
            }
            for nth in 0..5 {
                days |= (self.nth >> (5 * weekday + nth) & 1) << (earliest + 7 * nth);
            }
            if self.last_of_week >> weekday & 1 == 1 {
                days |= 1 << (earliest + (length - earliest) / 7 * 7);
            }
        }
        days & real
    }
}

fn real_days(length: u32) -> u64 {
    (1 << (length + 1)) - 2
}

/// The day from Monday to Friday that is nearest to `day` and in the same month.
fn workday_near(day: u32, first: u32, length: u32) -> u32 {
    match (first + day - 1) % 7 {
        6 if day == 1 => 3,
        6 => day - 1,
        0 if day == length => day - 2,
        0 => day + 1,
        _ => day,
    }
}
