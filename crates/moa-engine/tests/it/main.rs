//! Whole runs of real workflow texts on the real engine, on virtual time.

mod asked;
mod audit;
mod backlog;
mod budgets;
mod bus;
mod checks;
mod constructs;
mod doubt;
mod failures;
mod fairness;
mod hand;
mod limits;
mod listeners;
mod outputs;
mod people;
mod quarantine;
mod retention;
mod script;
mod triggers;
