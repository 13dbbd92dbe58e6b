//! What the channel knows about videos: which one carries a tag, and how often they were watched.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use moa_ports::agent::TaskError;
use serde_json::{Map, Value as Json, json};

use super::api::Api;
use crate::beneath::beneath;

/// Videos that one request may name.
const IDS_MAX: usize = 50;
/// Pages of the newest uploads that are searched for a tag.
const PAGES_MAX: usize = 4;

/// The video of this channel that carries `tag`, if one of the newest two hundred does.
pub(super) async fn by_tag(api: &Api<'_>, tag: &str) -> Result<Option<Json>, TaskError> {
    let path = "youtube/v3/channels";
    let channels = api.get(path, &[("part", "contentDetails"), ("mine", "true")]).await?;
    let uploads = &channels["items"][0]["contentDetails"]["relatedPlaylists"]["uploads"];
    let Some(playlist) = uploads.as_str() else {
        return Err(TaskError::Permanent("the account has no channel on YouTube".to_owned()));
    };
    let mut page = String::new();
    for _ in 0..PAGES_MAX {
        let mut query =
            vec![("part", "contentDetails"), ("playlistId", playlist), ("maxResults", "50")];
        if !page.is_empty() {
            query.push(("pageToken", &page));
        }
        let list = api.get("youtube/v3/playlistItems", &query).await?;
        let items = list["items"].as_array().map(Vec::as_slice).unwrap_or_default();
        let ids: Vec<&str> =
            items.iter().filter_map(|item| item["contentDetails"]["videoId"].as_str()).collect();
        let videos = videos(api, &ids, "snippet,status").await?;
        let carries = |video: &Json| {
            let tags = video["snippet"]["tags"].as_array();
            tags.is_some_and(|tags| tags.iter().any(|one| one == tag))
        };
        if let Some(video) = videos.into_iter().find(carries) {
            return Ok(Some(video));
        }
        match list["nextPageToken"].as_str() {
            Some(next) => page = next.to_owned(),
            None => break,
        }
    }
    Ok(None)
}

/// What YouTube knows about at most fifty videos.
async fn videos(api: &Api<'_>, ids: &[&str], part: &str) -> Result<Vec<Json>, TaskError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let ids = ids.join(",");
    let mut list = api.get("youtube/v3/videos", &[("part", part), ("id", &ids)]).await?;
    Ok(match list["items"].take() {
        Json::Array(items) => items,
        _ => Vec::new(),
    })
}

/// Views, likes and comments of the videos that `ids` names.
pub(super) async fn statistics(api: &Api<'_>) -> Result<Json, TaskError> {
    let params = &api.ctx.params;
    let ids = params["ids"].as_array().map(Vec::as_slice).unwrap_or_default();
    let ids: Vec<&str> = ids.iter().filter_map(Json::as_str).collect();
    let mut rows = Vec::new();
    for some in ids.chunks(IDS_MAX) {
        rows.extend(videos(api, some, "statistics").await?.iter().map(row));
    }
    let known = |id: &&str| rows.iter().any(|row| row["id"] == **id);
    let missing: Vec<&str> = ids.iter().copied().filter(|id| !known(id)).collect();
    if let Some(file) = params["save_as"].as_str() {
        let place = beneath(&api.ctx.project_dir, Path::new(file))
            .ok_or_else(|| TaskError::Permanent(format!("{file} is outside the project")))?;
        save(&place, &rows)
            .map_err(|e| TaskError::Retryable(format!("{file} can't be written: {e}")))?;
    }
    Ok(json!({"videos": rows, "missing": missing}))
}

/// YouTube gives numbers as texts, and none for what is hidden.
fn row(video: &Json) -> Json {
    let count = |name: &str| match &video["statistics"][name] {
        Json::String(text) => text.parse::<u64>().ok(),
        other => other.as_u64(),
    };
    let mut row = Map::new();
    row.insert("id".to_owned(), video["id"].clone());
    for (name, from) in
        [("views", "viewCount"), ("likes", "likeCount"), ("comments", "commentCount")]
    {
        row.insert(name.to_owned(), count(from).into());
    }
    Json::Object(row)
}

/// Writes the rows as a table: id, views, likes, comments; 0 for what is hidden. Whole or not at all.
fn save(place: &Path, rows: &[Json]) -> io::Result<()> {
    let folder = place.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let mut temporary = place.as_os_str().to_owned();
    temporary.push(format!(".tmp-{}", std::process::id()));
    let mut file = fs::File::create(&temporary)?;
    for row in rows {
        let count = |name: &str| row[name].as_u64().unwrap_or(0);
        let id = row["id"].as_str().unwrap_or_default();
        let (views, likes, comments) = (count("views"), count("likes"), count("comments"));
        writeln!(file, "{id}\t{views}\t{likes}\t{comments}")?;
    }
    file.sync_all()?;
    fs::rename(&temporary, place)?;
    fs::File::open(folder)?.sync_all()
}
