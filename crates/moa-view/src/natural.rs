//! The order in which people list names: those with a number by the number, `agent2` before `agent10`.

use serde::{Deserialize, Serialize};

/// A name as it is compared: in turn what is no digit, and a number. Names that are unlike have keys that
/// are unlike.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Key {
    parts: Vec<Part>,
    /// Of those that mean the same number (`a1`, `a01`).
    name: String,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged)]
enum Part {
    /// How many digits it has without zeros before it, and those.
    Number(usize, String),
    Text(String),
}

/// The key of a name.
pub fn key(name: &str) -> Key {
    let (mut parts, mut rest) = (Vec::new(), name);
    while let Some(first) = rest.chars().next() {
        let is_number = first.is_ascii_digit();
        let end = rest.find(|c: char| c.is_ascii_digit() != is_number).unwrap_or(rest.len());
        let (part, more) = rest.split_at(end);
        parts.push(match is_number {
            true => {
                let digits = part.trim_start_matches('0');
                Part::Number(digits.len(), digits.to_owned())
            }
            false => Part::Text(part.to_owned()),
        });
        rest = more;
    }
    Key { parts, name: name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_names_are_numbers() {
        let mut names = vec![
            "agent10",
            "agent2",
            "b",
            "agent1",
            "agent",
            "agent02",
            "agent2b",
            "agent2a10",
            "7",
            "agent2a9",
            "",
            "agent99999999999999999999999999",
            "ägent",
            "agent-3",
            "10",
        ];
        names.sort_by_cached_key(|name| key(name));
        assert_eq!(
            names,
            [
                "",
                "7",
                "10",
                "agent",
                "agent1",
                "agent02",
                "agent2",
                "agent2a9",
                "agent2a10",
                "agent2b",
                "agent10",
                "agent99999999999999999999999999",
                "agent-3",
                "b",
                "ägent",
            ]
        );
        // As a cursor holds them.
        for name in names {
            let text = serde_json::to_string(&key(name)).expect("JSON");
            assert_eq!(serde_json::from_str::<Key>(&text).expect("a key"), key(name));
        }
    }
}
