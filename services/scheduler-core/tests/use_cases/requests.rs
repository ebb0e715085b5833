//! Requests with an id: each is carried out once, however often its client sends it.

use domain::{
    id::NodeId,
    provision::{State, Verb},
    time::Timestamp,
};
use keyspace::{key, value::Request};
use proto::api::v1::{GetNodeRequest, ProvisionNodeRequest, ProvisionVerb};
use scheduler_core::{Error, RequestContext, request_id::RequestId};
use service_kit::status;
use tonic::metadata::MetadataMap;
use uuid::Uuid;

use crate::lab::{Lab, internal, until};

const ID: Uuid = Uuid::from_u128(7000);

/// The request to provision a node, as its client sent it.
fn asked(node: NodeId, verb: Verb) -> RequestId {
    let mut metadata = MetadataMap::new();
    metadata.insert("ironmesh-request-id", ID.to_string().parse().unwrap());
    let request =
        ProvisionNodeRequest { node: node.to_string(), verb: ProvisionVerb::from(verb).into(), ..Default::default() };
    RequestId::read(&metadata, "ProvisionNode", &request).unwrap().unwrap()
}

/// The image that a verb names.
fn image(verb: Verb) -> &'static str {
    if matches!(verb, Verb::Deploy) { "disk" } else { "" }
}

/// An answer, which a message stands for.
fn answer(text: &str) -> GetNodeRequest {
    GetNodeRequest { node: text.to_owned() }
}

impl Lab {
    /// Sends a request to manage a node, or sends it again.
    async fn sends(&self, node: NodeId, verb: Verb) -> Result<String, Error> {
        let context = RequestContext::with_id(asked(node, verb));
        let carried_out = async {
            self.ask_as(&context, node, verb, image(verb), &[]).await?;
            Ok(answer("first"))
        };
        let answered = self.app().once(&context, carried_out, || Ok(answer("anew")));
        answered.await.map(|answer| answer.node)
    }

    fn request(&self) -> Option<Request> {
        self.app().registry.view().get(&key::request(ID)).map(|read| read.value)
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_sent_again_gets_the_answer_of_before_and_changes_nothing() {
    let lab = Lab::at_rest().await;
    let node = lab.fake(1, State::Available).await;
    assert_eq!(lab.sends(node, Verb::Deploy).await.unwrap(), "first");
    let before = lab.record(node).operation.unwrap().value.id;
    lab.sees_everything().await;
    assert_eq!(lab.sends(node, Verb::Deploy).await.unwrap(), "first");
    assert_eq!(lab.record(node).operation.unwrap().value.id, before);
    // Without the id, the node is asked a second time.
    assert!(lab.ask(node, Verb::Deploy).await.is_err());
    assert_eq!(lab.request().unwrap().operation, Some(before));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_sent_twice_at_once_is_carried_out_once() {
    let lab = Lab::at_rest().await;
    let node = lab.fake(1, State::Available).await;
    let (first, second) = tokio::join!(lab.sends(node, Verb::Deploy), lab.sends(node, Verb::Deploy));
    assert_eq!((first.unwrap(), second.unwrap()), ("first".to_owned(), "first".to_owned()));
    assert_eq!(lab.record(node).life.value.generation.number(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_its_scheduler_did_not_store_is_made_anew() {
    let lab = Lab::at_rest().await;
    let node = lab.fake(1, State::Available).await;
    lab.sends(node, Verb::Deploy).await.unwrap();
    lab.sees_everything().await;
    let unanswered = Request { answer: String::new(), at: Timestamp::from_millis(1), ..lab.request().unwrap() };
    lab.world.write(&key::request(ID), &unanswered).unwrap();
    lab.sees_everything().await;
    assert_eq!(lab.sends(node, Verb::Deploy).await.unwrap(), "anew");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_on_its_way_is_waited_for() {
    let lab = Lab::at_rest().await;
    let node = lab.fake(1, State::Available).await;
    lab.sends(node, Verb::Deploy).await.unwrap();
    lab.sees_everything().await;
    let stored = lab.request().unwrap();
    let unanswered = Request { answer: String::new(), at: service_kit::clock::now(), ..stored.clone() };
    lab.world.write(&key::request(ID), &unanswered).unwrap();
    lab.sees_everything().await;
    let arrives = async {
        tokio::task::yield_now().await;
        lab.world.write(&key::request(ID), &stored).unwrap();
    };
    let (answered, ()) = tokio::join!(lab.sends(node, Verb::Deploy), arrives);
    assert_eq!(answered.unwrap(), "first");
}

#[tokio::test(start_paused = true)]
async fn the_id_of_another_request_is_refused() {
    let lab = Lab::at_rest().await;
    let node = lab.fake(1, State::Available).await;
    lab.sends(node, Verb::Deploy).await.unwrap();
    lab.sees_everything().await;
    let refused = status::chain(&lab.sends(node, Verb::Manage).await.unwrap_err());
    assert!(refused.contains("was given to another request"), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_was_refused_may_be_sent_again_with_its_id() {
    let lab = Lab::at_rest().await;
    let node = lab.fake(1, State::Enroll).await;
    assert!(lab.sends(node, Verb::Deploy).await.is_err());
    assert_eq!(lab.request(), None);
    let node = lab.fake(1, State::Available).await;
    assert_eq!(lab.sends(node, Verb::Deploy).await.unwrap(), "first");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_too_long_to_be_stored_is_made_anew() {
    let lab = Lab::at_rest().await;
    let node = lab.fake(1, State::Available).await;
    let long = "x".repeat(20 << 10);
    let context = RequestContext::with_id(asked(node, Verb::Deploy));
    let carried_out = async {
        lab.ask_as(&context, node, Verb::Deploy, "disk", &[]).await?;
        Ok(answer(&long))
    };
    let first = lab.app().once(&context, carried_out, || Ok(answer("anew"))).await.unwrap();
    assert_eq!(first.node, long);
    lab.sees_everything().await;
    assert_eq!(lab.sends(node, Verb::Deploy).await.unwrap(), "anew");
}

#[tokio::test(start_paused = true)]
async fn a_request_is_forgotten_an_hour_after_it_was_made() {
    let lab = Lab::up().await;
    let node = lab.fake(1, State::Available).await;
    lab.sends(node, Verb::Deploy).await.unwrap();
    lab.sees_everything().await;
    let old = Request { at: Timestamp::from_millis(1), ..lab.request().unwrap() };
    lab.world.write(&key::request(ID), &old).unwrap();
    lab.sees_everything().await;
    until("it to be forgotten", || format!("{:?}", lab.request()), || lab.request().is_none()).await;
}

#[tokio::test(start_paused = true)]
async fn a_request_without_an_id_is_carried_out_each_time() {
    let lab = Lab::at_rest().await;
    let node = lab.fake(1, State::Manageable).await;
    for verb in [Verb::Provide, Verb::Manage, Verb::Provide] {
        let carried_out = async {
            lab.ask(node, verb).await?;
            Ok(answer("first"))
        };
        assert_eq!(lab.app().once(&internal(), carried_out, || Ok(answer("anew"))).await.unwrap().node, "first");
    }
    assert_eq!(lab.state(node), "available");
}
