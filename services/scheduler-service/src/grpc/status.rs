//! The status of the datacenter.

use domain::service::Service;
use fleet::{
    Survey,
    status::{Facts, Problem, Severity, problems},
};
use proto::{
    api::v1::{
        DatacenterStatus, GetStatusRequest, GetStatusResponse, NodeCount, Problem as WireProblem, RackServiceStatus,
        RackStatus, SchedulerStatus, ServiceKind, Severity as WireSeverity, StoreStatus,
        status_service_server::StatusService,
    },
    convert::time::wire_time,
};
use service_kit::clock;
use tonic::{Request, Response, Status};

use super::{Fleet, hosts::shown_host};

impl Fleet {
    fn status(&self) -> DatacenterStatus {
        let registry = &self.app.registry;
        let mut facts = Facts::read(registry.view(), clock::now());
        facts.island = registry.mesh.island().map(|island| (island.why.to_string(), island.since));
        facts.certificate = self.tls.expiry().map(|report| report.to_string());
        let survey = &facts.survey;
        let stores = survey.hosts.iter().filter(|host| host.value.store).map(|host| host.value.name.clone());
        DatacenterStatus {
            datacenter: self.datacenter(),
            racks: survey.racks.iter().map(|rack| shown_rack(&facts, &rack.value.name)).collect(),
            hosts: survey.hosts.iter().map(|host| shown_host(survey, &host.value)).collect(),
            schedulers: shown_schedulers(survey),
            store: Some(StoreStatus {
                usable: facts.island.is_none(),
                reason: facts.island.as_ref().map(|(why, _)| why.clone()).unwrap_or_default(),
                unusable_time: facts.island.as_ref().map(|(_, since)| wire_time(*since)),
                revision: u64::try_from(registry.view().newest()).unwrap_or(0),
                hosts: stores.collect(),
            }),
            problems: problems(&facts).into_iter().map(shown_problem).collect(),
        }
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn shown_rack(facts: &Facts, rack: &str) -> RackStatus {
    let survey = &facts.survey;
    let hosts = survey.hosts.iter().map(|host| &host.value);
    let hosts = hosts.filter(|host| host.racks.iter().any(|planned| planned.rack == rack));
    let leaves = Service::ALL.into_iter().filter(|service| *service != Service::Scheduler);
    let services = leaves.map(|service| {
        let running = survey.running.iter().filter(|running| running.service == service && running.rack == rack);
        let running: Vec<_> = running.filter(|running| !running.stopping).collect();
        let ring = survey.rings.iter().find(|ring| ring.service == service && ring.rack == rack);
        let leader = ring.and_then(|ring| ring.leader);
        RackServiceStatus {
            service: ServiceKind::from(service).into(),
            running: count(running.len()),
            led: running.iter().any(|running| Some(running.instance) == leader),
        }
    });
    let nodes = facts.nodes.get(rack).into_iter().flatten();
    RackStatus {
        name: rack.to_owned(),
        hosts: hosts.map(|host| host.name.clone()).collect(),
        services: services.collect(),
        nodes: nodes.map(|(state, nodes)| NodeCount { state: state.clone(), nodes: count(*nodes) }).collect(),
    }
}

fn shown_schedulers(survey: &Survey) -> Vec<SchedulerStatus> {
    let ring = survey.rings.iter().find(|ring| ring.service == Service::Scheduler);
    let leader = ring.and_then(|ring| ring.leader);
    let running = survey.running.iter().filter(|running| running.service == Service::Scheduler);
    let shown = running.map(|running| SchedulerStatus {
        instance: running.instance.to_string(),
        endpoint: running.endpoint.clone(),
        host: running.host.clone(),
        leader: Some(running.instance) == leader,
        stopping: running.stopping,
    });
    shown.collect()
}

fn shown_problem(problem: Problem) -> WireProblem {
    let severity = match problem.severity {
        Severity::Note => WireSeverity::Note,
        Severity::Warning => WireSeverity::Warning,
        Severity::Error => WireSeverity::Error,
    };
    let Problem { reason, subject, text, next_step, .. } = problem;
    WireProblem { severity: severity.into(), reason: reason.to_owned(), subject, text, next_step }
}

#[tonic::async_trait]
impl StatusService for Fleet {
    async fn get_status(&self, _: Request<GetStatusRequest>) -> Result<Response<GetStatusResponse>, Status> {
        Ok(Response::new(GetStatusResponse { status: Some(self.status()) }))
    }
}
