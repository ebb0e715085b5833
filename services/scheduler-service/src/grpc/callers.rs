//! Who a caller is.

use proto::{
    api::v1::{Caller, CallerCredential, GetCallerRequest, GetCallerResponse, caller_service_server::CallerService},
    convert::time::wire_time,
};
use service_kit::{
    bearer_token::TokenBearer,
    serve::PeerCertificate,
    tls::{CertificateFacts, Identity},
};
use tonic::{Request, Response, Status};

use super::Shared;

#[tonic::async_trait]
impl CallerService for Shared {
    async fn get_caller(&self, request: Request<GetCallerRequest>) -> Result<Response<GetCallerResponse>, Status> {
        let extensions = request.extensions();
        // The role table lets operators through only.
        let Some(Identity::Operator { name, role }) = extensions.get::<Identity>() else {
            return Err(Status::permission_denied("only operators have a name and a role"));
        };
        let (credential, expires) = match extensions.get::<TokenBearer>() {
            Some(bearer) => (CallerCredential::Token, Some(bearer.expires)),
            None => {
                let certificate = extensions.get::<PeerCertificate>();
                let facts = certificate.and_then(|PeerCertificate(der)| CertificateFacts::of_der(der));
                (CallerCredential::Certificate, facts.map(|facts| facts.validity.not_after))
            }
        };
        let caller = Caller {
            name: name.clone(),
            role: role.word().to_owned(),
            credential: credential.into(),
            expire_time: expires.map(wire_time),
        };
        Ok(Response::new(GetCallerResponse { caller: Some(caller) }))
    }
}
