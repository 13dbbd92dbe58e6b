//! `moa doctor`

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use moa_core::agent::AgentKind;
use moa_core::ids::RunId;
use rustix::process::{Resource, getrlimit};
use serde::Serialize;

use super::{Context, runtime};
use crate::control::client::Client;
use crate::exit::{Exit, Failure, RESTORE, Result};
use crate::node::{self, lock};
use crate::place::Place;
use crate::project::{self, Layout, Loaded};
use crate::remote::Remote;
use crate::secrets::SecretStore;
use crate::ui::Style;
use crate::{needed, text, wire};

/// Bytes of disk below which a full disk is near.
const DISK_BYTES_LOW: u64 = 1 << 30;
/// Bytes of disk below which nothing should be started.
const DISK_BYTES_MIN: u64 = 64 << 20;
/// Quarantined runs that are named.
const QUARANTINED_NAMED_MAX: usize = 5;
/// Open files below which many attempts at once won't work.
const FILES_LOW: u64 = 1024;

/// Check the project, the store and this machine.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa doctor
  moa doctor --json | jq '.[] | select(.status != \"ok\")'

Exit codes: 0 nothing is wrong, 1 something is, 7 the store is damaged, 8 it is too new")]
pub struct Args {}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Status {
    Ok,
    Warning,
    Error,
}

#[derive(Debug, Serialize)]
struct Check {
    check: &'static str,
    status: Status,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    mend: Option<String>,
}

impl Check {
    fn ok(check: &'static str, detail: impl Into<String>) -> Self {
        Self { check, status: Status::Ok, detail: detail.into(), mend: None }
    }
    fn warning(check: &'static str, detail: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { check, status: Status::Warning, detail: detail.into(), mend: Some(mend.into()) }
    }
    fn error(check: &'static str, detail: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { check, status: Status::Error, detail: detail.into(), mend: Some(mend.into()) }
    }
    fn failed(check: &'static str, failure: &Failure) -> Self {
        let mend = match failure.exit {
            // Its hint would lead back here.
            Exit::Damaged => RESTORE.join("; "),
            Exit::Unavailable => {
                "see that its folder can be written and the disk isn't full".into()
            }
            _ => failure.hints.join("; "),
        };
        let what = match &failure.place {
            Some(place) => format!("{place}: {}", failure.message),
            None => failure.message.clone(),
        };
        Self::error(check, what, mend)
    }
}

/// Checks everything.
pub fn run(_args: Args, context: &Context) -> Result {
    let place = context.place()?;
    let layout = match &place {
        Place::Here(layout) => layout.clone(),
        Place::There(remote) => return elsewhere(&place, remote, context),
    };
    let loaded = project::load(&layout, None)?;
    let mut checks = vec![Check::ok("versions", versions())];
    checks.push(files(&loaded));
    checks.extend(programs(&layout, &loaded));
    checks.push(settings(&layout, &loaded));
    checks.push(env_file(&layout, &loaded));
    checks.extend(missing_secrets(&layout, &loaded));
    checks.push(folder(&layout));
    checks.push(disk(&layout));
    let runtime = runtime()?;
    let mut exit = Exit::Ok;
    runtime.block_on(async {
        checks.push(store(&layout, &mut exit).await);
        checks.extend(serving(&place).await);
    });
    runtime.shutdown_background();
    checks.push(shell());
    checks.push(open_files());
    checks.push(user());
    show(&checks, context);
    let bad = checks.iter().any(|check| check.status == Status::Error);
    Ok(if exit == Exit::Ok && bad { Exit::Failed } else { exit })
}

/// Checks what can be told of a node elsewhere: the rest is its machine's.
fn elsewhere(place: &Place, remote: &Remote, context: &Context) -> Result {
    let runtime = runtime()?;
    let checks = runtime.block_on(async {
        let mut checks = vec![Check::ok("versions", versions())];
        match remote.me().await {
            Ok(me) => checks.push(Check::ok("access", format!("{} ({})", me.name, me.role))),
            // Nothing more would be answered.
            Err(failure) => {
                checks.push(Check::failed("access", &failure));
                return checks;
            }
        }
        match place.load().await {
            Ok(loaded) => checks.push(files(&loaded)),
            Err(failure) => checks.push(Check::failed("files", &failure)),
        }
        checks.extend(serving(place).await);
        checks
    });
    runtime.shutdown_background();
    show(&checks, context);
    context.ui.hint("its store, disk and programs are checked by `moa doctor` on its machine");
    let bad = checks.iter().any(|check| check.status == Status::Error);
    Ok(if bad { Exit::Failed } else { Exit::Ok })
}

fn show(checks: &[Check], context: &Context) {
    let ui = &context.ui;
    if ui.json {
        return ui.json(&checks);
    }
    for check in checks {
        let (sign, style) = match check.status {
            Status::Ok => ("ok", Style::Green),
            Status::Warning => ("warning", Style::Yellow),
            Status::Error => ("error", Style::Red),
        };
        let sign = ui.paint(style, &format!("{sign:<8}"));
        ui.line(&format!("{sign} {:<9} {}", check.check, text::safe(&check.detail)));
        if let Some(mend) = check.mend.as_deref().filter(|m| !m.is_empty()) {
            ui.line(&format!("{:>18} {}", "mend:", text::safe(mend)));
        }
    }
}

fn versions() -> String {
    let (moa, schema) = (env!("CARGO_PKG_VERSION"), wire::SCHEMA);
    format!("moa {moa}, store schema {schema}, {} {}", std::env::consts::OS, std::env::consts::ARCH)
}

fn files(loaded: &Loaded) -> Check {
    let (errors, warnings) = loaded.problems.counts();
    let project = &loaded.project;
    let detail = format!(
        "{}, {}; {}, {}",
        text::plural(project.workflows.len(), "workflow"),
        text::plural(project.agents.len(), "agent"),
        text::plural(errors, "error"),
        text::plural(warnings, "warning"),
    );
    let mend = "`moa workflows validate` shows each one";
    match (errors, warnings) {
        (0, 0) => Check::ok("files", detail),
        (0, _) => Check::warning("files", detail, mend),
        _ => Check::error("files", detail, mend),
    }
}

/// Programs of agents that aren't there.
fn programs(layout: &Layout, loaded: &Loaded) -> Vec<Check> {
    let mut missing = Vec::new();
    for spec in loaded.project.agents.values() {
        let AgentKind::Command(command) = &spec.kind else { continue };
        let Some(program) = command.argv.first() else { continue };
        if !exists(&layout.root, program) {
            missing.push(format!("{program} (agent {})", spec.id));
        }
    }
    if missing.is_empty() {
        return vec![Check::ok("programs", "every agent's program is there")];
    }
    let detail = format!("not there: {}", missing.join(", "));
    vec![Check::error("programs", detail, "install them, or correct `command` of the agents")]
}

fn exists(root: &Path, program: &str) -> bool {
    let executable = |path: &Path| {
        std::fs::metadata(path).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
    };
    if program.contains('/') {
        return executable(&root.join(program));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| executable(&folder.join(program)))
}

fn settings(layout: &Layout, loaded: &Loaded) -> Check {
    match node::read_config(layout, &loaded.project) {
        Ok(config) => {
            let running = config.settings.limits.max_running;
            let detail = format!("{} at once", text::plural(running as usize, "attempt"));
            Check::ok("settings", detail)
        }
        Err(failure) => Check::failed("settings", &failure),
    }
}

fn env_file(layout: &Layout, loaded: &Loaded) -> Check {
    let name = &loaded.project.settings.secrets.env_file;
    let path = layout.root.join(name);
    match std::fs::metadata(&path) {
        Err(_) => Check::ok("secrets", format!("no {name}")),
        Ok(meta) if meta.permissions().mode() & 0o077 != 0 => Check::warning(
            "secrets",
            format!("{name} can be read by others"),
            format!("chmod 600 {}", path.display()),
        ),
        Ok(_) => Check::ok("secrets", format!("{name} is yours alone")),
    }
}

fn missing_secrets(layout: &Layout, loaded: &Loaded) -> Option<Check> {
    // Where the settings can't be read, that is reported already.
    let secrets = SecretStore::of(layout, &loaded.project).ok()?;
    let missing = needed::missing(&loaded.project, &wire::agents(&loaded.project), &secrets);
    let first = missing.first()?;
    let names: Vec<&str> = missing.iter().map(String::as_str).collect();
    let mend = format!("add {first}=... to .env; `moa secrets list` shows what uses it");
    Some(Check::warning("secrets", format!("not there: {}", names.join(", ")), mend))
}

fn folder(layout: &Layout) -> Check {
    let state = layout.state();
    let folder = if state.exists() { &state } else { &layout.root };
    match rustix::fs::access(folder, rustix::fs::Access::WRITE_OK) {
        Ok(()) => Check::ok("folder", format!("{} can be written", folder.display())),
        Err(e) => {
            let detail = format!("{} can't be written: {e}", folder.display());
            Check::error("folder", detail, "a node needs it; check owner, rights and mount options")
        }
    }
}

fn disk(layout: &Layout) -> Check {
    let stat = match rustix::fs::statvfs(&layout.root) {
        Ok(stat) => stat,
        Err(e) => return Check::warning("disk", format!("can't be asked: {e}"), ""),
    };
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let detail = format!("{} free", text::bytes(free));
    match free {
        n if n < DISK_BYTES_MIN => Check::error("disk", detail, "free some space"),
        n if n < DISK_BYTES_LOW => Check::warning("disk", detail, "free some space soon"),
        _ => Check::ok("disk", detail),
    }
}

async fn store(layout: &Layout, exit: &mut Exit) -> Check {
    let views = match wire::open_views(layout) {
        Ok(Some(views)) => views,
        Ok(None) => return Check::ok("store", "none yet; the first run makes it"),
        Err(failure) => {
            *exit = failure.exit;
            return Check::failed("store", &failure);
        }
    };
    let size = std::fs::metadata(wire::database(layout)).map_or(0, |m| m.len());
    let checked = async { Ok::<_, Failure>((views.verify().await?, views.totals().await?)) };
    match checked.await {
        Err(failure) => {
            *exit = failure.exit;
            Check::failed("store", &failure)
        }
        Ok((wrong, totals)) if wrong.is_empty() => {
            let runs: u64 = totals.runs.values().sum();
            let runs = text::plural(usize::try_from(runs).unwrap_or(usize::MAX), "run");
            Check::ok("store", format!("whole: {runs}, {}", text::bytes(size)))
        }
        Ok((wrong, _)) => {
            *exit = Exit::Damaged;
            Check::error("store", wrong.join("; "), RESTORE.join("; "))
        }
    }
}

async fn serving(place: &Place) -> Vec<Check> {
    match place.connect().await {
        Ok(Some(mut client)) => {
            let status = client.status().await;
            // One elsewhere has not said yet who it is.
            let info = status.as_ref().map_or(&client.node, |status| &status.info);
            let what = match info.transient {
                true => "serves what `moa run` started, and nothing else",
                false => "serves the project",
            };
            let detail = format!("{what} (pid {}, moa {})", info.pid, info.moa);
            let old = info.moa != env!("CARGO_PKG_VERSION");
            match status {
                Ok(status) => vec![
                    node_of(detail, old, status.engine.degraded.as_deref()),
                    quarantined(&status.engine.quarantined),
                ],
                Err(failure) => vec![node_of(detail, old, None), Check::failed("runs", &failure)],
            }
        }
        other => match place {
            Place::Here(layout) => vec![not_serving(layout, other)],
            Place::There(_) => other.err().iter().map(|e| Check::failed("node", e)).collect(),
        },
    }
}

/// A node that answers; `degraded` says why it can't write to the store, if it can't.
fn node_of(detail: String, old: bool, degraded: Option<&str>) -> Check {
    match degraded {
        Some(why) => Check::error(
            "node",
            format!("{detail}, but its store takes nothing: {why}"),
            "see that its folder can be written and the disk isn't full; it tries again by itself",
        ),
        None if old => Check::warning("node", detail, "restart it with this moa"),
        None => Check::ok("node", detail),
    }
}

fn not_serving(layout: &Layout, found: Result<Option<Client>>) -> Check {
    match found {
        Ok(_) => match lock::holder(&layout.state()) {
            None => Check::ok("node", "none runs; `moa up` starts one"),
            Some(pid) => {
                let who = pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default();
                let detail = format!("one has the project{who}, but doesn't answer on its socket");
                Check::warning("node", detail, "it may be starting; see .moa/log/moa.log")
            }
        },
        Err(failure) => Check::failed("node", &failure),
    }
}

/// Runs that moa itself failed on.
fn quarantined(runs: &BTreeMap<RunId, String>) -> Check {
    if runs.is_empty() {
        return Check::ok("runs", "none is quarantined");
    }
    let named = runs.iter().take(QUARANTINED_NAMED_MAX).map(|(run, why)| format!("{run}: {why}"));
    let mut named: Vec<String> = named.collect();
    if runs.len() > named.len() {
        named.push(format!("and {} more", runs.len() - named.len()));
    }
    let detail = format!(
        "{} quarantined until the node starts again: {}",
        text::plural(runs.len(), "run"),
        named.join("; ")
    );
    let mend = "restart the node; if it happens again, report it with .moa/log/moa.log";
    Check::error("runs", detail, mend)
}

fn shell() -> Check {
    match exists(Path::new("/"), "/bin/sh") {
        true => Check::ok("shell", "/bin/sh is there"),
        false => Check::error("shell", "/bin/sh is not there", "`run:` steps need a POSIX shell"),
    }
}

fn open_files() -> Check {
    let limit = getrlimit(Resource::Nofile).current;
    let detail = limit.map_or("no limit".into(), |n| format!("{n} open files"));
    match limit {
        Some(n) if n < FILES_LOW => {
            Check::warning("limits", detail, format!("raise it: ulimit -n {}", FILES_LOW * 8))
        }
        _ => Check::ok("limits", detail),
    }
}

fn user() -> Check {
    match rustix::process::geteuid().is_root() {
        true => Check::warning(
            "user",
            "this is root: agents have every right on this machine",
            "run moa as a user of its own",
        ),
        false => Check::ok("user", "not root"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_cannot_write_is_not_ok() {
        let check = node_of("serves the project".into(), true, Some("the disk is full"));
        assert_eq!(check.status, Status::Error);
        assert_eq!(
            check.detail,
            "serves the project, but its store takes nothing: the disk is full"
        );
        assert_eq!(node_of(String::new(), true, None).status, Status::Warning);
        assert_eq!(node_of(String::new(), false, None).status, Status::Ok);
    }

    #[test]
    fn quarantined_runs_are_named_up_to_a_limit() {
        assert_eq!(quarantined(&BTreeMap::new()).status, Status::Ok);
        let runs: BTreeMap<RunId, String> =
            (0..7).map(|n| (RunId(n), format!("fault {n}"))).collect();
        let check = quarantined(&runs);
        assert_eq!(check.status, Status::Error);
        assert!(check.detail.starts_with("7 runs quarantined until"), "{}", check.detail);
        assert!(check.detail.contains("000000000004: fault 4; and 2 more"), "{}", check.detail);
    }
}
