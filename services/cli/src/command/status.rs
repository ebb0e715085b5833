//! The datacenter on one screen: what there is, what is wrong, and what to do.

use clap::Args;
use proto::api::v1::{DatacenterStatus, GetStatusRequest, HostState, Problem, RackStatus, Severity};

use super::{answered, repeat};
use crate::{
    call::Api,
    error::Error,
    human::{self, ago, clean},
    json,
    output::Screen,
    table, words,
};

/// How the status is shown.
#[derive(Debug, Clone, Args)]
pub struct StatusOptions {
    /// Show it again whenever it changes, until it is interrupted.
    #[arg(long)]
    watch: bool,
}

pub(crate) async fn run(screen: &Screen, api: &Api, options: StatusOptions) -> Result<(), Error> {
    let ask = async || Ok(api.status().get_status(GetStatusRequest {}).await?.into_inner().status.unwrap_or_default());
    if options.watch {
        return repeat::watch(screen, ask, |status| drawn(screen, status), json::status).await;
    }
    let status = answered(api.status().get_status(GetStatusRequest {}).await?.into_inner().status)?;
    screen.show(|| drawn(screen, &status), || json::status(&status))?;
    let is_error = |problem: &Problem| problem.severity() == Severity::Error;
    if status.problems.iter().any(is_error) { Err(Error::Told) } else { Ok(()) }
}

fn drawn(screen: &Screen, status: &DatacenterStatus) -> String {
    let mut parts = vec![table::facts(screen, facts(screen, status))];
    if !status.racks.is_empty() {
        let heading = ["RACK", "HOSTS", "POWER", "PXE", "STORAGE", "INVENTORY", "NODES"];
        parts.push(table::list(screen, &heading, status.racks.iter().map(rack)));
    }
    if status.problems.is_empty() {
        parts.push("Nothing is wrong.".to_owned());
    }
    for problem in &status.problems {
        parts.push(told(problem));
    }
    // Problems are a paragraph of two lines each.
    parts.join("\n\n")
}

fn facts(screen: &Screen, status: &DatacenterStatus) -> Vec<(&'static str, String)> {
    let store = status.store.clone().unwrap_or_default();
    let mut of_store = match store.usable {
        true => format!("usable, at revision {}", store.revision),
        false => format!("not usable since {}: {}", ago(screen.now(), store.unusable_time), store.reason),
    };
    if !store.hosts.is_empty() {
        of_store.push_str(&format!("; members on {}", store.hosts.join(", ")));
    }
    let ready = status.hosts.iter().filter(|host| host.state() == HostState::Ready).count();
    let hosts = if status.hosts.is_empty() {
        String::new()
    } else {
        let others = status.hosts.iter().filter(|host| host.state() != HostState::Ready);
        let others = others.map(|host| format!("{} {}", host.name, words::host_state(host.state())));
        let all = [format!("{ready} of {} ready", status.hosts.len())].into_iter().chain(others);
        all.collect::<Vec<_>>().join(", ")
    };
    let schedulers = status.schedulers.iter().map(|scheduler| {
        let place = if scheduler.host.is_empty() { &scheduler.endpoint } else { &scheduler.host };
        let marks = [(scheduler.leader, " (leads)"), (scheduler.stopping, " (stops)")];
        let marks = marks.iter().filter(|(is_so, _)| *is_so).map(|(_, mark)| *mark);
        format!("{place}{}", marks.collect::<String>())
    });
    let schedulers = schedulers.collect::<Vec<_>>().join(", ");
    vec![("datacenter", status.datacenter.clone()), ("store", of_store), ("schedulers", schedulers), ("hosts", hosts)]
}

fn rack(rack: &RackStatus) -> Vec<String> {
    let services = rack.services.iter().map(|service| {
        let mark = if service.running > 0 && !service.led { " (no leader)" } else { "" };
        format!("{}{mark}", service.running)
    });
    let nodes: Vec<_> = rack.nodes.iter().map(|count| format!("{} {}", count.nodes, count.state)).collect();
    let hosts = rack.hosts.join(", ");
    [human::rack(&rack.name), hosts].into_iter().chain(services).chain([nodes.join(", ")]).collect()
}

fn told(problem: &Problem) -> String {
    let mut text = format!("{}: {}: {}", words::severity(problem.severity()), problem.subject, problem.text);
    if !problem.next_step.is_empty() {
        text.push_str(&format!("\n  next: {}", problem.next_step));
    }
    clean(&text)
}
