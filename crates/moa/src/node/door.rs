//! Where the API is to be served: the address is taken before the node starts, so that one that is in use
//! is said at once.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use moa_server::tls::Tls;

use super::Node;
use super::http::Http;
use crate::config::Config;
use crate::exit::{Exit, Failure, Result};
use crate::project::Layout;

/// Whether and where the API is served.
#[derive(Debug, Clone, Copy, Default)]
pub enum Wanted {
    /// Not at all.
    #[default]
    No,
    /// As the settings say; somewhere else when the command line says so.
    AsSet {
        /// The address of the command line.
        listen: Option<SocketAddr>,
    },
}

/// A socket that waits for its node.
#[derive(Default)]
pub struct Door {
    /// It; `None` = the API is not served.
    pub listener: Option<TcpListener>,
    /// What makes TLS of its connections; `None` = they are plain.
    tls: Option<Tls>,
    /// Why it isn't, when it should; or what is odd about how it is.
    pub warning: Option<String>,
}

/// Takes the address. One that nobody asked for and that is taken is done without.
pub fn bind(layout: &Layout, config: &mut Config, wanted: &Wanted) -> Result<Door> {
    let Wanted::AsSet { listen } = wanted else { return Ok(Door::default()) };
    config.listen_from_flag(*listen);
    let server = &config.settings.server;
    if !server.enabled && listen.is_none() {
        return Ok(Door::default());
    }
    let tls = tls(layout, &server.tls)?;
    let address = server.listen;
    let hint =
        "choose another: --listen 127.0.0.1:3021, MOA_SERVER_LISTEN, `server: {listen: ...}`";
    match TcpListener::bind(address) {
        Ok(listener) => {
            let warning = tls.as_ref().and_then(Tls::oddity);
            Ok(Door { listener: Some(listener), tls, warning })
        }
        Err(e) if e.kind() == io::ErrorKind::AddrInUse && !config.is_given("server.listen") => {
            let text = format!("no API and no dashboard: {address} is in use; {hint}");
            Ok(Door { listener: None, tls: None, warning: Some(text) })
        }
        Err(e) => {
            let text = format!("can't listen on {address}: {e}");
            Err(Failure::new(Exit::Refused, text).hint(hint))
        }
    }
}

/// The certificate and the key, if there are to be any.
fn tls(layout: &Layout, files: &moa_spec::Tls) -> Result<Option<Tls>> {
    let (cert, key) = match (&files.cert, &files.key) {
        (None, None) => return Ok(None),
        (Some(cert), Some(key)) => (layout.root.join(cert), layout.root.join(key)),
        _ => {
            let text = "server.tls has one of cert and key; TLS takes both";
            return Err(Failure::new(Exit::Invalid, text));
        }
    };
    let tls = Tls::new(cert, key).map_err(|e| Failure::refused(e.to_string()).hint(e.hint()))?;
    Ok(Some(tls))
}

impl Door {
    /// Serves a node there; answers why not, when it should be, or what is odd about it.
    pub fn open(
        self,
        node: &Arc<Node>,
        layout: &Layout,
        config: &Config,
    ) -> Result<(Option<Http>, Option<String>)> {
        let Self { listener, tls, warning } = self;
        let start = |listener| Http::start(listener, tls, node, layout, config);
        let http = listener.map(start).transpose()?;
        if let Some(http) = &http {
            node.access.sign_in.get_or_init(|| http.sign_in.clone());
        }
        Ok((http, warning))
    }
}
