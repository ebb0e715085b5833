//! Attacks on a listener, over sockets on loopback.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Extension, Router, body::Body as AxumBody, http::StatusCode, response::IntoResponse as _, routing};
use bytes::Bytes;
use futures::stream;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket, TcpStream},
    time::timeout,
};

use super::*;
use crate::Host;

/// Upper bound of every wait.
const PATIENCE: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(300);
const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";

struct Served {
    address: SocketAddr,
    host: Host,
    /// Bytes of `/large` that the connections took.
    produced: Arc<AtomicUsize>,
    /// Number of requests for `/hang` that have begun.
    hanging: Arc<AtomicUsize>,
    budget: BodyBudget,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.host.stop();
    }
}

/// Serves `/`, `/hang`, which is never answered, `/large`, which has 64 MiB, and `/body`, which answers with the size of
/// the request body of at most 1 MiB.
async fn served(purpose: ListenerKind, settings: HttpLimits) -> Served {
    let produced = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&produced);
    let large = move || {
        let counter = Arc::clone(&counter);
        let chunks = stream::iter((0..1024).map(move |_| {
            counter.fetch_add(64 << 10, Ordering::Relaxed);
            Ok::<_, std::convert::Infallible>(Bytes::from(vec![7; 64 << 10]))
        }));
        async move { AxumBody::from_stream(chunks) }
    };
    let hanging = Arc::new(AtomicUsize::new(0));
    let begun = Arc::clone(&hanging);
    let hang = move || {
        begun.fetch_add(1, Ordering::Relaxed);
        std::future::pending::<&'static str>()
    };
    let body = |Extension(peer): Extension<Peer>, body: AxumBody| async move {
        match peer.read_body(body, 1 << 20, BodySender::STRANGER).await {
            Ok(received) => received.bytes.len().to_string().into_response(),
            Err(error) => (StatusCode::from_u16(error.status()).unwrap(), error.to_string()).into_response(),
        }
    };
    let routes = Router::new()
        .route("/", routing::get(|| async { "hello" }))
        .route("/hang", routing::get(hang))
        .route("/large", routing::get(large))
        .route("/body", routing::post(body));
    let socket = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], socket.local_addr().unwrap().port()));
    let (host, budget) = (Host::default(), BodyBudget::new(&settings));
    let listener = Listener::new(purpose, &settings, budget.clone());
    host.spawn(serve(host.clone(), socket, listener, move |_| routes.clone()));
    Served { address, host, produced, hanging, budget }
}

impl Served {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    async fn send(&self, text: &str) -> TcpStream {
        let mut stream = self.connect().await;
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    }

    /// Opens a connection whose request is never answered, and waits until the request has begun.
    async fn hang_from(&self, source: &str) -> TcpStream {
        let before = self.hanging.load(Ordering::Relaxed);
        let stream = self.send_from(source, "GET /hang HTTP/1.1\r\nHost: h\r\n\r\n").await;
        let begun = async {
            while self.hanging.load(Ordering::Relaxed) == before {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(PATIENCE, begun).await.expect("the request does not begin");
        stream
    }

    async fn send_from(&self, source: &str, text: &str) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(format!("{source}:0").parse().unwrap()).unwrap();
        let mut stream = socket.connect(self.address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    }
}

/// Reads until the text is there or the connection ends.
async fn read_until(stream: &mut TcpStream, text: &str) -> String {
    let (mut got, mut buffer) = (Vec::new(), [0; 4096]);
    while !String::from_utf8_lossy(&got).contains(text) {
        let read = timeout(PATIENCE, stream.read(&mut buffer)).await.expect("neither the text nor the end");
        match read {
            Ok(0) | Err(_) => break,
            Ok(count) => got.extend_from_slice(&buffer[..count]),
        }
    }
    String::from_utf8_lossy(&got).into_owned()
}

/// Reads until the connection ends.
async fn read_all(stream: &mut TcpStream) -> String {
    read_until(stream, "\u{0}never\u{0}").await
}

#[tokio::test]
async fn a_connection_without_a_whole_request_head_is_closed() {
    let served = served(ListenerKind::Rest, HttpLimits { head_timeout: SHORT, ..HttpLimits::default() }).await;
    for beginning in [
        "",
        "G",
        "GET / HTTP/1.1\r\nHost: h\r\n",
        "GET / HTTP/1.1\r\nX: y\r\nX: y\r\nX:",
        "PRI * HTTP/2.0",
        // An HTTP/2 client without a request: the preface and empty settings (RFC 9113 §3.4).
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\u{4}\0\0\0\0\0",
    ] {
        let mut stream = served.send(beginning).await;
        assert!(!read_all(&mut stream).await.contains("hello"), "{beginning}");
    }
    assert!(read_until(&mut served.send(GET).await, "hello").await.contains("hello"));
}

#[tokio::test]
async fn a_connection_without_a_further_request_is_closed() {
    let served = served(ListenerKind::Rest, HttpLimits { idle_timeout: SHORT, ..HttpLimits::default() }).await;
    for further in ["", "GET / HTTP/1.1\r\nHost"] {
        let mut stream = served.send(GET).await;
        assert!(read_until(&mut stream, "hello").await.contains("200 OK"));
        stream.write_all(further.as_bytes()).await.unwrap();
        assert!(!read_all(&mut stream).await.contains("hello"), "{further}");
    }
}

#[tokio::test]
async fn a_body_that_does_not_progress_ends_with_408() {
    let served = served(ListenerKind::Rest, HttpLimits { body_timeout: SHORT, ..HttpLimits::default() }).await;
    for body in [
        "Content-Length: 9\r\n\r\n12345678",
        "Transfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n",
        "Content-Length: 9\r\n\r\n",
    ] {
        let mut stream = served.send(&format!("POST /body HTTP/1.1\r\nHost: h\r\n{body}")).await;
        let response = read_all(&mut stream).await;
        assert!(response.contains("408 Request Timeout") && response.contains("1 KiB in each"), "{body}: {response}");
    }
    // One byte at a time is no progress either.
    let mut stream = served.send("POST /body HTTP/1.1\r\nHost: h\r\nContent-Length: 900\r\n\r\n").await;
    let (mut reader, mut writer) = stream.split();
    let dripping = async {
        while writer.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let mut response = [0; 64];
    tokio::select! {
        () = dripping => {}
        count = reader.read(&mut response) => assert!(count.unwrap() > 12),
    }
    assert!(String::from_utf8_lossy(&response).contains("408"));
}

#[tokio::test]
async fn a_client_that_waits_to_be_invited_is_told_at_once_that_its_body_is_too_large() {
    let served = served(ListenerKind::Rest, HttpLimits::default()).await;
    // Size of the body, and how the response begins (RFC 9110 §10.1.1).
    for (size, beginning) in [((1 << 20) + 1, "HTTP/1.1 413"), (1 << 30, "HTTP/1.1 413"), (5, "HTTP/1.1 100 Continue")]
    {
        let head = format!("POST /body HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: {size}\r\n\r\n");
        let mut stream = served.send(&head).await;
        let response = read_until(&mut stream, "\r\n\r\n").await;
        assert!(response.starts_with(beginning), "{size}: {response}");
    }
}

#[tokio::test]
async fn a_body_is_read_up_to_the_limit_of_its_route() {
    let served = served(ListenerKind::Rest, HttpLimits::default()).await;
    let limit = 1 << 20;
    for (size, chunked, status) in [
        (0, false, "200"),
        (1, true, "200"),
        (limit, false, "200"),
        (limit, true, "200"),
        (limit + 1, false, "413"),
        (limit + 1, true, "413"),
    ] {
        let body = "x".repeat(size);
        let framed = if chunked {
            format!("Transfer-Encoding: chunked\r\n\r\n{size:x}\r\n{body}\r\n0\r\n\r\n")
        } else {
            format!("Content-Length: {size}\r\n\r\n{body}")
        };
        let mut stream = served.send(&format!("POST /body HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{framed}")).await;
        let response = read_all(&mut stream).await;
        assert!(response.starts_with(&format!("HTTP/1.1 {status}")), "{size} {chunked}: {response}");
    }
}

#[tokio::test]
async fn bodies_that_would_take_too_much_memory_together_are_refused() {
    let settings = HttpLimits { anonymous_body_bytes: 1 << 20, ..HttpLimits::default() };
    let served = served(ListenerKind::Rest, settings).await;
    let mut taken = served.budget.account(Class::Stranger);
    taken.try_grow((1 << 20) - (32 << 10)).unwrap();
    let post = |size: usize| {
        let body = "x".repeat(size);
        format!("POST /body HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: {size}\r\n\r\n{body}")
    };
    let small = read_all(&mut served.send(&post(10 << 10)).await).await;
    assert!(small.starts_with("HTTP/1.1 200"), "{small}");
    let refused = read_all(&mut served.send(&post(100 << 10)).await).await;
    assert!(refused.starts_with("HTTP/1.1 503") && refused.contains("repeat the request"), "{refused}");
    drop(taken);
    let large = read_all(&mut served.send(&post(1 << 20)).await).await;
    assert!(large.starts_with("HTTP/1.1 200"), "{large}");
}

#[tokio::test]
async fn a_client_that_does_not_read_is_closed_and_costs_little() {
    let served = served(ListenerKind::Images, HttpLimits { write_timeout: SHORT, ..HttpLimits::default() }).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(64 << 10).unwrap();
    let mut stream = socket.connect(served.address).await.unwrap();
    stream.write_all(b"GET /large HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
    // The response to an unread one ends when the server closes the connection: then what is left can be read.
    let got = timeout(PATIENCE, async {
        tokio::time::sleep(4 * SHORT).await;
        let (mut all, mut buffer) = (0, vec![0; 64 << 10]);
        while let Ok(count @ 1..) = stream.read(&mut buffer).await {
            all += count;
        }
        all
    });
    let got = got.await.unwrap();
    assert!(got < 64 << 20, "the response was sent as a whole");
    // What was made for the client, and neither sent nor dropped at once, is at most what the buffers hold.
    let produced = served.produced.load(Ordering::Relaxed);
    assert!(produced - got < 1 << 20, "{produced} bytes were made, {got} received");
}

#[tokio::test]
async fn a_slow_client_that_reads_gets_the_whole_response() {
    // Client and server share a thread, which may be off its processor for a while.
    let write_timeout = Duration::from_secs(5);
    let served = served(ListenerKind::Images, HttpLimits { write_timeout, ..HttpLimits::default() }).await;
    let mut stream = served.send("GET /large HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await;
    let (mut all, mut buffer) = (0, vec![0; 1 << 20]);
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        all += count;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(all > 64 << 20, "{all}");
}

#[tokio::test]
async fn one_address_cannot_shut_out_another() {
    let settings = HttpLimits { connections_per_loopback_address: 8, ..HttpLimits::default() };
    let served = served(ListenerKind::Rest, settings).await;
    let mut busy = Vec::new();
    for _ in 0..8 {
        busy.push(served.hang_from("127.0.0.1").await);
    }
    let refused = read_all(&mut served.send(GET).await).await;
    assert!(refused.starts_with("HTTP/1.1 429") && refused.contains("from this address"), "{refused}");
    let other = read_until(&mut served.send_from("127.0.0.2", GET).await, "hello").await;
    assert!(other.contains("200 OK"), "{other}");
}

#[tokio::test]
async fn idle_connections_make_room_for_new_ones() {
    for settings in [
        HttpLimits { connections_per_loopback_address: 8, ..HttpLimits::default() },
        HttpLimits { connections: 16, ..HttpLimits::default() },
    ] {
        let served = served(ListenerKind::Images, settings).await;
        let mut idle = Vec::new();
        for _ in 0..100 {
            idle.push(served.connect().await);
        }
        let response = read_until(&mut served.send(GET).await, "hello").await;
        assert!(response.contains("200 OK"), "{response}");
        assert_eq!(read_all(&mut idle[0]).await, "");
    }
}

#[tokio::test]
async fn a_full_listener_says_so() {
    let served = served(ListenerKind::Images, HttpLimits { connections: 16, ..HttpLimits::default() }).await;
    let mut busy = Vec::new();
    for _ in 0..16 {
        busy.push(served.hang_from("127.0.0.3").await);
    }
    let refused = read_all(&mut served.send(GET).await).await;
    assert!(refused.starts_with("HTTP/1.1 503") && refused.contains("repeat the request later"), "{refused}");
    assert!(!refused.to_ascii_lowercase().contains("retry-after"));
}

#[tokio::test]
async fn requests_of_one_user_leave_room_for_others() {
    let settings = HttpLimits { requests_per_identity: 2, ..HttpLimits::default() };
    let listener = Listener::new(ListenerKind::Rest, &settings, BodyBudget::new(&settings));
    let peer = Peer::without_connection(listener);
    let slots: Vec<_> = (0..2).map(|_| peer.begin("ann", Class::Ordinary).unwrap()).collect();
    assert_eq!(peer.begin("ann", Class::Ordinary).unwrap_err().status(), 429);
    peer.begin("bob", Class::Ordinary).unwrap();
    for _ in 0..10 {
        peer.begin("ann", Class::Privileged).unwrap();
    }
    drop(slots);
    peer.begin("ann", Class::Ordinary).unwrap();
}
