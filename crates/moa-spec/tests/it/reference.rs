//! The reference in `docs/` has every key, every code, and examples that are right.

use std::fs;
use std::path::{Path, PathBuf};

use moa_core::ids::Name;
use moa_spec::model::agent::{
    ActionFile, AgentFile, AgentsFile, CommandFile, HttpFile, LimitsFile, ShellFile,
};
use moa_spec::model::alerts::{AlertRuleFile, AlertsFile, QuietFile};
use moa_spec::model::notify::{ChannelFile, MailFile, NotifyFile, SlackFile, WebhookFile};
use moa_spec::model::on::{AfterFile, BatchFile, DebounceFile, GuardFile, HookFile, OnFile};
use moa_spec::model::rule::RuleFile;
use moa_spec::model::schedule::{
    CalendarFile, CatchUpFile, ScheduleFailureFile, ScheduleFile, WindowFile,
};
use moa_spec::model::settings::{
    BoundsFile, ByAgeAndCountFile, ByAgeAndSizeFile, ByAgeFile, HealthFile, LogFile, LogsFile,
    MetricFile, RetentionFile, SecretsFile, SettingsFile, SettingsLimits, SubscriptionFile,
    TargetFile,
};
use moa_spec::model::{
    ApproveFile, Case, ConcurrencyFile, Defaults, EmitFile, ErrorHandling, FailFile, ForeachFile,
    NeedFile, OutcomeFile, OutputFile, RetryFile, RunFile, Step, TestFile, WaitFor, WorkflowFile,
};
use moa_spec::{Project, error_pages, has_errors, parse_rule, render};

use crate::support::{diagnose, source};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src/language")
}

fn page(name: &str) -> String {
    fs::read_to_string(folder().join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// Whether a page speaks of a key: between backticks, alone or with what it belongs to.
fn names(page: &str, key: &str) -> bool {
    page.split('`').skip(1).step_by(2).any(|code| {
        let words = code.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        words.into_iter().any(|word| word == key)
    })
}

macro_rules! documented {
    ($page:expr, $($type:ty),* $(,)?) => {
        let text = page($page);
        $(for key in <$type>::KEYS {
            assert!(names(&text, key), "{} says nothing of `{key}` ({})", $page, stringify!($type));
        })*
    };
}

#[test]
fn every_key_is_in_the_reference() {
    documented!("workflow.md", WorkflowFile, Defaults, ConcurrencyFile, OutputFile);
    documented!("steps.md", Step, RunFile, NeedFile, Case, ForeachFile, WaitFor, EmitFile);
    documented!("steps.md", ApproveFile);
    documented!("../schedules.md", ScheduleFile, CalendarFile, WindowFile, CatchUpFile);
    documented!("../schedules.md", ScheduleFailureFile);
    documented!("../triggers.md", RuleFile, OnFile, DebounceFile, BatchFile, GuardFile, AfterFile);
    documented!("failure.md", RetryFile, ErrorHandling);
    documented!("tests.md", TestFile, OutcomeFile, FailFile);
    documented!("files.md", AgentsFile, AgentFile, ActionFile, CommandFile, ShellFile, LimitsFile);
    documented!("files.md", HttpFile, SettingsFile, SettingsLimits, LogFile, LogsFile, NotifyFile);
    documented!("files.md", MetricFile, TargetFile, BoundsFile, HealthFile);
    documented!("files.md", SecretsFile, RetentionFile);
    documented!("../webhooks.md", HookFile, SubscriptionFile);
    documented!("../alerts.md", AlertsFile, QuietFile, AlertRuleFile);
    documented!("../alerts.md", ChannelFile, SlackFile, MailFile, WebhookFile);
    documented!("files.md", ByAgeFile, ByAgeAndCountFile, ByAgeAndSizeFile);
}

#[test]
fn every_code_is_in_the_reference() {
    let text = page("errors.md");
    for (code, page) in error_pages() {
        let title = page.lines().next().and_then(|l| l.split_once(": ")).unwrap().1;
        assert!(text.contains(&format!("| `{code}` | {title} |")), "{code}: {title}");
    }
}

/// An example as a whole workflow: a list of steps, keys beside steps, or all of it.
fn whole(example: &str) -> String {
    if example.starts_with("- ") {
        return format!("steps:\n{example}");
    }
    if example.lines().any(|line| line == "steps:") {
        return example.to_owned();
    }
    if example.starts_with("retry:") {
        let indented: String = example.lines().map(|l| format!("  {l}\n")).collect();
        return format!("defaults:\n{indented}steps: [{{run: make}}]\n");
    }
    format!("{example}\nsteps: [{{run: make}}]\n")
}

#[test]
fn examples_are_right() {
    let mut count = 0;
    let mut pages = vec![folder().join("../schedules.md"), folder().join("../triggers.md")];
    pages.extend(fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()));
    for path in pages {
        let text = fs::read_to_string(&path).unwrap();
        for block in text.split("```yaml\n").skip(1) {
            let example = block.split("```").next().unwrap();
            if example.lines().any(|line| line.starts_with("run: ")) {
                let mut project = Project::default();
                project.workflows.insert(Name::new("mailer").unwrap(), Default::default());
                let (rule, found) = parse_rule(&source(example), None, &project);
                let shown = render(&found, &[source(example)], false);
                assert!(rule.is_some(), "{}:\n{shown}", path.display());
                count += 1;
                continue;
            }
            let example = whole(example);
            // Steps and params of examples that stand alone come from elsewhere.
            let found: Vec<_> = diagnose(&example)
                .into_iter()
                .filter(|d| !matches!(d.code, "MOA0302" | "MOA0202"))
                .collect();
            let shown = render(&found, &[source(&example)], false);
            assert!(!has_errors(&found), "{}:\n{shown}", path.display());
            count += 1;
        }
    }
    assert!(count > 25, "only {count} examples");
}
