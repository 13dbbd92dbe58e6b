//! A backup that a node elsewhere makes: an archive, read as it comes.

use std::time::Duration;

use moa_view::node::Holds;
use reqwest::Response;
use reqwest::header::{CONTENT_DISPOSITION, HeaderMap};
use serde_json::json;

use super::{ANSWER_WAIT, Call, Remote, Times, answer, chain};
use crate::exit::{Exit, Failure, Result};

/// Where it is asked for.
pub const PATH: &str = "/api/v1/backup";
/// How long a node may take to make one: a bit longer than it lets itself.
const MADE_WITHIN: Duration = Duration::from_secs(3660);
/// Characters of a name at most.
const NAME_CHARS_MAX: usize = 200;

/// A backup that begins to come.
pub struct Sent {
    /// What the node calls it, if that is a plain name of an archive.
    pub name: Option<String>,
    /// Bytes of it, as far as they are said.
    pub bytes: Option<u64>,
    response: Response,
    remote: Remote,
}

impl Remote {
    /// Has the node make a backup; answers when that is done, and it begins to come. Asked once: it takes
    /// the node long, and whoever asks may want to know why it broke.
    pub async fn backup(&self, holds: Holds) -> Result<Sent> {
        let call = Call::post(PATH, Some(json!(holds))).repeatable();
        let mut times = Times::new(false);
        let response = loop {
            let begun = self.begin(&call, self.request(&call));
            match tokio::time::timeout(MADE_WITHIN, begun).await {
                Ok(Ok(response)) => break response,
                Ok(Err(broken)) => times.wait_after(broken).await?,
                Err(_) => return Err(self.silent()),
            }
        };
        let kind = answer::media_type(response.headers());
        if kind != "application/x-tar" {
            return Err(answer::stranger(self, &kind));
        }
        let (name, bytes) = (name(response.headers()), response.content_length());
        Ok(Sent { name, bytes, response, remote: self.clone() })
    }

    fn silent(&self) -> Failure {
        let text = format!("{} takes too long to answer", self.url());
        self.chosen(Failure::new(Exit::Unavailable, text))
    }
}

impl Sent {
    /// The next bytes; `None` = these were all. However long all of it takes: what comes is waited for.
    pub async fn next(&mut self) -> Result<Option<impl AsRef<[u8]> + use<>>> {
        let next = tokio::time::timeout(ANSWER_WAIT, self.response.chunk()).await;
        next.map_err(|_| self.remote.silent())?.map_err(|error| {
            let url = self.remote.url();
            let text = format!("the connection to {url} broke in the middle: {}", chain(&error));
            Failure::new(Exit::Unavailable, text)
        })
    }
}

/// A name that is safe to be given to a file.
fn name(headers: &HeaderMap) -> Option<String> {
    let said = headers.get(CONTENT_DISPOSITION)?.to_str().ok()?;
    let name = said.strip_prefix("attachment; filename=\"")?.strip_suffix('"')?;
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    let fits = plain && !name.starts_with('.') && name.len() <= NAME_CHARS_MAX;
    (fits && name.ends_with(".tar")).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_are_taken() {
        let of = |text: &str| {
            let mut headers = HeaderMap::new();
            let text = format!("attachment; filename=\"{text}\"");
            headers.insert(CONTENT_DISPOSITION, text.parse().expect("a value"));
            name(&headers)
        };
        assert_eq!(of("shop-1.tar").as_deref(), Some("shop-1.tar"));
        for odd in ["../shop.tar", ".tar", "shop", "a b.tar", "a\"; x=\"b.tar", "/etc/x.tar"] {
            assert_eq!(of(odd), None, "{odd}");
        }
        assert_eq!(of(&format!("{}.tar", "x".repeat(NAME_CHARS_MAX))), None);
    }
}
