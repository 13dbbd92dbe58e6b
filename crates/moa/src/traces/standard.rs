//! The variables of the environment that OpenTelemetry has for all programs:
//! <https://opentelemetry.io/docs/specs/otel/protocol/exporter/>.
//!
//! They win over `moa.yaml`, and lose against moa's own variables. As the specification wants it, a
//! value that is not understood is passed over.

use std::collections::BTreeMap;

use moa_core::time::Span;
use moa_spec::Otlp;

/// Looks up a variable that is not empty.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The keys that were taken over, with the variables that gave them.
pub type Taken = Vec<(&'static str, &'static str)>;

/// Lays the variables over the settings.
pub fn lay_over(otlp: &mut Otlp, env: Environment<'_>) -> Taken {
    let mut taken = Vec::new();
    let is_off = env("OTEL_SDK_DISABLED").is_some_and(|off| off.eq_ignore_ascii_case("true"));
    if is_off {
        otlp.endpoint = None;
        taken.push(("tracing.otlp.endpoint", "OTEL_SDK_DISABLED"));
        return taken;
    }
    if env("OTEL_TRACES_EXPORTER").is_some_and(|name| !name.split(',').any(|n| n == "otlp")) {
        otlp.endpoint = None;
        taken.push(("tracing.otlp.endpoint", "OTEL_TRACES_EXPORTER"));
        return taken;
    }
    let of_traces = |name: &'static str, all: &'static str| {
        env(name).map(|value| (name, value)).or_else(|| Some((all, env(all)?)))
    };
    let protocol = of_traces("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL");
    let is_http = protocol.is_none_or(|(_, protocol)| protocol != "grpc");
    let whole = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
    let endpoint = of_traces(whole, "OTEL_EXPORTER_OTLP_ENDPOINT");
    if let Some((name, url)) = endpoint.filter(|(_, url)| is_http && url.starts_with("http")) {
        otlp.endpoint = Some(url);
        otlp.exact = name == whole;
        taken.push(("tracing.otlp.endpoint", name));
    }
    let timeout = of_traces("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT");
    let millis = |(name, text): (_, String)| Some((name, text.parse::<u64>().ok()?));
    if let Some((name, millis)) = timeout.and_then(millis).filter(|(_, millis)| *millis > 0) {
        otlp.timeout = Span(millis);
        taken.push(("tracing.otlp.timeout", name));
    }
    if let Some(name) = env("OTEL_SERVICE_NAME") {
        otlp.service_name = name;
        taken.push(("tracing.otlp.service_name", "OTEL_SERVICE_NAME"));
    }
    if let Some(share) = sampler(env) {
        otlp.sample = share;
        taken.push(("tracing.otlp.sample", "OTEL_TRACES_SAMPLER"));
    }
    taken
}

fn sampler(env: Environment<'_>) -> Option<f64> {
    let share = || {
        let share = env("OTEL_TRACES_SAMPLER_ARG").map_or(Some(1.0), |arg| arg.parse().ok());
        share.filter(|share| (0.0..=1.0).contains(share))
    };
    match env("OTEL_TRACES_SAMPLER")?.trim_start_matches("parentbased_") {
        "always_on" => Some(1.0),
        "always_off" => Some(0.0),
        "traceidratio" => share(),
        _ => None,
    }
}

/// The headers of requests.
pub fn headers(env: Environment<'_>) -> BTreeMap<String, String> {
    let mut headers = BTreeMap::new();
    for name in ["OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"] {
        let given = env(name).map(|text| pairs(&text)).unwrap_or_default();
        headers.extend(given.into_iter().map(|(key, value)| (key.to_ascii_lowercase(), value)));
    }
    headers
}

/// What is to be said of who sends the spans.
pub fn resource(env: Environment<'_>) -> BTreeMap<String, String> {
    env("OTEL_RESOURCE_ATTRIBUTES").map(|text| pairs(&text)).unwrap_or_default()
}

/// `name=value,name=value`, with values percent-encoded as in W3C Baggage.
fn pairs(text: &str) -> BTreeMap<String, String> {
    let pair = |pair: &str| {
        let (key, value) = pair.split_once('=')?;
        let key = key.trim();
        (!key.is_empty()).then(|| (key.to_owned(), decoded(value.trim())))
    };
    text.split(',').filter_map(pair).collect()
}

fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while let Some(byte) = bytes.get(at) {
        let hex = bytes.get(at + 1..at + 3).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.filter(|_| *byte == b'%').and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(coded) => {
                out.push(coded);
                at += 3;
            }
            None => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn laid(variables: &[(&str, &str)]) -> (Otlp, Taken) {
        let all: BTreeMap<&str, &str> = variables.iter().copied().collect();
        let mut otlp = Otlp { endpoint: Some("http://file".into()), ..Otlp::default() };
        let taken = lay_over(&mut otlp, &|name| all.get(name).map(|v| (*v).to_owned()));
        (otlp, taken)
    }

    #[test]
    fn variables_of_traces_win_over_those_of_all_signals() {
        let (otlp, taken) = laid(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://all:4318"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "2500"),
            ("OTEL_SERVICE_NAME", "shop"),
            ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
        ]);
        assert_eq!(otlp.endpoint.as_deref(), Some("http://all:4318"));
        assert_eq!((otlp.timeout, otlp.sample, otlp.exact), (Span(2500), 0.25, false));
        assert_eq!((otlp.service_name.as_str(), taken.len()), ("shop", 4));
        let (otlp, _) = laid(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://all:4318"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://traces/here"),
        ]);
        assert_eq!((otlp.endpoint.as_deref(), otlp.exact), (Some("http://traces/here"), true));
    }

    #[test]
    fn what_switches_off_does_and_what_is_wrong_is_passed_over() {
        assert_eq!(laid(&[("OTEL_SDK_DISABLED", "TRUE")]).0.endpoint, None);
        assert_eq!(laid(&[("OTEL_TRACES_EXPORTER", "none")]).0.endpoint, None);
        assert!(laid(&[("OTEL_TRACES_EXPORTER", "otlp")]).0.endpoint.is_some());
        let grpc = ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
        let (otlp, taken) = laid(&[
            grpc,
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://all:4317"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
            ("OTEL_TRACES_SAMPLER", "traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", "7"),
        ]);
        assert_eq!(otlp, Otlp { endpoint: Some("http://file".into()), ..Otlp::default() });
        assert_eq!(taken, []);
    }

    #[test]
    fn pairs_are_percent_decoded() {
        let all = pairs("authorization=Bearer%20abc%3D, x-tenant = shop ,broken,=no,odd=50%");
        let expected = [("authorization", "Bearer abc="), ("odd", "50%"), ("x-tenant", "shop")];
        assert_eq!(all, expected.map(|(k, v)| (k.to_owned(), v.to_owned())).into());
    }
}
