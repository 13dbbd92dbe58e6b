//! Halves of the processors.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Has the node and who starts runs on one half of the processors, and leaves the other one to who
/// listens, as if those were other machines: what is measured is what the node does for them, not what
/// they do themselves.
pub struct Halves {
    all: CpuSet,
    /// The one that is left.
    pub second: CpuSet,
}

impl Halves {
    /// The processors that this thread may run on, in halves; `None` where there is but one.
    fn of(all: &CpuSet) -> Option<(CpuSet, CpuSet)> {
        let mine: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|&cpu| all.is_set(cpu)).collect();
        let (mut first, mut second) = (CpuSet::new(), CpuSet::new());
        let (node, rest) = mine.split_at(mine.len() / 2);
        node.iter().for_each(|&cpu| first.set(cpu));
        rest.iter().for_each(|&cpu| second.set(cpu));
        (!node.is_empty()).then_some((first, second))
    }

    /// Has this thread, and all that it starts from now on, on the first half.
    pub fn take() -> Option<Self> {
        let all = sched_getaffinity(None).ok()?;
        let (first, second) = Self::of(&all)?;
        sched_setaffinity(None, &first).ok()?;
        Some(Self { all, second })
    }
}

impl Drop for Halves {
    fn drop(&mut self) {
        let _ = sched_setaffinity(None, &self.all);
    }
}
