//! moa-ports
