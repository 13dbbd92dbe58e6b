//! The section `tracing` of the settings: where traces of runs go.

use crate::model::notify::Secretive;
use crate::read::At;
use crate::record;
use crate::scalar::{Duration, Entries, Label};

record! {
    /// Traces of runs, for whoever collects them.
    pub struct TracingFile as "`tracing`" {
        /// A collector that takes OTLP over HTTP.
        otlp: Option<OtlpFile>,
    }

    /// A collector that takes OTLP over HTTP.
    pub struct OtlpFile as "`tracing.otlp`" {
        /// Its address, such as `http://127.0.0.1:4318`; `/v1/traces` is added unless it is there.
        /// Without it nothing is sent.
        endpoint: Option<At<String>>,
        /// Headers of each request: texts, or `${{ secrets.NAME }}`.
        headers: Option<Entries<At<Secretive>>>,
        /// The name under which the traces are shown; `moa` when not given.
        service_name: Option<At<Label>>,
        /// The share of the traces that is sent, from 0 to 1; 1 when not given.
        sample: Option<At<f64>>,
        /// How long the collector may take to answer; 10s when not given.
        timeout: Option<At<Duration>>,
    }
}
