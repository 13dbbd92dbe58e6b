//! What an agent is, for people who may only look: where it is reached and what is sent along may be
//! secrets that somebody wrote down as they are.

use serde_json::Value as Json;

/// What stands where something is left out.
const MARK: &str = "***";

/// Leaves out of an agent, as its file or as the node has it, what an address has beside its host, what a
/// command has behind its program, scripts, and the values of headers and environment variables. What is not of the type that it should be is left
/// out too: files with mistakes are shown as they are.
pub fn for_viewers(agent: &mut Json) {
    match agent {
        Json::Array(all) => all.iter_mut().for_each(for_viewers),
        Json::Object(map) => {
            for (key, value) in map {
                match (key.as_str(), value) {
                    // Schemas may describe something that is called as an address is.
                    ("actions", _) => {}
                    // Several in one file, each under its id, whatever that is.
                    ("agents", Json::Object(all)) => all.values_mut().for_each(for_viewers),
                    (key, value) => within(key, value),
                }
            }
        }
        _ => {}
    }
}

/// What stands under a key of an agent, however deep.
fn within(key: &str, value: &mut Json) {
    match (key, value) {
        (_, Json::Null) => {}
        ("env" | "headers", Json::Object(map)) => map.values_mut().for_each(hide),
        ("env" | "headers", value) => hide(value),
        ("url" | "urls", value) => addresses(value),
        ("command" | "run" | "argv", value) if !value.is_object() => command(value),
        ("shell" | "script", value) if !value.is_object() => hide(value),
        ("http", value) if !value.is_object() => addresses(value),
        (_, Json::Object(map)) => map.iter_mut().for_each(|(key, value)| within(key, value)),
        (key, Json::Array(all)) => all.iter_mut().for_each(|value| within(key, value)),
        _ => {}
    }
}

fn hide(value: &mut Json) {
    *value = MARK.into();
}

/// Of a command its program is left, and that there is more.
fn command(value: &mut Json) {
    let is_plain = |word: &str| !word.is_empty() && !word.contains(['=', '"', '\'']);
    let shown = match &*value {
        Json::String(line) => match line.split_once(char::is_whitespace) {
            _ if !is_plain(line.split_whitespace().next().unwrap_or_default()) => None,
            None => Some(Json::from(line.as_str())),
            Some((program, _)) => Some(format!("{program} {MARK}").into()),
        },
        Json::Array(words) => match &words[..] {
            [Json::String(program)] if is_plain(program) => Some(vec![program.as_str()].into()),
            [Json::String(program), ..] if is_plain(program) => {
                Some(vec![program.as_str(), MARK].into())
            }
            _ => None,
        },
        _ => None,
    };
    *value = shown.unwrap_or_else(|| MARK.into());
}

fn addresses(value: &mut Json) {
    match value {
        Json::Array(all) => all.iter_mut().for_each(addresses),
        Json::String(url) => *url = address(url),
        value => hide(value),
    }
}

/// An address without what may be secret of it; what isn't known as an address is left out whole.
pub fn address(url: &str) -> String {
    origin(url).unwrap_or_else(|| MARK.to_owned())
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

    #[test]
    fn of_a_command_its_program_is_left_in_every_form() {
        let mut agents = json!({"agents": {
            "line": {"command": "python3 scan.py --key k-1"},
            "bare": {"command": "./bin/scan"},
            "words": {"command": ["sh", "-c", "curl -H k-2"]},
            "map": {"command": {"argv": ["./bin/scan", "k-3"], "cwd": "tools", "grace": "30s"}},
            "run": {"command": {"run": "scan k-4"}},
            "script": {"shell": "curl -u me:k-5"},
            "long": {"shell": {"script": "echo k-6", "cwd": "tools"}},
            "odd": {"command": [["k-7"]], "shell": ["k-8"]},
            "named": {"command": "KEY=k-9 scan"},
            "quoted": {"command": "'a k-10' b"},
        }});
        for_viewers(&mut agents);
        assert!(!agents.to_string().contains("k-"), "{agents}");
        let all = &agents["agents"];
        assert_eq!(all["line"]["command"], "python3 ***");
        assert_eq!(all["bare"]["command"], "./bin/scan");
        assert_eq!(all["words"]["command"], json!(["sh", "***"]));
        let map = json!({"argv": ["./bin/scan", "***"], "cwd": "tools", "grace": "30s"});
        assert_eq!(all["map"]["command"], map);
        assert_eq!(all["run"]["command"]["run"], "scan ***");
        assert_eq!(all["long"]["shell"], json!({"script": "***", "cwd": "tools"}));
        let mut served = json!({"kind": {"command": {"argv": ["sh", "-e", "-c", "k-1"]}}});
        for_viewers(&mut served);
        assert_eq!(served["kind"]["command"]["argv"], json!(["sh", "***"]));
    }

    #[test]
    fn short_forms_and_odd_types_show_no_more() {
        let mut agents = json!({"agents": {
            "short": {"http": "https://u:k-1@h.example/k-2"},
            "actions": {"http": {"url": "http://h.example/k-3"}, "env": ["K=k-4"]},
            "odd": {
                "http": {"urls": "https://h.example/k-5", "url": ["http://h.example/k-6", {"a": "k-7"}]},
                "headers": "X: k-8",
                "env": "k-9",
                "more": [{"http": ["https://h.example/k-10"]}, {"actions": {"headers": [["k-11"]]}}],
                "actions": {"call": {"params": {"properties": {"url": {"type": "string"}}}}},
            },
            "none": {"env": null, "http": {"url": "http://h.example:1/", "headers": {}}},
        }});
        for_viewers(&mut agents);
        assert!(!agents.to_string().contains("k-"), "{agents}");
        let all = &agents["agents"];
        assert_eq!(all["short"]["http"], "https://h.example/");
        assert_eq!(
            all["odd"]["http"],
            json!({"urls": "https://h.example/", "url": ["http://h.example/", "***"]})
        );
        assert_eq!(all["odd"]["actions"]["call"]["params"]["properties"]["url"]["type"], "string");
        let none = json!({"env": null, "http": {"url": "http://h.example:1/", "headers": {}}});
        assert_eq!(all["none"], none);
    }
}
