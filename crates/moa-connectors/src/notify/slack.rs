//! An incoming webhook of Slack. What Slack would take for a mention, a link or markup in a text of
//! somebody else is escaped, so that no error message calls a whole channel.

use std::time::Duration;

use async_trait::async_trait;
use moa_ports::agent::TaskError;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use serde_json::{Value as Json, json};

use super::post::post;
use super::{Deliver, Note, Secretive, Tools, text};

const TIMEOUT: Duration = Duration::from_secs(10);
/// Characters that Slack takes of a header, and of a section.
const HEADER_CHARS_MAX: usize = 150;
const SECTION_CHARS_MAX: usize = 3000;

/// An incoming webhook of Slack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slack {
    /// Its address.
    pub url: Secretive,
}

#[async_trait]
impl Deliver for Slack {
    async fn deliver(&self, note: &Note, tools: &Tools) -> Result<Json, TaskError> {
        let url = tools.reveal(&self.url)?;
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        post(tools, &url, headers, document(note).to_string().into_bytes(), TIMEOUT).await?;
        Ok(json!({ "by": "slack" }))
    }
}

fn document(note: &Note) -> Json {
    let section = |text: &str| json!({ "type": "mrkdwn", "text": text, "verbatim": true });
    let headline = note.headline();
    let mut blocks = Vec::new();
    if note.title.is_some() {
        let title = text::shortened(&headline, HEADER_CHARS_MAX, |_| 1);
        let title = json!({ "type": "plain_text", "text": title, "emoji": false });
        blocks.push(json!({ "type": "header", "text": title }));
    }
    let message = escaped(&text::lines(&note.message), SECTION_CHARS_MAX);
    if !message.trim().is_empty() {
        blocks.push(json!({ "type": "section", "text": section(&message) }));
    }
    let origin = escaped(&note.origin(), SECTION_CHARS_MAX);
    blocks.push(json!({ "type": "context", "elements": [section(&origin)] }));
    json!({ "text": escaped(&headline, HEADER_CHARS_MAX), "blocks": blocks })
}

/// The text as Slack wants it, in at most so many characters.
fn escaped(text: &str, most: usize) -> String {
    let cost = |c| match c {
        '&' => 5,
        '<' | '>' => 4,
        _ => 1,
    };
    let short = text::shortened(text, most, cost);
    short.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_called_by_a_text_of_somebody_else() {
        assert_eq!(escaped("<!channel> & <a|b>", 99), "&lt;!channel&gt; &amp; &lt;a|b&gt;");
        let long = escaped(&"<".repeat(1 << 20), SECTION_CHARS_MAX);
        assert!(long.chars().count() <= SECTION_CHARS_MAX, "{}", long.len());
    }
}
