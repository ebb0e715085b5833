//! A stand-in for Keystone that answers as the Identity API reference says, and counts.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode as Status},
    response::{IntoResponse as _, Response},
    routing::get,
};
use domain::policy::{Roles, Scope};
use service_kit::{Host, tls};
use tokio::net::TcpListener;

use super::*;

#[derive(Debug, Default)]
struct Fake {
    asked: AtomicUsize,
    logins: AtomicUsize,
    is_revoked: AtomicBool,
    is_broken: AtomicBool,
    /// Our own tokens before this one are none.
    own: AtomicUsize,
}

impl Fake {
    fn token(name: &str) -> Value {
        let soon = clock::now().plus(Duration::from_secs(60)).to_string();
        let roles = json!([{"id": "r", "name": "admin"}]);
        json!({"token": {"user": {"id": "u", "name": name}, "roles": roles, "expires_at": soon, "system": {"all": true}}})
    }
}

async fn login(State(fake): State<Arc<Fake>>, body: String) -> Response {
    let asked: Value = serde_json::from_str(&body).unwrap();
    let number = fake.logins.fetch_add(1, Ordering::SeqCst);
    if asked["auth"]["identity"]["password"]["user"]["password"] != "secret" {
        return Status::UNAUTHORIZED.into_response();
    }
    (Status::CREATED, [(SUBJECT, format!("own-{number}"))], Fake::token("ironmesh").to_string()).into_response()
}

async fn show(State(fake): State<Arc<Fake>>, headers: HeaderMap) -> Response {
    let own = headers[TOKEN].to_str().unwrap().strip_prefix("own-").map(|number| number.parse().unwrap());
    if fake.is_broken.load(Ordering::SeqCst) {
        return Status::BAD_GATEWAY.into_response();
    }
    if own.is_none_or(|own: usize| own < fake.own.load(Ordering::SeqCst)) {
        return Status::UNAUTHORIZED.into_response();
    }
    fake.asked.fetch_add(1, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(50)).await;
    if headers[SUBJECT] != "right" || fake.is_revoked.load(Ordering::SeqCst) {
        return Status::NOT_FOUND.into_response();
    }
    Fake::token("ann").to_string().into_response()
}

struct Bench {
    fake: Arc<Fake>,
    keystone: Keystone,
    host: Host,
    _folder: tempfile::TempDir,
}

async fn bench(password: &str, seen: Duration) -> Bench {
    tls::install_provider();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v3/", listener.local_addr().unwrap());
    let fake = Arc::new(Fake::default());
    let routes = Router::new().route("/v3/auth/tokens", get(show).post(login)).with_state(Arc::clone(&fake));
    let host = Host::default();
    let stop = host.clone();
    host.spawn(async move {
        let serving = axum::serve(listener, routes).with_graceful_shutdown(async move { stop.stopping().await });
        serving.await.unwrap();
    });
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    fs::write(&file, format!("{password}\n")).unwrap();
    let config = config::Keystone { url, password: file, seen, ..config::Keystone::default() };
    Bench { fake, keystone: Keystone::open(&config, &OutboundConfig::default()).unwrap(), host, _folder: folder }
}

#[tokio::test]
async fn concurrent_requests_with_one_token_cause_one_validation() {
    let bench = bench("secret", Duration::from_secs(60)).await;
    let all = futures::future::join_all((0..20).map(|_| bench.keystone.authenticate("right"))).await;
    for caller in all {
        let caller = caller.unwrap();
        assert_eq!(
            (caller.name.as_str(), caller.roles, &caller.scope),
            ("ann", Roles::named(["admin"]), &Scope::System)
        );
    }
    assert_eq!(bench.fake.asked.load(Ordering::SeqCst), 1);
    assert_eq!(bench.fake.logins.load(Ordering::SeqCst), 1);
    bench.host.stop();
}

#[tokio::test]
async fn a_revoked_token_is_rejected_when_its_cache_entry_expires() {
    let bench = bench("secret", Duration::from_millis(300)).await;
    assert!(bench.keystone.authenticate("right").await.is_ok());
    bench.fake.is_revoked.store(true, Ordering::SeqCst);
    assert!(bench.keystone.authenticate("right").await.is_ok());
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(matches!(bench.keystone.authenticate("right").await, Err(Refusal::Unknown(_))));
}

#[tokio::test]
async fn an_invalid_token_is_validated_once() {
    let bench = bench("secret", Duration::from_secs(60)).await;
    for _ in 0..5 {
        assert!(matches!(bench.keystone.authenticate("wrong").await, Err(Refusal::Unknown(_))));
    }
    assert_eq!(bench.fake.asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn our_own_token_is_renewed_when_it_is_rejected() {
    let bench = bench("secret", Duration::ZERO).await;
    assert!(bench.keystone.authenticate("right").await.is_ok());
    bench.fake.own.store(1, Ordering::SeqCst);
    assert!(bench.keystone.authenticate("right").await.is_ok());
    assert_eq!(bench.fake.logins.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_failing_keystone_or_a_rejected_login_does_not_make_a_token_invalid() {
    let bench = bench("secret", Duration::from_secs(60)).await;
    bench.fake.is_broken.store(true, Ordering::SeqCst);
    assert!(matches!(bench.keystone.authenticate("right").await, Err(Refusal::Away(_))));
    bench.fake.is_broken.store(false, Ordering::SeqCst);
    tokio::time::sleep(FAILURE_TTL).await;
    assert!(bench.keystone.authenticate("right").await.is_ok(), "it is asked again soon");
    let stranger = tests::bench("other", Duration::from_secs(60)).await;
    assert!(matches!(stranger.keystone.authenticate("right").await, Err(Refusal::Away(_))));
}

#[tokio::test]
async fn invalid_tokens_do_not_fill_the_cache() {
    let bench = bench("secret", Duration::from_secs(60)).await;
    for number in 0..(MAX_CACHED_TOKENS * 2) {
        drop(bench.keystone.slot(Sha256::digest(number.to_le_bytes()).into()));
    }
    assert!(bench.keystone.known.lock().len() <= MAX_CACHED_TOKENS);
}
