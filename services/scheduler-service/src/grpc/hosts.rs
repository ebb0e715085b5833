//! Hosts, and the tokens with which they join.

use std::{collections::BTreeSet, sync::Arc};

use domain::service::Service;
use fleet::{
    Survey,
    host_state::{self, HostState as State},
    hosts::{self, HostChange},
    tokens::{self, Issuer, TokenRequest},
};
use keyspace::value::{Host, JoinToken};
use proto::{
    api::v1::{
        CreateJoinTokenRequest, CreateJoinTokenResponse, DeleteJoinTokenRequest, DeleteJoinTokenResponse,
        DrainHostRequest, DrainHostResponse, GetHostRequest, GetHostResponse, Host as WireHost, HostState,
        JoinToken as WireToken, ListHostsRequest, ListHostsResponse, ListJoinTokensRequest, ListJoinTokensResponse,
        RemoveHostRequest, RemoveHostResponse, ServiceKind, UndrainHostRequest, UndrainHostResponse,
        host::HostService as WireService, host_service_server::HostService,
    },
    convert::{
        Invalid,
        time::{duration, wire_time},
    },
};
use scheduler_core::{AppState, Error, RequestContext};
use service_kit::{clock, join_token, tls::Tls};
use tonic::{Request, Response, Status};
use uuid::Uuid;

/// The gRPC services about the datacenter as a whole.
#[derive(Debug)]
pub(crate) struct Fleet {
    pub(super) app: Arc<AppState>,
    pub(super) tls: Tls,
}

impl Fleet {
    pub(crate) const fn new(app: Arc<AppState>, tls: Tls) -> Self {
        Self { app, tls }
    }

    /// The name of the datacenter.
    pub(super) fn datacenter(&self) -> String {
        self.tls.realm().datacenter().to_owned()
    }

    fn survey(&self) -> Survey {
        Survey::read(self.app.registry.view())
    }

    fn shown(&self, name: &str) -> Result<WireHost, Error> {
        let survey = self.survey();
        Ok(shown_host(&survey, &hosts::find(&survey, name)?.value))
    }

    /// Carries out a change of a host, once; returns the host.
    async fn change(&self, context: RequestContext, host: String, change: HostChange) -> Result<(), Status> {
        let carry_out = async { Ok(hosts::change(&context, &self.app, &host, change).await?) };
        Ok(self.app.once(&context, carry_out, || Ok(())).await?)
    }
}

const fn wire_state(state: State) -> HostState {
    match state {
        State::Ready => HostState::Ready,
        State::Degraded => HostState::Degraded,
        State::Down => HostState::Down,
        State::Draining => HostState::Draining,
        State::Drained => HostState::Drained,
        State::Removing => HostState::Removing,
    }
}

/// A host as messages have it.
pub(super) fn shown_host(survey: &Survey, host: &Host) -> WireHost {
    let running: Vec<_> = survey.running_on(&host.name).collect();
    let services = host_state::services(host, &running);
    let state = wire_state(host_state::state(host, &services));
    let shown = services.into_iter().map(|service| {
        let running = service.running;
        WireService {
            service: ServiceKind::from(service.service).into(),
            rack: service.rack,
            instance: running.as_ref().map(|running| running.instance.to_string()).unwrap_or_default(),
            owns: running.as_ref().map_or(0, |running| u32::try_from(running.owns).unwrap_or(u32::MAX)),
            join_time: running.as_ref().map(|running| wire_time(running.since)),
            endpoint: running.map(|running| running.endpoint).unwrap_or_default(),
        }
    });
    WireHost {
        name: host.name.clone(),
        advertise: host.advertise.to_string(),
        state: state.into(),
        services: shown.collect(),
        store: host.store,
        authority: host.authority,
        weight: host.weight,
        join_time: Some(wire_time(host.joined)),
        drained_by: host.drain.as_ref().map(|mark| mark.by.clone()).unwrap_or_default(),
        drain_time: host.drain.as_ref().map(|mark| wire_time(mark.at)),
    }
}

fn shown_token(id: Uuid, token: &JoinToken) -> WireToken {
    WireToken {
        id: id.to_string(),
        rack: token.rack.clone().unwrap_or_default(),
        services: token.services.iter().map(|service| ServiceKind::from(*service).into()).collect(),
        store: token.store,
        scheduler: token.scheduler,
        uses: token.uses,
        hosts: token.used.iter().map(|used| used.host.clone()).collect(),
        created_by: token.created.by.clone(),
        expire_time: Some(wire_time(token.expires)),
    }
}

fn token_request(wire: CreateJoinTokenRequest) -> Result<TokenRequest, Invalid> {
    let kinds = wire.services().map(Service::try_from).collect::<Result<BTreeSet<_>, _>>()?;
    let lifetime = wire.lifetime.map(|lifetime| duration("lifetime", lifetime)).transpose()?;
    let CreateJoinTokenRequest { rack, store, scheduler, uses, .. } = wire;
    Ok(TokenRequest { rack, services: kinds, store, scheduler, uses, lifetime })
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl HostService for Fleet {
    async fn list_hosts(&self, _: Request<ListHostsRequest>) -> Answer<ListHostsResponse> {
        let survey = self.survey();
        let hosts = survey.hosts.iter().map(|host| shown_host(&survey, &host.value)).collect();
        Ok(Response::new(ListHostsResponse { hosts }))
    }

    async fn get_host(&self, request: Request<GetHostRequest>) -> Answer<GetHostResponse> {
        let host = Some(self.shown(&request.into_inner().host)?);
        Ok(Response::new(GetHostResponse { host }))
    }

    async fn drain_host(&self, request: Request<DrainHostRequest>) -> Answer<DrainHostResponse> {
        let context = RequestContext::read(&request, "DrainHost", request.get_ref())?;
        let DrainHostRequest { host, force } = request.into_inner();
        self.change(context, host.clone(), HostChange::Drain { force }).await?;
        Ok(Response::new(DrainHostResponse { host: Some(self.shown(&host)?) }))
    }

    async fn undrain_host(&self, request: Request<UndrainHostRequest>) -> Answer<UndrainHostResponse> {
        let context = RequestContext::read(&request, "UndrainHost", request.get_ref())?;
        let UndrainHostRequest { host } = request.into_inner();
        self.change(context, host.clone(), HostChange::Undrain).await?;
        Ok(Response::new(UndrainHostResponse { host: Some(self.shown(&host)?) }))
    }

    async fn remove_host(&self, request: Request<RemoveHostRequest>) -> Answer<RemoveHostResponse> {
        let context = RequestContext::read(&request, "RemoveHost", request.get_ref())?;
        let RemoveHostRequest { host, force } = request.into_inner();
        self.change(context, host, HostChange::Remove { force }).await?;
        Ok(Response::new(RemoveHostResponse {}))
    }

    async fn create_join_token(&self, request: Request<CreateJoinTokenRequest>) -> Answer<CreateJoinTokenResponse> {
        let context = RequestContext::read(&request, "CreateJoinToken", request.get_ref())?;
        let wanted = token_request(request.into_inner()).map_err(Error::from)?;
        let [ca, ..] = self.tls.pem();
        let issuer = Issuer { ca_digest: join_token::ca_digest(&ca), datacenter: self.datacenter() };
        // Not by `once`, which stores the answer: this one has the secret.
        let made = tokens::create(&context, &self.app, &issuer, &wanted).await?;
        let token = Some(shown_token(made.id, &made.record));
        Ok(Response::new(CreateJoinTokenResponse { token, secret: made.text, authority: made.authority }))
    }

    async fn list_join_tokens(&self, _: Request<ListJoinTokensRequest>) -> Answer<ListJoinTokensResponse> {
        let tokens = tokens::list(&self.app, clock::now());
        let tokens = tokens.iter().map(|(id, token)| shown_token(*id, &token.value)).collect();
        Ok(Response::new(ListJoinTokensResponse { tokens }))
    }

    async fn delete_join_token(&self, request: Request<DeleteJoinTokenRequest>) -> Answer<DeleteJoinTokenResponse> {
        let context = RequestContext::read(&request, "DeleteJoinToken", request.get_ref())?;
        let id = request.into_inner().id;
        let change = async {
            tokens::delete(&context, &self.app, &id).await?;
            Ok(DeleteJoinTokenResponse {})
        };
        Ok(Response::new(self.app.once(&context, change, || Ok(DeleteJoinTokenResponse {})).await?))
    }
}
