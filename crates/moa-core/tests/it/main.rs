//! Integration tests of the core.

mod expr;
mod template;
