//! Pages in states that a project is in more rarely: budgets that are used up, runs that differ,
//! schedules that are paused or caught up on, names that are long or hostile, very many steps.

use serde_json::{Value as Json, json};

use crate::every_page::{Shown, shown};
use crate::http::Api;
use crate::project::{Node, Project};

/// An agent of which each attempt spends 0.75 dollars and 1,200 tokens.
const WRITER: &str = "name: Writer\nshell: |\n  echo '{\"usd\": 0.75, \"tokens\": 1200}' > \"$MOA_USAGE\"\n\
    concurrency: 1\n";
/// What its copy that may spend little does once it has.
const LITTLE: &str = "budget: {usd: 1, tokens: 5000, per: month, on_exceed: ask}\n";
/// Of this one there is much left.
const MUCH: &str = "budget: {usd: 20, per: month, on_exceed: pause}\n";

/// As long as a name may be.
const LONG: &str = "quarterly-reconciliation-of-all-subsidiaries-and-their-ledgers";
/// What would be markup, and what turns the reading direction, in texts of people.
const HOSTILE: &str = "name: '<img src=x onerror=alert(1)> \u{202e}gnihtyna'\n\
    description: 'https://example.com/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\
    AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA'\n\
    params: {note: {default: '</script><b>bold</b>', description: '<i>Anything</i>'}}\n\
    steps:\n\
    - id: reconcile_every_ledger_of_every_subsidiary_with_the_bank\n\
    \x20 run: 'printf \"%0300d\\n\" 0 >&2; printf \"\\033[31m<b>no</b>\\n\" >&2; exit 3'\n\
    \x20 retry: {max_attempts: 2, delay: 0s}\n";

/// Counts what it is given; of two runs params, output and the step's differ.
const COUNTS: &str = "params: {words: {type: string, default: a b}, loud: {type: boolean, default: false}}\n\
    steps:\n\
    - {id: read, agent: noop, action: say, params: {words: '${{ params.words }}', from: here}}\n\
    - id: count\n\
    \x20 run: 'set -- ${{ params.words }}; echo \"{\\\"count\\\": $#, \\\"first\\\": \\\"$1\\\"}\"'\n\
    - {id: same, agent: noop, action: say, params: {always: this}}\n\
    outputs: {count: count.output.count}\n";

/// A step for each item.
const MANY: &str = "params: {items: {type: array, default: []}}\n\
    steps:\n\
    - id: each\n\
    \x20 foreach: {in: params.items, as: item, max_parallel: 50}\n\
    \x20 steps: [{id: tell, emit: {type: counted, data: {item: '${{ item }}'}}}]\n";
/// Items of it.
const ITEMS: usize = 1000;

const NIGHTLY: &str = "schedule: {cron: '0 9 * * 1-5', timezone: Europe/Berlin}\n\
    steps: [{id: a, run: 'true'}]\n";

/// Of the secrets that it uses one is missing.
const SECRETS: &str = "'echo ${{ secrets.PRINTER_KEY }} ${{ secrets.BANK_KEY }}'";

/// A project in such states.
pub struct States {
    pub project: Project,
    pub node: Node,
    hostile: String,
    counted: String,
    many: String,
    waits: String,
    cancelled: String,
}

impl States {
    pub fn new() -> Self {
        let project = Project::empty();
        project.write("moa.yaml", "name: states\n");
        project.write("agents/writer.yaml", &format!("{WRITER}{LITTLE}"));
        project.write("agents/author.yaml", &format!("{WRITER}{MUCH}"));
        for agent in ["writer", "author"] {
            let steps = format!("steps: [{{id: write, agent: {agent}, action: go}}]\n");
            project.workflow(agent, &steps);
        }
        let workflows = [(LONG, HOSTILE), ("counts", COUNTS), ("many", MANY), ("nightly", NIGHTLY)];
        for (name, text) in workflows {
            project.workflow(name, text);
        }
        project.write(".env", "PRINTER_KEY=0123456789abcdef\n");
        project.workflow("paused", &NIGHTLY.replace("'true'", SECRETS));
        let node = project.up();
        let api = Api::with_role(&project, &node, "operator");
        let hostile = ended(&api, LONG, &json!({}));
        ended(&api, "counts", &json!({}));
        let counted = ended(&api, "counts", &json!({"words": "one two three", "loud": true}));
        let items: Vec<usize> = (0..ITEMS).collect();
        let many = ended(&api, "many", &json!({"items": items}));
        ended(&api, "author", &json!({}));
        ended(&api, "writer", &json!({}));
        ended(&api, "writer", &json!({}));
        let waits = waiting(&api);
        let cancelled = waiting(&api);
        let why = json!({"reason": "It was the wrong one."});
        api.post(&format!("/api/v1/runs/{cancelled}/cancel"), &why).expect(200);
        api.ended(&cancelled);
        schedules(&project, &api);
        project.workflow("counts", &COUNTS.replace("always: this", "always: that"));
        let is_new = |kept: &Json| kept["versions"].as_array().is_some_and(|all| all.len() > 1);
        api.until("/api/v1/workflows/counts/versions", is_new);
        Self { project, node, hostile, counted, many, waits, cancelled }
    }

    /// The pages, with what they show then.
    pub fn pages(&self) -> Vec<Shown> {
        let Self { hostile, counted, many, waits, cancelled, .. } = self;
        let of_hostile = format!(
            "/runs/{hostile}/steps/reconcile_every_ledger_of_every_subsidiary_with_the_bank"
        );
        let all = [
            ("overview", "/".to_owned()),
            ("runs", "/runs".to_owned()),
            ("agents", "/agents".to_owned()),
            ("agent-spent", "/agents/writer".to_owned()),
            ("agent-budget", "/agents/author".to_owned()),
            ("run-budget", format!("/runs/{waits}")),
            ("run-cancelled", format!("/runs/{cancelled}")),
            ("compare", format!("/runs/{counted}/compare")),
            ("run-many", format!("/runs/{many}")),
            ("timeline-many", format!("/runs/{many}/timeline")),
            ("schedules", "/schedules".to_owned()),
            ("schedule-paused", "/schedules/paused%2F1".to_owned()),
            ("schedule-caught-up", "/schedules/nightly%2F1".to_owned()),
            ("versions", "/workflows/counts/versions".to_owned()),
            ("workflows", "/workflows".to_owned()),
            ("settings", "/settings".to_owned()),
            ("workflow-form", "/workflows/counts".to_owned()),
            ("hostile-workflow", format!("/workflows/{LONG}")),
            ("hostile-run", format!("/runs/{hostile}")),
            ("hostile-step", of_hostile),
            ("hostile-timeline", format!("/runs/{hostile}/timeline")),
        ];
        all.into_iter().map(|(name, path)| shown(&format!("state-{name}"), path)).collect()
    }
}

/// A run that is there; its id.
fn started(api: &Api, workflow: &str, params: &Json) -> String {
    let asked = json!({"workflow": workflow, "params": params});
    let said = api.post("/api/v1/runs", &asked).expect(201).json();
    said["run"].as_str().expect("an id").to_owned()
}

fn ended(api: &Api, workflow: &str, params: &Json) -> String {
    let run = started(api, workflow, params);
    api.ended(&run);
    run
}

/// A run that waits for a budget.
fn waiting(api: &Api) -> String {
    let run = started(api, "writer", &json!({}));
    let is_so = |why: &Json| why["steps"][0]["reason"].to_string().contains("budget");
    api.until(&format!("/api/v1/runs/{run}/why"), is_so);
    run
}

/// One schedule is paused, one has been caught up on.
fn schedules(project: &Project, api: &Api) {
    project
        .call(&["schedules", "pause", "paused", "--reason", "Until the audit is over."])
        .expect(0);
    let range = ["2026-03-02", "2026-03-05"];
    project.call(&["schedules", "backfill", "nightly", range[0], range[1]]).expect(0);
    let is_over = |slots: &Json| {
        let all = slots["occurrences"].as_array().map(Vec::as_slice).unwrap_or_default();
        all.len() == 3 && all.iter().all(|slot| slot["result"] == "succeeded")
    };
    api.until("/api/v1/triggers/nightly%2F1/slots", is_over);
}
