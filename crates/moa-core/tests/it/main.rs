//! Integration tests of the core.
#![allow(clippy::unwrap_used)]

mod expr;
mod schedule;
mod template;
mod trigger;
