//! Contexts with several replicas, of which some do not answer.

use std::fs;

use proto::api::v1::{EnsureNodePowerRequest, GetNodeRequest};
use service_kit::Host;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
};

use super::{at, code, fake::Fake};
use crate::{call::Api, context, once::once};

/// What a relay does with a replica's connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    /// It forwards what is sent.
    Up,
    /// It keeps connections open and forwards nothing.
    Silent,
    /// It closes them, and accepts none.
    Dead,
}

/// Forwards connections to a replica, until told otherwise.
struct Relay {
    endpoint: String,
    link: watch::Sender<Link>,
    host: Host,
}

impl Relay {
    async fn to(replica: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = listener.local_addr().unwrap().to_string();
        let (link, host) = (watch::Sender::new(Link::Up), Host::default());
        let (told, own) = (link.subscribe(), host.clone());
        host.spawn(async move {
            let mut dead = told.clone();
            loop {
                let accepted = tokio::select! {
                    accepted = listener.accept() => accepted.unwrap().0,
                    _ = dead.wait_for(|link| *link == Link::Dead) => return,
                };
                let (from, to) = accepted.into_split();
                let (back, forth) = TcpStream::connect(&replica).await.unwrap().into_split();
                own.spawn(forward(from, forth, told.clone()));
                own.spawn(forward(back, to, told.clone()));
            }
        });
        Self { endpoint, link, host }
    }
}

/// Forwards one direction of a connection.
async fn forward(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut link: watch::Receiver<Link>) {
    let mut buffer = vec![0; 16 << 10];
    let mut dead = link.clone();
    loop {
        let read = tokio::select! {
            read = from.read(&mut buffer) => read.unwrap_or(0),
            _ = dead.wait_for(|link| *link == Link::Dead) => return,
        };
        if read == 0 || link.wait_for(|link| *link != Link::Silent).await.is_err() {
            return;
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn calls_go_on_at_another_replica_when_theirs_dies_stops_or_is_silent() {
    for case in ["dies", "is silent", "stops"] {
        let fake = Fake::serve_with(None).await;
        let (first, stopped) = fake.twin().await;
        let relay = Relay::to(first).await;
        let context = fake.folder.path().join("several.toml");
        let text = fs::read_to_string(&fake.context).unwrap();
        fs::write(&context, text.replace(&fake.endpoint, &format!("{},{}", relay.endpoint, fake.endpoint))).unwrap();
        let api = Api::new(&context::find(Some(&context)).unwrap()).unwrap();
        let read = async || api.nodes().get_node(GetNodeRequest { node: "n1".to_owned() }).await;
        read().await.unwrap();
        match case {
            "dies" => drop(relay.link.send_replace(Link::Dead)),
            "is silent" => drop(relay.link.send_replace(Link::Silent)),
            _ => stopped.stop(),
        }
        read().await.unwrap_or_else(|status| panic!("{case}: {status:?}"));
        let request = EnsureNodePowerRequest { node: "n1".to_owned(), ..Default::default() };
        let changed = once(request, async |request| api.nodes().ensure_node_power(request).await).await;
        assert!(changed.is_ok(), "{case}: {changed:?}");
        relay.host.stop();
        stopped.stop();
    }
}

#[tokio::test]
async fn a_change_goes_on_at_another_replica_when_its_own_is_silent() {
    let fake = Fake::serve_with(None).await;
    let (first, stopped) = fake.twin().await;
    let relay = Relay::to(first).await;
    let context = fake.folder.path().join("several.toml");
    let text = fs::read_to_string(&fake.context).unwrap();
    fs::write(&context, text.replace(&fake.endpoint, &format!("{},{}", relay.endpoint, fake.endpoint))).unwrap();
    let api = Api::new(&context::find(Some(&context)).unwrap()).unwrap();
    api.nodes().get_node(GetNodeRequest { node: "n1".to_owned() }).await.unwrap();
    relay.link.send_replace(Link::Silent);
    let request = EnsureNodePowerRequest { node: "n1".to_owned(), ..Default::default() };
    let changed = once(request, async |request| api.nodes().ensure_node_power(request).await).await;
    assert!(changed.is_ok(), "{changed:?}");
    relay.host.stop();
    stopped.stop();
}

#[tokio::test]
async fn replicas_that_are_dead_or_silent_are_passed_over() {
    let fake = Fake::serve().await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dead = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (silent_at, dead_at) = (silent.local_addr().unwrap().to_string(), dead.local_addr().unwrap().to_string());
    drop(dead);
    let (silent_at, dead_at, here) = (silent_at.as_str(), dead_at.as_str(), fake.endpoint.as_str());
    let text = fs::read_to_string(&fake.context).unwrap();
    let context = fake.folder.path().join("several.toml");
    for (case, replicas, is_reached) in [
        ("it alone", vec![here], true),
        ("a dead one first", vec![dead_at, here], true),
        ("a silent one first", vec![silent_at, here], true),
        ("a dead and a silent one first", vec![dead_at, silent_at, here], true),
        ("others behind it", vec![here, silent_at, dead_at], true),
        ("a name that does not exist first", vec!["nowhere.invalid:1", here], true),
        ("two dead ones", vec![dead_at, dead_at], false),
    ] {
        let endpoint = replicas.join(",");
        fs::write(&context, text.replace(here, &endpoint)).unwrap();
        // Once read, once changed.
        for words in ["node show n1", "node power n1 off --timeout 60s"] {
            let ended = at(&context, words).await;
            assert_eq!(ended.code == code(0), is_reached, "{case}: {words}: {}", ended.remarks);
        }
    }
}
