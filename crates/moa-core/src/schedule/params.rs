//! What the params of a schedule's runs are computed from: `slot` in expressions.

use serde_json::{Value as Json, json};

use super::date::Day;
use super::explain::clock;
use super::timetable::{Slot, Timetable};
use crate::expr::{Error, Scope, Value};
use crate::time::Millis;

/// The fields of `slot`.
pub const SLOT_FIELDS: [&str; 15] = [
    "at", "local", "date", "time", "year", "month", "day", "hour", "minute", "weekday", "unix",
    "zone", "schedule", "previous", "next",
];

struct SlotScope(Json);

impl Scope for SlotScope {
    fn lookup(&self, name: &str) -> Option<Value> {
        (name == "slot").then(|| Value::from(self.0.clone()))
    }
    fn names(&self) -> Vec<String> {
        vec!["slot".to_owned()]
    }
}

impl Timetable {
    /// `slot` as expressions see it: fields as in [`SLOT_FIELDS`].
    pub fn slot_value(&self, slot: Slot) -> Json {
        let wall = slot.at.0.div_euclid(1000) + i64::from(slot.offset);
        let day = Day::of_wall(wall);
        let (year, month, of_month) = day.date();
        let of_day = wall.rem_euclid(86_400);
        let previous = self.newest(Millis(i64::MIN)..slot.at, 1).pop_back();
        json!({
            "at": slot.at.to_string(),
            "local": self.local(slot),
            "date": day.to_string(),
            "time": clock(wall),
            "year": year,
            "month": month,
            "day": of_month,
            "hour": of_day / 3600,
            "minute": of_day / 60 % 60,
            "weekday": day.weekday(),
            "unix": slot.at.0.div_euclid(1000),
            "zone": self.zone().name(),
            "schedule": self.schedule().id.to_string(),
            "previous": previous.map(|slot| slot.at.to_string()),
            "next": self.next_slot(slot.at).map(|slot| slot.at.to_string()),
        })
    }

    /// The params of the run that a slot starts.
    ///
    /// # Errors
    /// An expression that can't be evaluated.
    pub fn params(&self, slot: Slot) -> Result<Json, Error> {
        let params = &self.schedule().params;
        if params.is_constant() {
            return Ok(params.source().clone());
        }
        params.render(&SlotScope(self.slot_value(slot))).map(|rendered| rendered.value)
    }
}
