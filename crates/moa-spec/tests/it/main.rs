//! Integration tests of the files' language.

#![allow(clippy::unwrap_used)]

mod calendars;
mod declared;
mod diagnostics;
mod drawing;
mod formatting;
mod hostile;
mod lowering;
mod on;
mod output_schemas;
mod pages;
mod reference;
mod round_trip;
mod rules;
mod schedules;
mod schemas;
mod seeds;
mod support;
mod values;
