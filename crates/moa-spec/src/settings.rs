//! The settings file `moa.yaml`.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use moa_core::ids::Name;
use moa_core::limits::{ATTEMPT_LOG_BYTES_DEFAULT, ATTEMPT_LOG_BYTES_MAX, ATTEMPT_LOG_BYTES_MIN};
use moa_core::schedule::Zone;
use moa_core::time::Span;
use serde::Serialize;

use crate::access::{JwtIssuer, Oidc};
use crate::alerts::Alerts;
use crate::codes;
use crate::diagnostic::Diagnostic;
use crate::metrics::{Health, Metric, Target};
use crate::model::settings::{LogFile, ServerFile, SettingsFile, SettingsLimits};
pub use crate::model::settings::{LogFormat, LogLevel};
use crate::notify::Notify;
use crate::read::{At, Cx, Field};
use crate::retention::Retention;
use crate::scalar::shown_span;
use crate::source::Source;
use crate::tracing::Tracing;
use crate::webhooks::Subscription;
use crate::yaml::{self, Node};

/// Settings of a project, with defaults where the file says nothing.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Settings {
    /// The project's name; `None` = its folder's.
    pub name: Option<String>,
    /// Where state is kept.
    pub store: String,
    /// How much at once.
    pub limits: Limits,
    /// What moa itself logs.
    pub log: Log,
    /// What attempts write.
    pub logs: Logs,
    /// Where notifications go.
    pub notify: Notify,
    /// What is looked at, and who is told how.
    pub alerts: Alerts,
    /// Who is called when something happens, by name.
    pub webhooks: BTreeMap<Name, Subscription>,
    /// Where secrets come from.
    pub secrets: Secrets,
    /// How long what has ended is kept.
    pub retention: Retention,
    /// The zone whose days metrics, targets and health reports go by.
    pub timezone: Zone,
    /// Counters by name.
    pub metrics: BTreeMap<Name, Metric>,
    /// What is wanted of counters, by their names.
    pub targets: BTreeMap<Name, Target>,
    /// The report that a node writes each hour.
    pub health: Health,
    /// Traces of runs.
    pub tracing: Tracing,
    /// The API and the dashboard.
    pub server: Server,
    /// Whether a node may run as root.
    pub allow_root: bool,
    /// The keys that the file gives (`limits.max_running`), with their lines.
    #[serde(skip)]
    pub given: BTreeMap<String, u32>,
}

/// How much at once.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Limits {
    /// Attempts at once, of all agents together.
    pub max_running: u32,
    /// How long running attempts get when moa is stopped.
    #[serde(serialize_with = "shown_span")]
    pub stop_grace: Span,
}

/// What moa itself logs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Log {
    /// How much.
    pub level: LogLevel,
    /// How.
    pub format: LogFormat,
    /// The file, relative to the project.
    pub file: String,
    /// Bytes after which it is moved aside.
    pub max_size: u64,
    /// How long files moved aside are kept; `None` = for good.
    #[serde(serialize_with = "crate::retention::shown_age")]
    pub keep: Option<Span>,
    /// How many files moved aside are kept.
    pub files: u32,
}

/// What attempts write.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Logs {
    /// Bytes kept of one attempt.
    pub attempt_max: u64,
}

/// Where secrets come from.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Secrets {
    /// The file with lines of `NAME=value`, relative to the project.
    pub env_file: String,
    /// The folder with a file for each secret.
    pub folder: String,
    /// The file with the key of the encrypted store.
    pub key_file: Option<String>,
}

impl Default for Secrets {
    fn default() -> Self {
        Self { env_file: ".env".into(), folder: "/run/secrets".into(), key_file: None }
    }
}

/// The API and the dashboard.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Server {
    /// Whether they are served.
    pub enabled: bool,
    /// Address and port; port 0 = a free one.
    pub listen: SocketAddr,
    /// Names that it is called by, beside `localhost` and addresses.
    pub hosts: Vec<String>,
    /// The address that people use, where a proxy stands in front.
    pub public_url: Option<String>,
    /// Requests of one token, or of one address without a token, in each second; twice as many at once.
    pub requests_per_second: u32,
    /// TLS of its own.
    pub tls: Tls,
    /// Whose JWTs are believed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub jwt: Vec<JwtIssuer>,
    /// Sign-in with a provider.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oidc: Option<Oidc>,
}

/// TLS of the API and the dashboard: both files, or none.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Tls {
    /// The PEM file of the certificate (chain), relative to the project.
    pub cert: Option<String>,
    /// The PEM file of its private key.
    pub key: Option<String>,
}

impl Default for Server {
    fn default() -> Self {
        let listen = SocketAddr::from(([127, 0, 0, 1], 3020));
        Self {
            enabled: true,
            listen,
            hosts: Vec::new(),
            public_url: None,
            requests_per_second: 200,
            tls: Tls::default(),
            jwt: Vec::new(),
            oidc: None,
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self {
            level: LogLevel::Info,
            format: LogFormat::Text,
            file: ".moa/log/moa.log".into(),
            max_size: 10 << 20,
            keep: Some(Span::minutes(14 * 24 * 60)),
            files: 30,
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            name: None,
            store: "sqlite".into(),
            limits: Limits { max_running: 64, stop_grace: Span::minutes(5) },
            log: Log::default(),
            logs: Logs { attempt_max: ATTEMPT_LOG_BYTES_DEFAULT },
            notify: Notify::default(),
            alerts: Alerts::default(),
            webhooks: BTreeMap::new(),
            secrets: Secrets::default(),
            retention: Retention::default(),
            timezone: Zone::utc(),
            metrics: BTreeMap::new(),
            targets: BTreeMap::new(),
            health: Health::default(),
            tracing: Tracing::default(),
            server: Server::default(),
            allow_root: false,
            given: BTreeMap::new(),
        }
    }
}

/// Reads the settings file and reports all its mistakes, ordered by place. An empty file is fine.
/// The settings are given when there is no error.
pub fn parse_settings(source: &Source) -> (Option<Settings>, Vec<Diagnostic>) {
    let mut cx = Cx::new(source);
    if yaml::is_blank(&source.text) {
        return (Some(Settings::default()), Vec::new());
    }
    let settings = yaml::parse(&mut cx).and_then(|root| {
        let file = SettingsFile::read(&root, &mut cx)?;
        let mut settings = settings(&file, &mut cx);
        given(&root, "", &mut settings.given, &cx);
        Some(settings)
    });
    let failed = cx.failed();
    (settings.filter(|_| !failed), cx.finish())
}

/// Notes every key that holds a value, with its line.
fn given(node: &Node, prefix: &str, keys: &mut BTreeMap<String, u32>, cx: &Cx) {
    if let yaml::Data::Map(entries) = &node.data {
        for (key, value) in entries {
            let path = format!("{prefix}{}", key.text);
            match value.data {
                yaml::Data::Map(_) => given(value, &format!("{path}."), keys, cx),
                _ => {
                    keys.insert(path, cx.line(key.span.start));
                }
            }
        }
    }
}

fn settings(file: &SettingsFile, cx: &mut Cx) -> Settings {
    let name_of = file.name.as_ref().map(|n| n.value.0.clone());
    let mut settings = Settings { name: name_of, ..Settings::default() };
    if let Some(store) = file.store.as_ref().filter(|store| store.value != "sqlite") {
        let message = format!("{:?} is not a store of this version", store.value);
        let d = cx.error(codes::WRONG_VALUE, store.span.clone(), message);
        d.help("write `store: sqlite`, or leave the key out");
    }
    if let Some(limits) = &file.limits {
        self::limits(limits, &mut settings, cx);
    }
    if let Some(log) = &file.log {
        self::log(log, &mut settings.log, cx);
    }
    if let Some(size) = file.logs.as_ref().and_then(|logs| logs.attempt_max.as_ref()) {
        if !(ATTEMPT_LOG_BYTES_MIN..=ATTEMPT_LOG_BYTES_MAX).contains(&size.value.0) {
            let message = "what is kept of an attempt's log is from 4KiB to 1GiB".into();
            cx.error(codes::WRONG_VALUE, size.span.clone(), message).help("write 10MiB, say");
        }
        settings.logs.attempt_max = size.value.0;
    }
    if let Some(notify) = &file.notify {
        crate::notify::take(notify, &mut settings.notify, cx);
    }
    let Settings { notify, webhooks, .. } = &mut settings;
    crate::webhooks::take(file, notify, webhooks, cx);
    if let Some(from) = &file.secrets {
        let Secrets { env_file, folder, key_file } = &mut settings.secrets;
        *env_file = from.env_file.as_ref().map_or(env_file.clone(), |at| at.value.clone());
        *folder = from.folder.as_ref().map_or(folder.clone(), |at| at.value.clone());
        *key_file = from.key_file.as_ref().map(|at| at.value.clone());
    }
    if let Some(tracing) = &file.tracing {
        crate::tracing::take(tracing, &mut settings.tracing, cx);
    }
    if let Some(server) = &file.server {
        self::server(server, &mut settings.server, cx);
    }
    if let Some(allow) = &file.allow_root {
        settings.allow_root = allow.value;
    }
    if let Some(retention) = &file.retention {
        crate::retention::take(retention, &mut settings.retention);
    }
    if let Some(zone) = &file.timezone {
        settings.timezone.clone_from(&zone.value.0);
    }
    crate::metrics::take(file, &mut settings, cx);
    if let Some(alerts) = &file.alerts {
        let channels = settings.notify.channels.keys().cloned().collect();
        let zone = settings.timezone.clone();
        crate::alerts::take(alerts, &mut settings.alerts, &channels, &zone, cx);
    }
    settings
}

fn server(file: &ServerFile, server: &mut Server, cx: &mut Cx) {
    server.enabled = file.enabled.as_ref().map_or(server.enabled, |enabled| enabled.value);
    if let Some(listen) = &file.listen {
        match listen.value.parse() {
            Ok(address) => server.listen = address,
            Err(_) => {
                let message = format!("{:?} is not an address with a port", listen.value);
                let d = cx.error(codes::WRONG_VALUE, listen.span.clone(), message);
                d.help("write 127.0.0.1:3020, or 0.0.0.0:3020 for all interfaces");
            }
        }
    }
    for host in file.hosts.iter().flatten() {
        let fits = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        if host.value.is_empty() || !host.value.chars().all(fits) {
            let message = format!("{:?} is not the name of a host", host.value);
            let d = cx.error(codes::WRONG_VALUE, host.span.clone(), message);
            d.help("write it without a port: moa.example.com");
        }
        server.hosts.push(host.value.clone());
    }
    let issuers = file.jwt.iter().flatten();
    server.jwt = issuers.filter_map(|issuer| crate::access::jwt(issuer, cx)).collect();
    server.oidc = file.oidc.as_ref().and_then(|oidc| crate::access::oidc(oidc, cx));
    if let Some(tls) = &file.tls {
        let path = |path: &Option<At<String>>| path.as_ref().map(|path| path.value.clone());
        server.tls = Tls { cert: path(&tls.cert), key: path(&tls.key) };
    }
    if let Some(url) = &file.public_url {
        let rest = ["https://", "http://"].iter().find_map(|s| url.value.strip_prefix(s));
        let fits = |c: char| c.is_ascii_graphic() && !"/?#@".contains(c);
        let host = rest.map(|rest| rest.trim_end_matches('/'));
        if host.is_none_or(|host| host.is_empty() || !host.chars().all(fits)) {
            let message = format!("{:?} is not the address of a server", url.value);
            let d = cx.error(codes::WRONG_VALUE, url.span.clone(), message);
            d.help("write https://moa.example.com; it has no path");
        }
        server.public_url = Some(url.value.trim_end_matches('/').to_owned());
    }
    if let Some(rate) = &file.requests_per_second {
        if !(1..=100_000).contains(&rate.value) {
            let message = format!("expected a number from 1 to 100000, found {}", rate.value);
            cx.error(codes::WRONG_VALUE, rate.span.clone(), message);
        }
        server.requests_per_second = rate.value;
    }
}

fn log(file: &LogFile, log: &mut Log, cx: &mut Cx) {
    log.level = file.level.as_ref().map_or(log.level, |level| level.value);
    log.format = file.format.as_ref().map_or(log.format, |format| format.value);
    if let Some(path) = &file.file {
        writable(path, "logs/moa.log", "log", cx);
        log.file.clone_from(&path.value);
    }
    if let Some(size) = &file.max_size {
        if size.value.0 < 4096 {
            let message = "a log of less than 4KiB is of no use".into();
            cx.error(codes::WRONG_VALUE, size.span.clone(), message).help("write 10MiB");
        }
        log.max_size = size.value.0;
    }
    log.keep = file.keep.as_ref().map_or(log.keep, |keep| keep.value.0.map(|age| age.0));
    log.files = file.files.as_ref().map_or(log.files, |files| files.value);
}

fn limits(file: &SettingsLimits, settings: &mut Settings, cx: &mut Cx) {
    if let Some(running) = &file.max_running {
        if running.value == 0 || running.value > 10_000 {
            let message = format!("expected a number from 1 to 10000, found {}", running.value);
            cx.error(codes::WRONG_VALUE, running.span.clone(), message);
        }
        settings.limits.max_running = running.value;
    }
    if let Some(grace) = &file.stop_grace {
        settings.limits.stop_grace = grace.value.0;
    }
}

/// Folders and files of a project that moa writes to only as what they are.
const OWN: [&str; 5] = ["moa.yaml", "workflows", "agents", "calendars", ".env"];

/// Reports a path that moa is not to write to: one outside of the project, and one of what the
/// project is made of or of its state. `room`: a folder in the state that is there for it.
pub(crate) fn writable(path: &At<String>, example: &str, room: &str, cx: &mut Cx) {
    inside(path, example, cx);
    let plain: Vec<&str> =
        path.value.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    let own = plain.first().is_some_and(|first| OWN.contains(first));
    let state = plain.first() == Some(&".moa") && (room.is_empty() || plain.get(1) != Some(&room));
    if own || state || plain.is_empty() {
        let what = if state { "of moa's own state" } else { "of the project itself" };
        let message = format!("{:?} is {what}: nothing else may be written there", path.value);
        let d = cx.error(codes::WRONG_VALUE, path.span.clone(), message);
        d.cause("what is there would be destroyed").help(format!("write {example}, say"));
    }
}

/// Reports a path that is not inside the project.
pub(crate) fn inside(path: &At<String>, example: &str, cx: &mut Cx) {
    let text = &path.value;
    if text.is_empty() || text.starts_with('/') || text.split('/').any(|part| part == "..") {
        let message = format!("{text:?} is not a path inside the project");
        let d = cx.error(codes::WRONG_VALUE, path.span.clone(), message);
        d.help(format!("write a path relative to the project, such as {example}"));
    }
}
