//! `moa explain`

use super::Context;
use crate::exit::{Exit, Failure, Result};
use crate::table::{Cell, Table};
use crate::text;

/// Explain the code of a message.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa explain MOA0204
  moa explain            # all codes")]
pub struct Args {
    /// The code, such as MOA0204 (or 204)
    code: Option<String>,
}

/// Prints the page of a code, or the list of all.
pub fn run(args: Args, context: &Context) -> Result {
    let pages = moa_spec::error_pages();
    let Some(code) = args.code else {
        return list(pages, context);
    };
    let digits = code.trim_start_matches(|c: char| c.is_ascii_alphabetic());
    let wanted = match digits.parse::<u32>() {
        Ok(number) => format!("MOA{number:04}"),
        Err(_) => code.to_ascii_uppercase(),
    };
    let Some((code, page)) = pages.iter().find(|(code, _)| *code == wanted) else {
        let failure = Failure::not_found(format!("there is no code {wanted}"));
        let codes = pages.iter().map(|(code, _)| *code);
        return Err(match text::nearest(&wanted, codes) {
            Some(near) => failure.hint(format!("did you mean {near}? `moa explain` lists all")),
            None => failure.hint("`moa explain` lists all codes"),
        });
    };
    if context.ui.json {
        context.ui.json(&serde_json::json!({"code": code, "page": page}));
    } else {
        context.ui.line(page.trim_end());
    }
    Ok(Exit::Ok)
}

fn list(pages: &[(&str, &str)], context: &Context) -> Result {
    let title = |code: &str, page: &str| {
        let first = page.lines().next().unwrap_or_default();
        let first = first.trim_start_matches('#').trim();
        // The code stands in a column of its own.
        let words = first.strip_prefix(code).map(|t| t.trim_start_matches([':', ' ', '—', '-']));
        words.unwrap_or(first).to_owned()
    };
    if context.ui.json {
        let rows: Vec<_> = pages
            .iter()
            .map(|(code, page)| serde_json::json!({"code": code, "title": title(code, page)}))
            .collect();
        context.ui.json(&rows);
        return Ok(Exit::Ok);
    }
    let mut table = Table::new(&["CODE", "TITLE"]);
    for (code, page) in pages {
        table.row(vec![Cell::new(code), Cell::new(title(code, page))]);
    }
    table.print(&context.ui, "no codes");
    Ok(Exit::Ok)
}
