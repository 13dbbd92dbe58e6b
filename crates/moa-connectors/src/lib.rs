//! moa-connectors
