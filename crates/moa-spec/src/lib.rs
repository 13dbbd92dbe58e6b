//! moa-spec
