//! The real binary on temporary projects.

mod change;
mod demo;
mod expr;
mod files;
mod hostile;
mod housekeeping;
mod node;
mod outputs;
mod production;
mod project;
mod run;
mod snapshots;
mod windows;
