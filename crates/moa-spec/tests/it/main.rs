//! Integration tests of the files' language.

#![allow(clippy::unwrap_used)]

mod seeds;
mod support;
