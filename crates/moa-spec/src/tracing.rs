//! Where traces of runs go: the section `tracing` of the settings, checked.

use std::collections::BTreeMap;

use moa_core::time::Span;
use serde::Serialize;

use crate::codes;
use crate::model::notify::Secretive;
use crate::model::tracing::{OtlpFile, TracingFile};
use crate::read::{At, Cx};
use crate::scalar::shown_span;

/// How long the collector may take at most.
const TIMEOUT_MAX: Span = Span::minutes(2);
/// Parts of names of headers whose values are secrets.
const SECRET_HEADERS: [&str; 5] = ["auth", "key", "token", "secret", "password"];

/// Traces of runs.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Tracing {
    /// A collector that takes OTLP over HTTP.
    pub otlp: Otlp,
}

/// A collector that takes OTLP over HTTP.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Otlp {
    /// Its address; `None` = nothing is sent.
    pub endpoint: Option<String>,
    /// Whether nothing is added to the address.
    #[serde(skip)]
    pub exact: bool,
    /// Headers of each request.
    pub headers: BTreeMap<String, Secretive>,
    /// The name under which the traces are shown.
    pub service_name: String,
    /// The share of the traces that is sent, from 0 to 1.
    pub sample: f64,
    /// How long the collector may take to answer.
    #[serde(serialize_with = "shown_span")]
    pub timeout: Span,
}

impl Default for Otlp {
    fn default() -> Self {
        let (endpoint, headers) = (None, BTreeMap::new());
        let (service_name, timeout) = ("moa".into(), Span::seconds(10));
        Self { endpoint, exact: false, headers, service_name, sample: 1.0, timeout }
    }
}

impl Tracing {
    /// The share of the traces that is sent; `None` = there are none.
    pub fn share(&self) -> Option<f64> {
        self.otlp.endpoint.is_some().then_some(self.otlp.sample)
    }
}

/// Takes over the section.
pub(crate) fn take(file: &TracingFile, tracing: &mut Tracing, cx: &mut Cx) {
    if let Some(file) = &file.otlp {
        otlp(file, &mut tracing.otlp, cx);
    }
}

fn otlp(file: &OtlpFile, otlp: &mut Otlp, cx: &mut Cx) {
    if let Some(endpoint) = &file.endpoint {
        let scheme = ["http://", "https://"].iter().find_map(|s| endpoint.value.strip_prefix(s));
        let fits = |c: char| c.is_ascii_graphic() && !"?#@".contains(c);
        if scheme.is_none_or(|rest| rest.is_empty() || !rest.chars().all(fits)) {
            let message = format!("{:?} is not the address of a collector", endpoint.value);
            let d = cx.error(codes::WRONG_VALUE, endpoint.span.clone(), message);
            d.help("write http://127.0.0.1:4318; what is secret goes into `headers`");
        }
        otlp.endpoint = Some(endpoint.value.clone());
    }
    for (name, value) in file.headers.iter().flat_map(|headers| &headers.0) {
        header(name, value, cx);
        otlp.headers.insert(name.value.to_ascii_lowercase(), value.value.clone());
    }
    if let Some(name) = &file.service_name {
        otlp.service_name.clone_from(&name.value.0);
    }
    if let Some(sample) = &file.sample {
        if !(0.0..=1.0).contains(&sample.value) {
            let message = format!("expected a number from 0 to 1, found {}", sample.value);
            let d = cx.error(codes::WRONG_VALUE, sample.span.clone(), message);
            d.help("write 0.1 for every tenth trace");
        }
        otlp.sample = sample.value;
    }
    if let Some(timeout) = &file.timeout {
        if timeout.value.0 > TIMEOUT_MAX || timeout.value.0.0 == 0 {
            let message = "a collector gets up to 2m to answer".into();
            cx.error(codes::WRONG_VALUE, timeout.span.clone(), message).help("write 10s");
        }
        otlp.timeout = timeout.value.0;
    }
}

fn header(name: &At<String>, value: &At<Secretive>, cx: &mut Cx) {
    let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if name.value.is_empty() || !name.value.chars().all(token) {
        let message = format!("{:?} is no name of a header", name.value);
        cx.error(codes::WRONG_VALUE, name.span.clone(), message).help("write x-tenant, say");
    }
    let lower = name.value.to_ascii_lowercase();
    let is_secret = SECRET_HEADERS.iter().any(|part| lower.contains(part));
    if is_secret && matches!(value.value, Secretive::Plain(_)) {
        let message = format!("the header {lower} is a secret, and stands here for all to read");
        let d = cx.error(codes::WRONG_VALUE, value.span.clone(), message);
        d.cause("moa.yaml is a file that is shared");
        d.help("write ${{ secrets.NAME }}; the secret is the whole value, such as Bearer ...");
    }
}
