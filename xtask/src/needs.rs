//! What the tests need of the machine beside Rust, and how to get it.
//!
//! Every need names the package that brings it and the tests that are left out without it, so that
//! nothing is ever left out silently. Two things aren't in a distribution's own packages: axe-core,
//! which finds what people can't see or reach on a page, and Schemathesis, which makes up requests
//! from the API's document.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::command;

/// A program that tests use.
pub struct Need {
    /// The program.
    pub program: &'static str,
    /// The Debian package that brings it.
    pub package: &'static str,
    /// Whether nothing at all works without it.
    pub always: bool,
    /// Whether only root can use it.
    pub root: bool,
    /// The tests that are left out without it.
    pub tests: &'static str,
}

/// Everything that tests need beside Rust.
pub const NEEDS: &[Need] = &[
    Need { program: "cc", package: "gcc libc6-dev", always: true, root: false, tests: "all" },
    Need { program: "sh", package: "dash", always: true, root: false, tests: "all" },
    Need { program: "awk", package: "mawk", always: true, root: false, tests: "the templates'" },
    Need {
        program: "strace",
        package: "strace",
        always: false,
        root: false,
        tests: "crash sweeps, the failed fsync, the slow disk (faults at chosen system calls)",
    },
    Need {
        program: "faketime",
        package: "faketime",
        always: false,
        root: false,
        tests: "wall clocks that are set",
    },
    Need {
        program: "ffmpeg",
        package: "ffmpeg",
        always: false,
        root: false,
        tests: "the MP4 of the template video-production",
    },
    Need {
        program: "espeak-ng",
        package: "espeak-ng",
        always: false,
        root: false,
        tests: "the narration of the template video-production",
    },
    Need {
        program: "prometheus",
        package: "prometheus",
        always: false,
        root: false,
        tests: "a Prometheus that scrapes a node (that test fails then)",
    },
    Need {
        program: "chromium",
        package: "chromium",
        always: false,
        root: false,
        tests: "the dashboard in a browser",
    },
    Need {
        program: "chromedriver",
        package: "chromium-driver",
        always: false,
        root: false,
        tests: "the dashboard in a browser",
    },
    Need {
        program: "npm",
        package: "npm",
        always: false,
        root: false,
        tests: "whether everybody can use the dashboard (axe-core)",
    },
    Need {
        program: "python3",
        package: "python3 python3-venv",
        always: false,
        root: false,
        tests: "the API under a tester that isn't moa's own (Schemathesis)",
    },
    Need {
        program: "mkfs.ext4",
        package: "e2fsprogs",
        always: false,
        root: true,
        tests: "power cuts (a file system that loses what was not made durable)",
    },
    Need {
        program: "mount",
        package: "mount",
        always: false,
        root: true,
        tests: "power cuts, the full disk (file systems of their own)",
    },
];

/// The version of axe-core, and what the registry says of its archive.
const AXE: [&str; 2] = [
    "axe-core@4.10.3",
    "sha512-Xm7bpRXnDSX2YE2YFfBk2FnF0ep6tmG7xPh8iHee8MIcrgq762Nkce856dYtJYLkuIoYZvGfTs/PbZhideTcEg==",
];

/// Puts axe-core into the folder `browser` of the target folder, unless it is there.
///
/// # Errors
/// Why it isn't there, for people.
pub fn provide_axe(target: &Path) -> Result<(), String> {
    let folder = target.join("browser");
    let [package, digest] = AXE;
    let is_there = || {
        // npm notes the digest of what it unpacked, after it has compared it.
        let lock = fs::read_to_string(folder.join("node_modules/.package-lock.json"));
        lock.is_ok_and(|lock| lock.contains(digest))
    };
    if is_there() {
        return Ok(());
    }
    let left_out = |why: String| {
        format!("{package} is missing ({why}). Left out: whether everybody can use the dashboard")
    };
    if !command::exists("npm") {
        return Err(left_out("no npm".into()));
    }
    fs::create_dir_all(&folder).map_err(|e| left_out(e.to_string()))?;
    let mut npm = Command::new("npm");
    npm.args(["install", "--no-save", "--no-package-lock", "--ignore-scripts", "--no-audit"]);
    npm.args(["--no-fund", "--silent", "--prefix"]).arg(&folder).arg(package);
    command::run(npm).map_err(left_out)?;
    match is_there() {
        true => Ok(()),
        false => {
            // What isn't what was asked for is not used.
            let _ = fs::remove_dir_all(&folder);
            Err(left_out("the registry has another archive by that name".into()))
        }
    }
}

/// Schemathesis and what it needs, each in one version, with the hashes of its archives.
const SCHEMATHESIS: &str = include_str!("../schemathesis.txt");

/// Puts Schemathesis into the folder `schemathesis` of the target folder, unless it is there.
///
/// # Errors
/// Why it isn't there, for people.
pub fn provide_schemathesis(target: &Path) -> Result<(), String> {
    let folder = target.join("schemathesis");
    let note = folder.join("installed.txt");
    let is_there = || {
        let mut program = Command::new(folder.join("bin/st"));
        let starts = program.arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        // A newer Python doesn't find what was installed for an older one.
        starts.is_ok_and(|status| status.success())
            && fs::read_to_string(&note).is_ok_and(|text| text == SCHEMATHESIS)
    };
    if is_there() {
        return Ok(());
    }
    let left_out = |why: String| {
        let tests = "the API under a tester that isn't moa's own";
        format!("Schemathesis is missing ({why}). Left out: {tests}")
    };
    if !command::exists("python3") {
        return Err(left_out("no python3".into()));
    }
    let environment = || {
        let mut python = Command::new("python3");
        python.args(["-m", "venv", "--clear"]).arg(&folder);
        command::run(python)
    };
    // Debian keeps what makes environments in a package of its own.
    let made = environment().or_else(|why| match is_root() && command::exists("apt-get") {
        true => install(&["python3-venv"]).and_then(|()| environment()),
        false => Err(format!("{why}; `apt-get install python3-venv`")),
    });
    made.map_err(left_out)?;
    let list = folder.join("wanted.txt");
    fs::write(&list, SCHEMATHESIS).map_err(|e| left_out(e.to_string()))?;
    let mut pip = Command::new(folder.join("bin/pip"));
    // Nothing is built here: what has no wheel is not installed.
    pip.args(["install", "--quiet", "--disable-pip-version-check", "--no-input", "--no-deps"]);
    // What is not the archive that is known is not installed either.
    pip.args(["--only-binary", ":all:", "--require-hashes", "--requirement"]).arg(&list);
    command::run(pip).map_err(|why| left_out(format!("{why}; is PyPI reached?")))?;
    // Written last: what was installed in part is installed again.
    fs::rename(&list, &note).map_err(|e| left_out(e.to_string()))?;
    match is_there() {
        true => Ok(()),
        false => Err(left_out("it was installed, and does not start".into())),
    }
}

/// What could not be had.
pub struct Missing {
    /// One line for each program, for people.
    pub programs: Vec<String>,
    /// One line for each right that this process lacks, for people.
    pub rights: Vec<String>,
    /// Whether no test can run at all.
    pub fatal: bool,
}

/// Looks for what tests need and installs what is missing where that can be done: as root, with
/// apt-get. Answers what is still missing.
pub fn provide() -> Missing {
    let wanted: Vec<&Need> = NEEDS.iter().filter(|n| is_missing(n)).collect();
    let mut note = String::new();
    if !wanted.is_empty() {
        let mut packages: Vec<&str> =
            wanted.iter().flat_map(|n| n.package.split_whitespace()).collect();
        packages.dedup();
        if is_root() && command::exists("apt-get") {
            if let Err(why) = install(&packages) {
                note = format!(" ({why})");
            }
        } else {
            note = " (not root, or no apt-get: nothing was installed)".into();
        }
    }
    let missing: Vec<&&Need> = wanted.iter().filter(|n| is_missing(n)).collect();
    let programs = missing.iter().map(|n| {
        let Need { program, package, tests, .. } = n;
        format!("{program} is missing{note}; `apt-get install {package}`. Left out: {tests}")
    });
    let mut rights = Vec::new();
    if !is_root() {
        rights
            .push("not root. Left out: power cuts, the full disk (they mount file systems)".into());
    }
    let fatal = missing.iter().any(|n| n.always);
    Missing { programs: programs.collect(), rights, fatal }
}

fn is_missing(need: &Need) -> bool {
    (!need.root || is_root()) && !command::exists(need.program)
}

fn install(packages: &[&str]) -> Result<(), String> {
    let apt = |args: &[&str]| {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive").arg("-qq").args(args);
        command::run(command)
    };
    let mut args = vec!["install", "-y", "--no-install-recommends"];
    args.extend(packages);
    // The lists of a fresh machine are empty or old; they are fetched only when that shows.
    apt(&args).or_else(|_| apt(&["update"]).and_then(|()| apt(&args)))
}

/// Whether this process may do what only root may.
pub fn is_root() -> bool {
    let status = fs::read_to_string(Path::new("/proc/self/status")).unwrap_or_default();
    let uid = status.lines().find_map(|l| l.strip_prefix("Uid:"));
    // Fields: real, effective, saved, file system.
    uid.and_then(|l| l.split_whitespace().nth(1)).is_some_and(|effective| effective == "0")
}

/// Whether this is a CI machine, where a missing need is an error.
pub fn is_ci() -> bool {
    std::env::var("CI").is_ok_and(|v| !v.is_empty() && v != "0" && v != "false")
}
