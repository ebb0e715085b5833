//! Webhooks: which ones are accepted, and what their receivers are sent. The receiver is a socket on loopback, so the clock
//! runs.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};

use domain::{id::NodeId, provision::State, time::Timestamp};
use keyspace::{
    key,
    value::{Delivered, WebhookSpec},
};
use parking_lot::Mutex;
use scheduler_core::{
    AppState, Error,
    webhooks::{
        InvalidQuery, InvalidWebhook, NodeMatcher, WebhookEvent, WebhookFormat, WebhookQuery, create_webhook, deliver,
        update_webhook,
    },
};
use serde_json::json;
use service_kit::{
    clock,
    outbound_http::{Outbound, OutboundConfig},
    status,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::sleep,
};
use uuid::Uuid;
use wire_ironic::fields::MASK;

use crate::lab::{Lab, internal};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/// How long a delivery may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A form of queries and events: a query is a state's name, or empty for all states.
#[derive(Debug, Clone, Copy)]
struct Plain;

#[derive(Debug)]
struct OfState(String);

impl WebhookFormat for Plain {
    fn compile(&self, query: &str) -> Result<Box<dyn WebhookQuery>, InvalidQuery> {
        if query.contains('=') {
            return Err(InvalidQuery { reason: format!("{query:?} is no state") });
        }
        Ok(Box::new(OfState(query.to_owned())))
    }
}

impl WebhookQuery for OfState {
    fn matcher(&self, _: &AppState) -> NodeMatcher<'_> {
        Box::new(|node| self.0.is_empty() || node.life.state.ironic_name() == self.0)
    }

    fn encode(&self, event: &WebhookEvent<'_>, _: Timestamp) -> String {
        let subject = match event {
            WebhookEvent::NodeChanged { node, .. } => format!("{} {}", node.node, node.life.state.ironic_name()),
            WebhookEvent::NodeLeft { node, .. } => node.to_string(),
            WebhookEvent::NodesMembers { nodes, .. } => nodes.len().to_string(),
        };
        format!("{} {subject}", event.kind())
    }
}

/// A receiver that keeps the requests it was sent.
#[derive(Debug, Clone)]
struct Receiver {
    url: String,
    requests: Arc<Mutex<Vec<String>>>,
    status: Arc<AtomicU16>,
}

impl Receiver {
    async fn start(lab: &Lab) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", socket.local_addr().unwrap());
        let receiver = Self { url, requests: Arc::default(), status: Arc::new(AtomicU16::new(204)) };
        let answering = receiver.clone();
        lab.app().host.spawn(async move {
            while let Ok((connection, _)) = socket.accept().await {
                answering.answer(connection).await;
            }
        });
        receiver
    }

    /// Answers one request; the whole of it is short enough for one read after its head.
    async fn answer(&self, mut connection: TcpStream) {
        let mut request = String::new();
        let is_whole = |request: &str| {
            request.split_once("\r\n\r\n").is_some_and(|(head, body)| {
                head.to_lowercase().lines().any(|line| line == format!("content-length: {}", body.len()))
            })
        };
        let mut buffer = [0; 4096];
        while !is_whole(&request) {
            let Ok(length @ 1..) = connection.read(&mut buffer).await else { return };
            request.push_str(&String::from_utf8_lossy(&buffer[..length]));
        }
        let status = self.status.load(Ordering::Relaxed);
        self.requests.lock().push(request);
        let response = format!("HTTP/1.1 {status} Status\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        drop(connection.write_all(response.as_bytes()).await);
    }

    /// Waits for an event. Returns the request that contained it.
    async fn receives(&self, event: &str) -> String {
        eventually(event, || {
            let requests = self.requests.lock();
            requests.iter().find(|request| request.ends_with(&format!("\r\n\r\n{event}"))).cloned()
        })
        .await
    }
}

async fn eventually<T>(what: &str, find: impl Fn() -> Option<T>) -> T {
    let begun = clock::now();
    loop {
        if let Some(found) = find() {
            return found;
        }
        assert!(clock::now().since(begun) < PATIENCE, "waited in vain for {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

fn webhook(url: &str, query: &str) -> WebhookSpec {
    let query = Some(query.to_owned());
    let mut spec = WebhookSpec { name: "w".to_owned(), url: url.to_owned(), query, ..WebhookSpec::default() };
    spec.delivery_info.set_text("secret", SECRET);
    spec
}

fn id(number: u128) -> Uuid {
    Uuid::from_u128(7000 + number)
}

impl Lab {
    async fn subscribes(&self, number: u128, spec: WebhookSpec) -> Result<(), Error> {
        create_webhook(&internal(), self.app(), &Plain, id(number), spec).await.map(drop)
    }

    /// Delivers events. Receivers may be at these addresses, too.
    fn delivers(&self, allow: &[&str]) {
        let allow = allow.iter().map(|text| text.parse().unwrap()).collect();
        let outbound = Outbound::new(&OutboundConfig { allow, ..OutboundConfig::default() }).unwrap();
        self.app().host.spawn(deliver(Arc::clone(self.app()), Arc::new(Plain), outbound));
    }

    fn delivered(&self, number: u128) -> Delivered {
        let read = self.app().registry.view().get(&key::delivered(id(number)));
        read.map(|read| read.value).unwrap_or_default()
    }
}

#[tokio::test(start_paused = true)]
async fn a_webhook_that_cannot_work_is_refused_when_it_is_created_and_when_it_is_changed() {
    let lab = Lab::at_rest().await;
    let refusal = async |spec: WebhookSpec| match lab.subscribes(1, spec).await {
        Err(Error::Webhook(why)) => why,
        other => panic!("{other:?}"),
    };
    assert!(matches!(refusal(webhook("there", "")).await, InvalidWebhook::Url { .. }));
    assert!(matches!(refusal(webhook("ftp://there/", "")).await, InvalidWebhook::Scheme(_)));
    for url in [
        "https://h/\r\nX-Admin: 1",
        "https://h/\n",
        "ht\ttps://h/",
        "https://h\0/",
        "https://h/ a",
        "https://h/\u{202e}",
    ] {
        assert!(matches!(refusal(webhook(url, "")).await, InvalidWebhook::UrlText(_)), "{url:?}");
    }
    assert!(matches!(refusal(webhook("http://a:b@there/", "")).await, InvalidWebhook::Credentials));
    let too_long = format!("http://there/{}", "x".repeat(2048));
    assert!(matches!(refusal(webhook(&too_long, "")).await, InvalidWebhook::TooLong { field: "url", max_chars: 2048 }));
    assert!(matches!(refusal(webhook("http://there/", "colour=red")).await, InvalidWebhook::Query(_)));
    for name in ["", "a b", "00000000-0000-0000-0000-000000000000"] {
        let unnamed = WebhookSpec { name: name.to_owned(), ..webhook("http://there/", "") };
        assert!(matches!(refusal(unnamed).await, InvalidWebhook::Name(_)));
    }
    let unsigned = WebhookSpec { delivery_info: Default::default(), ..webhook("http://there/", "") };
    assert!(matches!(refusal(unsigned).await, InvalidWebhook::Secret));
    lab.subscribes(1, webhook("http://there/", "")).await.unwrap();
    let before = lab.app().find_resource("w").unwrap();
    let changed = update_webhook(&internal(), lab.app(), &Plain, &before, webhook("ftp://there/", "")).await;
    let text = status::chain(&changed.unwrap_err());
    assert_eq!(text, "invalid request: webhook: url \"ftp://there/\" must begin with https:// or http://");
}

#[tokio::test(start_paused = true)]
async fn an_invalid_delivery_info_is_refused_and_the_refusal_says_what_to_write_instead() {
    let lab = Lab::at_rest().await;
    for (info, says) in [
        (json!({}), "openssl rand"),
        (json!({"secret": "whsec_c2hvcnQ="}), "24 to 64"),
        (json!({"secret": MASK}), "not shown"),
        (json!({"secret": {"a": 1}}), "openssl rand"),
        (json!({"secret": SECRET, "passwd": "x"}), "\"passwd\", which is none of secret, token, ca"),
        (json!({"secret": SECRET, "token": "a b"}), "printable"),
        (json!({"secret": SECRET, "ca": "x"}), "PEM"),
    ] {
        let delivery_info = serde_json::from_value(info).unwrap();
        let spec = WebhookSpec { delivery_info, ..webhook("http://there/", "") };
        let text = status::chain(&lab.subscribes(1, spec).await.unwrap_err());
        assert!(text.contains(says), "{text}");
    }
    let delivery_info = serde_json::from_value(json!({"secret": SECRET, "token": "abc.def"})).unwrap();
    lab.subscribes(1, WebhookSpec { delivery_info, ..webhook("https://there:8443/hook?x=1", "") }).await.unwrap();
    let taken = lab.subscribes(1, WebhookSpec { name: "other".to_owned(), ..webhook("http://there/", "") }).await;
    assert!(matches!(taken, Err(Error::IdTaken { kind: "webhook", .. })), "{taken:?}");
}

#[tokio::test(start_paused = true)]
async fn one_webhook_too_many_is_refused() {
    let lab = Lab::at_rest().await;
    for number in 0..64 {
        let spec = WebhookSpec { name: format!("w{number}"), ..webhook("http://there/", "") };
        lab.subscribes(number, spec).await.unwrap();
    }
    let refused = lab.subscribes(64, webhook("http://there/", "")).await.unwrap_err();
    assert!(matches!(refused, Error::TooMany { max: 64, .. }), "{refused:?}");
}

#[tokio::test]
async fn a_receiver_is_sent_what_its_nodes_become_and_that_they_leave_signed() {
    let lab = Lab::up().await;
    let receiver = Receiver::start(&lab).await;
    lab.delivers(&["127.0.0.1"]);
    lab.subscribes(1, webhook(&receiver.url, "manageable")).await.unwrap();
    let node: NodeId = lab.fake(1, State::Manageable).await;
    let request = receiver.receives(&format!("node.changed {node} manageable")).await;
    let id_header = format!("webhook-id: {}.{node}.", id(1));
    assert!(request.contains(&id_header) && request.contains("webhook-signature: v1,"), "{request}");
    lab.fake(1, State::Available).await;
    receiver.receives(&format!("node.left {node}")).await;
    eventually("the progress", || lab.delivered(1).at).await;
    assert_eq!(lab.delivered(1).failing_since, None);
}

#[tokio::test]
async fn a_stored_webhook_is_delivered_though_its_url_would_be_refused_now() {
    let lab = Lab::up().await;
    let receiver = Receiver::start(&lab).await;
    lab.delivers(&["127.0.0.1"]);
    let spec = webhook(&format!("{} of an earlier version", receiver.url), "");
    assert!(lab.subscribes(1, spec.clone()).await.is_err());
    lab.app().create_resource(&internal(), id(1), spec).await.unwrap();
    let node = lab.fake(1, State::Manageable).await;
    receiver.receives(&format!("node.changed {node} manageable")).await;
}

#[tokio::test]
async fn a_receiver_that_fails_is_sent_the_present_state_later() {
    let lab = Lab::up().await;
    let receiver = Receiver::start(&lab).await;
    receiver.status.store(503, Ordering::Relaxed);
    lab.delivers(&["127.0.0.1"]);
    lab.subscribes(1, webhook(&receiver.url, "")).await.unwrap();
    let node = lab.fake(1, State::Manageable).await;
    eventually("the failure", || lab.delivered(1).failing_since).await;
    assert!(lab.delivered(1).error.contains("503"), "{:?}", lab.delivered(1));
    lab.fake(1, State::Available).await;
    receiver.status.store(204, Ordering::Relaxed);
    receiver.receives(&format!("node.changed {node} available")).await;
}

#[tokio::test]
async fn a_webhook_whose_receiver_is_gone_is_disabled() {
    let lab = Lab::up().await;
    let receiver = Receiver::start(&lab).await;
    receiver.status.store(410, Ordering::Relaxed);
    lab.delivers(&["127.0.0.1"]);
    lab.subscribes(1, webhook(&receiver.url, "")).await.unwrap();
    lab.fake(1, State::Manageable).await;
    eventually("that it is disabled", || {
        lab.app().resource::<WebhookSpec>(id(1)).filter(|stored| !stored.spec().enabled)
    })
    .await;
    eventually("the reason", || Some(()).filter(|()| lab.delivered(1).error.contains("410"))).await;
}

#[tokio::test]
async fn a_receiver_at_an_address_that_users_must_not_reach_is_sent_nothing() {
    let lab = Lab::up().await;
    let receiver = Receiver::start(&lab).await;
    lab.delivers(&[]);
    lab.subscribes(1, webhook(&receiver.url, "")).await.unwrap();
    let metadata = WebhookSpec { name: "metadata".to_owned(), ..webhook("http://169.254.169.254/latest", "") };
    lab.subscribes(2, metadata).await.unwrap();
    lab.fake(1, State::Manageable).await;
    for number in [1, 2] {
        let failed = || Some(lab.delivered(number).error).filter(|error| !error.is_empty());
        let error = eventually("the refusal", failed).await;
        assert!(error.contains("is not an allowed destination"), "{error}");
    }
    assert_eq!(receiver.requests.lock().len(), 0);
}
