//! How the runs of a workflow went lately.

use std::collections::BTreeMap;

use maud::{Markup, html};
use moa_core::ids::Name;
use moa_core::run::RunStatus;
use moa_core::time::Span;
use moa_ports::views::RunFilter;
use moa_view::{is_container, text};

use crate::App;
use crate::error::Result;
use crate::pages::overview::chart;

/// Ended runs that are counted.
const RUNS: usize = 100;
/// Runs whose steps are looked at.
const DEEP: usize = 10;
/// Steps of a run that its statistics are made from.
const STEPS_OF_RUN: usize = 1000;
/// Steps listed.
const STEPS: usize = 5;

/// The card.
pub async fn card(app: &App, workflow: &Name) -> Result<Markup> {
    let statuses = vec![RunStatus::Succeeded, RunStatus::Failed, RunStatus::Cancelled];
    let filter = RunFilter {
        statuses,
        workflow: Some(workflow.clone()),
        limit: RUNS,
        ..RunFilter::default()
    };
    let ended = app.reader().views.runs(&filter).await?;
    let mut steps: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for summary in ended.iter().take(DEEP) {
        // It may be deleted meanwhile; of a wide one the first steps tell.
        let part = app.reader().views.run_part(summary.run, 0, STEPS_OF_RUN).await?;
        let Some(part) = part else { continue };
        let graph = app.reader().graph(part.row.hash).await?;
        for row in &part.steps {
            let Some(step) = graph.steps.get(row.plan as usize) else { continue };
            if let (false, Some((start, end))) =
                (is_container(step), row.started_at.zip(row.finished_at))
            {
                let id = step.id.as_str().to_owned();
                steps.entry(id).or_default().push(end.since(start).0);
            }
        }
    }
    let mut slowest: Vec<(String, u64, usize)> = steps
        .into_iter()
        .map(|(id, mut spans)| {
            spans.sort_unstable();
            (id, spans[spans.len() / 2], spans.len())
        })
        .collect();
    slowest.sort_by_key(|(_, median, _)| std::cmp::Reverse(*median));
    Ok(html! {
        section class="card" {
            h2 { "Statistics" span class="dim" { (text::plural(ended.len(), "ended run")) } }
            (chart(&ended))
            @if !slowest.is_empty() {
                h3 { "Slowest steps" }
                table {
                    thead { tr { th { "Step" } th class="num" { "Median" } th class="num" { "Times" } } }
                    tbody {
                        @for (id, median, count) in slowest.iter().take(STEPS) {
                            tr {
                                td class="breaks" { (id) }
                                td class="num" { (text::duration(Span(*median))) }
                                td class="num" { (count) }
                            }
                        }
                    }
                }
            }
        }
    })
}
