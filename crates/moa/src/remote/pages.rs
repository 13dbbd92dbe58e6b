//! Lists of a node elsewhere: they come page by page, and are wanted whole.

use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use super::{Call, Remote, answer};
use crate::exit::{Failure, Result};

/// What one page is asked to hold: as much as nodes give.
const PAGE: usize = 500;
/// Pages of a list at most: a node that goes on and on is none of moa.
const PAGES_MAX: usize = 2000;

impl Remote {
    /// All of a list of the API: what its pages hold under `key`.
    ///
    /// # Errors
    /// The node doesn't answer, or its list has no end.
    pub(super) async fn list<T: DeserializeOwned>(&self, path: &str, key: &str) -> Result<Vec<T>> {
        Ok(self.list_of(path, &[], key).await?.0)
    }

    /// The same of what a query asks for; also answers what the last page says beside it.
    ///
    /// # Errors
    /// The node doesn't answer, or its list has no end.
    pub(super) async fn list_of<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&'static str, String)],
        key: &str,
    ) -> Result<(Vec<T>, Json)> {
        let (mut all, mut cursor) = (Vec::new(), None::<String>);
        for _ in 0..PAGES_MAX {
            let mut query = [query, &[("limit", PAGE.to_string())]].concat();
            query.extend(cursor.iter().map(|cursor| ("cursor", cursor.clone())));
            let mut page: Json = self.json(Call { query, ..Call::get(path) }).await?;
            let mut take = |key| page.get_mut(key).map(Json::take).unwrap_or_default();
            let (rows, next) = (take(key), take("next"));
            let rows = serde_json::from_value::<Vec<T>>(rows);
            all.extend(rows.map_err(|e| answer::not_understood(self, path, &e))?);
            match next {
                // A node of before pages answers all at once, and names no next one.
                Json::Null => return Ok((all, page)),
                Json::String(next) if cursor.as_ref() != Some(&next) => cursor = Some(next),
                _ => break,
            }
        }
        let text = format!("{} answers {path} with a list that has no end", self.url());
        Err(self.chosen(Failure::refused(text)))
    }
}
