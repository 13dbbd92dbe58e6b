//! The real binary on temporary projects.

mod access;
mod alerts;
mod alone;
mod api;
mod audit;
mod backup;
mod browser;
mod change;
mod contract;
mod demo;
mod expr;
mod fairness;
mod files;
mod hostile;
mod housekeeping;
mod http;
mod issuer;
mod jwt;
mod leaks;
mod metrics;
mod monitoring;
mod node;
mod notify;
mod oidc;
mod outputs;
mod pages;
mod production;
mod project;
mod remote;
mod resources;
mod rules;
mod run;
mod schedules;
mod scrape;
mod secrets;
mod service;
mod smoke;
mod snapshots;
mod stream;
mod tls;
mod traces;
mod triggers;
mod windows;
#[allow(dead_code, reason = "some faults are ordered by the tests of moa-connectors alone")]
#[path = "../../../moa-connectors/tests/it/youtube_server.rs"]
mod youtube_server;
