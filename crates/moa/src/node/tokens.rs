//! Who may use the API of a node: tokens, sessions, and links that open them.

use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use moa_server::SignIn;
use moa_server::auth::links::{Grant, Made};
use moa_server::auth::tokens::{self, Entry, New, Tokens};
use zeroize::Zeroizing;

use super::Node;
use crate::exit::{Exit, Failure, Result};
use crate::view::now;

/// What a node has for it.
pub struct Access {
    tokens: Arc<Tokens>,
    /// What signs browsers in, when the API is served.
    pub sign_in: OnceLock<SignIn>,
}

impl Access {
    /// With the tokens of a state folder; no API is served yet.
    pub fn new(state: &Path) -> Self {
        Self { tokens: Arc::new(Tokens::new(state)), sign_in: OnceLock::new() }
    }
}

impl Node {
    /// Makes a token or opens a session; answers it and its secret, which is kept nowhere.
    pub async fn make_token(&self, new: New) -> Result<(Entry, Zeroizing<String>)> {
        let (entry, secret) = self.with_tokens(move |tokens| tokens.create(new, now())).await?;
        Ok((entry, Zeroizing::new(secret)))
    }

    /// Ends a token or session, and the sessions that it opened; answers it.
    pub async fn end_token(&self, id: String) -> Result<Entry> {
        self.with_tokens(move |tokens| tokens.revoke(&id)).await
    }

    /// A link that signs a browser in, once; and a file that leads there, if it is wanted.
    pub fn sign_in_link(&self, grant: Grant, page: bool) -> Result<Made> {
        let sign_in = self.access.sign_in.get().ok_or_else(|| {
            Failure::refused("this node serves no dashboard")
                .hint("start it with `moa up`, and without --no-server")
        })?;
        sign_in.link(grant, page).map_err(|error| match error.kind() {
            io::ErrorKind::QuotaExceeded => Failure::new(Exit::Busy, error.to_string()),
            _ => Failure::io("the page that leads to the link can't be written", &error),
        })
    }

    /// Does something with the file of tokens where it holds nobody up.
    async fn with_tokens<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Tokens) -> std::result::Result<T, tokens::Error> + Send + 'static,
    ) -> Result<T> {
        let tokens = self.access.tokens.clone();
        let done = tokio::task::spawn_blocking(move || work(&tokens)).await;
        let died = |_| Failure::new(Exit::Unavailable, "the work on the tokens has died");
        done.map_err(died)?.map_err(failure)
    }
}

/// What is wrong with the tokens, for people.
pub fn failure(error: tokens::Error) -> Failure {
    let text = error.to_string();
    match error {
        tokens::Error::Unknown(_) => {
            Failure::not_found(text).hint("`moa token list` shows the tokens")
        }
        tokens::Error::Name(_) => Failure::usage(text),
        tokens::Error::Full => Failure::refused(text).hint("revoke those that nobody needs"),
        tokens::Error::Io { error, path } => {
            Failure::io(format!("can't use {}", path.display()), &error)
        }
        tokens::Error::Broken { .. } => {
            Failure::refused(text).hint("mend the file, or delete it and make new tokens")
        }
    }
}
