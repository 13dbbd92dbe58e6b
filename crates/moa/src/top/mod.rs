//! The overview on a terminal: what runs, what waits for a person, what is wrong, what comes.
//!
//! What is shown is gathered ([`data`]) from a project here or elsewhere, kept with what a person has
//! chosen ([`state`]) and drawn ([`draw`]): these three know no terminal. Only [`screen`] does. A
//! change of a run asks the node, as the commands do.

pub mod data;
pub mod draw;
pub mod screen;
pub mod state;
