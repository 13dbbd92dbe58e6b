//! `moa service`

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command as Process;

use serde_json::json;

use super::Context;
use crate::exit::{Exit, Failure, Result};
use crate::files;
use crate::node::{self, lock};
use crate::project::{self, Layout};
use crate::service::{Deed, Service, Supervisor, systemd};
use crate::text;

/// Let the system keep a node running.
#[derive(Debug, clap::Subcommand)]
#[command(long_about = "\
Let the system keep a node of this project running: it starts at each boot, and again after a crash or
when it hangs. With systemd the service of a user needs no privilege; one of the system needs root to
install, and runs as a user of its own.")]
#[command(after_help = "\
Examples:
  moa service install --now                            a service of yours
  sudo moa service install --system --run-as moa --now  a service of the system
  moa service print --supervisor launchd               only show the file
  moa service status")]
pub enum Command {
    /// Write the service's file, and have it started at each boot
    Install(InstallArgs),
    /// Stop the service and remove its file
    Uninstall(UninstallArgs),
    /// Show whether it is installed and how it is
    Status(StatusArgs),
    /// Print the service's file, and change nothing
    Print(PrintArgs),
}

/// Which service.
#[derive(Debug, clap::Args)]
pub struct Which {
    /// A service of the system rather than of the user
    #[arg(long)]
    system: bool,
    /// The user that a service of the system runs as [default: the owner of the project's folder]
    #[arg(long, value_name = "USER", requires = "system")]
    run_as: Option<String>,
    /// The service's name [default: moa-PROJECT]
    #[arg(long)]
    name: Option<String>,
    /// Let it run as root
    #[arg(long)]
    allow_root: bool,
    /// The supervisor [default: the one of this system]
    #[arg(long, value_enum, value_name = "NAME")]
    supervisor: Option<Supervisor>,
    /// Where the file is [default: where the supervisor looks for it]; the supervisor isn't told
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
}

/// Install a service.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa service install --now
  sudo moa service install --system --run-as moa --now
  moa service install --folder packaging/           for a package: no supervisor is told")]
pub struct InstallArgs {
    #[command(flatten)]
    which: Which,
    /// Start it now
    #[arg(long)]
    now: bool,
}

/// Remove a service.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa service uninstall
  sudo moa service uninstall --system")]
pub struct UninstallArgs {
    #[command(flatten)]
    which: Which,
}

/// Look at a service.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa service status
  moa service status --system --json | jq .current")]
pub struct StatusArgs {
    #[command(flatten)]
    which: Which,
}

/// Print the file of a service.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa service print
  moa service print --supervisor windows > moa-shop.xml")]
pub struct PrintArgs {
    #[command(flatten)]
    which: Which,
}

/// Does what the command line says.
pub fn run(command: Command, context: &Context) -> Result {
    let layout = context.here()?;
    match command {
        Command::Install(InstallArgs { which, now }) => install(&layout, &which, now, context),
        Command::Uninstall(UninstallArgs { which }) => uninstall(&layout, &which, context),
        Command::Status(StatusArgs { which }) => status(&layout, &which, context),
        Command::Print(PrintArgs { which }) => {
            context.no_json("the file of a service")?;
            let service = service(&layout, &which)?;
            context.ui.raw(service.text(supervisor(&which)).as_bytes());
            Ok(Exit::Ok)
        }
    }
}

fn supervisor(which: &Which) -> Supervisor {
    which.supervisor.unwrap_or_else(Supervisor::here)
}

fn service(layout: &Layout, which: &Which) -> Result<Service> {
    let loaded = project::load(layout, None)?;
    let settings = node::read_config(layout, &loaded.project)?.settings;
    let folder = || layout.root.file_name().map(|name| name.to_string_lossy().into_owned());
    let project = settings.name.clone().or_else(folder).unwrap_or_else(|| "project".into());
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' };
    let name = which.name.clone().unwrap_or_else(|| format!("moa-{project}"));
    let name: String = name.chars().map(plain).collect();
    let program =
        std::env::current_exe().map_err(|e| Failure::io("can't tell where this program is", &e))?;
    let user = match which.system {
        true => Some(match &which.run_as {
            Some(user) => user.clone(),
            None => owner(&layout.root)?,
        }),
        false => None,
    };
    let allow_root = which.allow_root || settings.allow_root;
    // What the environment of whoever installs it allows, that of the service doesn't.
    let by_environment = settings.allow_root && !loaded.project.settings.allow_root;
    let root = match &user {
        Some(user) => user == "root" || user == "0",
        None => rustix::process::geteuid().is_root(),
    };
    if root && !allow_root {
        return Err(node::user::refusal().hint(
            "a service: `moa service install --system --run-as moa`, the folder being moa's",
        ));
    }
    let grace = settings.limits.stop_grace;
    let allow_root = which.allow_root || (root && by_environment);
    Ok(Service { name, root: layout.root.clone(), program, user, allow_root, grace })
}

/// The user whose folder it is.
fn owner(folder: &Path) -> Result<String> {
    let meta = std::fs::metadata(folder)
        .map_err(|e| Failure::io(format!("can't look at {}", folder.display()), &e))?;
    let uid = meta.uid();
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let named = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    });
    Ok(named.unwrap_or_else(|| uid.to_string()))
}

/// The file of a service, and whether the supervisor is to be told of it.
fn place(service: &Service, which: &Which) -> Result<(PathBuf, bool)> {
    let supervisor = supervisor(which);
    let name = service.file_name(supervisor);
    if let Some(folder) = &which.folder {
        return Ok((folder.join(name), false));
    }
    let folder = service.folder(supervisor).ok_or_else(|| {
        Failure::usage("this supervisor has no folder here")
            .hint("`moa service print` shows the file, --folder DIR writes it there")
    })?;
    let here = supervisor == Supervisor::here();
    let running = supervisor != Supervisor::Systemd || systemd::is_running();
    Ok((folder.join(name), here && running))
}

fn install(layout: &Layout, which: &Which, now: bool, context: &Context) -> Result {
    let service = service(layout, which)?;
    let (path, told) = place(&service, which)?;
    let text = service.text(supervisor(which));
    let write = || -> io::Result<()> {
        // Not into moa's own files, nor through a link: what is in the place is replaced.
        let path = std::path::absolute(&path)?;
        files::refuse_own(&layout.root, &path)?;
        files::write_named(&layout.root, &path, text.as_bytes(), files::PUBLIC)
    };
    write().map_err(|e| {
        let failure = Failure::io(format!("can't write {}", path.display()), &e);
        match e.kind() {
            io::ErrorKind::PermissionDenied => {
                failure.hint("a service of the system is installed by root: use sudo")
            }
            _ => failure,
        }
    })?;
    let commands = service.commands(supervisor(which), Deed::Install { now });
    if told {
        for command in &commands {
            call(command)?;
        }
    }
    if context.ui.json {
        context.ui.json(&json!({"service": service.name, "file": path, "enabled": told}));
        return Ok(Exit::Ok);
    }
    context.ui.line(&path.display().to_string());
    if !told {
        context.ui.note("the supervisor was not told; that would be:");
        for command in &commands {
            context.ui.note(&format!("  {}", command.join(" ")));
        }
    }
    if service.user.is_none() && supervisor(which) == Supervisor::Systemd {
        context.ui.hint("`loginctl enable-linger` lets it run while you aren't logged in");
    }
    Ok(Exit::Ok)
}

fn uninstall(layout: &Layout, which: &Which, context: &Context) -> Result {
    let service = service(layout, which)?;
    let (path, told) = place(&service, which)?;
    if !path.exists() {
        let text = format!("the service {} is not installed", service.name);
        return Err(Failure::not_found(text).hint(format!("there is no {}", path.display())));
    }
    if told {
        for command in service.commands(supervisor(which), Deed::Leave) {
            call(&command)?;
        }
    }
    std::fs::remove_file(&path)
        .map_err(|e| Failure::io(format!("can't remove {}", path.display()), &e))?;
    if told {
        for command in service.commands(supervisor(which), Deed::Gone) {
            call(&command)?;
        }
    }
    match context.ui.json {
        true => context.ui.json(&json!({"service": service.name, "file": path})),
        false => context.ui.line(&format!("removed {}", path.display())),
    }
    Ok(Exit::Ok)
}

fn status(layout: &Layout, which: &Which, context: &Context) -> Result {
    let service = service(layout, which)?;
    let (path, told) = place(&service, which)?;
    let installed = std::fs::read_to_string(&path).ok();
    let current = installed.as_deref() == Some(service.text(supervisor(which)).as_str());
    let node = lock::holder(&layout.state());
    let said = match told && installed.is_some() {
        true => service.commands(supervisor(which), Deed::Status).first().and_then(|c| said(c)),
        false => None,
    };
    if context.ui.json {
        context.ui.json(&json!({
            "service": service.name,
            "file": path,
            "installed": installed.is_some(),
            "current": current,
            "node": node.map(|pid| json!({"pid": pid})),
            "said": said,
        }));
        return Ok(Exit::Ok);
    }
    let ui = &context.ui;
    ui.line(&match (installed.is_some(), current) {
        (false, _) => format!("{}: not installed", service.name),
        (true, true) => format!("{}: installed as {}", service.name, path.display()),
        (true, false) => {
            let path = path.display();
            format!("{}: installed as {path}, which this moa would write otherwise", service.name)
        }
    });
    ui.line(&match node {
        None => "no node serves the project".to_owned(),
        Some(None) => "a node serves the project".to_owned(),
        Some(Some(pid)) => format!("a node serves the project (pid {pid})"),
    });
    if let Some(said) = said {
        ui.line(&text::safe(said.trim_end()));
    }
    Ok(Exit::Ok)
}

fn call(command: &[String]) -> Result<()> {
    let [program, arguments @ ..] = command else { return Ok(()) };
    let done = Process::new(program).args(arguments).output();
    let done = done.map_err(|e| Failure::io(format!("can't start {program}"), &e))?;
    if done.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&done.stderr);
    let failure = Failure::new(Exit::Failed, format!("`{}` failed", command.join(" ")));
    Err(failure.hint(said.trim().to_owned()))
}

/// What a command writes, however it ends.
fn said(command: &[String]) -> Option<String> {
    let [program, arguments @ ..] = command else { return None };
    let done = Process::new(program).args(arguments).output().ok()?;
    Some(String::from_utf8_lossy(&done.stdout).into_owned())
}
