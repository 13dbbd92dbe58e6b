//! Every maximum of moa, by name, with its unit last. A limit that a user can hit is in the docs.

use crate::time::Span;

/// Characters of a workflow's, agent's or channel's name.
pub const NAME_LENGTH_MAX: usize = 64;
/// Characters of a step id.
pub const STEP_ID_LENGTH_MAX: usize = 64;
/// Bytes of one expression's source.
pub const EXPRESSION_BYTES_MAX: usize = 4096;
/// Nesting of one expression.
pub const EXPRESSION_DEPTH_MAX: usize = 32;
/// Evaluation steps of one expression.
pub const EXPRESSION_STEPS_MAX: u64 = 1_000_000;
/// Bytes that evaluating one expression may allocate.
pub const EXPRESSION_ALLOC_BYTES_MAX: u64 = 64 << 20;
/// Bytes of one workflow, agent or settings file.
pub const FILE_BYTES_MAX: usize = 1 << 20;
/// YAML nodes of one file after aliases are expanded.
pub const FILE_NODES_MAX: usize = 100_000;
/// Nesting of one YAML file.
pub const FILE_DEPTH_MAX: usize = 64;
/// Steps of one workflow definition.
pub const PLAN_STEPS_MAX: usize = 20_000;
/// Step instances of one run, all iterations together.
pub const RUN_STEPS_MAX: usize = 1_000_000;
/// Iterations of one `foreach`.
pub const FOREACH_ITEMS_MAX: usize = 100_000;
/// Iterations of one `while` or `until`.
pub const WHILE_ITERATIONS_MAX: u32 = 10_000;
/// Nesting of sub-workflow runs.
pub const CHILD_DEPTH_MAX: u32 = 16;
/// Bytes of one step's output kept in the store; larger ones go to the artifact store.
pub const OUTPUT_INLINE_BYTES_MAX: usize = 256 << 10;
/// Bytes of one step's output altogether.
pub const OUTPUT_BYTES_MAX: usize = 16 << 20;
/// Looks at parts of one value that checking it against its schema may take.
pub const SCHEMA_STEPS_MAX: u64 = 5_000_000;
/// Schemas that apply to one and the same part of a value, `$ref`, `allOf` and the like followed.
pub const SCHEMA_ALTERNATIVES_MAX: u64 = 10_000;
/// How deep `$ref`, `allOf` and the like may stand in one another.
pub const SCHEMA_DEPTH_MAX: usize = 32;
/// Nesting of one step's output.
pub const OUTPUT_DEPTH_MAX: usize = 100;
/// Nesting of what an agent gives back: less than [`OUTPUT_DEPTH_MAX`], because loops, events and
/// parent runs wrap it, and a JSON reader refuses more than 127.
pub const AGENT_OUTPUT_DEPTH_MAX: usize = 64;
/// Bytes of the text of one error kept in history.
pub const ERROR_BYTES_MAX: usize = 4096;
/// Bytes of the params of one run.
pub const PARAMS_BYTES_MAX: usize = 1 << 20;
/// Bytes of one signal's or event's payload.
pub const SIGNAL_BYTES_MAX: usize = 256 << 10;
/// Signals that one run keeps for waits not armed yet.
pub const SIGNALS_BUFFERED_MAX: usize = 1000;
/// Idempotency keys of signals that one run remembers.
pub const SIGNAL_KEYS_MAX: usize = 1000;
/// Bytes of what somebody who publishes an event says of it beside its data: source, subject, id, each.
pub const SAID_BYTES_MAX: usize = 1024;
/// Characters of an idempotency, concurrency or fairness key.
pub const KEY_LENGTH_MAX: usize = 512;
/// Turns that a fairness key gets at most for each turn of a key of weight 1.
pub const FAIRNESS_WEIGHT_MAX: u32 = 1000;
/// Attempts of one step, whatever its policy says.
pub const ATTEMPTS_MAX: u32 = 1000;
/// How long `on_failure` of a workflow with a `timeout` may take, however short that is.
pub const ON_FAILURE_TIME_MIN: Span = Span::minutes(10);
/// Inputs gathered for one commit: bounds memory and the length of one transaction.
pub const BATCH_INPUTS_MAX: usize = 8192;
/// Runs one node keeps in memory; idle ones leave first.
pub const RUNS_CACHED_MAX: usize = 20_000;
/// Runs of a trigger that have not ended: they are a part of its row, which every occurrence writes
/// anew. Further ones wait for one of them to end.
pub const OPEN_RUNS_MAX: usize = 10_000;
/// Bytes of all occurrences that wait for runs of their trigger to end.
pub const BUFFERED_BYTES_MAX: usize = 4 << 20;
/// Occurrences that share a run, and their bytes.
pub const COLLECTED_MAX: usize = 1000;
/// See [`COLLECTED_MAX`]: a part of what params may have.
pub const COLLECTED_BYTES_MAX: usize = 512 << 10;
/// Runs that a trigger starts in an hour before it is paused, when it doesn't say otherwise. Not of
/// schedules: those have their pace from the clock.
pub const GUARD_STARTS_DEFAULT: u32 = 1000;
/// Rules of a project: each one that listens to a type is told of each event of it.
pub const RULES_MAX: usize = 1000;
/// Bytes of a rule as it is written.
pub const RULE_BYTES_MAX: usize = 64 << 10;
/// Runs of one workflow that a schedule which waits for it remembers.
pub const CYCLES_MAX: usize = 8;
/// How long, in milliseconds, a slot waits for a run of another workflow that should have begun.
pub const UPSTREAM_GRACE_MS: u64 = 10_000;
/// Runs of one backfill at once.
pub const BACKFILL_AT_ONCE_MAX: u32 = 100;
/// Backfills that one trigger remembers, or has at once.
pub const BACKFILLS_KEPT_MAX: usize = 8;
/// Bytes of a run's output that those who wait for its end are given; a longer one they must read.
pub const ENDED_OUTPUT_BYTES_MAX: usize = 64 << 10;
/// Triggers one node keeps in memory; idle ones leave first.
pub const TRIGGERS_CACHED_MAX: usize = 10_000;
/// Runs that get an event of the bus in one transaction; the others get it in the next ones.
pub const EVENT_RUNS_MAX: usize = 1024;
/// Rows asked of the store at once: due timers, messages, ready steps.
pub const DUE_ROWS_MAX: usize = 4096;
/// Bytes kept of one attempt's log where the settings don't say: about half from each end.
pub const ATTEMPT_LOG_BYTES_DEFAULT: u64 = 10 << 20;
/// The least and the most that the settings may say.
pub const ATTEMPT_LOG_BYTES_MIN: u64 = 4 << 10;
/// See [`ATTEMPT_LOG_BYTES_MIN`].
pub const ATTEMPT_LOG_BYTES_MAX: u64 = 1 << 30;
/// What one attempt may say that it has spent, and a budget may hold: micro-dollars.
pub const USAGE_USD_MAX: u64 = 1_000_000_000_000_000;
/// The same for tokens.
pub const USAGE_TOKENS_MAX: u64 = 1_000_000_000_000_000;
/// Bytes of what an attempt says that it has spent.
pub const USAGE_BYTES_MAX: usize = 4 << 20;
/// Bytes of one cron expression.
pub const CRON_BYTES_MAX: usize = 256;
/// Schedules of one workflow.
pub const SCHEDULES_MAX: usize = 32;
/// Cron expressions of one schedule.
pub const SCHEDULE_CRON_MAX: usize = 32;
/// Intervals of one schedule.
pub const SCHEDULE_EVERY_MAX: usize = 16;
/// Instants of one schedule.
pub const SCHEDULE_AT_MAX: usize = 1000;
/// Rules for days that one schedule includes, and that it excludes.
pub const SCHEDULE_DAY_RULES_MAX: usize = 32;
/// Years that the next slot of a schedule is looked for: two leap days on one weekday are 40 apart
/// at most.
pub const SCHEDULE_SEARCH_YEARS_MAX: i32 = 50;
/// Slots that one missed window may start, whatever `catch_up.max` says.
pub const CATCH_UP_RUNS_MAX: u32 = 1000;
/// Slots that wait for runs of their schedule to end.
pub const SLOTS_BUFFERED_MAX: usize = 1000;
/// Slots recorded one by one in one step of a schedule; more are recorded as one range.
pub const SLOTS_LISTED_MAX: usize = 100;
/// A slot that is planned this much later was missed, in milliseconds. Less is the time that a busy
/// machine takes.
pub const SLOT_GRACE_MS: i64 = 30_000;
/// A mark this far in the future, in milliseconds, was set by a wrong clock.
pub const MARK_AHEAD_MS: i64 = 3_600_000;
/// Starts of the process within [`RESTARTS_SPAN_MS`] that are a storm: missed slots then wait.
pub const RESTARTS_MAX: usize = 5;
/// The time, in milliseconds, in which starts of the process are counted.
pub const RESTARTS_SPAN_MS: i64 = 600_000;
/// Events of one calendar, repeated ones each time.
pub const CALENDAR_EVENTS_MAX: usize = 50_000;
/// Slots of one backfill.
pub const BACKFILL_SLOTS_MAX: usize = 10_000;
