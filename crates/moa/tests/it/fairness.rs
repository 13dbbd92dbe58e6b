//! Keys take turns at an agent of the real binary, also after it was killed.

use crate::project::Project;

const TENANTS: &str = "params: {tenant: string}
fairness: params.tenant
steps:
  - {id: one, agent: busy, action: x, env: {TENANT: \"${{ params.tenant }}\"}}
";
const BUSY: &str = "concurrency: 1
shell: |
  while [ ! -e go ]; do sleep 0.02; done
  echo $TENANT >> order
";

#[test]
fn a_backlog_of_one_key_does_not_hold_up_another() {
    let project = Project::with("tenants", TENANTS);
    project.write("agents/busy.yaml", BUSY);
    let node = project.up();
    let mut events = project.events();
    let start = |tenant: &str| {
        let tenant = format!("tenant={tenant}");
        let said = project.call(&["run", "tenants", "--param", &tenant, "--detach"]).expect(0);
        said.out.trim().to_owned()
    };
    start("big");
    events.until("step.started", "one");
    (0..6).for_each(|_| _ = start("big"));
    let small = start("small");
    let why = || project.call(&["runs", "why", &small, "--json"]).expect(0).json();
    let reason = why()["steps"][0]["reason"].as_str().expect("a reason").to_owned();
    let turns = "; tasks of the fairness key \"small\" take turns with those of 1 other key";
    assert!(reason.ends_with(turns), "{reason}");
    let last = start("big");
    let said = project.call(&["runs", "why", &last]).expect(0).out;
    assert!(said.contains("6 tasks of the fairness key \"big\" are before it"), "{said}");
    let shown = project.call(&["runs", "show", &last, "--json"]).expect(0).json();
    assert_eq!(shown["fairness"]["key"], "big");
    // What waits is only in the store now.
    node.kill();
    let _node = project.up();
    project.write("go", "");
    project.call(&["runs", "watch", &last]).expect(0);
    let order = project.read("order");
    let order: Vec<&str> = order.lines().collect();
    let small = order.iter().position(|tenant| *tenant == "small");
    assert!(small.is_some_and(|at| at <= 2), "{order:?}");
    assert_eq!(order.len(), 9);
}
