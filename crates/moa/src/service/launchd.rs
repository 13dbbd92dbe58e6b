//! launchd: a daemon of the system or an agent of a user. Not exercised by tests.

use super::{Deed, Service, words, xml};

/// How long a stop takes beside the attempts' own time.
const STOP_EXTRA_S: u64 = 60;

/// The name by which launchd knows it.
pub(super) fn label(service: &Service) -> String {
    format!("dev.moa.{}", service.name)
}

/// The property list.
pub(super) fn text(service: &Service) -> String {
    let Service { root, program, user, grace, .. } = service;
    let root = xml(&root.display().to_string());
    let mut arguments = format!("    <string>{}</string>\n", xml(&program.display().to_string()));
    for argument in service.arguments() {
        arguments.push_str(&format!("    <string>{}</string>\n", xml(&argument)));
    }
    let user = user.as_ref().map_or(String::new(), |user| {
        format!("  <key>UserName</key>\n  <string>{}</string>\n", xml(user))
    });
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \
         \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n\
         <plist version=\"1.0\">\n<dict>\n  <key>Label</key>\n  <string>{}</string>\n{user}  \
         <key>ProgramArguments</key>\n  <array>\n{arguments}  </array>\n  \
         <key>WorkingDirectory</key>\n  <string>{root}</string>\n  <key>RunAtLoad</key>\n  \
         <true/>\n  <key>KeepAlive</key>\n  <true/>\n  <key>ThrottleInterval</key>\n  \
         <integer>10</integer>\n  <key>ExitTimeOut</key>\n  <integer>{}</integer>\n  \
         <key>Umask</key>\n  <integer>63</integer>\n</dict>\n</plist>\n",
        xml(&label(service)),
        grace.0.div_ceil(1000) + STOP_EXTRA_S
    )
}

pub(super) fn commands(service: &Service, deed: Deed) -> Vec<Vec<String>> {
    let system = service.user.is_some();
    let domain = match system {
        true => "system".to_owned(),
        false => format!("gui/{}", rustix::process::getuid().as_raw()),
    };
    let file = service.folder(super::Supervisor::Launchd).unwrap_or_default();
    let file = file.join(format!("{}.plist", label(service))).display().to_string();
    let target = format!("{domain}/{}", label(service));
    match deed {
        Deed::Install { now: true } => vec![words(&["launchctl", "bootstrap", &domain, &file])],
        Deed::Install { now: false } => vec![words(&["launchctl", "enable", &target])],
        Deed::Leave => vec![words(&["launchctl", "bootout", &target])],
        Deed::Gone => Vec::new(),
        Deed::Status => vec![words(&["launchctl", "print", &target])],
    }
}
