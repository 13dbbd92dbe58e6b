//! The versions of a workflow that are kept, and what differs between two of them.

use axum::extract::State;
use maud::{Markup, html};
use moa_core::ids::{Name, VersionHash};
use moa_view::{now, text};
use serde::Deserialize;
use similar::{ChangeTag, TextDiff};

use super::{Shown, frame};
use crate::App;
use crate::api::workflows::redacted;
use crate::auth::Identity;
use crate::error::Result;
use crate::extract::{Path, Query};
use crate::pages::parts;

/// Versions listed.
const VERSIONS: usize = 100;
/// Lines around what differs.
const AROUND: usize = 4;

/// Which two.
#[derive(Debug, Default, Deserialize)]
pub struct Two {
    #[serde(default)]
    from: Option<String>,
    #[serde(default)]
    to: Option<String>,
}

/// The versions.
pub async fn show(
    State(app): State<App>,
    who: Identity,
    Path(workflow): Path<String>,
    Query(two): Query<Two>,
) -> Result<Markup> {
    let shown = Shown::find(&app, &workflow, None).await?;
    let name = &shown.name;
    let kept = app.reader().views.workflows(Some(name)).await?;
    let now = now();
    let differs = match (&two.from, &two.to) {
        (Some(from), Some(to)) => {
            let (hashes, texts) = texts(&app, name, from, to).await?;
            Some((hashes[0], hashes[1], diff(&texts[0], &texts[1])))
        }
        _ => None,
    };
    let checked = |given: &Option<String>, i: usize, usual: usize| match given {
        Some(hash) => kept.get(i).is_some_and(|version| version.hash.to_string() == *hash),
        None => i == usual.min(kept.len().saturating_sub(1)),
    };
    let several = kept.len() > 1;
    let body = html! {
        @if let Some((from, to, lines)) = &differs {
            section class="card" {
                h2 { "From " (from.short()) " to " (to.short()) }
                (lines)
            }
        }
        @if kept.is_empty() {
            (parts::empty("No version is kept yet", &html! {
                "A version is kept when a node serves it without errors."
            }))
        } @else {
            form action={ "/workflows/" (name) "/versions" } {
                div class="table" {
                    table {
                        thead { tr {
                            @if several { th { "From" } th { "To" } }
                            th { "Version" } th { "Label" } th { "First kept" }
                        } }
                        tbody {
                            @for (i, version) in kept.iter().take(VERSIONS).enumerate() {
                                tr {
                                    @if several { td { input type="radio" name="from" value=(version.hash)
                                        aria-label={ "from " (version.hash.short()) }
                                        checked[checked(&two.from, i, 1)]; }
                                    td { input type="radio" name="to" value=(version.hash)
                                        aria-label={ "to " (version.hash.short()) }
                                        checked[checked(&two.to, i, 0)]; } }
                                    td { a href={ "/workflows/" (name) "?version=" (version.hash) } {
                                        code { (version.hash.short()) }
                                    } " · " a href={ "/workflows/" (name) "/source?version=" (version.hash) } {
                                        "source"
                                    } }
                                    td { (parts::line(version.version.as_deref().unwrap_or("–"))) }
                                    td { (parts::time(version.created_at, now)) }
                                }
                            }
                        }
                    }
                }
                @if several { button class="button" { "Show what differs" } }
            }
        }
    };
    let json = json(name, differs.as_ref().map(|(from, to, _)| (from, to)));
    Ok(frame(&app, &who, &shown, "/versions", Some(json), None, body))
}

/// Two versions, and their texts without secrets that are known.
async fn texts(
    app: &App,
    name: &Name,
    from: &str,
    to: &str,
) -> Result<([VersionHash; 2], [String; 2])> {
    let from = app.reader().version(name, Some(from)).await?;
    let to = app.reader().version(name, Some(to)).await?;
    let texts = [redacted(app, &from.source).await, redacted(app, &to.source).await];
    Ok(([from.hash, to.hash], texts))
}

/// The call that answers the same.
fn json(name: &Name, two: Option<(&VersionHash, &VersionHash)>) -> String {
    match two {
        Some((from, to)) => format!("/api/v1/workflows/{name}/diff?from={from}&to={to}"),
        None => format!("/api/v1/workflows/{name}/versions?limit={VERSIONS}"),
    }
}

/// Lines that differ, with some around them.
fn diff(from: &str, to: &str) -> Markup {
    let diff = TextDiff::from_lines(from, to);
    let groups = diff.grouped_ops(AROUND);
    html! {
        @if groups.is_empty() { p { "The texts are the same." } }
        @for group in &groups {
            pre class="source" tabindex="0" {
                @for op in group {
                    @for change in diff.iter_changes(op) {
                        @let (class, sign) = match change.tag() {
                            ChangeTag::Delete => ("line bad", "−"),
                            ChangeTag::Insert => ("line add", "+"),
                            ChangeTag::Equal => ("line", " "),
                        };
                        @let at = change.new_index().or(change.old_index()).map_or(0, |i| i + 1);
                        span class=(class) {
                            span class="at" { (at) } (sign) " " (text::safe(change.value().trim_end()))
                            "\n"
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_marked_and_stays_text() {
        let shown = diff("a\nb\nc\n", "a\n<b>\nc\n").into_string();
        assert!(shown.contains("line bad") && shown.contains("line add"), "{shown}");
        assert!(shown.contains("&lt;b&gt;") && !shown.contains("<b>"), "{shown}");
        assert!(diff("a\n", "a\n").into_string().contains("the same"));
    }
}
