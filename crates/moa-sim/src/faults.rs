//! Faults of processes: crashes, stops, stalls, clocks that jump; and changes of the world around
//! them.

use crate::world::{Happening, World};

/// How far a clock of several may be off before it jumps no more.
const SKEW_MAX: i64 = 4_000;

impl World {
    /// Some process suffers a fault.
    pub(crate) fn fault(&mut self) {
        if self.calm_since.is_some() {
            return;
        }
        let wait = self.random.delay(self.swarm.fault_every).max(1);
        self.after(wait, Happening::Fault);
        let p = self.random.below(self.processes.len() as u64) as usize;
        let faults = self.swarm.faults;
        if faults.iter().all(|f| *f == 0) {
            return;
        }
        match self.random.weighted(&faults) {
            0 => self.crash(p),
            1 => self.stop(p),
            2 => {
                let wait = self.random.range(10, 12_000) as i64;
                let until = &mut self.processes[p].stalled_until;
                *until = (*until).max(self.now + wait);
            }
            3 => self.jump(p),
            _ => {
                let which = self.random.below(self.workflows.len() as u64) as usize;
                self.new_version(which);
            }
        }
    }

    /// A process dies at once.
    pub(crate) fn crash(&mut self, p: usize) {
        if self.processes[p].node.is_none() {
            return;
        }
        self.note(|_| format!("  n{p} dies"));
        self.cut_off(p);
        self.orphan(p);
        self.down(p);
    }

    fn jump(&mut self, p: usize) {
        let by = match self.swarm.exclusive {
            true => self.random.range(1, 600_000) as i64,
            false => self.random.range(1, 2_000) as i64,
        };
        let process = &mut self.processes[p];
        if self.swarm.exclusive || process.skew + by <= SKEW_MAX {
            process.skew += by;
            self.compare_clocks();
            // The node learns of the time when it is woken or told something.
            self.drain(p);
        }
    }
}
