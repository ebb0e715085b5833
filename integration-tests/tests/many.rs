//! Many nodes over the gRPC API: watches, idempotent requests, and bulk operations.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use integration_tests::{
    fleet::Fleet,
    ironic::Rest,
    mesh::{Api, Options, verb as verb_of},
};
use proto::api::v1::{
    BulkLimits, BulkState, CreateBulkRequest, DeleteNodeRequest, GetBulkRequest, ListNodesRequest, Node, NodeSelector,
    ProvisionNodeRequest, WatchNodesRequest, WatchNodesResponse, watch_nodes_response::News,
};
use rustix::process::Signal;
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};
use tonic::{Code, Request, Status, Streaming};

/// Maximum duration of one step.
const WAIT_TIMEOUT: Duration = Duration::from_secs(60);

fn two() -> Options {
    Options { schedulers: 2, ..Options::default() }
}

/// Enrolls fake nodes: `f1`, `f2` and so on.
async fn fakes(fleet: &Fleet, count: usize) -> Result<()> {
    let rest = Rest::new(fleet.mesh())?;
    for number in 1..=count {
        let class = if number % 2 == 0 { "even" } else { "odd" };
        let node = json!({"driver": "fake-hardware", "name": format!("f{number}"), "resource_class": class});
        rest.ask("POST", "nodes", Some(node)).await?;
    }
    Ok(())
}

/// A watcher, and its knowledge.
struct Watcher {
    stream: Streaming<WatchNodesResponse>,
    states: BTreeMap<String, String>,
    names: BTreeMap<String, String>,
    began: usize,
    revision: u64,
    incarnation: u64,
}

impl Watcher {
    async fn at(api: &Api, revision: u64, incarnation: u64, selector: NodeSelector) -> Result<Self> {
        let request =
            WatchNodesRequest { selector: Some(selector), since_revision: revision, since_incarnation: incarnation };
        let stream = api.nodes.clone().watch_nodes(request).await?.into_inner();
        let (states, names) = (BTreeMap::new(), BTreeMap::new());
        Ok(Self { stream, states, names, began: 0, revision, incarnation })
    }

    /// Continues at another scheduler.
    async fn move_to(&mut self, api: &Api) -> Result<()> {
        let new = Self::at(api, self.revision, self.incarnation, NodeSelector::default()).await?;
        (self.stream, self.began) = (new.stream, 0);
        Ok(())
    }

    /// Receives until its knowledge meets this condition.
    async fn until(&mut self, what: &str, is_so: impl Fn(&BTreeMap<String, String>) -> bool) -> Result<()> {
        let hearing = async {
            while !is_so(&self.states) || self.revision == 0 {
                let Some(message) = self.stream.message().await? else { bail!("the stream ended") };
                self.take(message);
            }
            Ok(())
        };
        let ended = timeout(WAIT_TIMEOUT, hearing).await;
        ended.with_context(|| format!("{what} was not told: {:?}", self.states))?
    }

    fn take(&mut self, message: WatchNodesResponse) {
        (self.revision, self.incarnation) = (message.revision, message.incarnation);
        match message.news {
            Some(News::Begin(_)) => {
                self.began += 1;
                self.states.clear();
            }
            Some(News::Node(Node { id, name, observed, .. })) => {
                self.states.insert(name.clone(), observed.unwrap_or_default().state);
                self.names.insert(id, name);
            }
            Some(News::Gone(id)) => drop(self.names.get(&id).and_then(|name| self.states.remove(name))),
            Some(News::Settled(_)) | None => {}
        }
    }
}

fn is(states: &BTreeMap<String, String>, name: &str, state: &str) -> bool {
    states.get(name).is_some_and(|is| is == state)
}

#[test]
fn a_watch_continues_without_a_gap_after_its_scheduler_is_killed() {
    let fleet = Fleet::up("wtwo", 0, &two()).unwrap();
    let watched = fleet.run(async |mut api, fleet| {
        fakes(fleet, 3).await?;
        let mut second = fleet.mesh().api_of(2)?;
        let mut watcher = Watcher::at(&fleet.mesh().api_of(1)?, 0, 0, NodeSelector::default()).await?;
        watcher.until("all nodes", |states| states.len() == 3).await?;
        api.ask("f1", "manage", "").await?;
        watcher.until("what f1 became", |states| is(states, "f1", "manageable")).await?;
        fleet.mesh().service("scheduler-service-1")?.signal(Signal::KILL)?;
        while let Ok(Some(message)) = watcher.stream.message().await {
            watcher.take(message);
        }
        // No watch is open meanwhile.
        second.bring("f2", "manage", "", "manageable", WAIT_TIMEOUT).await?;
        second.nodes.delete_node(DeleteNodeRequest { node: "f3".to_owned(), ..Default::default() }).await?;
        watcher.move_to(&second).await?;
        let is_so = |states: &BTreeMap<_, _>| is(states, "f2", "manageable") && !states.contains_key("f3");
        watcher.until("what happened meanwhile", is_so).await?;
        ensure!(watcher.began == 0, "it began again");
        ensure!(is(&watcher.states, "f1", "manageable"), "{:?}", watcher.states);
        // A watch from the beginning of the store is beyond the feed's memory.
        watcher.revision = 1;
        watcher.states.clear();
        watcher.move_to(&second).await?;
        watcher.until("all nodes again", |states| states.len() == 2).await?;
        ensure!(watcher.began > 0, "it did not begin again");
        Ok(())
    });
    watched.unwrap();
}

#[test]
fn nodes_are_listed_and_watched_by_what_they_are() {
    let fleet = Fleet::up("wsel", 0, &Options::default()).unwrap();
    let selected = fleet.run(async |mut api, fleet| {
        fakes(fleet, 4).await?;
        let even = NodeSelector { resource_classes: vec!["even".to_owned()], ..Default::default() };
        let enrolled = NodeSelector { states: vec!["enroll".to_owned()], ..even.clone() };
        let request = ListNodesRequest { selector: Some(even.clone()), page_size: 1, ..Default::default() };
        let page = api.nodes.list_nodes(request.clone()).await?.into_inner();
        let rest = ListNodesRequest { page_token: page.next_page_token, page_size: 0, ..request };
        let rest = api.nodes.list_nodes(rest).await?.into_inner();
        let mut names: Vec<_> = [page.nodes, rest.nodes].concat().into_iter().map(|node| node.name).collect();
        names.sort();
        ensure!(names == ["f2", "f4"] && rest.next_page_token.is_empty(), "{names:?}");
        let mut watcher = Watcher::at(&api, 0, 0, enrolled).await?;
        watcher.until("the even ones", |states| states.len() == 2).await?;
        // A node that no longer matches is reported as gone.
        for node in ["f1", "f2"] {
            api.ask(node, "manage", "").await?;
        }
        watcher.until("that f2 went", |states| states.keys().eq(["f4"])).await?;
        let wrong = NodeSelector { racks: vec!["nowhere".to_owned()], ..Default::default() };
        let refused = Watcher::at(&api, 0, 0, wrong).await.err().context("a rack that is none was taken")?;
        ensure!(format!("{refused:#}").contains("nowhere"), "{refused:#}");
        Ok(())
    });
    selected.unwrap();
}

/// Sends a request with a request id.
async fn ask_as(api: &Api, id: &str, node: &str, verb: &str) -> Result<Node, Status> {
    let mut request =
        Request::new(ProvisionNodeRequest { node: node.to_owned(), verb: verb_of(verb), ..Default::default() });
    let id = id.parse().map_err(|_| Status::internal("no header"))?;
    request.metadata_mut().insert("ironmesh-request-id", id);
    let answer = api.nodes.clone().provision_node(request).await?.into_inner();
    answer.node.ok_or_else(|| Status::internal("an answer without a node"))
}

#[test]
fn a_request_that_is_sent_again_through_any_scheduler_is_carried_out_once() {
    let fleet = Fleet::up("once", 0, &two()).unwrap();
    let asked = fleet.run(async |mut api, fleet| {
        fakes(fleet, 2).await?;
        let (first, second) = (fleet.mesh().api_of(1)?, fleet.mesh().api_of(2)?);
        let id = "00000000-0000-4000-8000-000000000001";
        // At the same time, and later.
        let all = (0..8).map(|number| ask_as(if number % 2 == 0 { &first } else { &second }, id, "f1", "manage"));
        let answers = futures::future::join_all(all).await.into_iter().collect::<Result<Vec<_>, _>>()?;
        api.reach("f1", "manageable", WAIT_TIMEOUT).await?;
        let begun = answers.first().context("no answer")?.generation;
        ensure!(answers.iter().all(|node| node.generation == begun), "{answers:#?}");
        ensure!(api.node("f1").await?.generation == begun, "it was carried out twice");
        let again = ask_as(&second, id, "f1", "manage").await?;
        ensure!(again == ask_as(&first, id, "f1", "manage").await?, "two answers");
        ensure!(again.observed.is_some_and(|observed| observed.state == "verifying"), "not the first answer");
        let refused = ask_as(&first, id, "f2", "manage").await.err().context("another request was taken")?;
        ensure!(refused.code() == Code::InvalidArgument && refused.message().contains("another request"), "{refused}");
        let wrong = ask_as(&first, "seven", "f2", "manage").await.err().context("an id that is none was taken")?;
        ensure!(wrong.code() == Code::InvalidArgument, "{wrong}");
        Ok(())
    });
    asked.unwrap();
}

/// Follows a bulk to its end, at whichever scheduler is alive.
async fn bulk_ends(apis: &[&Api], id: &str) -> Result<proto::api::v1::Bulk> {
    let ended = async {
        loop {
            for api in apis {
                let request = GetBulkRequest { bulk: id.to_owned() };
                let bulk = api.bulks.clone().get_bulk(request).await.ok().and_then(|answer| answer.into_inner().bulk);
                if let Some(bulk) = bulk.filter(|bulk| bulk.end_time.is_some() || bulk.state() == BulkState::Paused) {
                    return bulk;
                }
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(WAIT_TIMEOUT * 3, ended).await.context("the bulk does not end")
}

#[test]
fn a_bulk_whose_leader_is_killed_deploys_each_node_once() {
    const NODES: usize = 20;
    let fleet = Fleet::up("bulk", 0, &two()).unwrap();
    let carried = fleet.run(async |mut api, fleet| {
        fakes(fleet, NODES).await?;
        let begin = |verb: &str, image: &str, canary| CreateBulkRequest {
            verb: verb_of(verb),
            image: image.to_owned(),
            limits: Some(BulkLimits { at_once: 4, max_failures: Some(0), canary, pause_after_canary: false }),
            ..Default::default()
        };
        api.register("disk", "disk", "file:///nowhere/disk", &format!("sha256:{}", "0".repeat(64))).await?;
        for verb in ["manage", "provide"] {
            let bulk = api.bulks.create_bulk(begin(verb, "", 0)).await?.into_inner().bulk.context("no bulk")?;
            let ended = bulk_ends(&[&api], &bulk.id).await?;
            ensure!(ended.done == 20 && ended.state() == BulkState::Done, "{ended:#?}");
        }
        let before = api.node("f1").await?.generation;
        let bulk = api.bulks.create_bulk(begin("deploy", "disk", 2)).await?.into_inner().bulk.context("no bulk")?;
        let (first, second) = (fleet.mesh().api_of(1)?, fleet.mesh().api_of(2)?);
        let request = GetBulkRequest { bulk: bulk.id.clone() };
        let begun = Instant::now();
        loop {
            let now = api.bulks.get_bulk(request.clone()).await?.into_inner().bulk.context("no bulk")?;
            ensure!(now.running <= 4 && now.end_time.is_none() && begun.elapsed() < WAIT_TIMEOUT, "{now:#?}");
            if now.done > 2 {
                break;
            }
            sleep(Duration::from_millis(20)).await;
        }
        let name = fleet.leading_scheduler(&mut api).await?;
        fleet.mesh().service(&name)?.signal(Signal::KILL)?;
        let other = if name.ends_with('1') { &second } else { &first };
        let ended = bulk_ends(&[other], &bulk.id).await?;
        ensure!(ended.done == 20 && ended.failed == 0 && ended.state() == BulkState::Done, "{ended:#?}");
        let mut operations: Vec<_> = ended.nodes.iter().map(|one| one.operation.clone()).collect();
        operations.sort();
        operations.dedup();
        ensure!(operations.len() == NODES, "{operations:?}");
        let request = ListNodesRequest::default();
        let nodes = other.nodes.clone().list_nodes(request).await?.into_inner().nodes;
        // Each deployment takes the same instructions: a second one would be visible.
        let once = nodes.first().context("no nodes")?.generation;
        ensure!(once > before && nodes.iter().all(|node| node.generation == once), "{nodes:#?}");
        ensure!(nodes.iter().all(|node| node.observed.as_ref().is_some_and(|seen| seen.state == "active")));
        Ok(())
    });
    carried.unwrap();
}
