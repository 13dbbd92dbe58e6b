//! Soaks: the templates' real workflows, schedules and agents' declarations on virtual time, for
//! weeks and for a year, with the real node machine, the real store on a disk, and the real jobs
//! that count and delete.
//!
//! What is not real: the clock; and the agents' programs, for which a model answers with plausible
//! outputs, failures, timeouts and rejections (a year of real ones would take hours; the tests of
//! the templates run them). Attempts leave logs where a worker leaves them, and notifications are
//! written for real. The process dies now and then, and stays away for a while. The store is
//! not synced at each commit, which makes a difference to power cuts alone. Jobs that a node does
//! each minute or hour are done each few hours or days of virtual time: they do the same work in
//! larger portions.
//!
//! Start reading at `video`, then [`Soak`].

mod calendar;
mod channel;
mod ledger;
mod monitoring;
mod service;
mod size;
mod video;
mod worker;

use std::cell::{Cell, RefCell};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use moa_core::ids::{Name, RunId};
use moa_core::time::{Millis, Span};
use moa_engine::handle::StartRequest;
use moa_engine::jobs::retention::Retention;
use moa_engine::jobs::{Instants, Job};
use moa_engine::virtual_time::{Rest, World};
use moa_ports::agent::Task;
use moa_ports::store::Store;
use serde_json::{Value as Json, json};
use tokio::runtime::Runtime;

use crate::cmd::runtime;
use crate::exit::{Failure, Result};
use crate::jobs::files::{OldFiles, RunFolders, store_limits};
use crate::jobs::health::Health;
use crate::jobs::metrics::{AfterCounting, Counting, Metrics};
use crate::metrics::Days;
use crate::node::notifier::{Notice, Tell};
use crate::node::rotate::{Limits, RotatingFile};
use crate::node::triggers;
use crate::project::{self, Layout, Project};
use crate::template;
use crate::wire::{self, StateFiles, Stores};

use calendar::Calendar;
use ledger::Ledger;
use size::Size;
use worker::{Model, Worker};

pub const MINUTE: Span = Span::minutes(1);
pub const HOUR: Span = Span::minutes(60);
pub const DAY: Span = Span::minutes(24 * 60);

/// Milliseconds between two looks at all files of the state; the round of the jobs that is next does
/// it.
const FILES_EVERY: i64 = 7 * DAY.0 as i64;

/// Soaks measure the memory of their process: one at a time.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How a soak goes.
struct Plan {
    template: &'static str,
    from: Millis,
    /// Time between two rounds of the jobs.
    jobs_every: Span,
    /// What of 1,000 attempts fails: by being tried again, for good, by running out of time.
    failing: [u64; 3],
    /// When the process dies, in time from the start, and how long it is away.
    outages: Vec<(Span, Span)>,
    /// Whether what is old is deleted.
    retention: bool,
    /// Whether health reports and a log are written with each round of the jobs.
    upkeep: bool,
}

/// A project on virtual time.
struct Soak {
    _alone: MutexGuard<'static, ()>,
    _dir: tempfile::TempDir,
    plan: Plan,
    layout: Layout,
    project: Project,
    stores: Stores,
    runtime: Rc<Runtime>,
    world: World<'static, dyn Store>,
    jobs: Jobs,
    ledger: Ledger,
    /// When the jobs are done next.
    jobs_at: Millis,
    outages_done: usize,
    /// Days that have passed.
    days: u64,
}

/// A notification.
#[derive(Debug)]
struct Told {
    run: RunId,
    title: String,
    text: String,
}

struct Jobs {
    retention: AfterCounting,
    metrics: Metrics,
    files: OldFiles,
    health: Health,
    /// The node's log, by the virtual clock: some lines with each round.
    log: RotatingFile,
}

thread_local! {
    /// What the clock of the log shows.
    static NOW: Cell<Millis> = const { Cell::new(Millis(0)) };
}

/// The project as `moa init` makes it, with `edit` of each workflow file.
fn project(template: &str, folder: &Path, edit: &dyn Fn(&str) -> String) -> (Layout, Project) {
    let template = template::find(template).expect("it is a template");
    template::make(template, folder).expect("a project");
    for entry in std::fs::read_dir(folder.join("workflows")).expect("a folder") {
        let path = entry.expect("an entry").path();
        let text = std::fs::read_to_string(&path).expect("a file");
        std::fs::write(&path, edit(&text)).expect("written");
    }
    let layout = Layout { root: folder.canonicalize().expect("it is there") };
    let loaded = project::load(&layout, None).expect("it can be read");
    assert!(!loaded.problems.has_errors(), "{}", loaded.problems.render(false));
    (layout, loaded.project)
}

impl Soak {
    fn new(plan: Plan, model: Rc<RefCell<dyn Model>>) -> Self {
        Self::edited(plan, model, &str::to_owned)
    }

    fn edited(plan: Plan, model: Rc<RefCell<dyn Model>>, edit: &dyn Fn(&str) -> String) -> Self {
        let alone = alone();
        let dir = tempfile::tempdir().expect("a folder");
        let (layout, project) = project(plan.template, &dir.path().join("soak"), edit);
        std::fs::create_dir(layout.state()).expect("mkdir");
        let stores = wire::open_unsynced_store(&layout).expect("a store");
        let runtime = Rc::new(runtime().expect("a runtime"));
        let worker = Worker {
            layout: layout.clone(),
            failing: plan.failing,
            agents: wire::agents(&project),
            model,
        };
        let agents = wire::agents(&project);
        let mock = Box::new(move |task: &Task, now| Some(worker.attempt(task, now)));
        let mut world = World::on(stores.store.clone(), plan.from, agents, wire::schemas(), mock);
        for served in project.workflows.values() {
            world.put(&served.plan).expect("it is kept");
        }
        for (_, spec) in triggers::wanted(&project) {
            world.put_trigger(spec).expect("it is put");
        }
        let jobs = jobs(&layout, &project, &stores, plan.from);
        let ledger = Ledger::new(plan.from);
        let jobs_at = plan.from;
        Self {
            _alone: alone,
            _dir: dir,
            plan,
            layout,
            project,
            stores,
            runtime,
            world,
            jobs,
            ledger,
            jobs_at,
            outages_done: 0,
            days: 0,
        }
    }

    /// Lets time pass until so many days from the start.
    fn until_day(&mut self, days: u64) {
        while self.days < days {
            self.days += 1;
            let end = self.plan.from.after(Span(self.days * DAY.0));
            while self.world.now() < end {
                self.pass_until(end);
            }
            self.world.started.clear();
            let views = &*self.stores.views;
            self.runtime.block_on(self.ledger.go_on(views, &self.project, end));
        }
        self.do_jobs();
    }

    /// Until the jobs are due, the process dies, or `end`.
    fn pass_until(&mut self, end: Millis) {
        let outage = self.plan.outages.get(self.outages_done).copied();
        let dies_at = outage.map(|(after, _)| self.plan.from.after(after));
        let until = [Some(end), dies_at, Some(self.jobs_at)].into_iter().flatten().min();
        let until = until.expect("there is an end");
        let rest = self.world.run(until.since(self.world.now()));
        assert_ne!(rest, Rest::Endless);
        // Where nothing at all is due, time passes nonetheless.
        let left = until.since(self.world.now());
        self.world.skip(left);
        if let Some((after, away)) = outage.filter(|_| dies_at == Some(until)) {
            self.outages_done += 1;
            let from = self.plan.from.after(after);
            self.ledger.outages.push((from, from.after(away)));
            self.world.skip(away);
            self.world.restart();
        }
        if self.jobs_at <= self.world.now() {
            self.jobs_at = self.jobs_at.after(self.plan.jobs_every).max(self.world.now());
            self.do_jobs();
        }
    }

    fn do_jobs(&mut self) {
        let now = self.world.now();
        let at = Instants::from(now);
        let done = async {
            if self.plan.retention {
                self.jobs.retention.activate(at).await.expect("retention");
                if now.0 % FILES_EVERY < self.plan.jobs_every.0 as i64 {
                    self.jobs.files.delete(now).await.expect("files");
                }
            }
            self.jobs.metrics.activate(at).await.expect("metrics");
            if self.plan.upkeep {
                self.jobs.health.activate(at).await.expect("health");
            }
        };
        self.runtime.block_on(done);
        if !self.plan.upkeep {
            return;
        }
        NOW.set(now);
        for n in 0..3 {
            let line = format!("{now} INFO round, line {n}\n");
            self.jobs.log.write_all(line.as_bytes()).expect("it never fails");
        }
    }

    /// Logs and health reports are there for as many days as they are kept, and no longer.
    #[track_caller]
    fn check_upkeep(&self) {
        let settings = &self.project.settings;
        let names = |folder: &str| {
            let entries = std::fs::read_dir(self.layout.root.join(folder)).expect("a folder");
            let names = entries.map(|e| e.expect("an entry").file_name().into_string());
            let mut names: Vec<String> = names.map(|name| name.expect("UTF-8")).collect();
            names.sort();
            names
        };
        let days = settings.log.keep.expect("they are not kept for good").0 / DAY.0;
        let reports = names(&settings.health.folder);
        let reports: Vec<_> = reports.iter().filter(|n| n.starts_with("health_")).collect();
        let most = days + 1;
        assert!((days - 2..=most).contains(&(reports.len() as u64)), "{reports:?}");
        let newest =
            self.layout.root.join(&settings.health.folder).join(reports[reports.len() - 1]);
        let report = std::fs::read_to_string(newest).expect("a report");
        let report: Json = serde_json::from_str(&report).expect("JSON");
        let today = &self.world.now().to_string()[..10];
        assert!(report["timestamp"].as_str().expect("an instant").starts_with(today), "{report}");
        assert!(report["completed_tasks"].as_u64() > Some(100), "{report}");
        let logs = names(".moa/log");
        let most = (settings.log.files as u64).min(days) + 1;
        assert!((most - 3..=most + 1).contains(&(logs.len() as u64)), "{logs:?}");
        let text = std::fs::read_to_string(self.layout.root.join(".moa/log/moa.log"));
        assert!(text.expect("a log").lines().all(|line| line.starts_with(today)));
    }

    /// Checks what became of the slots that were not checked yet, and forgets it.
    #[track_caller]
    fn check_slots(&mut self, calendar: &Calendar) {
        let (from, to) = self.ledger.read();
        for (workflow, wanted) in calendar.slots(from, to) {
            self.ledger.check_slots(workflow, &wanted);
        }
        self.ledger.forget();
    }

    /// Somebody starts a run.
    #[track_caller]
    fn start(&mut self, workflow: &str, params: Json) {
        let plan = &self.project.workflows[&Name::new(workflow).expect("a name")].plan;
        let Json::Object(params) = params else { panic!("params are an object") };
        let params = project::check_params(plan, params, &[]).expect("they fit");
        let request = StartRequest {
            workflow: plan.workflow.clone(),
            version: None,
            params: Json::Object(params),
            idempotency_key: None,
            priority: None,
            trace: None,
            cause: "a person".into(),
        };
        self.world.start(request).expect("it is started");
    }

    /// What runs told to a channel of the project.
    fn told(&self, channel: &str) -> Vec<Told> {
        let file = self.layout.root.join(format!("notifications/{channel}.jsonl"));
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let entries = text.lines().map(|line| serde_json::from_str(line).expect("JSON"));
        let told = entries.filter_map(|entry: Json| {
            let run = entry["key"].as_str()?.split('/').next()?.parse().ok()?;
            let title = entry["params"]["title"].as_str().unwrap_or_default().to_owned();
            Some(Told { run, title, text: entry["params"]["text"].as_str()?.to_owned() })
        });
        told.collect()
    }

    /// How large it is. Only when all slots have been checked: what is known of them takes memory.
    fn size(&self) -> Size {
        Size::of(&self.layout)
    }

    /// What the store says about itself; nothing is wrong with it.
    #[track_caller]
    fn check_store(&self) {
        let wrong = self.runtime.block_on(self.stores.views.verify()).expect("it can be read");
        assert_eq!(wrong, Vec::<String>::new());
    }
}

/// Tells what moa itself says by a line of a file.
struct ToFiles(PathBuf);

#[async_trait]
impl Tell for ToFiles {
    async fn tell(&self, notice: &Notice) -> Result<()> {
        let file = self.0.join(format!("notifications/{}.jsonl", notice.channel));
        let line = json!({"title": notice.title, "about": notice.about, "key": notice.key});
        wire::append_once(&file, &notice.key, &line).map_err(|e| Failure::io("a file", &e))
    }
}

fn jobs(layout: &Layout, project: &Project, stores: &Stores, from: Millis) -> Jobs {
    let settings = &project.settings;
    let limits = Limits {
        file_bytes: settings.log.max_size,
        age: settings.log.keep,
        files: settings.log.files as usize,
    };
    let files = StateFiles::new(&layout.state());
    let counting = Counting::new(layout, settings, stores.views.clone());
    let retention = Retention::new(
        stores.store.clone(),
        stores.views.clone(),
        store_limits(&settings.retention),
        Arc::new(RunFolders(files.clone())),
    );
    Jobs {
        retention: AfterCounting { counting: counting.clone(), retention },
        metrics: Metrics {
            counting: counting.clone(),
            notifier: Some(Arc::new(ToFiles(layout.root.clone()))),
        },
        files: OldFiles { files, views: stores.views.clone(), limits: settings.retention.clone() },
        health: Health {
            layout: layout.clone(),
            settings: settings.health.clone(),
            keep: settings.log.keep,
            views: stores.views.clone(),
            counting: counting.clone(),
            days: Days::of(settings),
            started_at: from,
            lasting: true,
        },
        log: RotatingFile::by_clock(&layout.root.join(&settings.log.file), limits, || NOW.get()),
    }
}
