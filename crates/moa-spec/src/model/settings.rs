//! The settings file `moa.yaml`, key by key.

use crate::choice;
use crate::model::access::{JwtFile, OidcFile};
use crate::model::alerts::AlertsFile;
use crate::model::notify::{NotifyFile, Secretive};
use crate::model::schedule::ZoneText;
use crate::model::tracing::TracingFile;
use crate::read::At;
use crate::record;
use crate::retention::UpTo;
use crate::scalar::{Duration, Entries, Expr, Label, Many, NameText, Size};

record! {
    /// Settings of a project.
    pub struct SettingsFile as "the settings file" {
        /// The project's name; its folder's when not given.
        name: Option<At<Label>>,
        /// Where state is kept: `sqlite` (`.moa/moa.db`).
        store: Option<At<String>>,
        /// How much at once.
        limits: Option<SettingsLimits>,
        /// What moa itself logs.
        log: Option<LogFile>,
        /// What attempts write.
        logs: Option<LogsFile>,
        /// Where notifications go.
        notify: Option<NotifyFile>,
        /// What is looked at, and who is told how.
        alerts: Option<AlertsFile>,
        /// Who is called when something happens, by name.
        webhooks: Option<Entries<SubscriptionFile>>,
        /// Where secrets come from.
        secrets: Option<SecretsFile>,
        /// How long what has ended is kept.
        retention: Option<RetentionFile>,
        /// The zone whose days metrics, targets and health reports go by: a name of the IANA
        /// database; UTC when not given.
        timezone: Option<At<ZoneText>>,
        /// Counters of what the work brings, by name.
        metrics: Option<Entries<MetricFile>>,
        /// What is wanted of counters, by their names.
        targets: Option<Entries<TargetFile>>,
        /// The report that a node writes each hour.
        health: Option<HealthFile>,
        /// Traces of runs, for whoever collects them.
        tracing: Option<TracingFile>,
        /// The API and the dashboard.
        server: Option<ServerFile>,
        /// Whether a node may run as root; false when not given.
        allow_root: Option<At<bool>>,
    }

    /// A receiver that is called when something happens: a POST with JSON, signed as Standard Webhooks
    /// are.
    pub struct SubscriptionFile as "a webhook" {
        /// The address: a text, or `${{ secrets.NAME }}`.
        url: At<Secretive>,
        /// What it is signed with: `${{ secrets.NAME }}`; not signed when not given.
        secret: Option<At<Secretive>>,
        /// Types of events: `run.failed`, `run.*`; the ends of runs when not given.
        types: Option<Many<At<String>>>,
        /// Only of runs of these workflows.
        workflows: Option<Many<At<NameText>>>,
        /// Whether it is called; true when not given. What happens meanwhile is not made up for.
        active: Option<At<bool>>,
        /// How long the receiver may take to answer; 10s when not given.
        timeout: Option<At<Duration>>,
    }

    /// A counter: of runs that succeed, or, with `step`, `agent` or `action`, of steps that do.
    pub struct MetricFile as "a metric" {
        /// Only runs of this workflow, and their steps.
        workflow: Option<At<NameText>>,
        /// Only steps with this id.
        step: Option<At<Label>>,
        /// Only steps of this agent.
        agent: Option<At<NameText>>,
        /// Only steps with this action.
        action: Option<At<Label>>,
        /// Expression over `output` and `params`; false = doesn't count.
        when: Option<Expr>,
        /// Expression over `output` and `params`: how much it counts; 1 when not given.
        value: Option<Expr>,
    }

    /// What is wanted of a counter.
    pub struct TargetFile as "a target" {
        /// Each day (of the project's `timezone`).
        day: Option<BoundsFile>,
        /// Each month.
        month: Option<BoundsFile>,
        /// Each year.
        year: Option<BoundsFile>,
        /// The channel that is told when a period is heading below its minimum.
        notify: Option<At<NameText>>,
    }

    /// What is wanted of a counter in a period.
    pub struct BoundsFile as "the bounds of a target" {
        /// Less is too little.
        minimum: Option<At<f64>>,
        /// As much as is wanted.
        target: Option<At<f64>>,
        /// More is too much.
        maximum: Option<At<f64>>,
    }

    /// The report that a node writes each hour.
    pub struct HealthFile as "`health`" {
        /// The folder of `health_YYYYMMDD.json`, relative to the project; `.moa/health` when not given.
        folder: Option<At<String>>,
        /// A file that the whole state is written to each hour, relative to the project.
        state_file: Option<At<String>>,
    }

    /// How long what has ended is kept. What is reached first counts.
    pub struct RetentionFile as "`retention`" {
        /// Runs that succeeded; 30d and 10000 when not given.
        runs: Option<ByAgeAndCountFile>,
        /// Runs that failed or were cancelled; 90d and 10000 when not given.
        failed: Option<ByAgeAndCountFile>,
        /// Events of ended runs, all but the last; 90d when not given.
        history: Option<ByAgeFile>,
        /// Attempt logs of ended runs; 30d and 2GiB when not given.
        logs: Option<ByAgeAndSizeFile>,
        /// Large outputs that only ended runs need; 30d and 10GiB when not given.
        artifacts: Option<ByAgeAndSizeFile>,
        /// Idempotency keys of runs that are gone; 90d when not given.
        keys: Option<ByAgeFile>,
        /// What became of occurrences of triggers whose run is gone; 90d when not given.
        occurrences: Option<ByAgeFile>,
        /// Published events, from when they were; 90d and 100000 when not given.
        events: Option<ByAgeAndCountFile>,
        /// Entries of the audit log, from when they were written; all when not given.
        audit: Option<ByAgeAndCountFile>,
    }

    /// Kept up to an age.
    pub struct ByAgeFile as "a limit by age" {
        /// Time since the end of the run, or `unlimited`.
        age: Option<At<UpTo<Duration>>>,
    }

    /// Kept up to an age and a number.
    pub struct ByAgeAndCountFile as "a limit by age and count" {
        /// Time since the end of the run, or `unlimited`.
        age: Option<At<UpTo<Duration>>>,
        /// How many, the newest first, or `unlimited`.
        count: Option<At<UpTo<u32>>>,
    }

    /// Kept up to an age and a size.
    pub struct ByAgeAndSizeFile as "a limit by age and size" {
        /// Time since the end of the run, or `unlimited`.
        age: Option<At<UpTo<Duration>>>,
        /// Bytes of all together, the newest first, or `unlimited`.
        size: Option<At<UpTo<Size>>>,
    }

    /// How much at once.
    pub struct SettingsLimits as "`limits`" {
        /// Attempts at once, of all agents together; 64 when not given.
        max_running: Option<At<u32>>,
        /// How long running attempts get when moa is stopped; 5m when not given.
        stop_grace: Option<At<Duration>>,
    }

    /// What moa itself logs.
    pub struct LogFile as "`log`" {
        /// How much: `error`, `warn`, `info`, `debug` or `trace`.
        level: Option<At<LogLevel>>,
        /// How: `text` or `json`.
        format: Option<At<LogFormat>>,
        /// The file, relative to the project; `.moa/log/moa.log` when not given.
        file: Option<At<String>>,
        /// Bytes after which it is moved aside, as it is each day; 10MiB when not given.
        max_size: Option<At<Size>>,
        /// How long files moved aside are kept, or `unlimited`; 14d when not given.
        keep: Option<At<UpTo<Duration>>>,
        /// How many files moved aside are kept; 30 when not given.
        files: Option<At<u32>>,
    }

    /// What attempts write.
    pub struct LogsFile as "`logs`" {
        /// Bytes kept of one attempt, half of its beginning and half of its end.
        attempt_max: Option<At<Size>>,
    }

    /// The API and the dashboard.
    pub struct ServerFile as "`server`" {
        /// Whether `moa up` serves them; true when not given.
        enabled: Option<At<bool>>,
        /// Address and port; `127.0.0.1:3020` when not given. Port 0 = a free one.
        listen: Option<At<String>>,
        /// Names that it is called by, beside `localhost` and addresses.
        hosts: Option<Vec<At<String>>>,
        /// The address that people use, where a proxy stands in front: `https://moa.example.com`.
        public_url: Option<At<String>>,
        /// Requests that one token, and one address without a token, may make in each second, and twice
        /// as many at once; 200 when not given.
        requests_per_second: Option<At<u32>>,
        /// TLS of its own; plain HTTP when not given.
        tls: Option<TlsFile>,
        /// Whose JWTs are believed, beside moa's own tokens.
        jwt: Option<Vec<JwtFile>>,
        /// Sign-in of browsers with an OpenID Connect provider.
        oidc: Option<OidcFile>,
    }

    /// TLS of the API and the dashboard.
    pub struct TlsFile as "`tls`" {
        /// The PEM file of the certificate and those between it and the root, relative to the project.
        cert: Option<At<String>>,
        /// The PEM file of its private key, which no other user can read.
        key: Option<At<String>>,
    }

    /// Where secrets come from.
    pub struct SecretsFile as "`secrets`" {
        /// A file with lines of `NAME=value`, relative to the project; `.env` when not given.
        env_file: Option<At<String>>,
        /// A folder with a file for each secret, named like it; `/run/secrets` when not given.
        folder: Option<At<String>>,
        /// The file with the key of the encrypted store, outside of the project's folder; none when
        /// not given.
        key_file: Option<At<String>>,
    }
}

choice! {
    /// How much is logged.
    pub enum LogLevel as "a log level" {
        /// What went wrong.
        Error = "error",
        /// What looks wrong.
        Warn = "warn",
        /// What happens.
        Info = "info",
        /// Why it happens.
        Debug = "debug",
        /// Everything.
        Trace = "trace",
    }

    /// How it is written.
    pub enum LogFormat as "a log format" {
        /// For people.
        Text = "text",
        /// One JSON object a line.
        Json = "json",
    }
}
