//! The files of a project elsewhere, and what its attempts wrote.

use moa_core::ids::RunId;
use moa_view::rows::{Ask, ProjectFile};
use reqwest::header::HeaderMap;
use serde::Deserialize;

use super::{Call, Remote};
use crate::exit::{Failure, Result};
use crate::logs::Log;
use crate::project::{self, Loaded};
use crate::wire::LogPart;

/// The log of an attempt, as the API lists it.
#[derive(Debug, Deserialize)]
struct LogItem {
    step: String,
    attempt: u32,
    bytes: u64,
}

impl Remote {
    /// The project, made of the files as the node has them.
    ///
    /// # Errors
    /// The node doesn't answer.
    pub async fn project(&self) -> Result<Loaded> {
        let files: Vec<ProjectFile> = self.ask(Ask::Files).await?;
        Ok(project::load_texts(files))
    }

    /// What the attempts of a run wrote, by step and attempt.
    ///
    /// # Errors
    /// The node doesn't answer.
    pub async fn logs(&self, run: RunId) -> Result<Vec<Log>> {
        let path = format!("/api/v1/runs/{run}/logs");
        let list: Vec<LogItem> = self.list(&path, "logs").await?;
        let log = |item: LogItem| Log {
            name: item.step,
            attempt: item.attempt,
            bytes: item.bytes,
            path: None,
        };
        Ok(list.into_iter().map(log).collect())
    }

    /// A piece of a log, from byte `from` on.
    ///
    /// # Errors
    /// The node doesn't answer, or the log is gone.
    pub async fn log_part(&self, run: RunId, log: &Log, from: u64) -> Result<LogPart> {
        let step = percent_encoded(&log.name);
        let path = format!("/api/v1/runs/{run}/logs/{step}/{}", log.attempt);
        let call = Call { query: vec![("from", from.to_string())], ..Call::get(&path) };
        let answer = self.call(call).await?;
        let number = |name: &str| {
            let value = answer.headers.get(name).and_then(|value| value.to_str().ok());
            value.and_then(|value| value.parse::<u64>().ok())
        };
        let Some(next) = number("x-next").filter(|next| *next >= from) else {
            return Err(nothing_of_moa(self, &answer.headers));
        };
        let left_out = number("x-left-out").unwrap_or(0);
        Ok(LogPart { left_out, bytes: answer.body, next })
    }
}

fn nothing_of_moa(remote: &Remote, _headers: &HeaderMap) -> Failure {
    let text = format!("{} answers something that is no log of moa", remote.url());
    remote.chosen(Failure::refused(text))
}

/// A part of a path.
pub fn percent_encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => out.push(byte.into()),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_part_of_a_path_is_one_part() {
        assert_eq!(super::percent_encoded("lint[2]/..?x#é"), "lint%5B2%5D%2F..%3Fx%23%C3%A9");
    }
}
