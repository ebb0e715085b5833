//! Tokens over real TLS connections.

use std::{collections::HashMap, fs, path::Path, sync::Mutex};

use domain::service::Service;
use futures::StreamExt as _;
use http::HeaderValue;
use http_body_util::BodyExt as _;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tonic::{Request, service::Routes};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse,
    health_client::HealthClient,
    health_server::{Health, HealthServer},
};

use super::*;
use crate::tls::Realm;
use crate::{
    Host,
    client::{MeshChannel, anonymous_channel, mesh_channel},
    listener::{BodyBudget, HttpLimits, ListenerKind},
    serve::{self, GrpcListener, Rule},
    status::reason,
    tls::{Bearer, CertificateAuthority, Files, ServerTrust, Tls, install_provider},
};

/// Upper bound of every wait.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn a_token_is_read_from_one_well_formed_header_only() {
    let long = format!("Bearer {}", "a".repeat(MAX_TOKEN_BYTES + 1));
    let (missing, malformed) = (Err(TokenError::Missing), Err(TokenError::Malformed));
    // The values of the header, the source of the rule, and the token.
    let cases: [(&[&str], &str, Result<&str, TokenError>); 12] = [
        (&["Bearer abc"], "RFC 6750 §2.1", Ok("abc")),
        (&["bearer abc"], "RFC 9110 §11.1: schemes ignore case", Ok("abc")),
        (&["BEARER  abc"], "RFC 9110 §11.4: 1*SP", Ok("abc")),
        (&[], "RFC 6750 §3.1", missing),
        (&[""], "RFC 6750 §2.1", malformed.clone()),
        (&["Bearer"], "RFC 6750 §2.1", malformed.clone()),
        (&["Bearer "], "RFC 6750 §2.1", malformed.clone()),
        (&["Basic YTpi"], "RFC 7617 §2", malformed.clone()),
        (&["Bearer a b"], "RFC 6750 §2.1: b64token", malformed.clone()),
        (&["Bearer abc, Bearer def"], "RFC 9110 §5.3", malformed.clone()),
        (&["Bearer abc", "Bearer def"], "RFC 9110 §5.3", malformed.clone()),
        (&[&long], "16 KiB, as the REST API", malformed),
    ];
    for (values, source, expected) in cases {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        }
        let shown = values.first().map(|value| value.chars().take(30).collect::<String>());
        assert_eq!(token_of(&headers), expected, "{shown:?} ({source})");
    }
}

#[test]
fn an_operator_of_a_token_is_no_operator_of_a_certificate() {
    for name in ["ann", "ann@example.com", "scheduler", "spiffe://ironmesh/dc/default/rack/r1/service/power", ""] {
        let bearer = bearer(name, Role::Admin, 0);
        let Identity::Operator { name: shown, .. } = bearer.identity() else { panic!("{name} is a service") };
        assert!(!crate::tls::is_operator_name(&shown), "{shown}");
        assert_eq!(Identity::parse(&bearer.identity().uri(&Realm::default())), None, "{shown}");
    }
}

fn bearer(name: &str, role: Role, seconds: i64) -> TokenBearer {
    let expires = Timestamp::from_millis(clock::now().millis() + seconds * 1000);
    TokenBearer { name: name.to_owned(), account: format!("jwt {name}"), role, expires }
}

/// Verifies tokens by a table.
#[derive(Default)]
struct Table(Mutex<HashMap<&'static str, Result<TokenBearer, TokenError>>>);

impl VerifyToken for Table {
    fn verify<'t>(&'t self, token: &'t str) -> BoxFuture<'t, Result<TokenBearer, TokenError>> {
        let found = self.0.lock().unwrap().get(token).cloned();
        Box::pin(async move { found.unwrap_or_else(|| Err(TokenError::Invalid("unknown token".to_owned()))) })
    }
}

/// Answers who called, and does not end a watch.
struct Who;

#[tonic::async_trait]
impl Health for Who {
    type WatchStream = Pin<Box<dyn futures::Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<tonic::Response<HealthCheckResponse>, Status> {
        let who = request.extensions().get::<Identity>().map(Identity::to_string).unwrap_or_default();
        assert!(!request.metadata().contains_key("authorization"), "a handler sees a token");
        Err(Status::already_exists(who))
    }

    async fn watch(&self, _: Request<HealthCheckRequest>) -> Result<tonic::Response<Self::WatchStream>, Status> {
        let first = futures::stream::iter([Ok(HealthCheckResponse::default())]);
        Ok(tonic::Response::new(Box::pin(futures::StreamExt::chain(first, futures::stream::pending()))))
    }
}

/// A listener and the certificates for it.
struct Site {
    folder: TempDir,
    host: Host,
    endpoint: String,
}

impl Drop for Site {
    fn drop(&mut self) {
        self.host.stop();
    }
}

fn issue(ca: &CertificateAuthority, folder: &Path, name: &str, identity: &Identity) -> Files {
    let path = |name: String| folder.join(name);
    let files = Files {
        ca: path("ca.pem".to_owned()),
        certificate: path(format!("{name}.pem")),
        key: path(format!("{name}.key")),
    };
    let issued = ca.issue(Bearer::Mesh(identity)).unwrap();
    fs::write(&files.ca, ca.certificate()).unwrap();
    fs::write(&files.certificate, issued.certificate).unwrap();
    fs::write(&files.key, issued.key).unwrap();
    files
}

const RULES: &[Rule] = &[
    Rule::new("/grpc.health.v1.Health/Check", serve::admins),
    Rule::new("/grpc.health.v1.Health/Watch", serve::operators),
    Rule::new("/between.Services/Call", serve::schedulers),
];

impl Site {
    /// Serves with the limits that are set by default.
    async fn serve(tokens: Option<TokenVerifier>) -> Self {
        Self::serve_within(tokens, HttpLimits::default()).await
    }

    async fn serve_within(tokens: Option<TokenVerifier>, limits: HttpLimits) -> Self {
        install_provider();
        let folder = tempfile::tempdir().unwrap();
        let ca = CertificateAuthority::create("CA of a test").unwrap();
        let scheduler = Identity::Service { service: Service::Scheduler, rack: String::new() };
        let tls = Tls::load(issue(&ca, folder.path(), "scheduler", &scheduler)).unwrap();
        issue(&ca, folder.path(), "ann", &Identity::admin("ann"));
        let (other, there) = (CertificateAuthority::create("another CA").unwrap(), folder.path().join("other"));
        fs::create_dir(&there).unwrap();
        issue(&other, &there, "eve", &Identity::admin("eve"));
        fs::write(there.join("ca.pem"), ca.certificate()).unwrap();
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (endpoint, host) = (socket.local_addr().unwrap().to_string(), Host::default());
        let takes_tokens = tokens.is_some();
        let listener = GrpcListener {
            name: "test",
            purpose: ListenerKind::Grpc,
            revocations: Some(tls.revocations().clone()),
            realm: tls.realm(),
            tls: Arc::new(move || if takes_tokens { tls.server_for_tokens() } else { tls.server() }),
            tokens,
            routes: Routes::new(HealthServer::new(Who)),
            rules: RULES.into(),
            rack: "".into(),
            budget: BodyBudget::new(&limits),
            limits,
        };
        host.spawn(serve::accept(host.clone(), socket, listener));
        Self { folder, host, endpoint }
    }

    fn anonymous(&self, deadline: Option<Duration>) -> MeshChannel {
        let trust = ServerTrust::load(&self.folder.path().join("ca.pem")).unwrap();
        anonymous_channel(&trust, &self.endpoint, Service::Scheduler, "", deadline).unwrap()
    }

    /// Opens a stream with a token, over a connection of its own.
    async fn watch(&self, token: &str) -> tonic::Streaming<HealthCheckResponse> {
        let mut request = Request::new(HealthCheckRequest::default());
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        HealthClient::new(self.anonymous(None)).watch(request).await.unwrap().into_inner()
    }

    /// Calls with a certificate of this name, with a token, or both. Returns the code, and the message or the reason.
    async fn call(&self, certificate: Option<&str>, token: Option<&str>, path: &'static str) -> (Code, String) {
        let channel = match certificate {
            None => self.anonymous(Some(PATIENCE)),
            Some(name) => {
                let path = |end: &str| self.folder.path().join(format!("{name}.{end}"));
                let ca = path("pem").with_file_name("ca.pem");
                // The key and the certificate are of the other CA, which no client looks at.
                let files = Files { ca, certificate: path("pem"), key: path("key") };
                mesh_channel(&Tls::load(files).unwrap(), &self.endpoint, Service::Scheduler, "", Some(PATIENCE))
                    .unwrap()
            }
        };
        let mut request = Request::new(HealthCheckRequest::default());
        if let Some(token) = token {
            request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        }
        let mut grpc = tonic::client::Grpc::new(channel);
        grpc.ready().await.unwrap();
        let codec = tonic_prost_codec();
        let answer =
            grpc.unary::<HealthCheckRequest, HealthCheckResponse, _>(request, path.parse().unwrap(), codec).await;
        let status = answer.unwrap_err();
        let said = reason(&status).unwrap_or_else(|| status.message().to_owned());
        (status.code(), said)
    }
}

fn tonic_prost_codec() -> tonic_prost::ProstCodec<HealthCheckRequest, HealthCheckResponse> {
    tonic_prost::ProstCodec::default()
}

const CHECK: &str = "/grpc.health.v1.Health/Check";
const INTERNAL: &str = "/between.Services/Call";

fn table() -> Arc<Table> {
    let away = TokenError::Unavailable("the provider is away".to_owned());
    Arc::new(Table(Mutex::new(HashMap::from([
        ("admin", Ok(bearer("ann", Role::Admin, 3600))),
        ("reader", Ok(bearer("rob", Role::Reader, 3600))),
        ("scheduler", Ok(bearer("spiffe://ironmesh/dc/default/rack/default/service/scheduler", Role::Admin, 3600))),
        ("brief", Ok(bearer("ann", Role::Admin, 1))),
        ("norole", Err(TokenError::Forbidden("no role".to_owned()))),
        ("away", Err(away)),
    ]))))
}

#[tokio::test]
async fn a_request_has_the_rights_of_its_certificate_or_else_of_its_token() {
    let site = Site::serve(Some(table())).await;
    let long = "x".repeat(MAX_TOKEN_BYTES + 1);
    // Certificate, token, path, and the code with the caller or the reason.
    for (certificate, token, path, code, said) in [
        (Some("ann"), None, CHECK, Code::AlreadyExists, "operator ann"),
        (None, Some("admin"), CHECK, Code::AlreadyExists, "operator oidc:ann"),
        (None, Some("reader"), CHECK, Code::PermissionDenied, "operator oidc:rob (reader) may not call"),
        (None, None, CHECK, Code::Unauthenticated, "NO_CREDENTIALS"),
        (None, None, "/no.such.Service/Call", Code::Unauthenticated, "NO_CREDENTIALS"),
        (None, Some("forged"), CHECK, Code::Unauthenticated, "TOKEN_INVALID"),
        (None, Some(&*long), CHECK, Code::Unauthenticated, "TOKEN_INVALID"),
        (None, Some("norole"), CHECK, Code::PermissionDenied, "NO_ROLE"),
        (None, Some("away"), CHECK, Code::Unavailable, "IDENTITY_PROVIDER"),
        // A token makes no service of its bearer, whatever name it has.
        (None, Some("admin"), INTERNAL, Code::PermissionDenied, "may not call"),
        (None, Some("scheduler"), INTERNAL, Code::PermissionDenied, "may not call"),
        (Some("scheduler"), None, INTERNAL, Code::Unimplemented, ""),
        // With a certificate the token does not count: neither adds it rights, nor does it take any.
        (Some("ann"), Some("forged"), CHECK, Code::AlreadyExists, "operator ann"),
        (Some("scheduler"), Some("admin"), CHECK, Code::PermissionDenied, "may not call"),
    ] {
        let (found, what) = site.call(certificate, token, path).await;
        let shown = token.map(|token| token.chars().take(20).collect::<String>());
        assert!(found == code && what.contains(said), "{certificate:?} {shown:?} {path}: {found:?} {what}");
    }
}

#[tokio::test]
async fn a_certificate_of_another_ca_is_refused_in_the_handshake_in_spite_of_a_valid_token() {
    let site = Site::serve(Some(table())).await;
    let (code, what) = site.call(Some("other/eve"), Some("admin"), CHECK).await;
    assert!(!matches!(code, Code::AlreadyExists | Code::Unauthenticated | Code::PermissionDenied), "{code:?} {what}");
}

#[tokio::test]
async fn without_tokens_a_client_without_a_certificate_is_refused_in_the_handshake() {
    let site = Site::serve(None).await;
    let (code, what) = site.call(None, Some("admin"), CHECK).await;
    assert!(!matches!(code, Code::AlreadyExists | Code::Unauthenticated | Code::PermissionDenied), "{code:?} {what}");
    assert_eq!(site.call(Some("ann"), None, CHECK).await.0, Code::AlreadyExists);
}

#[tokio::test]
async fn a_stream_ends_with_its_token_and_one_of_a_certificate_does_not() {
    let site = Site::serve(Some(table())).await;
    let (mut brief, mut lasting) = (site.watch("brief").await, site.watch("admin").await);
    assert!(lasting.message().await.unwrap().is_some());
    let status = loop {
        match tokio::time::timeout(PATIENCE, brief.message()).await.unwrap() {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it ended as if it were complete"),
            Err(status) => break status,
        }
    };
    assert_eq!((status.code(), reason(&status).as_deref()), (Code::Unauthenticated, Some("TOKEN_EXPIRED")));
    assert!(futures::FutureExt::now_or_never(lasting.message()).is_none(), "the other stream goes on");
}

#[tokio::test]
async fn an_answer_that_is_there_passes_although_its_token_has_just_ended() {
    type Frames = Vec<Result<Frame<Bytes>, Status>>;
    let data = || Ok(Frame::data(Bytes::from_static(b"a")));
    let status = || Ok(Frame::trailers(HeaderMap::new()));
    let failed = || Err(Status::internal("failed"));
    // The kind of response, its frames, whether it then goes on, the frames that pass, and whether it is cut off.
    let cases: Vec<(&str, Frames, bool, usize, bool)> = vec![
        ("an answer", vec![data(), status()], false, 2, false),
        ("an error", vec![status()], false, 1, false),
        ("an error of the body", vec![failed()], false, 1, false),
        ("nothing", vec![], false, 0, false),
        ("a watch without news", vec![], true, 0, true),
        ("a watch with a first message", vec![data()], true, 1, true),
        ("a watch that never waits", vec![data(), data(), data(), status()], false, 1, true),
    ];
    for (kind, frames, goes_on, passed, is_cut) in cases {
        let rest = if goes_on { futures::stream::pending().boxed() } else { futures::stream::empty().boxed() };
        let inner = Body::new(http_body_util::StreamBody::new(futures::stream::iter(frames).chain(rest)));
        let ended = Timestamp::from_millis(clock::now().millis() - 1);
        let mut body = UntilExpiry::new(inner, ended);
        let mut seen = Vec::new();
        while let Some(frame) = tokio::time::timeout(PATIENCE, body.frame()).await.unwrap() {
            seen.push(frame);
        }
        let reason_of = |frame: &Result<Frame<Bytes>, Status>| {
            let status = Status::from_header_map(frame.as_ref().ok()?.trailers_ref()?)?;
            reason(&status)
        };
        let is_expired = seen.last().and_then(reason_of).as_deref() == Some("TOKEN_EXPIRED");
        assert_eq!((seen.len() - usize::from(is_expired), is_expired), (passed, is_cut), "{kind}: {seen:?}");
    }
}

#[tokio::test]
async fn reserved_room_is_for_the_tokens_of_administrators_too() {
    // Of 16 connections, two are reserved.
    let site = Site::serve_within(Some(table()), HttpLimits { connections: 16, ..HttpLimits::default() }).await;
    let mut streams = Vec::new();
    for _ in 0..14 {
        streams.push(site.watch("reader").await);
    }
    let (code, what) = site.call(None, Some("reader"), CHECK).await;
    assert_eq!(code, Code::PermissionDenied, "no room is needed to refuse a call: {what}");
    let mut request = Request::new(HealthCheckRequest::default());
    request.metadata_mut().insert("authorization", "Bearer reader".parse().unwrap());
    let status = HealthClient::new(site.anonymous(Some(PATIENCE))).watch(request).await.unwrap_err();
    assert!(status.code() == Code::Unavailable && status.message().contains("as many connections"), "{status:?}");
    assert_eq!(site.call(None, Some("admin"), CHECK).await, (Code::AlreadyExists, "operator oidc:ann".to_owned()));
    assert_eq!(site.call(Some("ann"), None, CHECK).await, (Code::AlreadyExists, "operator ann".to_owned()));
}
