//! What agents have spent, by the histories and by the rows: nothing is lost, nothing is counted twice.

use moa_core::ids::Name;
use moa_core::limit::{Budget, BudgetUsed, Usage};
use moa_core::time::Millis;
use moa_ports::memory::Model;
use moa_ports::store::Batch;

use super::{Checker, World};

/// How far the clocks of two nodes may be apart without anybody minding, in milliseconds.
const CLOCKS: u64 = 2_000;

impl Checker {
    /// A row that was written has all that the histories tell of its window, and not more than was spent
    /// at all. It may have what no history tells: its end was refused, and the node died before it
    /// could take it back.
    pub(super) fn budgets(
        &self,
        batch: &Batch,
        model: &Model,
        world: &World,
    ) -> Result<(), String> {
        if batch.limits.is_empty() {
            return Ok(());
        }
        for row in model.limits() {
            let spec =
                world.agents.get(&row.agent).ok_or("limits of an agent that is not there")?;
            let (Some(budget), Some(used)) = (&spec.limits.budget, &row.state.budget) else {
                continue;
            };
            let told = self.told_by_histories(&row.agent, budget, used);
            if !world.clocks_apart && !told.minus(used.spent).is_nothing() {
                return Err(format!("{} has spent {told}, and {used:?} is counted", row.agent));
            }
            let real = world.ledger.spent(&row.agent);
            if !used.spent.minus(real).is_nothing() {
                return Err(format!(
                    "{} has spent {real} at all, and {used:?} is counted",
                    row.agent
                ));
            }
        }
        Ok(())
    }

    /// What the histories tell for certain of the window that a row is in. It counts in the window in which
    /// the attempt ended, however late the store can write that.
    fn told_by_histories(&self, agent: &Name, budget: &Budget, used: &BudgetUsed) -> Usage {
        let (from, to) = budget.window(used.window);
        let certain = |ended: Millis, at: Millis| {
            ended.since(from).0 > CLOCKS && at >= from && to.since(at).0 > CLOCKS
        };
        let of = self.spent.iter().filter(|(of, _, ended, at)| of == agent && certain(*ended, *at));
        of.fold(Usage::NONE, |all, (_, usage, ..)| all.plus(*usage))
    }
}
