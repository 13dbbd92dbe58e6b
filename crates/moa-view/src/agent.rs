//! What an agent is, for people who may only look: where it is reached and what is sent along may be
//! secrets that somebody wrote down as they are.

use serde_json::Value as Json;

/// What stands where something is left out.
const MARK: &str = "***";

/// Leaves out of an agent, as its file or as the node has it, what an address has beside its host, and
/// the values of headers and environment variables.
pub fn for_viewers(agent: &mut Json) {
    let Json::Object(map) = agent else {
        if let Json::Array(all) = agent {
            all.iter_mut().for_each(for_viewers);
        }
        return;
    };
    for (key, value) in map {
        match key.as_str() {
            "env" | "headers" => {
                value.as_object_mut().into_iter().flatten().for_each(|(_, value)| hide(value));
            }
            "url" => host_alone(value),
            "urls" => value.as_array_mut().into_iter().flatten().for_each(host_alone),
            // Schemas may describe something that is called so.
            "actions" => {}
            _ => for_viewers(value),
        }
    }
}

fn hide(value: &mut Json) {
    *value = MARK.into();
}

fn host_alone(value: &mut Json) {
    *value = value.as_str().and_then(origin).unwrap_or_else(|| MARK.to_owned()).into();
}

/// `https://user:word@host:1/path?query` → `https://host:1/`.
fn origin(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#', '\\']).next()?;
    let host = authority.rsplit('@').next().filter(|host| !host.is_empty())?;
    Some(format!("{scheme}://{host}/"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn hosts_and_names_are_left_and_nothing_that_may_be_secret() {
        let mut agent = json!({
            "name": "caller", "env": {"KEY": "k-1", "N": 1},
            "actions": {"call": {"params": {"properties": {"env": {"type": "object"}, "url": {}}}}},
            "http": {"url": "https://u:pw@h.example:8/T0/B0/xyz?k=v#f", "headers": {"X": "k-2"}},
            "kind": {"http": {"urls": ["http://[::1]:9/k-3", "odd k-4", "http:///k-5"], "method": "POST"}},
        });
        for_viewers(&mut agent);
        assert_eq!(agent["http"], json!({"url": "https://h.example:8/", "headers": {"X": "***"}}));
        assert_eq!(agent["kind"]["http"]["urls"], json!(["http://[::1]:9/", "***", "***"]));
        assert_eq!(agent["env"], json!({"KEY": "***", "N": "***"}));
        assert_eq!(agent["actions"]["call"]["params"]["properties"]["env"]["type"], "object");
    }
}
