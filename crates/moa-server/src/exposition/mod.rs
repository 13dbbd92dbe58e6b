//! A node in numbers, in the OpenMetrics text format.
//!
//! Names that begin with `orchestrator_` are those that people's graphs already have; the others are
//! moa's own (`moa_`), and those of every exporter (`process_`). Labels are names of agents, counters,
//! statuses, methods and templates of routes: none that grows with what is done. Numbers of the engine begin at 0 with each
//! start of the node.

mod process;
mod requests;

pub use process::Process;
pub use requests::{Requests, Template};

use std::collections::BTreeMap;
use std::fmt::Error;

use moa_core::ids::Name;
use moa_core::limit::{BudgetNow, Share, Unit};
use moa_core::run::RunStatus;
use moa_core::time::Millis;
use moa_engine::meter::{Histogram, Meter};
use moa_ports::views::Totals;
use moa_view::node::NodeStatus;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

/// What a node is like at an instant.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// What it is doing.
    pub status: NodeStatus,
    /// What its engine has done.
    pub meter: Meter,
    /// What its store holds.
    pub totals: Totals,
    /// The project's own counters.
    pub counted: BTreeMap<String, f64>,
    /// How the budgets of agents stand.
    pub budgets: BTreeMap<Name, BudgetNow>,
    /// What its server has answered.
    pub requests: Requests,
    /// Its process.
    pub process: Process,
    /// The instant, by the wall clock.
    pub now: Millis,
}

type Labels<'a> = [(&'static str, &'a str)];

impl Snapshot {
    /// The text.
    ///
    /// # Errors
    /// None: the text is written to memory.
    pub fn expose(self) -> Result<String, Error> {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry)?;
        Ok(text)
    }

    fn open_runs(&self) -> u64 {
        let open = RunStatus::ALL.into_iter().filter(|status| !status.is_terminal());
        open.filter_map(|status| self.totals.runs.get(status.as_str())).sum()
    }

    /// The part of the runs ended since the start that succeeded; all of none.
    fn success_rate(&self) -> f64 {
        let ended: u64 = self.meter.runs.values().sum();
        let succeeded = self.meter.runs.get(&RunStatus::Succeeded).copied().unwrap_or(0);
        if ended == 0 { 1.0 } else { succeeded as f64 / ended as f64 }
    }

    /// How long ago something was, in seconds.
    fn age(&self, at: Option<Millis>) -> f64 {
        at.map_or(0.0, |at| self.now.since(at).0 as f64 / 1000.0)
    }

    fn runs(&self, out: &mut Out<'_>) -> Result<(), Error> {
        let ended = self.meter.runs.iter().map(|(status, n)| (status.as_str(), *n as f64));
        out.counters("orchestrator_workflows", "Runs that ended", "status", ended)?;
        let active = self.open_runs() as f64;
        out.gauge("orchestrator_workflows_active", "Runs that go on", active)?;
        let name = "orchestrator_workflow_duration_seconds";
        out.histogram(
            name,
            "From the creation of a run to its end",
            &self.meter.run_seconds.classes,
        )?;
        let about = "Runs that succeeded, of those that ended since the node's start";
        out.gauge("orchestrator_success_rate", about, self.success_rate())
    }

    fn agents(&self, out: &mut Out<'_>) -> Result<(), Error> {
        let all = || self.meter.agents.iter().map(|(name, meter)| (name.as_str(), meter));
        let name = "orchestrator_agent_executions";
        let executions = all().map(|(agent, meter)| (agent, meter.executions as f64));
        out.counters(name, "Attempts that ended", "agent", executions)?;
        let name = "orchestrator_agent_errors";
        let errors = all().map(|(agent, meter)| (agent, meter.errors as f64));
        out.counters(name, "Attempts that failed", "agent", errors)?;
        let latency = all().map(|(agent, meter)| (agent, &meter.seconds.classes));
        let about = "How long an attempt takes";
        out.histograms("orchestrator_agent_latency_seconds", about, "agent", latency)?;
        let engine = &self.status.engine;
        let running = engine.running.iter().map(|(agent, n)| (agent.as_str(), f64::from(*n)));
        out.gauges("moa_tasks_running", "Attempts that run", "agent", running)?;
        let ready = engine.ready.iter().map(|(agent, n)| (agent.as_str(), f64::from(*n)));
        let about = "Tasks in memory that wait for a slot";
        out.gauges("moa_tasks_ready", about, "agent", ready)?;
        let of = |amount: fn(&Share) -> u64| {
            let shares = |(agent, now): (&'_ Name, &'_ BudgetNow)| -> Vec<([String; 2], f64)> {
                let value = |share: &Share| match share.unit {
                    Unit::Usd => amount(share) as f64 / 1e6,
                    Unit::Tokens => amount(share) as f64,
                };
                let label = |share: &Share| [agent.to_string(), share.unit.as_str().to_owned()];
                now.shares.iter().map(|share| (label(share), value(share))).collect()
            };
            self.budgets.iter().flat_map(shares).collect::<Vec<_>>()
        };
        let about = "What agents have spent in the window of their budgets, in dollars and tokens";
        let labels = ["agent", "unit"];
        out.gauges_by_two("moa_agent_budget_used", about, labels, &of(|share| share.used))?;
        let about = "What they may spend in it, with what was granted";
        out.gauges_by_two("moa_agent_budget_limit", about, labels, &of(|share| share.of))
    }

    fn node(&self, out: &mut Out<'_>) -> Result<(), Error> {
        let info = &self.status.info;
        let (version, node) = (info.moa.as_str(), info.node.to_string());
        let labels = [("version", version), ("node", node.as_str())];
        out.gauge_of("moa_build_info", "Which moa it is", &labels, 1.0)?;
        let engine = &self.status.engine;
        let about = "1 while the store takes nothing";
        let degraded = f64::from(u8::from(engine.degraded.is_some()));
        out.gauge("moa_store_degraded", about, degraded)?;
        let about = "Runs and triggers that moa itself failed on";
        out.gauge("moa_quarantined", about, engine.quarantined.len() as f64)?;
        let about = "How long the store takes to make changes durable";
        out.histogram("moa_commit_seconds", about, &self.meter.commit_seconds.classes)?;
        let about = "Changes of runs in a commit";
        out.histogram("moa_commit_changes", about, &self.meter.commit_changes)?;
        let about = "Age of the oldest slot that is due and that nobody has looked at";
        out.gauge("moa_schedule_lag_seconds", about, self.age(self.totals.trigger_due))?;
        let about = "Tasks that can be claimed, in memory or not";
        out.gauge("moa_queue_depth", about, self.totals.ready as f64)?;
        let about = "Age of the oldest task that can be claimed";
        out.gauge("moa_oldest_ready_task_seconds", about, self.age(self.totals.ready_since))?;
        let about = "Steps that a node works on, as the store knows";
        out.gauge("moa_leases", about, self.totals.running as f64)?;
        out.gauge("moa_timers", "Armed timers", self.totals.timers as f64)?;
        out.counter("moa_events", "Events of all runs", self.totals.events as f64)?;
        let counted = self.counted.iter().map(|(name, total)| (name.as_str(), *total));
        out.gauges("moa_metric", "What the project counts, of all time", "metric", counted)
    }
}

impl Snapshot {
    fn traces(&self, out: &mut Out<'_>) -> Result<(), Error> {
        let Some(traces) = &self.status.traces else { return Ok(()) };
        let about = "Events that no trace was made of yet";
        out.gauge("moa_traces_behind_events", about, traces.behind as f64)?;
        let spans = [("sent", traces.sent as f64), ("dropped", traces.dropped as f64)];
        let about = "Spans that the collector took, or will never take";
        out.counters("moa_traces_spans", about, "outcome", spans.into_iter())?;
        let about = "Requests that the collector did not take";
        out.counter("moa_traces_failures", about, traces.failures as f64)
    }
}

impl Collector for Snapshot {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let out = &mut Out(encoder);
        self.runs(out)?;
        self.agents(out)?;
        self.node(out)?;
        self.traces(out)?;
        self.requests.encode(out)?;
        self.process.encode(out)
    }
}

/// Writes families of numbers.
pub(crate) struct Out<'a>(DescriptorEncoder<'a>);

impl Out<'_> {
    fn family(
        &mut self,
        (name, about, kind): (&str, &str, MetricType),
        mut each: impl FnMut(&mut MetricEncoder<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        each(&mut self.0.encode_descriptor(name, about, None, kind)?)
    }

    /// One number that only grows; its name gets `_total`.
    pub fn counter(&mut self, name: &str, about: &str, value: f64) -> Result<(), Error> {
        let write =
            |m: &mut MetricEncoder<'_>| m.encode_counter::<NoLabelSet, f64, f64>(&value, None);
        self.family((name, about, MetricType::Counter), write)
    }

    /// Numbers that only grow, each with a label; the name gets `_total`.
    pub fn counters<'v>(
        &mut self,
        name: &str,
        about: &str,
        label: &'static str,
        values: impl Iterator<Item = (&'v str, f64)> + Clone,
    ) -> Result<(), Error> {
        self.family((name, about, MetricType::Counter), |m| {
            values.clone().try_for_each(|(of, value)| {
                let labels: &Labels<'_> = &[(label, of)];
                m.encode_family(&labels)?.encode_counter::<NoLabelSet, f64, f64>(&value, None)
            })
        })
    }

    /// The same with two labels.
    fn counters_by_two<'v>(
        &mut self,
        name: &str,
        about: &str,
        [first, second]: [&'static str; 2],
        values: impl Iterator<Item = ([&'v str; 2], f64)> + Clone,
    ) -> Result<(), Error> {
        self.family((name, about, MetricType::Counter), |m| {
            values.clone().try_for_each(|([one, two], value)| {
                let labels: &Labels<'_> = &[(first, one), (second, two)];
                m.encode_family(&labels)?.encode_counter::<NoLabelSet, f64, f64>(&value, None)
            })
        })
    }

    /// One number.
    pub fn gauge(&mut self, name: &str, about: &str, value: f64) -> Result<(), Error> {
        self.family((name, about, MetricType::Gauge), |m| m.encode_gauge(&value))
    }

    /// One number with labels.
    fn gauge_of(
        &mut self,
        name: &str,
        about: &str,
        labels: &Labels<'_>,
        value: f64,
    ) -> Result<(), Error> {
        let write = |m: &mut MetricEncoder<'_>| m.encode_family(&labels)?.encode_gauge(&value);
        self.family((name, about, MetricType::Gauge), write)
    }

    /// Numbers, each with a label.
    fn gauges<'v>(
        &mut self,
        name: &str,
        about: &str,
        label: &'static str,
        values: impl Iterator<Item = (&'v str, f64)> + Clone,
    ) -> Result<(), Error> {
        self.family((name, about, MetricType::Gauge), |m| {
            values.clone().try_for_each(|(of, value)| {
                let labels: &Labels<'_> = &[(label, of)];
                m.encode_family(&labels)?.encode_gauge(&value)
            })
        })
    }

    /// The same with two labels.
    fn gauges_by_two(
        &mut self,
        name: &str,
        about: &str,
        [first, second]: [&'static str; 2],
        values: &[([String; 2], f64)],
    ) -> Result<(), Error> {
        self.family((name, about, MetricType::Gauge), |m| {
            values.iter().try_for_each(|([one, two], value)| {
                let labels: &Labels<'_> = &[(first, one), (second, two)];
                m.encode_family(&labels)?.encode_gauge(value)
            })
        })
    }

    /// How values are distributed.
    pub fn histogram(&mut self, name: &str, about: &str, of: &Histogram) -> Result<(), Error> {
        self.family((name, about, MetricType::Histogram), |m| {
            m.encode_histogram::<NoLabelSet>(of.sum, of.count(), &classes(of), None)
        })
    }

    /// How values with three labels are distributed.
    fn histograms_by_three<'v>(
        &mut self,
        name: &str,
        about: &str,
        [first, second, third]: [&'static str; 3],
        values: impl Iterator<Item = ([&'v str; 3], &'v Histogram)> + Clone,
    ) -> Result<(), Error> {
        self.family((name, about, MetricType::Histogram), |m| {
            values.clone().try_for_each(|([one, two, three], values)| {
                let labels: &Labels<'_> = &[(first, one), (second, two), (third, three)];
                let mut m = m.encode_family(&labels)?;
                m.encode_histogram::<NoLabelSet>(values.sum, values.count(), &classes(values), None)
            })
        })
    }

    fn histograms<'v>(
        &mut self,
        name: &str,
        about: &str,
        label: &'static str,
        values: impl Iterator<Item = (&'v str, &'v Histogram)> + Clone,
    ) -> Result<(), Error> {
        self.family((name, about, MetricType::Histogram), |m| {
            values.clone().try_for_each(|(of, values)| {
                let labels: &Labels<'_> = &[(label, of)];
                let mut m = m.encode_family(&labels)?;
                m.encode_histogram::<NoLabelSet>(values.sum, values.count(), &classes(values), None)
            })
        })
    }
}

/// The classes as the encoder wants them: the last one has no bound.
fn classes(of: &Histogram) -> Vec<(f64, u64)> {
    let bounds = of.bounds.iter().copied().chain([f64::INFINITY]);
    bounds.zip(of.counts.iter().copied()).collect()
}
