//! Triggers, as a node drives them.

mod bench;
mod collect;
mod fire;
mod slots;
mod upstream;
