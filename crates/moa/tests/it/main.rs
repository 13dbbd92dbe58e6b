//! The real binary on temporary projects.
