//! systemd: a unit of the system or of a user.
//!
//! What agents need is not known here, so the hardening leaves them the network, processes of any
//! kind, `/tmp` of their own and the project's folder; it takes away other users' files, devices, the
//! kernel's knobs, new privileges. `systemctl edit` adds or takes back more.

use std::path::Path;

use super::{Deed, Service, words};

/// How long a stop takes beside the attempts' own time.
const STOP_EXTRA_S: u64 = 60;

/// Hardening that needs no privilege of the manager: in units of users too.
const ALWAYS: &str = "\
NoNewPrivileges=yes
LockPersonality=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
UMask=0077
";

/// Hardening of units of the system.
const SYSTEM: &str = "\
CapabilityBoundingSet=
AmbientCapabilities=
ProtectSystem=strict
ProtectHome=read-only
PrivateTmp=yes
PrivateDevices=yes
DevicePolicy=closed
ProtectClock=yes
ProtectHostname=yes
ProtectControlGroups=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
RemoveIPC=yes
KeyringMode=private
RestrictNamespaces=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM
";

/// The systemd that knows how to wait longer from one start to the next.
const STEPS_SINCE: u32 = 254;

/// The unit, for the systemd of this machine.
pub(super) fn text(service: &Service) -> String {
    text_for(service, version())
}

/// The version of systemd here; `None` where there is none.
fn version() -> Option<u32> {
    let said = std::process::Command::new("systemctl").arg("--version").output().ok()?;
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    said.strip_prefix("systemd ")?.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

fn text_for(service: &Service, version: Option<u32>) -> String {
    let Service { name, root, program, user, grace, .. } = service;
    let system = user.is_some();
    let mut text = format!(
        "# {name}: made by `moa service install`. Changes: systemctl edit {name}\n[Unit]\n\
         Description=moa serves {}\n",
        escaped(&root.display().to_string(), false)
    );
    if system {
        // Events carry the time that the clock showed when the node started, and went on from there.
        text.push_str("After=network-online.target time-sync.target\n");
        text.push_str("Wants=network-online.target time-sync.target\n");
    }
    // What keeps a node from starting may pass at any time (an address that isn't up yet, a port, a
    // disk): it is tried slowly, and never given up.
    text.push_str("StartLimitIntervalSec=0\n\n[Service]\nType=notify\n");
    if let Some(user) = user {
        text.push_str(&format!("User={}\n", escaped(user, false)));
    }
    let mut command = quoted(&program.display().to_string());
    for argument in service.arguments() {
        command.push(' ');
        command.push_str(&quoted(&argument));
    }
    text.push_str(&format!(
        "WorkingDirectory={}\nExecStart={command}\nRestart=always\n",
        escaped(&root.display().to_string(), false)
    ));
    text.push_str(match version {
        Some(STEPS_SINCE..) => "RestartSec=5\nRestartSteps=5\nRestartMaxDelaySec=120\n",
        _ => "RestartSec=15\n",
    });
    // No project, wrong settings, a damaged store, one of a newer moa: starting again changes nothing.
    // What is only refused (5) may pass: a lock, a port.
    text.push_str("RestartPreventExitStatus=2 3 4 7 8\n");
    // The node stops its own attempts; what it leaves is killed in the end.
    text.push_str(&format!(
        "KillMode=mixed\nTimeoutStartSec=300\nTimeoutStopSec={}\nWatchdogSec=60\n\
         LimitNOFILE=65536\n\n",
        grace.0.div_ceil(1000) + STOP_EXTRA_S
    ));
    text.push_str(ALWAYS);
    if system {
        text.push_str(SYSTEM);
        text.push_str(&format!("ReadWritePaths={}\n", quoted(&root.display().to_string())));
    }
    let target = if system { "multi-user.target" } else { "default.target" };
    text.push_str(&format!("\n[Install]\nWantedBy={target}\n"));
    text
}

/// A text that systemd takes as it is: its specifiers and, in commands, variables are doubled.
fn escaped(text: &str, command: bool) -> String {
    let text = text.replace('%', "%%");
    if command { text.replace('$', "$$") } else { text }
}

/// A word of a command or a list.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/._-=:@+,".contains(c);
    match !text.is_empty() && text.chars().all(plain) {
        true => text.to_owned(),
        false => {
            let inner = escaped(text, true).replace('\\', "\\\\").replace('"', "\\\"");
            format!("\"{inner}\"")
        }
    }
}

pub(super) fn commands(service: &Service, deed: Deed) -> Vec<Vec<String>> {
    let unit = format!("{}.service", service.name);
    let systemctl = |verb: &[&str]| {
        let manager: &[&str] = if service.user.is_some() { &[] } else { &["--user"] };
        words(&[&["systemctl"], manager, verb].concat())
    };
    match deed {
        Deed::Install { now: true } => {
            vec![systemctl(&["daemon-reload"]), systemctl(&["enable", "--now", &unit])]
        }
        Deed::Install { now: false } => {
            vec![systemctl(&["daemon-reload"]), systemctl(&["enable", &unit])]
        }
        Deed::Leave => vec![systemctl(&["disable", "--now", &unit])],
        Deed::Gone => vec![systemctl(&["daemon-reload"])],
        Deed::Status => vec![systemctl(&["--no-pager", "--full", "status", &unit])],
    }
}

/// Whether systemd runs this machine.
pub fn is_running() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

#[cfg(test)]
mod tests {
    use moa_core::time::Span;

    use super::*;

    #[test]
    fn paths_are_taken_as_they_are() {
        assert_eq!(quoted("/srv/shop"), "/srv/shop");
        assert_eq!(quoted("/srv/my shop"), "\"/srv/my shop\"");
        assert_eq!(quoted("/srv/100%/$x \"y\""), "\"/srv/100%%/$$x \\\"y\\\"\"");
        let service = Service {
            name: "moa-shop".into(),
            root: "/srv/my shop".into(),
            program: "/usr/bin/moa".into(),
            user: None,
            allow_root: false,
            grace: Span::minutes(5),
        };
        let text = text_for(&service, None);
        assert!(text.contains("ExecStart=/usr/bin/moa up --project \"/srv/my shop\"\n"), "{text}");
        assert!(text.contains("WorkingDirectory=/srv/my shop\n"), "{text}");
        assert!(text.contains("TimeoutStopSec=360\n") && !text.contains("User="), "{text}");

        // No cause that may pass ends the service for good.
        assert!(text.contains("StartLimitIntervalSec=0\n"), "{text}");
        assert!(text.contains("RestartPreventExitStatus=2 3 4 7 8\n"), "{text}");
        for (version, steps) in [(None, false), (Some(252), false), (Some(254), true)] {
            let text = text_for(&service, version);
            assert_eq!(text.contains("RestartSteps="), steps, "{version:?}: {text}");
        }
    }
}
