//! Integration tests of the files' language.

#![allow(clippy::unwrap_used)]

mod diagnostics;
mod hostile;
mod scratch;
mod seeds;
mod support;
