//! `moa expr`

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use moa_core::expr::{Error, Program, Scope, Value};
use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::Context;
use crate::exit::{Exit, Failure, Result};
use crate::text;

/// Evaluate an expression.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  moa expr '1 + 2'
  moa expr 'quality.success && errors < 3' --vars vars.json
  echo '{\"n\": 4}' | moa expr 'n * 2' --vars -
  moa expr --batch cases.jsonl      # lines of {\"expr\": …, \"vars\": {…}}

Exit codes: 1 when it can't be evaluated with these variables, 2 when it is no expression.
With --batch, each mistake is a line {\"error\": …}, and the exit code is 0.")]
pub struct Args {
    /// The expression
    #[arg(required_unless_present = "batch", conflicts_with = "batch", allow_hyphen_values = true)]
    expr: Option<String>,
    /// A JSON file with one object: the variables ('-' = stdin)
    #[arg(long, value_name = "FILE")]
    vars: Option<PathBuf>,
    /// Evaluate each line of a file ('-' = stdin)
    #[arg(long, value_name = "FILE", conflicts_with = "vars")]
    batch: Option<PathBuf>,
}

/// Bytes of one line of a batch, and of a file of variables.
const INPUT_BYTES_MAX: u64 = 64 << 20;

struct Vars(BTreeMap<String, Arc<Json>>);

impl Vars {
    fn new(object: serde_json::Map<String, Json>) -> Self {
        Self(object.into_iter().map(|(name, value)| (name, Arc::new(value))).collect())
    }
}

impl Scope for Vars {
    fn lookup(&self, name: &str) -> Option<Value> {
        self.0.get(name).map(|value| Value::from_json(value.clone()))
    }

    fn names(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }
}

/// Evaluates one expression, or a batch.
pub fn run(args: Args, context: &Context) -> Result {
    if let Some(file) = args.batch {
        return batch(&file, context);
    }
    let source = args.expr.unwrap_or_default();
    let vars = match &args.vars {
        Some(file) => read_vars(file)?,
        None => serde_json::Map::new(),
    };
    let program =
        Program::compile(&source).map_err(|e| failure(Exit::Usage, &source, &e, context))?;
    let value =
        program.eval(&Vars::new(vars)).map_err(|e| failure(Exit::Failed, &source, &e, context))?;
    context.ui.json(&value.to_json());
    Ok(Exit::Ok)
}

fn failure(exit: Exit, source: &str, error: &Error, context: &Context) -> Failure {
    let failure = Failure::new(exit, error.to_string()).detail(excerpt(
        source,
        error,
        context.ui.err_color(),
    ));
    match &error.hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

/// The line of the source at fault, with carets under it.
fn excerpt(source: &str, error: &Error, color: bool) -> String {
    let floor = |byte: usize| {
        (0..=byte.min(source.len())).rev().find(|b| source.is_char_boundary(*b)).unwrap_or(0)
    };
    let (start, end) = (floor(error.span.start), floor(error.span.end));
    let line_start = source[..start].rfind('\n').map_or(0, |i| i + 1);
    let line_end = source[start..].find('\n').map_or(source.len(), |i| start + i);
    let line = text::safe_line(&source[line_start..line_end]).into_owned();
    let before = text::width(&text::safe_line(&source[line_start..start]));
    let marked = &source[start..end.clamp(start, line_end)];
    let carets = "^".repeat(text::width(&text::safe_line(marked)).max(1));
    let carets = crate::ui::paint(color, crate::ui::Style::Red, &carets);
    format!("  {line}\n  {}{carets}", " ".repeat(before))
}

fn read_vars(file: &Path) -> Result<serde_json::Map<String, Json>> {
    let mut bytes = Vec::new();
    open(file)?
        .take(INPUT_BYTES_MAX)
        .read_to_end(&mut bytes)
        .map_err(|e| Failure::io(format!("can't read {}", file.display()), &e))?;
    match serde_json::from_slice(&bytes) {
        Ok(Json::Object(object)) => Ok(object),
        Ok(_) => Err(Failure::usage(format!("{} must hold a JSON object", file.display()))
            .hint("write {\"name\": value, …}")),
        Err(e) => Err(Failure::usage(format!("{} is not JSON: {e}", file.display()))),
    }
}

fn open(file: &Path) -> Result<Box<dyn Read>> {
    if file.as_os_str() == "-" {
        return Ok(Box::new(std::io::stdin()));
    }
    let opened = std::fs::File::open(file);
    let file = opened.map_err(|e| Failure::io(format!("can't open {}", file.display()), &e))?;
    Ok(Box::new(file))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    expr: String,
    #[serde(default)]
    vars: serde_json::Map<String, Json>,
}

fn batch(file: &Path, context: &Context) -> Result {
    let mut input = BufReader::new(open(file)?);
    loop {
        let mut line = Vec::new();
        let read = (&mut input).take(INPUT_BYTES_MAX).read_until(b'\n', &mut line);
        match read {
            Ok(0) => return Ok(Exit::Ok),
            Ok(_) => {}
            Err(e) => return Err(Failure::io(format!("can't read {}", file.display()), &e)),
        }
        if line.len() as u64 == INPUT_BYTES_MAX && line.last() != Some(&b'\n') {
            context.ui.json_line(&json!({"error": "the line is too long"}));
            skip_line(&mut input);
        } else {
            context.ui.json_line(&answer(&line));
        }
        if context.ui.closed() {
            return Ok(Exit::Ok);
        }
        if input.buffer().is_empty() {
            // The sender may wait for the answer before it sends the next line.
            context.ui.flush();
        }
    }
}

fn skip_line(input: &mut impl BufRead) {
    loop {
        let Ok(buffer) = input.fill_buf() else { return };
        let (used, found) = match buffer.iter().position(|b| *b == b'\n') {
            Some(at) => (at + 1, true),
            None => (buffer.len(), buffer.is_empty()),
        };
        input.consume(used);
        if found {
            return;
        }
    }
}

fn answer(line: &[u8]) -> Json {
    // It is answered all the same, so that the answer to each line is the line of that number.
    if line.trim_ascii().is_empty() {
        return json!({"error": "the line is empty"});
    }
    let case: Case = match serde_json::from_slice(line) {
        Ok(case) => case,
        Err(e) => return json!({"error": format!("the line is no case: {e}")}),
    };
    let value = Program::compile(&case.expr).and_then(|p| p.eval(&Vars::new(case.vars)));
    match value {
        Ok(value) => json!({"value": value.to_json()}),
        Err(e) => {
            let mut error = json!({"error": e.to_string(), "span": [e.span.start, e.span.end]});
            if let Some(hint) = e.hint {
                error["hint"] = hint.into();
            }
            error
        }
    }
}
