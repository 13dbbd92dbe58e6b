//! What came of what somebody asked for over HTTP, as the audit log tells it.

use moa_engine::audit::Came;
use moa_server::control::{AgentTried, Edit, Removal};
use serde_json::json;

use crate::exit::Result;

/// What came of a wish to write a file.
pub fn edited(done: &Result<Edit>) -> Came {
    match done {
        Ok(Edit::Written(written)) => {
            let mut after = json!({"tag": written.tag});
            match &written.hash {
                Some(hash) => after["hash"] = json!(hash),
                None => after["agents"] = json!(written.agents),
            }
            Came::Done { object: None, after: Some(after) }
        }
        Ok(Edit::Broken { .. }) => Came::Refused("the text has errors".into()),
        Ok(Edit::Differs(_)) => Came::Refused("the file is not what it was taken for".into()),
        Err(failure) => Came::Refused(failure.message.clone()),
    }
}

/// What came of a wish to delete a file.
pub fn removed(done: &Result<Removal>) -> Came {
    match done {
        Ok(Removal::Gone { open_runs }) => {
            Came::Done { object: None, after: Some(json!({"open_runs": open_runs})) }
        }
        Ok(Removal::Needed { .. }) => Came::Refused("other files need it".into()),
        Ok(Removal::Differs(_)) => Came::Refused("the file is not what it was taken for".into()),
        Err(failure) => Came::Refused(failure.message.clone()),
    }
}

/// What came of a test of an agent.
pub fn tried(done: &Result<AgentTried>) -> Came {
    match done {
        Ok(AgentTried { last, .. }) => {
            let after = json!({"succeeded": last.succeeded, "took_ms": last.took.0});
            Came::Done { object: None, after: Some(after) }
        }
        Err(failure) => Came::Refused(failure.message.clone()),
    }
}
