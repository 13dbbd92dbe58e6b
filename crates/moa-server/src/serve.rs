//! The loop that accepts connections.
//!
//! `axum::serve` sets no timeouts; whoever sends a header slowly would keep its connection for good.
//! So connections are served by hyper here: how many there are, how long a header may take, how large
//! it may be, and how long what is left gets at the end, all have a limit. So has a handshake, where
//! there is TLS ([`crate::tls`]). Of those who say nothing, an address has its share
//! ([`crate::newcomers`]).

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::Extensions;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tower::ServiceExt;

use crate::newcomers::{Arrival, Newcomers};
use crate::tls::Tls;

/// Connections at once, streams of events among them; more wait to be accepted.
pub const CONNECTIONS_MAX: usize = 2500;
/// Bytes of a header at most.
const HEADER_BYTES_MAX: usize = 64 << 10;
/// Headers of a request at most.
const HEADERS_MAX: usize = 100;
/// How long requests under way get when the server ends.
const LAST_WAIT: Duration = Duration::from_secs(5);

/// How long clients are waited for.
#[derive(Debug, Clone, Copy)]
pub struct Waits {
    /// A request's header may take so long, and a connection may be idle so long between two.
    pub header: Duration,
    /// A body may pause so long while it is sent.
    pub body: Duration,
    /// A reader may read nothing so long while there is something to read.
    pub reader: Duration,
}

impl Default for Waits {
    fn default() -> Self {
        let (header, body) = (Duration::from_secs(15), Duration::from_secs(15));
        Self { header, body, reader: Duration::from_secs(60) }
    }
}

impl Waits {
    /// All of them this long.
    pub const fn all(wait: Duration) -> Self {
        Self { header: wait, body: wait, reader: wait }
    }
}

/// Where a request comes from.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

impl Peer {
    /// The address of a request; what no socket brought comes from nowhere.
    pub fn of(extensions: &Extensions) -> SocketAddr {
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        extensions.get::<Peer>().map_or(nowhere, |peer| peer.0)
    }
}

/// Serves until `stop` says true; then requests under way get a short time to end. `connections_max` are
/// taken at once.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Tls>,
    (waits, connections_max): (Waits, usize),
    router: Router,
    mut stop: watch::Receiver<bool>,
) {
    let places = Arc::new(Semaphore::new(connections_max));
    let newcomers = Arc::new(Newcomers::default());
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = stopped(&mut stop) => break,
            Some(_) = connections.join_next() => continue,
            accepted = accept(&listener, &places) => accepted,
        };
        let Some((stream, peer, place)) = accepted else { continue };
        let arrival = newcomers.arrive(peer.ip());
        if arrival.make_room(connections_max - places.available_permits(), connections_max) {
            tracing::debug!(%peer, "an older connection on which nothing was said made room");
        }
        let from = (peer, arrival.clone());
        let connection = connection(stream, from, tls.clone(), waits, router.clone(), stop.clone());
        let handle = connections.spawn(async move {
            let _place = place;
            connection.await;
        });
        arrival.ended_by(handle);
    }
    drop(listener);
    let ended = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(LAST_WAIT, ended).await.is_err() {
        tracing::debug!("connections are closed under way");
    }
    connections.shutdown().await;
}

/// Waits until the server is to end.
pub async fn stopped(stop: &mut watch::Receiver<bool>) {
    // Whoever could say it is gone: that is the end too.
    let _ = stop.wait_for(|stop| *stop).await;
}

type Place = tokio::sync::OwnedSemaphorePermit;

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, Place)> {
    let place = places.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, peer)) => Some((stream, peer, place)),
        Err(error) => {
            // Out of descriptors, most likely: it may pass.
            tracing::warn!(%error, "can't accept connections");
            tokio::time::sleep(Duration::from_millis(200)).await;
            None
        }
    }
}

async fn connection(
    stream: TcpStream,
    from: (SocketAddr, Arc<Arrival>),
    tls: Option<Tls>,
    waits: Waits,
    router: Router,
    mut stop: watch::Receiver<bool>,
) {
    let peer = from.0;
    // Answers are small and wanted at once; where it can't be set they come a bit later.
    let _ = stream.set_nodelay(true);
    // Who reads no more of an answer, or of a stream, is cut off; where that can't be set, at the
    // next restart.
    #[cfg(target_os = "linux")]
    let reader = u32::try_from(waits.reader.as_millis()).unwrap_or(u32::MAX);
    #[cfg(target_os = "linux")]
    let _ = rustix::net::sockopt::set_tcp_user_timeout(&stream, reader);
    let Some(tls) = tls else { return answer(stream, from, waits, router, stop).await };
    let shaken = tokio::select! {
        shaken = tokio::time::timeout(waits.header, tls.accept(stream)) => shaken,
        () = stopped(&mut stop) => return,
    };
    match shaken {
        Ok(Ok(Some(stream))) => answer(stream, from, waits, router, stop).await,
        Ok(Ok(None)) => tracing::debug!(%peer, "somebody spoke without TLS"),
        Ok(Err(error)) => tracing::debug!(%error, %peer, "a handshake failed"),
        Err(_) => tracing::debug!(%peer, "a handshake took too long"),
    }
}

async fn answer(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    (peer, arrival): (SocketAddr, Arc<Arrival>),
    waits: Waits,
    router: Router,
    mut stop: watch::Receiver<bool>,
) {
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(axum::body::Body::new);
        request.extensions_mut().insert(Peer(peer));
        request.extensions_mut().insert(arrival.clone());
        router.clone().oneshot(request)
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(waits.header)
        .max_buf_size(HEADER_BYTES_MAX)
        .max_headers(HEADERS_MAX);
    let connection = builder.serve_connection(TokioIo::new(stream), service).with_upgrades();
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopped(&mut stop) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, %peer, "a connection ended");
    }
}
