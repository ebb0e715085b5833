//! Services of a host that are started and stopped together.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, Result};
use domain::service::Service;
use service_kit::Host;

use super::{
    config::HostConfig,
    plan::{Planned, etcd_certificate_name},
};
use crate::{console::say, up::Deaths};
use authority::ledger::Issuer;

/// How long services may take to stop: they hand their nodes over first.
pub(crate) const STOP_TIMEOUT: Duration = Duration::from_secs(15);
/// How often it is checked whether a service has joined.
const CHECK_INTERVAL: Duration = Duration::from_millis(500);

/// Services of a host that are started and stopped together.
#[derive(Debug)]
pub(crate) struct Group {
    /// What they are, for messages.
    what: &'static str,
    children: Vec<Planned>,
    deaths: Vec<Deaths>,
    running: Option<Host>,
}

impl Group {
    /// A group that does not run yet.
    pub(crate) fn new(what: &'static str, host: &HostConfig, data: &Path, children: Vec<Planned>) -> Self {
        let deaths = children.iter().map(|planned| deaths(host, data, planned)).collect();
        Self { what, children, deaths, running: None }
    }

    /// Starts the services, unless they run.
    pub(crate) fn start(&mut self) -> Result<()> {
        if self.running.is_some() || self.children.is_empty() {
            return Ok(());
        }
        for Planned { child, .. } in &self.children {
            child.write_config().with_context(|| format!("cannot write the configuration of {}", child.name))?;
        }
        let host = Host::default();
        for (planned, deaths) in self.children.iter().zip(&self.deaths) {
            let child = &planned.child;
            host.spawn(child.clone().keep(host.clone(), deaths.clone()));
            host.spawn(tell_when_ready(planned.clone(), host.clone()));
        }
        self.running = Some(host);
        Ok(())
    }

    /// Stops the services, if they run. They hand their nodes over first.
    pub(crate) async fn stop(&mut self) {
        let Some(host) = self.running.take() else { return };
        host.stop();
        if let Err(error) = host.drain(STOP_TIMEOUT).await {
            say(&format!("some {} did not stop in time: {error}", self.what));
        }
        say(&format!("stopped the {}", self.what));
    }
}

fn deaths(host: &HostConfig, data: &Path, planned: &Planned) -> Deaths {
    let Planned { child, rack } = planned;
    let name = etcd_certificate_name(child.service, rack.as_deref().unwrap_or_default());
    let files = Issuer::Etcd.files(&data.join("certs"), &name);
    Deaths::Own { members: host.etcd.clone(), files, rack: rack.clone() }
}

async fn tell_when_ready(planned: Planned, host: Host) {
    while !planned.child.is_ready() {
        tokio::select! {
            () = host.stopping() => return,
            () = tokio::time::sleep(CHECK_INTERVAL) => {}
        }
    }
    let endpoint = planned.child.endpoint().unwrap_or_default();
    say(&format!("{} is ready at {endpoint}", planned.child.name));
}

/// Separates the services of racks, which a drain stops, from the scheduler-service.
pub(crate) fn separate(children: Vec<Planned>) -> (Vec<Planned>, Vec<Planned>) {
    children.into_iter().partition(|planned| planned.child.service != Service::Scheduler)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::{config::tests::host, plan};

    #[test]
    fn a_drain_concerns_the_services_of_racks_only() {
        let config = host("10.0.0.12".parse().unwrap());
        let (racks, schedulers) = separate(plan::children(&config, Path::new("/d")).unwrap());
        assert_eq!(racks.len(), 4);
        assert_eq!(schedulers.iter().map(|planned| planned.child.service).collect::<Vec<_>>(), [Service::Scheduler]);
        let of = |planned: &Planned| match deaths(&config, Path::new("/d"), planned) {
            Deaths::Own { files, rack, .. } => (files.key.display().to_string(), rack),
            Deaths::Administrator { .. } => panic!("the host has no administrator"),
        };
        assert_eq!(of(&racks[0]), ("/d/certs/r7-power-service-etcd.key".to_owned(), Some("r7".to_owned())));
        assert_eq!(of(&schedulers[0]), ("/d/certs/default-scheduler-service-etcd.key".to_owned(), None));
    }
}
