//! The dashboard in a real browser.

mod driver;
mod journeys;
mod lists;
mod looks;
mod repeats;
mod still;
