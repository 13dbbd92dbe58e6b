//! Windows: a file for WinSW, which makes a service of any program. moa itself runs in WSL. Not
//! exercised by tests.

use super::{Deed, Service, words, xml};

/// How long a stop takes beside the attempts' own time.
const STOP_EXTRA_S: u64 = 60;

/// The file for WinSW.
pub(super) fn text(service: &Service) -> String {
    let Service { name, root, program, grace, .. } = service;
    let command: Vec<String> = std::iter::once(program.display().to_string())
        .chain(service.arguments())
        .map(|word| format!("&quot;{}&quot;", xml(&word)))
        .collect();
    let (name, root) = (xml(name), xml(&root.display().to_string()));
    format!(
        "<!-- Put WinSW (github.com/winsw/winsw) beside this file as {name}.exe, then:\n       \
         {name}.exe install\n     The service runs as a user that has WSL: see the page Operations. \
         -->\n<service>\n  <id>{name}</id>\n  <name>moa: {root}</name>\n  <description>moa serves \
         {root}</description>\n  <executable>%SystemRoot%\\System32\\wsl.exe</executable>\n  \
         <arguments>--exec {}</arguments>\n  <startmode>Automatic</startmode>\n  <onfailure \
         action=\"restart\" delay=\"10 sec\"/>\n  <resetfailure>1 hour</resetfailure>\n  \
         <stoptimeout>{} sec</stoptimeout>\n  <stopexecutable>%SystemRoot%\\System32\\wsl.exe\
         </stopexecutable>\n  <stoparguments>--exec pkill -TERM -F &quot;{root}/.moa/node.lock&quot;\
         </stoparguments>\n  <log mode=\"roll\"/>\n</service>\n",
        command.join(" "),
        grace.0.div_ceil(1000) + STOP_EXTRA_S
    )
}

pub(super) fn commands(service: &Service, deed: Deed) -> Vec<Vec<String>> {
    let exe = format!("{}.exe", service.name);
    match deed {
        Deed::Install { now: true } => vec![words(&[&exe, "install"]), words(&[&exe, "start"])],
        Deed::Install { now: false } => vec![words(&[&exe, "install"])],
        Deed::Leave => vec![words(&[&exe, "stop"]), words(&[&exe, "uninstall"])],
        Deed::Gone => Vec::new(),
        Deed::Status => vec![words(&["sc.exe", "query", &service.name])],
    }
}
