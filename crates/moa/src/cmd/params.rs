//! Params as a command line gives them.

use std::io::Read;
use std::path::{Path, PathBuf};

use moa_core::limits::PARAMS_BYTES_MAX;
use serde_json::{Map, Value as Json};

use crate::exit::{Failure, Result};

/// Params of a run, an action or a signal.
#[derive(Debug, Clone, Default, clap::Args)]
#[group(skip)]
pub struct Args {
    /// A param; its type is the declared one. NAME=@FILE takes the text of a file
    #[arg(long = "param", short = 'p', value_name = "NAME=VALUE", value_parser = pair)]
    pub params: Vec<(String, String)>,
    /// A JSON file with one object of params ('-' = stdin); --param wins over it
    #[arg(long = "params", value_name = "FILE")]
    pub file: Option<PathBuf>,
}

fn pair(text: &str) -> std::result::Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.into(), value.into())),
        _ => Err("write it as NAME=VALUE".into()),
    }
}

/// An object of params, and texts that become values as declared.
pub type Given = (Map<String, Json>, Vec<(String, String)>);

impl Args {
    /// The object of the file, and the texts of the flags.
    pub fn read(&self) -> Result<Given> {
        let object = match &self.file {
            None => Map::new(),
            Some(file) => match serde_json::from_slice(&read_file(file)?) {
                Ok(Json::Object(object)) => object,
                Ok(_) => {
                    let text = format!("{} must hold a JSON object", file.display());
                    return Err(Failure::usage(text).hint("write {\"name\": value, …}"));
                }
                Err(e) => {
                    let text = format!("{} is not JSON: {e}", file.display());
                    return Err(Failure::usage(text));
                }
            },
        };
        let text = |(name, value): &(String, String)| match value.strip_prefix('@') {
            Some(file) => Ok((name.clone(), read_text(Path::new(file))?)),
            None => Ok((name.clone(), value.clone())),
        };
        Ok((object, self.params.iter().map(text).collect::<Result<_>>()?))
    }
}

fn read_file(file: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = match file.as_os_str() == "-" {
        true => std::io::stdin().take(PARAMS_BYTES_MAX as u64 + 1).read_to_end(&mut bytes),
        false => std::fs::File::open(file)
            .and_then(|f| f.take(PARAMS_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)),
    };
    read.map_err(|e| Failure::io(format!("can't read {}", file.display()), &e))?;
    if bytes.len() > PARAMS_BYTES_MAX {
        let text = format!("{} is larger than {PARAMS_BYTES_MAX} bytes", file.display());
        return Err(Failure::usage(text).hint("give the path of the file as a param instead"));
    }
    Ok(bytes)
}

fn read_text(file: &Path) -> Result<String> {
    let text = String::from_utf8(read_file(file)?);
    text.map_err(|_| Failure::usage(format!("{} is not UTF-8 text", file.display())))
}

/// A payload on the command line: JSON, or else the text itself. What begins like an object, an
/// array or a string was meant to be JSON, and is refused when it isn't.
///
/// # Errors
/// It was meant to be JSON, and isn't; `option` is what it was given with, and `example` a good one.
pub fn json_or_text(text: &str, option: &str, example: &str) -> Result<Json> {
    match serde_json::from_str(text) {
        Ok(json) => Ok(json),
        Err(e) if text.trim_start().starts_with(['{', '[', '"']) => {
            Err(Failure::usage(format!("what {option} gives is not JSON: {e}"))
                .hint(format!("mind the shell's quotes: {option} '{example}'")))
        }
        Err(_) => Ok(Json::String(text.into())),
    }
}
