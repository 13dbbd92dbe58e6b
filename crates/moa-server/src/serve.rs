//! The loop that accepts connections.
//!
//! `axum::serve` sets no timeouts; whoever sends a header slowly would keep its connection for good.
//! So connections are served by hyper here: how many there are, how long a header may take, how large
//! it may be, and how long what is left gets at the end, all have a limit. So has a handshake, where
//! there is TLS ([`crate::tls`]). Of those who say nothing, an address has its share
//! ([`crate::newcomers`]). A connection whose answer lasts goes on among those of listeners.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::header::CONNECTION;
use axum::http::{Extensions, HeaderValue};
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore, watch};
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
    /// Requests under way get so long when the server ends.
    pub end: Duration,
}

impl Default for Waits {
    fn default() -> Self {
        let (header, body) = (Duration::from_secs(15), Duration::from_secs(15));
        Self { header, body, reader: Duration::from_secs(60), end: LAST_WAIT }
    }
}

impl Waits {
    /// Clients are waited for this long.
    pub const fn all(wait: Duration) -> Self {
        Self { header: wait, body: wait, reader: wait, end: LAST_WAIT }
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

/// Marks an answer that tells of events for as long as somebody listens.
#[derive(Debug, Clone, Copy)]
pub struct Listening;

/// What all connections are served with.
#[derive(Clone)]
pub struct Serving {
    /// Who answers.
    pub router: Router,
    /// How it speaks TLS, if it does.
    pub tls: Option<Tls>,
    /// How long clients are waited for.
    pub waits: Waits,
    /// Where connections go on whose answer is [`Listening`]: a thousand of them that all have something
    /// to write delay no request there.
    pub listeners: Handle,
    /// Whether it is to end.
    pub stop: watch::Receiver<bool>,
}

/// Serves until `stop` says true; then requests under way get a short time to end. `connections_max` are
/// taken at once.
pub async fn serve(listener: TcpListener, connections_max: usize, serving: Serving) {
    let mut stop = serving.stop.clone();
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
        let connection = connection(stream, from, serving.clone());
        let handle = connections.spawn(async move {
            let _place = place;
            connection.await;
        });
        arrival.ended_by(handle);
    }
    drop(listener);
    let ended = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(serving.waits.end, ended).await.is_err() {
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

async fn connection(stream: TcpStream, from: (SocketAddr, Arc<Arrival>), mut serving: Serving) {
    let (peer, waits) = (from.0, serving.waits);
    // Answers are small and wanted at once; where it can't be set they come a bit later.
    let _ = stream.set_nodelay(true);
    // Who reads no more of an answer, or of a stream, is cut off; where that can't be set, at the
    // next restart.
    #[cfg(target_os = "linux")]
    let reader = u32::try_from(waits.reader.as_millis()).unwrap_or(u32::MAX);
    #[cfg(target_os = "linux")]
    let _ = rustix::net::sockopt::set_tcp_user_timeout(&stream, reader);
    let Some(tls) = serving.tls.take() else { return answer(stream, from, serving).await };
    let shaken = tokio::select! {
        shaken = tokio::time::timeout(waits.header, tls.accept(stream)) => shaken,
        () = stopped(&mut serving.stop) => return,
    };
    match shaken {
        Ok(Ok(Some(stream))) => answer(stream, from, serving).await,
        Ok(Ok(None)) => tracing::debug!(%peer, "somebody spoke without TLS"),
        Ok(Err(error)) => tracing::debug!(%error, %peer, "a handshake failed"),
        Err(_) => tracing::debug!(%peer, "a handshake took too long"),
    }
}

async fn answer(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    (peer, arrival): (SocketAddr, Arc<Arrival>),
    Serving { router, waits, listeners, mut stop, .. }: Serving,
) {
    let listens = Arc::new(Notify::new());
    let listening = listens.clone();
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(axum::body::Body::new);
        request.extensions_mut().insert(Peer(peer));
        request.extensions_mut().insert(arrival.clone());
        let (answer, listening) = (router.clone().oneshot(request), listening.clone());
        async move {
            let mut answer = answer.await?;
            if answer.extensions().get::<Listening>().is_some() {
                listening.notify_one();
                // Nothing else is answered among listeners.
                answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(answer)
        }
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(waits.header)
        .max_buf_size(HEADER_BYTES_MAX)
        .max_headers(HEADERS_MAX);
    let connection = builder.serve_connection(TokioIo::new(stream), service).with_upgrades();
    // It may go on elsewhere, and is large.
    let mut connection = Box::pin(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopped(&mut stop) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
        () = listens.notified() => {
            // It ends with this one.
            let mut rest = JoinSet::new();
            rest.spawn_on(async move {
                tokio::select! {
                    ended = in_between(connection.as_mut()) => ended,
                    () = stopped(&mut stop) => {
                        connection.as_mut().graceful_shutdown();
                        connection.await
                    }
                }
            }, &listeners);
            // It is cut off, or moa has a fault: both are said elsewhere.
            rest.join_next().await.and_then(std::result::Result::ok).unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, %peer, "a connection ended");
    }
}

/// Works on something, and offers the processor after each time: many listeners may have something to hear
/// at once, and who waits for this processor meanwhile, the engine for one, waits for one of them and
/// not for as long as a thread may run.
async fn in_between<F: Future>(mut work: Pin<&mut F>) -> F::Output {
    std::future::poll_fn(|cx| {
        let done = work.as_mut().poll(cx);
        std::thread::yield_now();
        done
    })
    .await
}

#[cfg(test)]
mod tests {
    use axum::Extension;
    use axum::body::Body;
    use axum::routing::get;
    use futures_util::{StreamExt, stream};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::runtime::{Builder, Runtime};

    use super::*;

    fn threads(name: &str) -> Runtime {
        let mut threads = Builder::new_multi_thread();
        threads.worker_threads(1).thread_name(name).enable_all().build().expect("a runtime")
    }

    /// Tells on which thread it is told, a few times, and nothing more until the end.
    fn told(end: impl Future<Output = ()> + Send + 'static) -> Body {
        let names = stream::iter(0..9).then(async |_| {
            tokio::task::yield_now().await;
            let name = std::thread::current().name().unwrap_or_default().to_owned();
            Ok::<_, Infallible>(format!("<{name}>"))
        });
        Body::from_stream(names.chain(stream::pending()).take_until(Box::pin(end)))
    }

    /// Adds what comes until a text is there; false = it has ended without.
    async fn reads(stream: &mut TcpStream, all: &mut String, text: &str) -> bool {
        let mut bytes = [0; 1024];
        while !all.contains(text) {
            let Ok(count @ 1..) = stream.read(&mut bytes).await else { return false };
            all.push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
        true
    }

    fn routes(stop: &watch::Receiver<bool>) -> Router {
        let stop = stop.clone();
        let listen = async move || {
            let mut stop = stop.clone();
            (Extension(Listening), told(async move { stopped(&mut stop).await }))
        };
        Router::new()
            .route("/answer", get(async || told(std::future::pending())))
            .route("/listen", get(listen))
            .route("/on", get(async || (Extension(Listening), told(std::future::pending()))))
    }

    #[test]
    fn who_listens_is_told_on_threads_of_their_own_and_ends_with_the_server() {
        let (requests, listeners) = (threads("requests"), threads("listeners"));
        let (ending, stop) = watch::channel(false);
        requests.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let address = listener.local_addr().expect("an address");
            let waits = Waits { end: Duration::from_millis(500), ..Waits::default() };
            let (router, listeners) = (routes(&stop), listeners.handle().clone());
            let serving = Serving { router, tls: None, waits, listeners, stop };
            let server = tokio::spawn(serve(listener, 10, serving));
            let ask = async |asked: &str, said: &str| {
                let mut stream = TcpStream::connect(address).await.expect("it listens");
                let request = format!("{asked} HTTP/1.1\r\nHost: {address}\r\n\r\n");
                stream.write_all(request.as_bytes()).await.expect("it reads");
                let mut all = String::new();
                assert!(reads(&mut stream, &mut all, said).await, "{asked}: {all}");
                (stream, all)
            };
            let mut answer = ask("GET /answer", "<requests>").await;
            let mut listen = ask("GET /listen", "<listeners>").await;
            let mut on = ask("GET /on", "<listeners>").await;
            assert!(!answer.1.contains("connection: close"), "{}", answer.1);
            // No other request is answered where who listens is told.
            let mut head = ask("HEAD /listen", "connection: close").await;
            assert!(!reads(&mut head.0, &mut head.1, "more").await, "it is closed");
            ending.send_replace(true);
            let end = "\r\n0\r\n\r\n";
            assert!(reads(&mut listen.0, &mut listen.1, end).await, "a whole answer");
            for (stream, all) in [&mut listen, &mut on, &mut answer] {
                assert!(!reads(stream, all, "more").await, "it is closed");
            }
            assert!(!on.1.contains(end), "it is cut off");
            assert!(!answer.1.contains("<listeners>"), "{}", answer.1);
            server.await.expect("it ends");
        });
    }
}
