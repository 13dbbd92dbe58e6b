//! moa-sqlite
