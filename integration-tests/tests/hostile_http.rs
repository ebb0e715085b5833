//! Attacks on the HTTP and gRPC listeners of a running rack: by peers without credentials, and by single users.

use std::{fs, path::Path, sync::Arc};

use anyhow::{Context as _, Result, ensure};
use domain::service::Service;
use integration_tests::{
    fleet::Fleet,
    hostile::{
        self, Guard, certificates, crowd, floods, grpc_tokens, guard::MAX_GROWTH, http1, http2, raw, tokens, users,
    },
    mesh::Options,
};
use service_kit::{listener::raise_descriptor_limit, tls::server_name};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

fn fleet(tag: &str, folder: &Path, set: &[String]) -> Result<Fleet> {
    raise_descriptor_limit();
    let file = folder.join("users");
    fs::write(&file, raw::USERS)?;
    let own = format!("scheduler.rest_users={}", file.display());
    let set = set.iter().cloned().chain([own]).collect();
    Fleet::up(tag, 0, &Options { set, ..Options::default() })
}

#[test]
fn floods_of_strangers_and_of_single_users_keep_nothing_from_others() {
    let folder = tempfile::tempdir().unwrap();
    let fleet = fleet("floods", folder.path(), &floods::SETTINGS.map(str::to_owned)).unwrap();
    fleet
        .run(async |api, fleet| {
            let place = floods::Place::of(fleet.data())?;
            let mut guard = Guard::new(fleet.mesh(), &fleet.data(), api, &raw::others()).await?;
            hostile::attack("floods", floods::TABLE, &mut guard, async |how| how(&place).await).await?;
            guard.limit = 4 * MAX_GROWTH;
            hostile::attack("crowd", crowd::TABLE, &mut guard, async |how| how(&place).await).await?;
            let log = fleet.mesh().log("scheduler-service-1")?;
            ensure!(log.contains("reached a limit"), "the log does not tell of the limits");
            Ok(())
        })
        .unwrap();
}

#[test]
fn malformed_requests_forged_credentials_and_foreign_certificates_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("keys");
    let forged = tokens::issued(&keys).unwrap();
    let keys = keys.display().to_string();
    let set = [("keys", &*keys), ("issuer", tokens::ISSUER), ("audience", tokens::AUDIENCE), ("grpc", "true")];
    let set = set.map(|(key, value)| format!("scheduler.rest_jwt.{key}={value}"));
    let fleet = fleet("hostile", folder.path(), &set).unwrap();
    fleet
        .run(async |api, fleet| {
            let place = floods::Place::of(fleet.data())?;
            let (rest, grpc) = (place.rest.as_str(), place.grpc.as_str());
            let mut guard = Guard::new(fleet.mesh(), &fleet.data(), api, &raw::others()).await?;
            hostile::attack("http1", http1::TABLE, &mut guard, async |sent| http1::carry_out(rest, sent).await).await?;

            let reader = certificates::operator(&fleet.data(), folder.path(), "reader")?;
            let connector = TlsConnector::from(Arc::clone(&reader.client()));
            hostile::attack("http2", http2::TABLE, &mut guard, async |frames| {
                let at_rest = http2::carry_out(TcpStream::connect(rest).await?, frames).await?;
                let name = server_name(Service::Scheduler, "").context("no name")?;
                let stream = connector.connect(name, TcpStream::connect(grpc).await?).await?;
                let at_grpc = http2::carry_out(stream, frames).await?;
                Ok(format!("REST {at_rest}, gRPC {at_grpc}"))
            })
            .await?;

            tokens::control(rest, &forged).await?;
            let refused = async |credentials: &_| tokens::carry_out(rest, &forged, *credentials).await;
            hostile::attack("tokens", tokens::TABLE, &mut guard, refused).await?;
            let data = fleet.data();
            let at_grpc = grpc_tokens::Place { address: grpc, data: &data, tokens: &forged };
            grpc_tokens::control(&at_grpc).await?;
            let refused = async |how: &_| grpc_tokens::carry_out(&at_grpc, *how).await;
            hostile::attack("grpc_tokens", grpc_tokens::TABLE, &mut guard, refused).await?;
            let called = async |caller: &_| certificates::carry_out(grpc, &data, caller).await;
            hostile::attack("certificates", certificates::TABLE, &mut guard, called).await?;

            let pid = fleet.mesh().service("scheduler-service-1")?.pid();
            let rest = users::Api { address: rest.to_owned(), pid };
            users::prepare(&rest).await?;
            let sent = async |sent: &_| users::carry_out(&rest, sent).await;
            hostile::attack("users", users::TABLE, &mut guard, sent).await
        })
        .unwrap();
}
