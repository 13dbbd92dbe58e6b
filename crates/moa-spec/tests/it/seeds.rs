//! The four definitions that moa was made for, word for word.

use moa_core::workflow::StepKind;

use crate::support::{codes, ids, needs, plan};

const BUILD: &str = include_str!("../data/seeds/build-project.yaml");
const SHORT: &str = include_str!("../data/seeds/build-short.yaml");
const MONITOR: &str = include_str!("../data/seeds/continuous-monitoring.yaml");
const DATA: &str = include_str!("../data/seeds/data-pipeline.yaml");

#[test]
fn the_complete_build_is_a_sequence_with_branches() {
    let plan = plan(BUILD);
    assert_eq!(plan.title, "Complete Project Build");
    assert_eq!(plan.version.as_deref(), Some("1.0.0"));
    assert_eq!(
        ids(&plan),
        [
            "scaffold",
            "build_api",
            "quality_check",
            "security_scan",
            "performance_test",
            "deploy",
            "log_error",
            "notify"
        ]
    );
    assert_eq!(needs(&plan, "build_api"), ["scaffold"]);
    assert_eq!(needs(&plan, "quality_check"), ["build_api"], "the step before it in the list");
    assert_eq!(needs(&plan, "deploy"), ["quality_check"]);
    let scan = plan.step(plan.find("security_scan").unwrap());
    assert_eq!(scan.parent, plan.find("quality_check"));
    let deploy = plan.step(plan.find("deploy").unwrap());
    assert_eq!(
        deploy.condition.as_ref().map(|c| c.source()),
        Some("quality_check.success && security_scan.passed")
    );
    let retry = deploy.retry.as_ref().unwrap();
    assert_eq!(retry.max_attempts, 3);
    assert_eq!(plan.on_failure, Some(1));
    assert_eq!(codes(BUILD), [""; 0]);
}

#[test]
fn steps_without_ids_are_named_after_their_actions() {
    let plan = plan(SHORT);
    let expected = ["scaffold_project", "create_api", "quality_check", "security_scan", "deploy"];
    assert_eq!(ids(&plan), expected);
    assert_eq!(needs(&plan, "deploy"), ["quality_check"]);
    assert_eq!(codes(SHORT), [""; 0]);
}

#[test]
fn monitoring_has_a_condition_and_a_schedule() {
    let plan = plan(MONITOR);
    assert_eq!(ids(&plan), ["collect_metrics", "track_errors", "if_1", "rollback"]);
    let StepKind::If { cases, default } = &plan.step(2).kind else { panic!("not a condition") };
    assert_eq!(cases[0].source(), "error_rate > 0.05");
    assert_eq!(*default, None);
    assert!(codes(MONITOR).is_empty());
}

#[test]
fn the_data_pipeline_is_a_chain() {
    let plan = plan(DATA);
    for pair in ids(&plan).windows(2) {
        assert_eq!(needs(&plan, &pair[1]), [pair[0].clone()]);
    }
    assert_eq!(plan.steps.len(), 5);
    assert_eq!(codes(DATA), [""; 0]);
}
