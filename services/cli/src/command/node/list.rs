//! Lists nodes, once or as they change.

use clap::Args;
use proto::api::v1::ListNodesRequest;
use serde_json::Value;

use super::{
    super::filter::Filter,
    show::{by_place, table_of},
    watch,
};
use crate::{call::Api, error::Error, json, output::Screen, pages};

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
    let page = async |page_token| {
        let request = ListNodesRequest { page_token, selector: selector.clone(), ..Default::default() };
        let answer = api.nodes().list_nodes(request).await?.into_inner();
        Ok((answer.nodes, answer.next_page_token))
    };
    let nodes = by_place(pages::all(page).await?);
    screen.show(|| table_of(screen, &nodes), || nodes.iter().map(json::node).collect::<Value>())
}
