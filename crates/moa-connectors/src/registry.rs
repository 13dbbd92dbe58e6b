//! Which code reaches which kind of agent. A new kind is a folder and a line here.

use std::sync::Arc;

use moa_core::agent::{AgentKind, AgentSpec};
use moa_core::time::Span;
use moa_ports::agent::Agent;

use crate::http::{HttpClient, Request, Service};
use crate::noop::Noop;
use crate::notify::Notify;
use crate::process::{Command, Processes, Shell};
use crate::worker::WorkerOptions;
use crate::youtube::YouTube;

/// Time between asking a process to end and ending it, where no agent says otherwise.
pub const GRACE_DEFAULT: Span = Span::seconds(5);

/// How the agents of one kind are reached.
pub(crate) struct Kind {
    pub agent: Arc<dyn Agent>,
    /// Whether it never blocks the thread, so that its first step may be done by whoever starts it.
    pub inline: bool,
}

impl Kind {
    fn new(agent: impl Agent + 'static) -> Self {
        Self { agent: Arc::new(agent), inline: false }
    }

    fn inline(agent: impl Agent + 'static) -> Self {
        Self { agent: Arc::new(agent), inline: true }
    }
}

/// Every kind there is.
pub(crate) struct Registry {
    command: Kind,
    http: Kind,
    /// What knows how the addresses of the agents of kind `http` are.
    pub service: Arc<Service>,
    /// What knows the programs of attempts.
    pub processes: Arc<Processes>,
    builtins: Vec<(&'static str, Kind)>,
}

impl Registry {
    pub fn new(options: &WorkerOptions) -> Self {
        let processes = Arc::new(Processes::new(options));
        let client = HttpClient::default();
        let service = Arc::new(Service::new(client.clone()));
        let secrets = options.secrets.clone();
        let notify = Notify::new(options.channels.clone(), client.clone(), secrets);
        Self {
            builtins: vec![
                #[cfg(test)]
                ("test-inline", Kind::inline(crate::worker::tests::Odd)),
                #[cfg(test)]
                ("test-spawned", Kind::new(crate::worker::tests::Odd)),
                ("noop", Kind::inline(Noop)),
                ("http", Kind::new(Request::new(client.clone()))),
                ("notify", Kind::new(notify)),
                ("youtube", Kind::new(YouTube::new(client.clone(), options.secrets.clone()))),
                ("shell", Kind::new(Shell::new(processes.clone()))),
            ],
            command: Kind::new(Command::new(processes.clone())),
            http: Kind { agent: service.clone(), inline: false },
            service,
            processes,
        }
    }

    /// How an agent of that kind is reached; `None` when there is no such kind.
    pub fn kind(&self, kind: &AgentKind) -> Option<&Kind> {
        match kind {
            AgentKind::Command(_) => Some(&self.command),
            AgentKind::Http(_) => Some(&self.http),
            AgentKind::Builtin(name) => {
                self.builtins.iter().find(|(known, _)| known == name).map(|(_, kind)| kind)
            }
        }
    }
}

/// Time that an attempt of the agent has to end when asked to.
pub(crate) fn grace(spec: &AgentSpec) -> Span {
    match &spec.kind {
        AgentKind::Command(command) => command.grace,
        AgentKind::Http(_) | AgentKind::Builtin(_) => GRACE_DEFAULT,
    }
}
