//! Runs of every kind, fed to nodes that die: what isn't acknowledged is asked for again under the
//! same idempotency key.

use std::collections::VecDeque;
use std::io;

use moa_faults::history::Ack;
use serde_json::json;

use crate::chance::Chance;
use crate::node::Client;

/// What still has to be asked of some node.
pub struct Load {
    /// Runs to start: their numbers and workflows.
    starts: VecDeque<(usize, &'static str)>,
    /// Runs to send their signal to, or to cancel.
    changes: VecDeque<(String, Change)>,
    /// What was acknowledged.
    pub acks: Vec<Ack>,
    /// Requests that were refused, and shouldn't have been.
    pub refused: Vec<String>,
}

#[derive(Clone, Copy, PartialEq)]
enum Change {
    Go,
    Cancel,
}

impl Load {
    /// So many runs; one in `mixed` is one of those with agents, timers and signals.
    pub fn new(runs: usize, mixed: usize) -> Self {
        let workflow = |i| if i % mixed == 0 { "mixed" } else { "quiet" };
        let starts = (0..runs).map(|i| (i, workflow(i))).collect();
        Self { starts, changes: VecDeque::new(), acks: Vec::new(), refused: Vec::new() }
    }

    /// Whether all has been asked and acknowledged.
    pub fn is_done(&self) -> bool {
        self.starts.is_empty() && self.changes.is_empty()
    }

    /// Asks for up to so many starts, and for changes in between, until the node is gone.
    pub fn feed(
        &mut self,
        client: &mut Client,
        starts: usize,
        chance: &mut Chance,
    ) -> io::Result<()> {
        for _ in 0..starts {
            self.start_next(client, chance)?;
            if chance.one_in(2) {
                self.change_next(client)?;
            }
        }
        Ok(())
    }

    /// Asks for all that is left.
    pub fn finish(&mut self, client: &mut Client, chance: &mut Chance) {
        while !self.starts.is_empty() {
            self.start_next(client, chance).expect("the node stays");
        }
        while !self.changes.is_empty() {
            self.change_next(client).expect("the node stays");
        }
    }

    fn start_next(&mut self, client: &mut Client, chance: &mut Chance) -> io::Result<()> {
        let Some(&(number, workflow)) = self.starts.front() else { return Ok(()) };
        let key = format!("start-{number}");
        // An error leaves it in the queue: nobody knows whether it was started.
        match client.start(workflow, json!({}), &key)? {
            Ok(run) => {
                if workflow == "mixed" {
                    let change = if chance.one_in(20) { Change::Cancel } else { Change::Go };
                    self.changes.push_back((run.clone(), change));
                }
                self.acks.push(Ack { run, idem: Some(key), kind: None });
            }
            Err(refusal) => self.refused.push(format!("start of {workflow}: {refusal}")),
        }
        self.starts.pop_front();
        Ok(())
    }

    fn change_next(&mut self, client: &mut Client) -> io::Result<()> {
        let Some((run, change)) = self.changes.front().cloned() else { return Ok(()) };
        let (done, kind) = match change {
            Change::Go => (client.go(&run)?, "event"),
            Change::Cancel => {
                let cancel = json!({"change": "cancel", "reason": "chance"});
                (client.change(&run, cancel)?, "cancel")
            }
        };
        // A refusal is right when it was applied before, unacknowledged, and the run has ended.
        if done.is_ok() {
            self.acks.push(Ack { run, idem: None, kind: Some(kind.to_owned()) });
        }
        self.changes.pop_front();
        Ok(())
    }
}
