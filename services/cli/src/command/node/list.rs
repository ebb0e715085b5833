//! Lists nodes, once or as they change.

use clap::Args;
use proto::api::v1::ListNodesRequest;
use serde_json::Value;

use super::{
    super::filter::Filter,
    show::{by_place, table_of},
    watch,
};
use crate::{call::Api, error::Error, json, output::Screen};

/// Which nodes.
#[derive(Debug, Clone, Args)]
pub struct List {
    #[command(flatten)]
    filter: Filter,
    /// Go on with what they become, until interrupted: on a terminal as a table that is drawn anew, elsewhere with a line
    /// for each change.
    #[arg(short, long)]
    watch: bool,
}

pub(super) async fn run(screen: &Screen, api: &Api, list: List) -> Result<(), Error> {
    let selector = list.filter.wire();
    if list.watch {
        return watch::run(screen, api, selector).await;
    }
    let (mut nodes, mut after) = (Vec::new(), String::new());
    loop {
        let request = ListNodesRequest { page_size: 0, after, rack: None, selector: selector.clone() };
        let page = api.nodes().list_nodes(request).await?.into_inner();
        nodes.extend(page.nodes);
        after = page.next_after;
        if after.is_empty() {
            break;
        }
    }
    let nodes = by_place(nodes);
    screen.show(|| table_of(screen, &nodes), || nodes.iter().map(json::node).collect::<Value>())
}
