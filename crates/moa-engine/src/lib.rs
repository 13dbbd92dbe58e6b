//! moa-engine
