//! How agents are reached, and the worker that runs them.
//!
//! [`LocalWorker`] implements [`moa_ports::agent::Worker`]: it makes an attempt ready (params,
//! secrets, log, deadline), hands it to the code of the agent's kind, and judges what comes back.
//! One folder for each kind: `process` (kind `command`, built-in `shell`), `http` (kind and
//! built-in), `notify`, `noop`, `youtube`. Adding a kind is a folder with one [`moa_ports::agent::Agent`] and a
//! line in `registry`. Absent: the engine's business (retries, leases, limits on concurrency), and
//! reading the files in which agents are declared. Start reading at `worker`.

mod agents;
mod artifact;
mod beneath;
mod document;
mod http;
mod log;
mod noop;
mod notify;
pub mod otlp;
pub mod output;
mod prepare;
mod process;
mod redact;
mod registry;
mod state_files;
mod terminal;
mod worker;
mod youtube;

pub use agents::{SharedAgents, builtins, is_once};
pub use artifact::{Artifact, ArtifactStore};
pub use http::EndpointState;
pub use log::{LogFile, LogPart, list_logs, log_dir, log_path, read_log};
pub use notify::{
    Channel, Channels, Mail, MailTls, Off, Secretive, SharedChannels, Slack, WEBHOOKS, Webhook,
    append_once, is_gone,
};
pub use prepare::ATTEMPT_TIMEOUT_DEFAULT;
pub use process::{
    Leftover, Origin, Which, end_leftovers, end_some_leftovers, find_leftovers, left_usage,
};
pub use redact::{MARK, Redactor, SECRET_BYTES_MIN};
pub use registry::GRACE_DEFAULT;
pub use state_files::{Kept, RunFolder, StateFiles};
pub use terminal::sanitize_for_terminal;
pub use worker::{Doing, LocalWorker, WorkerOptions};
