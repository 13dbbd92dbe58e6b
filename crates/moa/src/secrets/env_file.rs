//! The project's env file: lines of `NAME=value`.

use std::collections::BTreeMap;
use std::path::Path;

use crate::exit::{Exit, Failure, Result};
use crate::files::Beneath;

/// The variables of an env file; none when there is no such file. Messages never show values.
pub fn read_env_file(root: &Path, env_file: &Path) -> Result<BTreeMap<String, String>> {
    let shown = env_file.display();
    let read = Beneath::new(root).and_then(|beneath| beneath.read(env_file));
    let bytes = match read {
        Ok(content) => content.bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(e) => return Err(Failure::io(format!("can't read {shown}"), &e)),
    };
    let mut variables = BTreeMap::new();
    for item in dotenvy::from_read_iter(&bytes[..]) {
        match item {
            Ok((name, value)) => variables.insert(name, value),
            Err(dotenvy::Error::LineParse(_, at)) => {
                let text =
                    format!("{shown} has a line that isn't NAME=value (near byte {at} of it)");
                return Err(Failure::new(Exit::Invalid, text).hint("quote values with spaces"));
            }
            Err(_) => {
                let text = format!("{shown} can't be read as lines of NAME=value");
                return Err(Failure::new(Exit::Invalid, text).hint("save it as UTF-8 text"));
            }
        };
    }
    Ok(variables)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_env_file_is_reported_without_its_content() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(dir.path().join(".env"), "TOKEN=ok\nhunter2 is my password\n").expect("w");
        let error = read_env_file(dir.path(), Path::new(".env")).expect_err("it is broken");
        assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    }
}
