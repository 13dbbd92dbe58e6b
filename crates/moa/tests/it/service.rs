//! `moa service`, root, and what a node tells its supervisor.

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::project::{Project, call_in, signal};

const QUICK: &str = "steps:\n  - {id: one, agent: noop, action: a}\n";
/// Tenths of exposure that a unit of the system may have: 10 is none at all to 100.
const EXPOSURE_MAX: &str = "20";

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Runs systemd-analyze on a unit; `None` where there is none.
fn analyze(args: &[&str], unit: &Path) -> Option<String> {
    let mut command = Command::new("systemd-analyze");
    // Without one the manager of a user is not even pretended.
    command.env("XDG_RUNTIME_DIR", unit.parent().expect("it is in a folder"));
    let Ok(done) = command.args(args).arg(unit).output() else {
        println!("skipped: there is no systemd-analyze here");
        return None;
    };
    let said = [done.stdout, done.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(done.status.success(), "{args:?} {}: {said}", done.status);
    Some(said)
}

fn install(project: &Project, args: &[&str]) -> PathBuf {
    let folder = project.outside().join("units");
    let folder = folder.to_str().expect("UTF-8");
    let all = [&["service", "install", "--folder", folder], args].concat();
    PathBuf::from(project.call(&all).expect(0).out.trim())
}

#[test]
fn units_are_right_and_fenced_in() {
    let project = Project::with("quick", QUICK);
    let unit = install(&project, &["--system", "--run-as", "daemon"]);
    assert!(unit.ends_with("moa-shop.service"), "{}", unit.display());
    let text = std::fs::read_to_string(&unit).expect("it is there");
    for line in ["Type=notify", "User=daemon", "WatchdogSec=60", "TimeoutStopSec=360"] {
        assert!(text.lines().any(|l| l == line), "{line} is missing in\n{text}");
    }
    let root = project.root.display();
    assert!(text.contains(&format!(" up --project {root}\n")), "{text}");
    let threshold = format!("--threshold={EXPOSURE_MAX}");
    analyze(&["security", "--offline=true", &threshold], &unit);
    if let Some(said) = analyze(&["verify"], &unit) {
        assert!(!said.contains("moa-shop.service"), "{said}");
    }
    let unit = install(&project, &["--allow-root", "--name", "mine"]);
    let text = std::fs::read_to_string(&unit).expect("it is there");
    assert!(text.contains("WantedBy=default.target") && !text.contains("User="), "{text}");
    if let Some(said) = analyze(&["verify", "--user"], &unit) {
        assert!(!said.contains("mine.service"), "{said}");
    }
}

#[test]
fn a_service_is_installed_looked_at_and_removed() {
    let project = Project::with("quick", QUICK);
    let unit = install(&project, &["--allow-root"]);
    let folder = unit.parent().and_then(Path::to_str).expect("UTF-8");
    let which = ["--folder", folder, "--allow-root"];
    let status = |json: bool| {
        let json: &[&str] = if json { &["--json"] } else { &[] };
        project.call(&[&["service", "status"], &which[..], json].concat()).expect(0)
    };
    assert_eq!(status(true).json()["installed"], true);
    assert_eq!(status(true).json()["current"], true);
    std::fs::write(&unit, "changed").expect("it can be written");
    assert!(status(false).out.contains("would write otherwise"));
    let uninstall = [&["service", "uninstall"], &which[..]].concat();
    project.call(&uninstall).expect(0);
    assert!(!unit.exists());
    assert_eq!(status(true).json()["installed"], false);
    project.call(&uninstall).expect(4);
}

#[test]
fn what_the_environment_allows_is_in_the_unit() {
    if !is_root() {
        println!("skipped: not root");
        return;
    }
    let project = Project::with("quick", QUICK);
    let mut command = project.command(&["service", "print", "--system"]);
    let said = command.env("MOA_ALLOW_ROOT", "true").output().expect("it can be started");
    let text = String::from_utf8_lossy(&said.stdout);
    let start = text.lines().find(|line| line.starts_with("ExecStart=")).expect("a command");
    assert!(start.ends_with(" --allow-root"), "{start}");
    assert!(text.contains("RestartPreventExitStatus=2 3 4 7 8\n"), "{text}");
}

#[test]
fn the_files_of_other_supervisors_name_the_project() {
    let project = Project::with("quick", QUICK);
    let root = project.root.display().to_string();
    for supervisor in ["systemd", "launchd", "windows"] {
        let print = ["service", "print", "--allow-root", "--supervisor", supervisor];
        let said = project.call(&print).expect(0);
        assert!(said.out.contains(&root) && said.out.contains("--project"), "{}", said.out);
    }
}

#[test]
fn root_is_refused_unless_it_is_asked_for() {
    let contained = ["/.dockerenv", "/run/.containerenv"].iter().any(|p| Path::new(p).exists());
    if !is_root() || contained {
        println!("skipped: not root, or in a container");
        return;
    }
    let project = Project::with("quick", QUICK);
    let mut command = project.command(&["up"]);
    let said = command.env_remove("MOA_ALLOW_ROOT").output().expect("it can be started");
    assert_eq!(said.status.code(), Some(5));
    let err = String::from_utf8_lossy(&said.stderr);
    assert!(err.contains("--allow-root"), "{err}");
    assert!(!project.root.join(".moa").exists(), "nothing was made");
    let service = ["service", "print", "--system"];
    let mut command = project.command(&service);
    let said = command.env_remove("MOA_ALLOW_ROOT").output().expect("it can be started");
    assert_eq!(said.status.code(), Some(5));

    project.write("moa.yaml", "name: shop\nallow_root: true\n");
    let mut command = project.command(&["up"]);
    command.env_remove("MOA_ALLOW_ROOT");
    let node = crate::project::Node::start(command);
    assert!(node.said.contains("this is root"), "{}", node.said);
    node.stop();
}

#[test]
fn a_supervisor_is_told_of_readiness_progress_and_the_stop() {
    let project = Project::with("quick", QUICK);
    let path = project.outside().join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(Duration::from_secs(60))).expect("it can be set");
    let receive = || {
        let mut bytes = [0; 4096];
        let n = socket.recv(&mut bytes).expect("the node says something");
        String::from_utf8_lossy(&bytes[..n]).into_owned()
    };
    let mut command = project.command(&["up"]);
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "200000");
    let mut child = command.stderr(Stdio::null()).spawn().expect("it can be started");
    let mut said = Vec::new();
    let until = |said: &mut Vec<String>, wanted: &str| loop {
        let text = receive();
        let found = text.lines().any(|line| line == wanted);
        said.push(text);
        if found {
            return;
        }
    };
    until(&mut said, "READY=1");
    assert!(said.iter().any(|text| text.contains("STATUS=serves")), "{said:?}");
    call_in(&project.root, &["state"]).expect(0);
    until(&mut said, "WATCHDOG=1");
    until(&mut said, "WATCHDOG=1");
    signal(child.id(), rustix::process::Signal::TERM);
    until(&mut said, "STOPPING=1");
    assert!(said.last().is_some_and(|text| text.contains("EXTEND_TIMEOUT_USEC=")), "{said:?}");
    assert!(child.wait().expect("it can be waited for").success());
}
