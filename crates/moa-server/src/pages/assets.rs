//! Scripts, styles and pictures, part of the binary.

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::App;
use crate::error::{Problem, Result};
use crate::extract::Path;

/// Name, media type, content.
const FILES: &[(&str, &str, &[u8])] = &[
    ("moa.css", "text/css; charset=utf-8", include_bytes!("../assets/moa.css")),
    ("moa.js", "text/javascript; charset=utf-8", include_bytes!("../assets/moa.js")),
    ("moa.svg", "image/svg+xml", include_bytes!("../assets/moa.svg")),
];

/// One of them. A browser asks again each time, and gets it again only when it has changed.
pub async fn get(
    State(_): State<App>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Response> {
    let found = FILES.iter().find(|(known, ..)| *known == name);
    let (_, kind, content) = found.ok_or_else(|| Problem::not_found("there is no such file"))?;
    let tag = format!("\"{}\"", &blake3::hash(content).to_hex()[..16]);
    let known = headers.get(header::IF_NONE_MATCH).and_then(|known| known.to_str().ok());
    let mut response = match known == Some(tag.as_str()) {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => content.into_response(),
    };
    let own = response.headers_mut();
    own.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    own.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        own.insert(header::ETAG, tag);
    }
    Ok(response)
}
