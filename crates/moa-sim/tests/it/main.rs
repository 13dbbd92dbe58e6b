//! The simulator at work. See `seeds.rs`.
mod seeds;
