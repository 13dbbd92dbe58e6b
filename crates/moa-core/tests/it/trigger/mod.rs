//! Triggers, as a node drives them.

mod bench;
mod fire;
mod slots;
mod upstream;
