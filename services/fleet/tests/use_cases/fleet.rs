//! Drains, removals, join tokens and the deletion of racks, over an in-memory store.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use ::fleet::{
    Error, Survey,
    hosts::{self, HostChange},
    racks,
    tokens::{self, Issuer, TokenRequest},
};
use domain::{id::InstanceId, provision::State, service::Service, time::Timestamp};
use keyspace::{
    key::{self, Scope},
    value::{Holder, Host, HostRack, JoinToken, Mark, Member, TokenUse},
};
use proto::api::v1::CreateJoinTokenRequest;
use scheduler_core::{Error as CoreError, RequestContext, request_id::RequestId};
use scheduler_testing::{RACK, TestNode, World};
use service_kit::{clock, join_token};
use tonic::metadata::MetadataMap;
use uuid::Uuid;

const DRAIN: HostChange = HostChange::Drain { force: false };

fn ann() -> RequestContext {
    RequestContext::of("operator ann".to_owned())
}

fn host(name: &str) -> Host {
    Host {
        name: name.to_owned(),
        advertise: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 11)),
        key: "00".to_owned(),
        racks: vec![HostRack { rack: String::new(), services: [Service::Power].into(), slot: 0 }],
        store: false,
        scheduler: false,
        authority: false,
        weight: 100,
        joined: Timestamp::default(),
        drain: None,
        removal: None,
    }
}

/// A world with hosts, on each of which the power-service of the rack runs.
async fn with_hosts(names: &[&str]) -> World {
    let world = World::up().await.unwrap();
    for name in names {
        world.write(&key::host(name), &host(name)).unwrap();
        runs(&world, name).await;
    }
    world
}

fn member(name: &str) -> keyspace::Key<Member> {
    let number = name.bytes().map(u128::from).sum();
    key::member(Scope::Rack(RACK), Service::Power, InstanceId::new(Uuid::from_u128(number)))
}

async fn runs(world: &World, name: &str) {
    let record = Member { endpoint: format!("{name}:7400"), host: name.to_owned(), weight: 1, ..Member::default() };
    let revision = world.write(&member(name), &record).unwrap();
    world.sees(revision).await.unwrap();
}

/// The power-service of a host ends.
async fn stops(world: &World, name: &str) {
    world.etcd.delete(member(name).path());
    sees_all(world).await;
}

async fn change(world: &World, name: &str, change: HostChange) -> Result<(), Error> {
    let outcome = hosts::change(&ann(), &world.app, name, change).await;
    if outcome.is_ok() {
        sees_all(world).await;
    }
    outcome
}

/// Waits until the view has all that was written and deleted.
async fn sees_all(world: &World) {
    let holder = Holder { kind: "image".to_owned(), id: Uuid::from_u128(1), name: "seen".to_owned() };
    let revision = world.write(&key::image_name("seen"), &holder).unwrap();
    world.sees(revision).await.unwrap();
}

fn stored(world: &World, name: &str) -> Host {
    world.etcd.pair(key::host(name).path()).unwrap().read::<Host>().unwrap().value
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_is_drained_undrained_and_removed_and_who_asked_is_stored() {
    let world = with_hosts(&["h1", "h2"]).await;
    change(&world, "h1", DRAIN).await.unwrap();
    let first = stored(&world, "h1").drain.unwrap();
    assert_eq!(first.by, "operator ann");
    change(&world, "h1", DRAIN).await.unwrap();
    assert_eq!(stored(&world, "h1").drain.unwrap(), first, "it is drained already");
    assert!(matches!(change(&world, "h1", HostChange::Remove { force: false }).await, Err(Error::NotDrained(_))));
    change(&world, "h1", HostChange::Undrain).await.unwrap();
    assert_eq!(stored(&world, "h1").drain, None);
    change(&world, "h1", DRAIN).await.unwrap();
    stops(&world, "h1").await;
    change(&world, "h1", HostChange::Remove { force: false }).await.unwrap();
    assert!(stored(&world, "h1").removal.is_some());
    assert!(matches!(change(&world, "h1", HostChange::Undrain).await, Err(Error::BeingRemoved(_))));
    let missing = change(&world, "h9", DRAIN).await.unwrap_err();
    assert!(missing.to_string().contains("ironmesh host list"), "{missing}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_hosts_that_are_drained_at_once_one_goes_on() {
    let world = with_hosts(&["h1", "h2"]).await;
    let ann = ann();
    let (first, second) =
        tokio::join!(hosts::change(&ann, &world.app, "h1", DRAIN), hosts::change(&ann, &world.app, "h2", DRAIN));
    let refused = [first, second].into_iter().filter_map(Result::err).map(CoreError::from).collect::<Vec<_>>();
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert!(refused[0].is_conflict() || matches!(refused[0], CoreError::Elsewhere(_)), "{refused:?}");
    sees_all(&world).await;
    let drained = ["h1", "h2"].iter().filter(|name| stored(&world, name).drain.is_some()).count();
    assert_eq!(drained, 1);
}

fn issuer() -> Issuer {
    Issuer { ca_digest: Some([7; 32]), datacenter: "fra1".to_owned() }
}

async fn with_authority() -> World {
    let world = World::up().await.unwrap();
    let authority = Host { authority: true, ..host("h1") };
    let revision = world.write(&key::host("h1"), &authority).unwrap();
    world.sees(revision).await.unwrap();
    world
}

fn for_rack() -> TokenRequest {
    TokenRequest { rack: Some(String::new()), ..TokenRequest::default() }
}

fn stored_token(world: &World, id: Uuid) -> Option<JoinToken> {
    Some(world.etcd.pair(key::join_token(id).path())?.read::<JoinToken>().unwrap().value)
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_token_the_store_has_the_digest_only() {
    let world = with_authority().await;
    let made = tokens::create(&ann(), &world.app, &issuer(), &for_rack()).await.unwrap();
    let read: join_token::JoinToken = made.text.parse().unwrap();
    assert_eq!((read.id(), read.datacenter(), read.ca_digest()), (made.id, "fra1", [7; 32]));
    assert_eq!(stored_token(&world, made.id).unwrap().digest, read.secret_digest());
    assert_eq!(made.authority, "10.0.0.11:7380");
    let secret = made.text.split_once('.').unwrap().1;
    let pairs = world.etcd.pairs();
    assert!(!pairs.is_empty());
    for pair in pairs {
        assert!(!String::from_utf8_lossy(&pair.value).contains(&secret[..40]), "{}", pair.path);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_request_makes_no_second_token() {
    let world = with_authority().await;
    let mut metadata = MetadataMap::new();
    metadata.insert("ironmesh-request-id", Uuid::from_u128(77).to_string().parse().unwrap());
    let request_id = RequestId::read(&metadata, "CreateJoinToken", &CreateJoinTokenRequest::default()).unwrap();
    let context = RequestContext { request_id, ..ann() };
    let first = tokens::create(&context, &world.app, &issuer(), &for_rack()).await.unwrap();
    let second = tokens::create(&context, &world.app, &issuer(), &for_rack()).await.unwrap();
    assert_eq!(first.id, second.id);
    let read: join_token::JoinToken = second.text.parse().unwrap();
    let mut token = stored_token(&world, first.id).unwrap();
    assert_eq!(token.digest, read.secret_digest(), "the last one that was told is valid");
    token.used.push(TokenUse { host: "h9".to_owned(), key: String::new(), at: clock::now() });
    world.write(&key::join_token(first.id), &token).unwrap();
    let late = tokens::create(&context, &world.app, &issuer(), &for_rack()).await.map_err(CoreError::from).unwrap_err();
    assert!(late.is_conflict(), "{late}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_listed_until_they_expire_and_deleted() {
    let world = with_authority().await;
    let expired = JoinToken {
        digest: String::new(),
        rack: None,
        services: [].into(),
        store: true,
        scheduler: false,
        uses: 1,
        used: Vec::new(),
        created: Mark { by: String::new(), at: Timestamp::default() },
        expires: Timestamp::from_millis(1),
    };
    let old = Uuid::from_u128(5);
    let revision = world.write(&key::join_token(old), &expired).unwrap();
    world.sees(revision).await.unwrap();
    assert!(tokens::list(&world.app, clock::now()).is_empty());
    let hour = TokenRequest { lifetime: Some(Duration::from_secs(3600)), ..for_rack() };
    let later = tokens::create(&ann(), &world.app, &issuer(), &for_rack()).await.unwrap().id;
    assert_eq!(stored_token(&world, old), None, "what has expired is deleted");
    let sooner = tokens::create(&ann(), &world.app, &issuer(), &hour).await.unwrap().id;
    sees_all(&world).await;
    let listed: Vec<_> = tokens::list(&world.app, clock::now()).into_iter().map(|(id, _)| id).collect();
    assert_eq!(listed, [sooner, later]);
    tokens::delete(&ann(), &world.app, &sooner.to_string()).await.unwrap();
    sees_all(&world).await;
    for missing in [sooner.to_string(), "h1".to_owned(), String::new()] {
        let error = tokens::delete(&ann(), &world.app, &missing).await.unwrap_err();
        assert!(error.to_string().contains("ironmesh token list"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_authority_or_its_ca_there_are_no_tokens() {
    let world = with_hosts(&["h1"]).await;
    assert!(matches!(tokens::create(&ann(), &world.app, &issuer(), &for_rack()).await, Err(Error::NoAuthority)));
    let world = with_authority().await;
    let without = Issuer { ca_digest: None, ..issuer() };
    assert!(matches!(tokens::create(&ann(), &world.app, &without, &for_rack()).await, Err(Error::NoCa)));
    let unknown = TokenRequest { rack: Some("r9".to_owned()), ..for_rack() };
    let error = tokens::create(&ann(), &world.app, &issuer(), &unknown).await.unwrap_err();
    assert!(matches!(error, Error::Core(CoreError::Missing { kind: "rack", .. })), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rack_is_deleted_when_nothing_belongs_to_it_and_its_name_is_free_then() {
    let world = World::up().await.unwrap();
    world.put(&TestNode::new(1, State::Available)).await.unwrap();
    runs(&world, "h1").await;
    let delete = async || racks::delete(&ann(), &world.app, "", "").await;
    assert!(matches!(delete().await, Err(Error::RackHasNodes { .. })));
    let node = TestNode::new(1, State::Available).id;
    for path in [key::intent(RACK, node).path(), key::life(RACK, node).path(), key::node_spec(RACK, node).path()] {
        world.etcd.delete(path);
    }
    sees_all(&world).await;
    assert!(matches!(delete().await, Err(Error::RackIsServed { .. })));
    stops(&world, "h1").await;
    world.write(&key::host("h1"), &host("h1")).unwrap();
    sees_all(&world).await;
    assert!(matches!(delete().await, Err(Error::RackHasHosts { .. })));
    world.etcd.delete(key::host("h1").path());
    sees_all(&world).await;
    delete().await.unwrap();
    assert!(world.etcd.pair(key::rack(RACK).path()).is_none());
    assert!(world.etcd.pair(key::rack_name("").path()).is_none());
    sees_all(&world).await;
    assert!(Survey::read(world.app.registry.view()).racks.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rack_in_which_a_node_was_enrolled_meanwhile_is_kept() {
    let world = World::up().await.unwrap();
    // What the view has not seen yet, the store has.
    let node = TestNode::new(1, State::Available);
    let record = keyspace::value::Life { state: node.state, ..keyspace::value::Life::newborn(Timestamp::default()) };
    world.write(&key::life(RACK, node.id), &record).unwrap();
    let outcome = racks::delete(&ann(), &world.app, "", "").await;
    assert!(outcome.is_err(), "{outcome:?}");
    assert!(world.etcd.pair(key::rack(RACK).path()).is_some());
}
