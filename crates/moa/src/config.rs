//! Settings, each with the place that it came from.
//!
//! Defaults < `moa.yaml` < `.env` < environment < flags. What stands in `.env` or the environment is
//! checked by the same reader as the file.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;

use moa_core::time::Span;
use moa_spec::{Settings, Source};
use serde_json::Value as Json;

use crate::exit::{Exit, Failure, Result};
use crate::text;
use crate::traces::standard;

/// One setting that may be given outside the file too.
struct Key {
    /// Its path in the file.
    path: &'static str,
    /// Whether it is free text.
    text: bool,
    /// Takes the value over from settings that have only this one.
    take: fn(&mut Settings, Settings),
    /// The documentation, one sentence.
    about: &'static str,
}

const KEYS: [Key; 44] = [
    Key {
        path: "name",
        text: true,
        take: |to, from| to.name = from.name,
        about: "The project's name; its folder's when not given",
    },
    Key {
        path: "store",
        text: true,
        take: |to, from| to.store = from.store,
        about: "Where state is kept: sqlite = .moa/moa.db",
    },
    Key {
        path: "limits.max_running",
        text: false,
        take: |to, from| to.limits.max_running = from.limits.max_running,
        about: "Attempts at once, of all agents together",
    },
    Key {
        path: "limits.stop_grace",
        text: false,
        take: |to, from| to.limits.stop_grace = from.limits.stop_grace,
        about: "How long running attempts get when moa is stopped",
    },
    Key {
        path: "log.level",
        text: false,
        take: |to, from| to.log.level = from.log.level,
        about: "How much moa itself logs: error, warn, info, debug or trace",
    },
    Key {
        path: "log.format",
        text: false,
        take: |to, from| to.log.format = from.log.format,
        about: "How moa itself logs: text or json",
    },
    Key {
        path: "log.file",
        text: true,
        take: |to, from| to.log.file = from.log.file,
        about: "The file of it, relative to the project",
    },
    Key {
        path: "log.max_size",
        text: false,
        take: |to, from| to.log.max_size = from.log.max_size,
        about: "Bytes after which that file is moved aside, as it is each day",
    },
    Key {
        path: "log.keep",
        text: false,
        take: |to, from| to.log.keep = from.log.keep,
        about: "How long files moved aside are kept",
    },
    Key {
        path: "log.files",
        text: false,
        take: |to, from| to.log.files = from.log.files,
        about: "How many files moved aside are kept",
    },
    Key {
        path: "logs.attempt_max",
        text: false,
        take: |to, from| to.logs.attempt_max = from.logs.attempt_max,
        about: "Bytes kept of the log of one attempt, from 4KiB to 1GiB",
    },
    Key {
        path: "secrets.env_file",
        text: true,
        take: |to, from| to.secrets.env_file = from.secrets.env_file,
        about: "A file with lines of NAME=value, relative to the project",
    },
    Key {
        path: "secrets.folder",
        text: true,
        take: |to, from| to.secrets.folder = from.secrets.folder,
        about: "A folder with a file for each secret, named like it",
    },
    Key {
        path: "secrets.key_file",
        text: true,
        take: |to, from| to.secrets.key_file = from.secrets.key_file,
        about: "The file with the key of the encrypted store, outside of the project",
    },
    Key {
        path: "retention.runs.age",
        text: false,
        take: |to, from| to.retention.runs.age = from.retention.runs.age,
        about: "How long runs that succeeded are kept",
    },
    Key {
        path: "retention.runs.count",
        text: false,
        take: |to, from| to.retention.runs.count = from.retention.runs.count,
        about: "How many runs that succeeded are kept",
    },
    Key {
        path: "retention.failed.age",
        text: false,
        take: |to, from| to.retention.failed.age = from.retention.failed.age,
        about: "How long runs that failed or were cancelled are kept",
    },
    Key {
        path: "retention.failed.count",
        text: false,
        take: |to, from| to.retention.failed.count = from.retention.failed.count,
        about: "How many runs that failed or were cancelled are kept",
    },
    Key {
        path: "retention.history.age",
        text: false,
        take: |to, from| to.retention.history.age = from.retention.history.age,
        about: "How long events of ended runs are kept",
    },
    Key {
        path: "retention.logs.age",
        text: false,
        take: |to, from| to.retention.logs.age = from.retention.logs.age,
        about: "How long attempt logs of ended runs are kept",
    },
    Key {
        path: "retention.logs.size",
        text: false,
        take: |to, from| to.retention.logs.size = from.retention.logs.size,
        about: "Bytes of attempt logs of ended runs that are kept",
    },
    Key {
        path: "retention.artifacts.age",
        text: false,
        take: |to, from| to.retention.artifacts.age = from.retention.artifacts.age,
        about: "How long large outputs that only ended runs need are kept",
    },
    Key {
        path: "retention.artifacts.size",
        text: false,
        take: |to, from| to.retention.artifacts.size = from.retention.artifacts.size,
        about: "Bytes of large outputs that only ended runs need that are kept",
    },
    Key {
        path: "retention.keys.age",
        text: false,
        take: |to, from| to.retention.keys.age = from.retention.keys.age,
        about: "How long idempotency keys of runs that are gone are kept",
    },
    Key {
        path: "retention.occurrences.age",
        text: false,
        take: |to, from| to.retention.occurrences.age = from.retention.occurrences.age,
        about: "How long it is known what became of occurrences of triggers",
    },
    Key {
        path: "retention.events.age",
        text: false,
        take: |to, from| to.retention.events.age = from.retention.events.age,
        about: "How long published events are kept",
    },
    Key {
        path: "retention.events.count",
        text: false,
        take: |to, from| to.retention.events.count = from.retention.events.count,
        about: "How many published events are kept",
    },
    Key {
        path: "retention.audit.age",
        text: false,
        take: |to, from| to.retention.audit.age = from.retention.audit.age,
        about: "How long entries of the audit log are kept",
    },
    Key {
        path: "retention.audit.count",
        text: false,
        take: |to, from| to.retention.audit.count = from.retention.audit.count,
        about: "How many entries of the audit log are kept",
    },
    Key {
        path: "timezone",
        text: true,
        take: |to, from| to.timezone = from.timezone,
        about: "The zone whose days metrics, targets and health reports go by",
    },
    Key {
        path: "health.folder",
        text: true,
        take: |to, from| to.health.folder = from.health.folder,
        about: "The folder of the report that a node writes each hour, relative to the project",
    },
    Key {
        path: "health.state_file",
        text: true,
        take: |to, from| to.health.state_file = from.health.state_file,
        about: "A file that the whole state is written to each hour, relative to the project",
    },
    Key {
        path: "tracing.otlp.endpoint",
        text: true,
        take: |to, from| {
            let (to, from) = (&mut to.tracing.otlp, from.tracing.otlp);
            (to.endpoint, to.exact) = (from.endpoint, false);
        },
        about: "The collector that gets traces of runs, by OTLP over HTTP: http://127.0.0.1:4318",
    },
    Key {
        path: "tracing.otlp.service_name",
        text: true,
        take: |to, from| to.tracing.otlp.service_name = from.tracing.otlp.service_name,
        about: "The name under which the traces are shown",
    },
    Key {
        path: "tracing.otlp.sample",
        text: false,
        take: |to, from| to.tracing.otlp.sample = from.tracing.otlp.sample,
        about: "The share of the traces that is sent, from 0 to 1",
    },
    Key {
        path: "tracing.otlp.timeout",
        text: false,
        take: |to, from| to.tracing.otlp.timeout = from.tracing.otlp.timeout,
        about: "How long the collector may take to answer",
    },
    Key {
        path: "server.enabled",
        text: false,
        take: |to, from| to.server.enabled = from.server.enabled,
        about: "Whether `moa up` serves the API and the dashboard",
    },
    Key {
        path: "server.listen",
        text: true,
        take: |to, from| to.server.listen = from.server.listen,
        about: "Their address and port; port 0 = a free one",
    },
    Key {
        path: "server.hosts",
        text: false,
        take: |to, from| to.server.hosts = from.server.hosts,
        about: "Names that the server is called by, beside localhost and addresses",
    },
    Key {
        path: "server.public_url",
        text: true,
        take: |to, from| to.server.public_url = from.server.public_url,
        about: "The address that people use, where a proxy stands in front",
    },
    Key {
        path: "server.requests_per_second",
        text: false,
        take: |to, from| to.server.requests_per_second = from.server.requests_per_second,
        about: "Requests of one token or address in each second; twice as many at once",
    },
    Key {
        path: "server.tls.cert",
        text: true,
        take: |to, from| to.server.tls.cert = from.server.tls.cert,
        about: "The PEM file of their certificate: they speak TLS then",
    },
    Key {
        path: "server.tls.key",
        text: true,
        take: |to, from| to.server.tls.key = from.server.tls.key,
        about: "The PEM file of its private key, which no other user can read",
    },
    Key {
        path: "allow_root",
        text: false,
        take: |to, from| to.allow_root = from.allow_root,
        about: "Whether a node may run as root",
    },
];

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody gave it.
    Default,
    /// A line of `moa.yaml`.
    File(u32),
    /// A variable in the file of secrets.
    EnvFile(String, String),
    /// A variable of the environment.
    Environment(String),
    /// A flag of the command line.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File(line) => write!(f, "moa.yaml:{line}"),
            Origin::EnvFile(file, name) => write!(f, "{file} ({name})"),
            Origin::Environment(name) => write!(f, "environment ({name})"),
            Origin::Flag(flag) => write!(f, "flag {flag}"),
        }
    }
}

/// Settings with their origins.
#[derive(Debug, Clone)]
pub struct Config {
    /// The values.
    pub settings: Settings,
    origins: BTreeMap<String, Origin>,
}

/// One line of `moa config`.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// The setting's path.
    pub key: String,
    /// Its value.
    pub value: Json,
    /// Where it came from.
    pub origin: Origin,
}

impl Config {
    /// Lays what stands in `.env` and the environment over what the file says.
    pub fn new(file: Settings, env_file: &BTreeMap<String, String>) -> Result<Self> {
        let env = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
        Self::layered(file, env_file, env)
    }

    fn layered(
        file: Settings,
        env_file: &BTreeMap<String, String>,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Self> {
        let mut origins: BTreeMap<String, Origin> =
            file.given.iter().map(|(key, line)| (key.clone(), Origin::File(*line))).collect();
        let mut settings = file;
        let env_path = settings.secrets.env_file.clone();
        known(env_file, &env_path)?;
        for (key, name) in standard::lay_over(&mut settings.tracing.otlp, &environment) {
            origins.insert(key.into(), Origin::Environment(name.into()));
        }
        for key in &KEYS {
            let name = variable(key.path);
            let given = match environment(&name) {
                Some(value) => Some((value, Origin::Environment(name))),
                None => env_file
                    .get(&name)
                    .map(|value| (value.clone(), Origin::EnvFile(env_path.clone(), name))),
            };
            if let Some((value, origin)) = given {
                (key.take)(&mut settings, read(key, &value, &origin)?);
                origins.insert(key.path.into(), origin);
            }
        }
        Ok(Self { settings, origins })
    }

    /// Lays a flag over everything.
    pub fn stop_grace_from_flag(&mut self, grace: Option<Span>) {
        if let Some(grace) = grace {
            self.settings.limits.stop_grace = grace;
            self.origins.insert("limits.stop_grace".into(), Origin::Flag("--drain"));
        }
    }

    /// Lays a flag over everything.
    pub fn listen_from_flag(&mut self, listen: Option<SocketAddr>) {
        if let Some(listen) = listen {
            self.settings.server.listen = listen;
            self.origins.insert("server.listen".into(), Origin::Flag("--listen"));
        }
    }

    /// Whether somebody gave a setting.
    pub fn is_given(&self, key: &str) -> bool {
        self.origins.contains_key(key)
    }

    /// Where a setting came from. What stands under a name of the file is all of it.
    fn origin(&self, key: &str) -> Origin {
        let named = |section: &str| {
            let name = key.strip_prefix(section)?.split('.').next()?;
            let under = format!("{section}{name}.");
            let same =
                |given: &&String| given.starts_with(&under) || **given == under[..under.len() - 1];
            self.origins.iter().find(|(given, _)| same(given)).map(|(_, origin)| origin)
        };
        let sections = ["metrics.", "targets.", "notify.channels."];
        let found = self.origins.get(key).or_else(|| sections.into_iter().find_map(named));
        found.cloned().unwrap_or(Origin::Default)
    }

    /// Every setting, in order of its path: as the API lists them too.
    pub fn lines(&self) -> Vec<Line> {
        let mut lines = self.in_order_of_file();
        lines.sort_by(|one, other| one.key.cmp(&other.key));
        lines
    }

    /// Every setting, in the order in which people write them.
    fn in_order_of_file(&self) -> Vec<Line> {
        let mut lines = Vec::new();
        let values = serde_json::to_value(&self.settings).unwrap_or_default();
        flatten("", &values, &mut |key, value| {
            let origin = self.origin(key);
            lines.push(Line { key: key.into(), value: shown(key, value), origin });
        });
        lines
    }
}

/// Variables of moa that are no settings of a project.
const OWN: [&str; 5] = ["MOA_PROJECT", "MOA_URL", "MOA_TOKEN", "MOA_CONTEXT", "MOA_CA_CERT"];

/// The variable that gives a setting: `log.level` is `MOA_LOG_LEVEL`.
fn variable(path: &str) -> String {
    format!("MOA_{}", path.replace('.', "_").to_ascii_uppercase())
}

/// Refuses variables of `.env` that look like a setting and are none: one that is misspelt would
/// silently not hold. Those of the environment may be meant for a program that moa starts.
fn known(env_file: &BTreeMap<String, String>, path: &str) -> Result<()> {
    let settings: Vec<String> = KEYS.iter().map(|key| variable(key.path)).collect();
    let is_odd = |name: &&String| {
        let is_own = OWN.contains(&name.as_str()) || name.starts_with("MOA_SECRET_");
        name.starts_with("MOA_") && !is_own && !settings.contains(name)
    };
    for odd in env_file.keys().filter(is_odd) {
        if let Some(near) = text::nearest(odd, settings.iter().map(String::as_str)) {
            let text = format!("{odd} in {path} is no setting of moa");
            return Err(Failure::new(Exit::Invalid, text).hint(format!("did you mean {near}?")));
        }
    }
    Ok(())
}

/// Reads one value as if it stood in the file.
fn read(key: &Key, value: &str, origin: &Origin) -> Result<Settings> {
    let value = match key.text || value.contains(['\n', '#', ':']) {
        true => Json::from(value).to_string(),
        // As people write it where there is nothing but text.
        false if is_switch(key) && value == "1" => "true".to_owned(),
        false if is_switch(key) && value == "0" => "false".to_owned(),
        false if key.path == "server.hosts" && !value.starts_with('[') => format!("[{value}]"),
        false => value.to_owned(),
    };
    let mut yaml = String::new();
    for (depth, name) in key.path.split('.').enumerate() {
        yaml.push_str(&format!("\n{}{name}:", "  ".repeat(depth)));
    }
    yaml.push_str(&format!(" {value}\n"));
    let (settings, diagnostics) = moa_spec::parse_settings(&Source::new(origin.to_string(), yaml));
    settings.ok_or_else(|| {
        let first = diagnostics.iter().find(|d| d.is_error());
        let why = first.map_or("it isn't understood", |d| d.message.as_str());
        let failure = Failure::new(Exit::Invalid, format!("{} from {origin}: {why}", key.path));
        match first.and_then(|d| d.help.clone()) {
            Some(help) => failure.hint(help),
            None => failure,
        }
    })
}

fn is_switch(key: &Key) -> bool {
    matches!(key.path, "allow_root" | "server.enabled")
}

fn flatten(prefix: &str, value: &Json, found: &mut impl FnMut(&str, &Json)) {
    match value {
        Json::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
                flatten(&path, value, found);
            }
        }
        Json::Object(_) => {}
        value => found(prefix, value),
    }
}

/// A value as people write it.
fn shown(key: &str, value: &Json) -> Json {
    match (key, value.as_u64()) {
        (key, Some(bytes)) if is_size(key) => size(bytes).into(),
        _ => value.clone(),
    }
}

/// A value as it is told over the network. An address may hold a password or a token, who logs in
/// somewhere is nobody's business: of the first the host is left, of the second nothing.
pub fn public(key: &str, value: Json) -> Json {
    let last = key.rsplit('.').next().unwrap_or(key);
    match value {
        Json::Array(_) | Json::String(_) if is_private(last) => "(not shown)".into(),
        Json::String(text) => match text.split_once("://") {
            Some((scheme, rest)) => {
                let host = rest.split(['/', '?', '#']).next().unwrap_or(rest);
                let bare = host.rsplit('@').next().unwrap_or(host);
                let more = if bare == rest { "" } else { "/(not shown)" };
                format!("{scheme}://{bare}{more}").into()
            }
            None => Json::String(text),
        },
        Json::Array(all) => all.into_iter().map(|value| public(key, value)).collect(),
        other => other,
    }
}

fn is_private(name: &str) -> bool {
    name == "login" || ["secret", "password", "token"].iter().any(|word| name.contains(word))
}

fn is_size(key: &str) -> bool {
    let is_of_rule = key.starts_with("alerts.rules.") && key.ends_with(".free");
    key.ends_with("_size") || key.ends_with(".size") || key == "logs.attempt_max" || is_of_rule
}

/// Bytes in the largest unit that leaves no rest.
fn size(bytes: u64) -> String {
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    let fits = units.into_iter().find(|(bits, _)| bytes > 0 && bytes.trailing_zeros() >= *bits);
    fits.map_or_else(|| bytes.to_string(), |(bits, unit)| format!("{}{unit}", bytes >> bits))
}

/// A settings file that says what holds without one.
pub fn default_file() -> String {
    let config = Config { settings: Settings::default(), origins: BTreeMap::new() };
    let mut out = String::from("# The settings of a moa project, with their defaults.\n");
    let mut open: Vec<&str> = Vec::new();
    for line in config.in_order_of_file() {
        let Some(key) = KEYS.iter().find(|k| k.path == line.key) else { continue };
        let mut sections: Vec<&str> = key.path.split('.').collect();
        let name = sections.pop().unwrap_or(key.path);
        let same = open.iter().zip(&sections).take_while(|(a, b)| a == b).count();
        if same == 0 && (!sections.is_empty() || open != sections) {
            out.push('\n');
        }
        for (depth, section) in sections.iter().enumerate().skip(same) {
            out.push_str(&format!("{}{section}:\n", "  ".repeat(depth)));
        }
        let indent = "  ".repeat(sections.len());
        open = sections;
        let value = match &line.value {
            Json::String(text) => text.clone(),
            Json::Null => String::new(),
            other => other.to_string(),
        };
        let comment = if value.is_empty() { "# " } else { "" };
        out.push_str(&format!(
            "{indent}# {} ({})\n{indent}{comment}{name}: {value}\n",
            key.about,
            variable(key.path)
        ));
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn settings(text: &str) -> Settings {
        moa_spec::parse_settings(&Source::new("moa.yaml", text)).0.expect("it is right")
    }

    #[test]
    fn the_environment_wins_over_env_file_and_file() {
        let file = settings("limits:\n  max_running: 2\n  stop_grace: 1m\nlog: {level: warn}\n");
        let env_file = BTreeMap::from([
            ("MOA_LOG_LEVEL".to_owned(), "debug".to_owned()),
            ("MOA_LIMITS_STOP_GRACE".to_owned(), "2m".to_owned()),
        ]);
        let env = |name: &str| (name == "MOA_LOG_LEVEL").then(|| "trace".to_owned());
        let config = Config::layered(file, &env_file, env).expect("it is right");
        let line = |key: &str| {
            config.lines().into_iter().find(|l| l.key == key).map(|l| (l.value, l.origin))
        };
        assert_eq!(line("limits.max_running"), Some((2.into(), Origin::File(2))));
        assert_eq!(
            line("log.level"),
            Some(("trace".into(), Origin::Environment("MOA_LOG_LEVEL".into())))
        );
        let grace = Origin::EnvFile(".env".into(), "MOA_LIMITS_STOP_GRACE".into());
        assert_eq!(line("limits.stop_grace"), Some(("2m".into(), grace)));
        assert_eq!(line("store"), Some(("sqlite".into(), Origin::Default)));
    }

    #[test]
    fn rules_and_times_are_shown_as_people_write_them() {
        let file = "notify: {channels: {hook: {webhook: {url: 'http://x', timeout: 5s}}}}\n\
                    alerts:\n  group: 90s\n  rules:\n    disk: {free: 5GiB, for: 10m}\n    late: {}\n";
        let config = Config { settings: settings(file), origins: BTreeMap::new() };
        let given = config.settings.given.clone();
        let origins = given.into_iter().map(|(key, line)| (key, Origin::File(line))).collect();
        let lines = Config { origins, ..config }.lines();
        let of = |start: &str| -> Vec<String> {
            let lines = lines.iter().filter(|line| line.key.starts_with(start));
            lines.map(|l| format!("{} {} {}", l.key, l.value, l.origin)).collect()
        };
        assert_eq!(
            of("alerts.rules.disk."),
            [
                "alerts.rules.disk.enabled true default",
                "alerts.rules.disk.for \"10m\" moa.yaml:5",
                "alerts.rules.disk.free \"5GiB\" moa.yaml:5",
                "alerts.rules.disk.severity \"critical\" default",
            ],
            "nothing that the rule doesn't look at"
        );
        let failing = of("alerts.rules.failure_rate.");
        assert!(failing.contains(&"alerts.rules.failure_rate.window \"1h\" default".into()));
        assert_eq!(failing.len(), 6, "{failing:?}");
        assert_eq!(of("alerts.rules.late.after"), ["alerts.rules.late.after \"5m\" default"]);
        assert_eq!(of("alerts.group"), ["alerts.group \"1m30s\" moa.yaml:3"]);
        let timeout = of("notify.channels.hook.webhook.timeout");
        assert_eq!(timeout, ["notify.channels.hook.webhook.timeout \"5s\" moa.yaml:1"]);
        // Each of them can be written so.
        let yaml: Vec<String> = lines
            .iter()
            .filter_map(|line| {
                let key = line.key.strip_prefix("alerts.rules.")?;
                let (rule, key) = key.split_once('.')?;
                Some(format!("alerts: {{rules: {{{rule}: {{{key}: {}}}}}}}\n", line.value))
            })
            .collect();
        assert!(yaml.len() > 40, "{yaml:?}");
        yaml.iter().for_each(|yaml| drop(settings(yaml)));
    }

    #[test]
    fn a_wrong_value_says_where_it_stands() {
        let env = |name: &str| (name == "MOA_LIMITS_MAX_RUNNING").then(|| "many".to_owned());
        let error = Config::layered(Settings::default(), &BTreeMap::new(), env);
        let error = error.expect_err("many is no number");
        assert_eq!(error.exit, Exit::Invalid);
        assert!(error.message.contains("MOA_LIMITS_MAX_RUNNING"), "{}", error.message);
    }

    #[test]
    fn a_variable_that_is_no_setting_is_not_passed_over() {
        let env_file = BTreeMap::from([("MOA_LOG_LVL".to_owned(), "debug".to_owned())]);
        let error = Config::layered(Settings::default(), &env_file, |_| None);
        let error = error.expect_err("there is no such setting");
        assert_eq!(error.message, "MOA_LOG_LVL in .env is no setting of moa");
        assert_eq!(error.hints, ["did you mean MOA_LOG_LEVEL?"]);
        for name in ["API_KEY", "MOA_PROJECT", "MOA_SECRET_FILE", "MOA_SHOP_API_KEY_OF_MINE"] {
            let other = BTreeMap::from([(name.to_owned(), "s".to_owned())]);
            assert!(Config::layered(Settings::default(), &other, |_| None).is_ok(), "{name}");
        }
    }

    #[test]
    fn sizes_are_shown_as_people_write_them() {
        assert_eq!([10 << 20, 3 << 10, 1000, 0].map(size), ["10MiB", "3KiB", "1000", "0"]);
        let root = |name: &str| (name == "MOA_ALLOW_ROOT").then(|| "1".to_owned());
        let config = Config::layered(Settings::default(), &BTreeMap::new(), root);
        assert!(config.expect("1 is yes").settings.allow_root);
    }

    #[test]
    fn the_default_file_is_the_default() {
        let mut settings = settings(&default_file());
        settings.given.clear();
        assert_eq!(settings, Settings::default());
    }

    #[test]
    fn what_an_address_may_hold_is_not_told() {
        let told = |key: &str, value: Json| public(key, value);
        let hook = "notify.channels.hook.webhook.url";
        assert_eq!(
            told(hook, json!("https://ann:pw@hooks.example/T0/x?key=1")),
            "https://hooks.example/(not shown)"
        );
        assert_eq!(told("server.public_url", json!("https://moa.example")), "https://moa.example");
        assert_eq!(told("notify.channels.mail.mail.login", json!(["ann", "pw"])), "(not shown)");
        assert_eq!(told("log.level", json!("info")), "info");
    }
}
