//! Requests to real sockets on loopback, which the lists of these tests allow where they should be reached.

use std::{
    io,
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::future::BoxFuture;
use reqwest::header::{AUTHORIZATION, HeaderName, RANGE};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::Instant,
};

use super::{limits::Limits, *};
use crate::Host;

const FOREVER: Duration = Duration::from_secs(3600);

/// A server that answers each connection by what `answer` makes of the head of its request.
struct Server {
    address: SocketAddr,
    requests: Arc<AtomicUsize>,
}

impl Server {
    async fn start(answer: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        Self::start_with(move |head, mut stream| {
            let answer = answer(&head);
            Box::pin(async move { stream.write_all(answer.as_bytes()).await })
        })
        .await
    }

    async fn start_with(
        serve: impl Fn(String, TcpStream) -> BoxFuture<'static, io::Result<()>> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, requests) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
        let count = Arc::clone(&requests);
        let host = Host::default();
        let own = host.clone();
        host.spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    match stream.read_u8().await {
                        Ok(octet) => head.push(octet),
                        Err(_) => break,
                    }
                }
                count.fetch_add(1, Ordering::SeqCst);
                let served = serve(String::from_utf8(head).unwrap(), stream);
                // The client may close the connection.
                own.spawn(async move { drop(served.await) });
            }
        });
        Self { address, requests }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn named(&self, host: &str) -> String {
        format!("http://{host}:{}/", self.address.port())
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}

fn redirect_to(url: &str) -> String {
    format!("HTTP/1.1 302 Found\r\nlocation: {url}\r\ncontent-length: 6\r\nconnection: close\r\n\r\nsecret")
}

/// Names with the addresses of each lookup, in turn. The last ones stay.
struct Names(Vec<(&'static str, Vec<Vec<IpAddr>>)>, AtomicUsize);

impl Lookup for Names {
    fn lookup(&self, host: String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        let turn = self.1.fetch_add(1, Ordering::SeqCst);
        let found = self.0.iter().find(|(name, _)| *name == host);
        let found = found.and_then(|(_, turns)| turns.get(turn).or_else(|| turns.last()).cloned());
        let found = found.map(|all| all.into_iter().map(|address| SocketAddr::new(address, 0)).collect());
        Box::pin(async move { found.ok_or_else(|| io::Error::other("no such name, says the name server")) })
    }
}

fn outbound(allow: &[&str], names: Vec<(&'static str, Vec<Vec<IpAddr>>)>) -> Outbound {
    crate::tls::install_provider();
    let allow = allow.iter().map(|text| text.parse().unwrap()).collect();
    let config = OutboundConfig { allow, ..OutboundConfig::default() };
    Outbound { lookup: Arc::new(Names(names, AtomicUsize::new(0))), ..Outbound::new(&config).unwrap() }
}

fn client(outbound: &Outbound) -> OutboundClient {
    outbound.client(Purpose::Image, &Trust::System).unwrap()
}

async fn get(client: &OutboundClient, url: &str) -> Result<String, OutboundError> {
    let response = client.send(OutboundRequest::get(url)?).await?;
    assert_eq!(response.status(), 200);
    Ok(String::from_utf8(response.body().await?).unwrap())
}

const LOCAL: &[&str] = &["127.0.0.1"];
const HOME: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

#[tokio::test]
async fn an_address_that_is_not_allowed_is_refused_before_a_connection_whether_or_not_it_is_open() {
    let server = Server::start(|_| ok("secret")).await;
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let client = client(&outbound(
        &[],
        vec![("inside.example", vec![vec![HOME]]), ("mapped.example", vec![vec!["::ffff:127.0.0.1".parse().unwrap()]])],
    ));
    let port = server.address.port();
    let mut texts = Vec::new();
    for (url, host) in [
        (server.url("/"), "127.0.0.1"),
        (server.named("inside.example"), "inside.example"),
        (server.named("mapped.example"), "mapped.example"),
        (server.named("[::ffff:127.0.0.1]"), "[::ffff:7f00:1]"),
        (server.named("2130706433"), "127.0.0.1"),
        (format!("http://{closed}/"), "127.0.0.1"),
        (format!("http://inside.example:{}/", closed.port()), "inside.example"),
        (format!("http://169.254.169.254:{port}/"), "169.254.169.254"),
    ] {
        let error = get(&client, &url).await.unwrap_err();
        assert!(error.is_refused(), "{url}: {error}");
        let text = error.to_string();
        assert!(text.starts_with(host), "{url}: {text}");
        texts.push(text.split_once(" is not ").unwrap().1.to_owned());
    }
    texts.dedup();
    assert_eq!(texts.len(), 1, "{texts:?}");
    assert_eq!(server.requests(), 0);
}

#[tokio::test]
async fn a_name_that_answers_differently_the_second_time_is_refused_then() {
    let server = Server::start(|_| ok("content")).await;
    let names = || vec![("rebinding.example", vec![vec![HOME], vec![ELSEWHERE]])];
    let client = client(&outbound(LOCAL, names()));
    let url = server.named("rebinding.example");
    assert_eq!(get(&client, &url).await.unwrap(), "content");
    assert!(get(&client, &url).await.unwrap_err().is_refused());
    // One lookup is made per connection: there is none between a check and its connection.
    assert_eq!(server.requests(), 1);
}

#[tokio::test]
async fn of_several_addresses_only_the_allowed_ones_are_used() {
    let server = Server::start(|_| ok("content")).await;
    let client = client(&outbound(LOCAL, vec![("both.example", vec![vec![ELSEWHERE, HOME]])]));
    assert_eq!(get(&client, &server.named("both.example")).await.unwrap(), "content");
    let unknown = get(&client, "http://unknown.example/").await.unwrap_err().to_string();
    assert_eq!(unknown, "cannot resolve the name of unknown.example:80");
}

#[tokio::test]
async fn a_host_is_resolved_to_allowed_addresses_for_other_protocols() {
    let all = vec![("bmc.example", vec![vec![HOME, "10.0.0.7".parse().unwrap()]]), ("bad.example", vec![vec![HOME]])];
    let outbound = outbound(&[], all);
    let resolved = async |host| outbound.resolve(Purpose::Redfish, host, 443).await;
    assert_eq!(resolved("bmc.example").await.unwrap(), ["10.0.0.7:443".parse().unwrap()]);
    assert!(resolved("bad.example").await.unwrap_err().is_refused());
    assert!(matches!(resolved("unknown.example").await.unwrap_err(), OutboundError::Unresolved(_)));
}

#[tokio::test]
async fn a_redirect_is_followed_to_an_allowed_address_and_checked_again_at_each_hop() {
    let inside = Server::start(|_| ok("secret")).await;
    let to_inside = inside.named("127.0.0.2");
    let last = Server::start(move |head| match head.split(' ').nth(1).unwrap() {
        "/content" => ok("content"),
        "/relative" => redirect_to("/content"),
        "/file" => redirect_to("file:///etc/passwd"),
        "/loop" => redirect_to("/loop"),
        _ => redirect_to(&to_inside),
    })
    .await;
    let last_url = last.url("");
    let first = Server::start(move |head| redirect_to(&format!("{last_url}{}", head.split(' ').nth(1).unwrap()))).await;
    let client = client(&outbound(LOCAL, vec![]));
    assert_eq!(get(&client, &first.url("/content")).await.unwrap(), "content");
    assert_eq!(get(&client, &first.url("/relative")).await.unwrap(), "content");
    let host = first.address.to_string();
    for (path, words) in [("/inside", "is not an allowed"), ("/file", "valid address"), ("/loop", "too often")] {
        let text = get(&client, &first.url(path)).await.unwrap_err().to_string();
        // The text names what the user named, and neither where it leads nor what is there.
        assert!(text.contains(words) && text.contains(&host), "{text}");
        assert!(!text.contains("127.0.0.2") && !text.contains("secret") && !text.contains("passwd"), "{text}");
    }
    assert_eq!(inside.requests(), 0);
}

#[tokio::test]
async fn at_most_five_redirects_are_followed() {
    let server = Server::start(|head| {
        let left: u32 = head.split(' ').nth(1).unwrap().trim_start_matches('/').parse().unwrap();
        if left == 0 { ok("content") } else { redirect_to(&format!("/{}", left - 1)) }
    })
    .await;
    let client = client(&outbound(LOCAL, vec![]));
    assert_eq!(get(&client, &server.url("/5")).await.unwrap(), "content");
    assert!(matches!(get(&client, &server.url("/6")).await.unwrap_err(), OutboundError::Redirect(_)));
}

#[tokio::test]
async fn credentials_are_not_sent_to_where_a_redirect_leads() {
    let other = Server::start(|head| ok(&head.to_lowercase())).await;
    let to_other = other.url("/");
    let first = Server::start(move |head| {
        assert!(head.to_lowercase().contains("authorization"), "{head}");
        redirect_to(&to_other)
    })
    .await;
    let client = client(&outbound(LOCAL, vec![]));
    let request = OutboundRequest::get(&first.url("/")).unwrap();
    let request = request
        .header(AUTHORIZATION, "Bearer secret")
        .header(HeaderName::from_static("x-auth-token"), "secret")
        .header(RANGE, "bytes=0-");
    let head = String::from_utf8(client.send(request).await.unwrap().body().await.unwrap()).unwrap();
    assert!(head.contains("range: bytes=0-") && !head.contains("secret"), "{head}");
    let with_user = first.url("/").replace("http://", "http://ann:secret@");
    let head = get(&client, &with_user).await.unwrap();
    assert!(!head.contains("authorization"), "{head}");
}

#[tokio::test]
async fn a_request_with_a_body_is_not_redirected() {
    let other = Server::start(|_| ok("")).await;
    let to_other = other.url("/");
    let first = Server::start(move |_| redirect_to(&to_other)).await;
    let outbound = outbound(LOCAL, vec![]);
    let webhook = outbound.client(Purpose::Webhook, &Trust::System).unwrap();
    let response = webhook.send(OutboundRequest::post(&first.url("/"), "{}").unwrap()).await.unwrap();
    assert_eq!((response.status().as_u16(), other.requests()), (302, 0));
}

fn quick() -> Limits {
    Limits {
        header: Duration::from_millis(300),
        window: Duration::from_millis(300),
        min_bytes: 1000,
        max_bytes: 10_000,
        ..Limits::of(Purpose::Image)
    }
}

/// Sends a head, and then a piece at each interval until the client goes.
async fn serve_pieces(mut stream: TcpStream, head: &str, piece: &'static [u8], interval: Duration) -> io::Result<()> {
    stream.write_all(head.as_bytes()).await?;
    loop {
        tokio::time::sleep(interval).await;
        stream.write_all(piece).await?;
    }
}

#[tokio::test]
async fn servers_that_are_silent_slow_or_endless_are_given_up() {
    const MS: Duration = Duration::from_millis(1);
    const OK: &str = "HTTP/1.1 200 OK\r\n\r\n";
    const LONG: &str = "HTTP/1.1 200 OK\r\ncontent-length: 10001\r\n\r\n";
    let client = outbound(LOCAL, vec![]).client_with(Purpose::Image, &Trust::System, quick()).unwrap();
    for (head, piece, interval, words) in [
        ("", &b""[..], FOREVER, "did not answer within 0.3 s"),
        ("HTTP/1.1 200 OK\r\n", b"x: y\r\n", 10 * MS, "did not answer within 0.3 s"),
        (OK, b"", FOREVER, "sent less than 1000 bytes within 0.3 s"),
        (OK, b"x", 10 * MS, "sent less than 1000 bytes within 0.3 s"),
        (OK, &[b'x'; 5000], MS, "sent more than 10000 bytes"),
        (LONG, b"", FOREVER, "sent more than 10000 bytes"),
    ] {
        let server = Server::start_with(move |_, stream| Box::pin(serve_pieces(stream, head, piece, interval))).await;
        let text = get(&client, &server.url("/")).await.unwrap_err().to_string();
        assert!(text.contains(words), "{head:?} {piece:?}: {text}");
    }
    let shortened = Server::start(|_| "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nsecret".to_owned()).await;
    let text = get(&client, &shortened.url("/")).await.unwrap_err().to_string();
    assert!(text.ends_with("was interrupted"), "{text}");
    let garbage = Server::start(|_| "SSH-2.0-secret\r\n".to_owned()).await;
    let text = get(&client, &garbage.url("/")).await.unwrap_err().to_string();
    assert!(text.ends_with("was interrupted") && !text.contains("secret"), "{text}");
}

#[tokio::test]
async fn a_response_header_has_a_maximum_size() {
    let server = Server::start(|_| {
        let lines: String = (0..80).map(|number| format!("x-{number}: {}\r\n", "y".repeat(1000))).collect();
        format!("HTTP/1.1 200 OK\r\n{lines}\r\n")
    })
    .await;
    let error = get(&client(&outbound(LOCAL, vec![])), &server.url("/")).await.unwrap_err();
    assert!(matches!(error, OutboundError::HeaderTooLarge { .. }), "{error}");
}

#[tokio::test]
async fn a_closed_port_of_an_allowed_address_is_named() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let text = get(&client(&outbound(LOCAL, vec![])), &format!("http://{closed}/")).await.unwrap_err().to_string();
    assert_eq!(text, format!("cannot connect to {closed}: connection refused"));
}

#[tokio::test]
async fn what_a_server_says_about_itself_by_tls_is_not_repeated() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    Host::default().spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"SSH-2.0-secret\r\n").await.unwrap();
        // Until the client goes.
        drop(stream.read_to_end(&mut Vec::new()).await);
    });
    let text = get(&client(&outbound(LOCAL, vec![])), &url).await.unwrap_err().to_string();
    assert!(text.starts_with("TLS with 127.0.0.1:") && text.ends_with("it does not speak TLS"), "{text}");
}

#[tokio::test]
async fn a_proxy_gets_the_requests_but_for_internal_addresses_and_for_hosts_that_are_excepted() {
    crate::tls::install_provider();
    let proxy = Server::start(|head| ok(&format!("proxied {}", head.split(' ').nth(1).unwrap()))).await;
    let direct = Server::start(|_| ok("direct")).await;
    let config = OutboundConfig {
        proxy: proxy.url(""),
        no_proxy: vec!["direct.example".to_owned(), "127.0.0.3".to_owned()],
        ..OutboundConfig::default()
    };
    // The address of the proxy is that of the configuration; that of the exception is allowed in addition.
    let outbound = Outbound {
        lookup: Arc::new(Names(vec![("direct.example", vec![vec![HOME]])], AtomicUsize::new(0))),
        ..Outbound::new(&config).unwrap()
    };
    let proxied = client(&outbound);
    assert_eq!(get(&proxied, "http://away.example/a").await.unwrap(), "proxied http://away.example/a");
    for url in
        ["http://169.254.169.254/", "http://localhost/", "http://a.localhost./", "http://[::1]/", "http://127.0.0.3/"]
    {
        assert!(get(&proxied, url).await.unwrap_err().is_refused(), "{url}");
    }
    assert!(get(&proxied, &direct.named("direct.example")).await.unwrap_err().is_refused());
    assert_eq!((proxy.requests(), direct.requests()), (1, 0));
    let allowed = Outbound { policy: Arc::new(Policy::new(vec!["127.0.0.1".parse().unwrap()], vec![])), ..outbound };
    assert_eq!(get(&client(&allowed), &direct.named("direct.example")).await.unwrap(), "direct");
}

#[tokio::test]
async fn neither_the_environment_nor_a_header_with_a_line_break_changes_a_request() {
    let client = client(&outbound(LOCAL, vec![]));
    let request = OutboundRequest::get("http://127.0.0.1:9/").unwrap().header(RANGE, "bytes=0-\r\nx: y");
    assert!(matches!(client.send(request).await.unwrap_err(), OutboundError::Header));
    for wrong in ["file:///etc/passwd", "ftp://h/", "gopher://h/", "h", "", "http://", "http://[fe80::1%25lo]/"] {
        assert!(matches!(OutboundRequest::get(wrong).unwrap_err(), OutboundError::Url), "{wrong}");
    }
}

#[test]
fn errors_that_a_repetition_does_not_change_are_permanent() {
    let host = || Destination { host: "h:1".to_owned(), is_redirected: false };
    for (error, right) in [
        (OutboundError::Url, true),
        (OutboundError::Header, true),
        (OutboundError::Refused(host()), true),
        (OutboundError::Unresolved(host()), false),
        (OutboundError::Interrupted(host()), false),
        (OutboundError::Unreachable { destination: host(), reason: "connection refused" }, false),
        (OutboundError::Tls { destination: host(), reason: "its certificate has expired" }, false),
        (OutboundError::Silent { destination: host(), limit: Duration::from_secs(1) }, false),
    ] {
        assert_eq!(error.is_permanent(), right, "{error}");
    }
}

#[tokio::test]
async fn a_name_is_resolved_for_the_port_that_is_allowed_and_for_no_other() {
    let [allowed, other] = [Server::start(|_| ok("served")).await, Server::start(|_| ok("secret")).await];
    let port = allowed.address.port();
    let local: IpAddr = "127.0.0.1".parse().unwrap();
    let names = || vec![("images.example", vec![vec![local]])];
    for (rule, to, source, is_allowed) in [
        (format!("127.0.0.1:{port}"), &allowed, "its port", true),
        (format!("127.0.0.0/8:{port}"), &allowed, "its network and port", true),
        (format!("127.0.0.1:{port}"), &other, "another port of the same address", false),
        (format!("127.0.0.2:{port}"), &allowed, "another address", false),
        ("127.0.0.1:*".to_owned(), &other, "all ports", true),
        ("127.0.0.1".to_owned(), &other, "no ports: all", true),
    ] {
        let client = client(&outbound(&[&rule], names()));
        for host in ["images.example", "127.0.0.1"] {
            let got = get(&client, &format!("http://{host}:{}/", to.address.port())).await;
            assert_eq!(got.is_ok(), is_allowed, "{rule} {host}: {source}: {got:?}");
        }
    }
}

#[tokio::test]
async fn the_wait_for_a_turn_is_bounded_by_itself_and_not_by_the_time_of_the_exchange() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let url = format!("http://{closed}/");
    for (turn, total, debt, source, is_sent) in [
        (Duration::from_secs(60), Duration::from_secs(1), 2, "a turn after the time of the exchange", true),
        (Duration::from_secs(1), Duration::from_secs(60), 40, "no turn", false),
    ] {
        let outbound = outbound(LOCAL, vec![]);
        let limits = Limits { turn, total: Some(total), ..Limits::of(Purpose::Image) };
        let client = outbound.client_with(Purpose::Image, &Trust::System, limits).unwrap();
        let next = || outbound.rates.take(Purpose::Image, closed.to_string(), FOREVER, Instant::now());
        while next() < Duration::from_secs(debt) {}
        let error = get(&client, &url).await.unwrap_err();
        assert_eq!(!matches!(error, OutboundError::TooMany { .. }), is_sent, "{source}: {error}");
    }
}

#[tokio::test]
async fn an_address_keeps_its_scope() {
    struct Scoped(SocketAddr);
    impl Lookup for Scoped {
        fn lookup(&self, _: String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
            let found = vec![self.0];
            Box::pin(async { Ok(found) })
        }
    }
    let scoped: SocketAddr = std::net::SocketAddrV6::new("fe80::1".parse().unwrap(), 0, 0, 7).into();
    let outbound = Outbound { lookup: Arc::new(Scoped(scoped)), ..outbound(&["fe80::/10"], vec![]) };
    let right = std::net::SocketAddrV6::new("fe80::1".parse().unwrap(), 443, 0, 7);
    assert_eq!(outbound.resolve(Purpose::Redfish, "bmc", 443).await.unwrap(), [right.into()]);
}
