//! Acts are in the audit log before they are done.

use std::sync::{Arc, Mutex};

use moa_core::time::Millis;
use moa_engine::audit::{Actor, Audit, Came, Deed, Options, Writing};
use moa_ports::audit::{Act, AuditHead, Phase};
use moa_ports::memory::MemoryStore;
use moa_ports::store::{
    self, Batch, BatchOutcome, Due, DueAsk, PruneAsk, Pruned, Registration, Reply, Snapshot, Store,
    WorkflowRef, WorkflowVersion,
};
use serde_json::json;

/// A store that takes no entry while it is full.
#[derive(Clone)]
struct Full {
    store: MemoryStore,
    full: Arc<Mutex<bool>>,
}

impl Store for Full {
    fn commit(&self, batch: Batch, reply: Reply<BatchOutcome>) {
        match *self.full.lock().expect("it is not poisoned") {
            true => reply(Err(store::Error::Unavailable("full".into()))),
            false => self.store.commit(batch, reply),
        }
    }
    fn load(&self, _: Vec<moa_core::ids::RunId>, _: Reply<Vec<Option<Snapshot>>>) {}
    fn load_triggers(
        &self,
        _: Vec<moa_core::trigger::TriggerId>,
        _: Reply<Vec<Option<moa_ports::triggers::TriggerRow>>>,
    ) {
    }
    fn due(&self, _: DueAsk, _: Reply<Due>) {}
    fn register(
        &self,
        _: Millis,
        _: moa_core::ids::NodeId,
        _: moa_core::time::Span,
        _: Reply<Registration>,
    ) {
    }
    fn put_workflow(&self, _: Millis, _: WorkflowVersion, _: Reply<()>) {}
    fn workflow(&self, _: WorkflowRef, _: Reply<Option<WorkflowVersion>>) {}
    fn prune(&self, _: PruneAsk, _: Reply<Pruned>) {}
    fn limits(&self, _: Reply<Vec<moa_ports::limit::LimitRow>>) {}
    fn close(&self) {}
}

struct World {
    store: Full,
    audit: Audit,
    heads: Arc<Mutex<Vec<AuditHead>>>,
    writing: Writing,
}

impl World {
    fn new() -> Self {
        let store = Full { store: MemoryStore::single(), full: Arc::default() };
        let heads: Arc<Mutex<Vec<AuditHead>>> = Arc::default();
        let told = heads.clone();
        let (audit, writing) = Audit::start(Options {
            store: Arc::new(store.clone()),
            clock: Arc::new(|| Millis(7)),
            redact: Arc::new(|value| {
                if let Some(text) = value["password"].as_str() {
                    assert!(text.len() > 3);
                    value["password"] = json!("***");
                }
            }),
            told: Arc::new(move |head| told.lock().expect("not poisoned").push(head)),
        });
        Self { store, audit, heads, writing }
    }

    fn acts(&self) -> Vec<Act> {
        let model = self.store.store.model();
        model.audit().iter().map(|entry| entry.act().expect("it is an act")).collect()
    }

    async fn act(&self, deed: Deed, result: Result<u8, String>) -> Result<u8, Wrong> {
        let actor = Actor { who: "unix:7 (ann)".into(), from: "socket (pid 9)".into() };
        let work = async {
            // It is known by now that it was asked for.
            assert_eq!(self.acts().last().map(|act| act.phase), Some(Phase::Asked));
            result.map_err(Wrong)
        };
        let came = |result: &Result<u8, Wrong>| match result {
            Ok(_) => Came::Done { object: Some("new".into()), after: Some(json!(1)) },
            Err(why) => Came::Refused(why.0.clone()),
        };
        self.audit.act(&actor, deed, work, came).await
    }
}

#[derive(Debug, PartialEq)]
struct Wrong(String);

impl From<store::Error> for Wrong {
    fn from(error: store::Error) -> Self {
        Self(error.to_string())
    }
}

#[tokio::test]
async fn an_act_has_two_entries() {
    let world = World::new();
    let deed = Deed::new("run.start", "build").asked(json!({"password": "hunter22"}));
    assert_eq!(world.act(deed.before(json!("none")), Ok(3)).await, Ok(3));
    let refused = world.act(Deed::new("run.cancel", "x"), Err("no".into())).await;
    assert_eq!(refused, Err(Wrong("no".into())));
    let acts = world.acts();
    let brief = |act: &Act| (act.action.clone(), act.object.clone(), act.phase, act.of);
    let (start, cancel) = ("run.start".to_owned(), "run.cancel".to_owned());
    assert_eq!(
        acts.iter().map(brief).collect::<Vec<_>>(),
        [
            (start.clone(), "build".into(), Phase::Asked, None),
            (start, "new".into(), Phase::Done, Some(1)),
            (cancel.clone(), "x".into(), Phase::Asked, None),
            (cancel, "x".into(), Phase::Refused, Some(3)),
        ]
    );
    assert_eq!(acts[0].before, Some(json!("none")));
    assert_eq!(acts[0].after, Some(json!({"password": "***"})));
    assert_eq!((acts[1].after.clone(), acts[3].error.clone()), (Some(json!(1)), Some("no".into())));
    assert_eq!((acts[0].who.as_str(), acts[0].from.as_str()), ("unix:7 (ann)", "socket (pid 9)"));
    let newest = world.store.store.model().audit_head();
    assert_eq!(world.heads.lock().expect("not poisoned").last().copied(), newest);
}

#[tokio::test]
async fn nothing_is_done_that_can_not_be_written_down() {
    let world = World::new();
    *world.store.full.lock().expect("not poisoned") = true;
    let actor = Actor { who: "a".into(), from: "b".into() };
    let work = async { panic!("it was done") };
    let done: Result<(), Wrong> =
        world.audit.act(&actor, Deed::new("run.start", "x"), work, |_| Came::DONE).await;
    assert_eq!(done, Err(Wrong("the store is unavailable: full".into())));
    *world.store.full.lock().expect("not poisoned") = false;
    assert_eq!(world.act(Deed::new("run.start", "x"), Ok(1)).await, Ok(1));
    assert_eq!(world.acts().len(), 2);
}

#[tokio::test]
async fn what_is_too_large_is_told_by_its_hash() {
    let world = World::new();
    let large = json!({"text": "x".repeat(40_000)});
    let hash = "x".repeat(5_000);
    world.act(Deed::new("event.publish", hash).asked(large), Ok(1)).await.expect("it is done");
    let act = world.acts().remove(0);
    assert_eq!(act.after.expect("something")["omitted_bytes"], 40_011);
    assert!(act.object.len() < 1100, "{}", act.object.len());
}

#[tokio::test]
async fn what_has_come_is_written_at_the_end_and_nothing_after_it() {
    let World { store, audit, writing, .. } = World::new();
    let actor = Actor { who: "a".into(), from: "b".into() };
    let deed = Deed::new("run.start", "x");
    let asked = std::array::from_fn::<_, 9, _>(|_| {
        let (audit, actor, deed) = (audit.clone(), actor.clone(), deed.clone());
        tokio::spawn(async move { audit.asked(&actor, &deed).await })
    });
    // They get a turn to ask.
    tokio::task::yield_now().await;
    writing.end().await;
    for (i, asked) in asked.into_iter().enumerate() {
        assert_eq!(asked.await.expect("it ends"), Ok(i as u64 + 1));
    }
    assert_eq!(store.store.model().audit().len(), 9);
    assert!(audit.asked(&actor, &deed).await.is_err());
}
