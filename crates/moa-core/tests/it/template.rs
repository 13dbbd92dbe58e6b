//! Templates: what they render to, and what they refuse.
