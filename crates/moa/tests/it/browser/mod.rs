//! The dashboard in a real browser.

mod driver;
mod journeys;
mod looks;
mod repeats;
mod still;
