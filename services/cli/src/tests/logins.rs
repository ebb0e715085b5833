//! Commands with a login in place of a certificate, and without a provider that answers.

use std::{
    fs,
    path::{Path, PathBuf},
};

use futures::future::BoxFuture;
use serde_json::json;
use service_kit::{
    bearer_token::{TokenBearer, TokenError, VerifyToken},
    clock,
    tls::Role,
};

use super::{at, code, fake::Fake};
use domain::time::Timestamp;

/// The token that the fake accepts.
const TOKEN: &str = "hush-hush";
/// No provider is there.
const ISSUER: &str = "https://127.0.0.1:1";

/// Accepts one token.
pub(super) struct Accepted;

impl VerifyToken for Accepted {
    fn verify<'t>(&'t self, token: &'t str) -> BoxFuture<'t, Result<TokenBearer, TokenError>> {
        let (name, account) = ("ann".to_owned(), "jwt ann".to_owned());
        let expires = Timestamp::from_millis(clock::now().millis() + 600_000);
        let bearer = TokenBearer { name, account, role: Role::Reader, expires };
        let outcome = if token == TOKEN { Ok(bearer) } else { Err(TokenError::Invalid("unknown token".to_owned())) };
        Box::pin(std::future::ready(outcome))
    }
}

/// Writes a context with a login, whose access token ends in this many seconds.
fn logged_in(fake: &Fake, token: &str, seconds: i64, refresh_token: Option<&str>) -> PathBuf {
    let path = fake.folder.path().join("login.toml");
    let ca = fake.folder.path().join("ca.pem");
    let text = format!(
        "endpoint = {:?}\nca = {ca:?}\n[login]\nissuer = {ISSUER:?}\nclient_id = \"c\"\nca = {ca:?}\n",
        fake.endpoint
    );
    fs::write(&path, text).unwrap();
    let now = clock::now().millis();
    let mut stored = json!({
        "issuer": ISSUER, "client_id": "c", "access_token": token, "received_ms": now - 3_600_000,
        "expires_ms": now + seconds * 1000,
    });
    if let Some(refresh_token) = refresh_token {
        stored["refresh_token"] = json!(refresh_token);
    }
    fs::write(path.with_extension("login.json"), stored.to_string()).unwrap();
    path
}

#[tokio::test]
async fn a_command_uses_the_token_of_the_login_or_says_what_to_do() {
    let fake = Fake::serve().await;
    // The token, the seconds until it ends, the refresh token, the exit code, and what is said.
    for (token, seconds, refresh_token, ended_with, said) in [
        (TOKEN, 600, None, 0, ""),
        (TOKEN, 600, Some("hush-refresh"), 0, ""),
        // It ends soon and cannot be renewed, and is good for this call.
        (TOKEN, 30, Some("hush-refresh"), 0, ""),
        (TOKEN, 30, None, 0, ""),
        (TOKEN, -1, None, 1, "gave no refresh token (the scope offline_access asks for one); log in again"),
        (TOKEN, -1, Some("hush-refresh"), 1, "cannot reach the OpenID provider: cannot connect to 127.0.0.1:1"),
        ("hush-forged", 600, None, 1, "unknown token; log in again with ironmesh login\nreason: TOKEN_INVALID"),
        ("hush-forged", 600, Some("hush-refresh"), 1, "cannot reach the OpenID provider"),
    ] {
        let context = logged_in(&fake, token, seconds, refresh_token);
        let ended = at(&context, "node list").await;
        let (remarks, shown) = (ended.remarks, format!("{token}, {seconds} s, {refresh_token:?}"));
        assert_eq!(ended.code, code(ended_with), "{shown}: {remarks}");
        assert!(remarks.contains(said) && ended.answers.is_empty() == (ended_with != 0), "{shown}: {remarks}");
        assert!(!format!("{remarks}{}", ended.answers).contains("hush"), "{shown}: {remarks}");
    }
}

#[tokio::test]
async fn without_a_login_a_command_says_how_to_log_in() {
    let fake = Fake::serve().await;
    let context = logged_in(&fake, TOKEN, 600, None);
    let file = context.with_extension("login.json");
    let ended = at(&context, "logout").await;
    // The provider is away, and the tokens are gone nevertheless.
    assert_eq!(ended.code, code(0), "{}", ended.remarks);
    assert!(ended.remarks.contains("not revoked at the provider") && !file.exists(), "{}", ended.remarks);
    assert_eq!(ended.answers, "logged out\n");
    let ended = at(&context, "node list").await;
    assert_eq!(ended.code, code(1), "{}", ended.remarks);
    assert_eq!(ended.remarks, "error: not logged in; log in with ironmesh login\nreason: LOGIN\n");
    let ended = at(&context, "logout").await;
    assert_eq!((ended.code, ended.answers.as_str()), (code(0), "there was no login\n"));
    // It calls the provider alone.
    let context = logged_in(&fake, TOKEN, 600, None);
    let text = fs::read_to_string(&context).unwrap().replacen("ca.pem", "gone.pem", 1);
    fs::write(&context, text).unwrap();
    let ended = at(&context, "logout").await;
    assert_eq!((ended.code, ended.answers.as_str()), (code(0), "logged out\n"), "{}", ended.remarks);
    let ended = at(&fake.context, "logout").await;
    assert_eq!(ended.code, code(2));
    assert!(ended.remarks.contains("has a certificate and no login"), "{}", ended.remarks);
}

#[tokio::test]
async fn a_login_at_a_provider_that_is_away_leaves_nothing_behind() {
    let fake = Fake::serve().await;
    let (ca, context) = (fake.folder.path().join("ca.pem"), fake.folder.path().join("new.toml"));
    let words = format!("login --issuer {ISSUER} --client-id c --server {} --ca {}", fake.endpoint, ca.display());
    let ended = at(&context, &words).await;
    assert_eq!(ended.code, code(2), "{}", ended.remarks);
    assert!(ended.remarks.contains("cannot reach the OpenID provider"), "{}", ended.remarks);
    assert!(!context.exists() && !Path::new(&context.with_extension("login.json")).exists());
    let ended = at(&fake.context, &words).await;
    assert!(ended.code == code(2) && ended.remarks.contains("has a certificate"), "{}", ended.remarks);
}

#[tokio::test]
async fn a_service_that_takes_no_tokens_is_told_from_one_that_is_away() {
    let fake = Fake::serve_with(None).await;
    let ended = at(&logged_in(&fake, TOKEN, 600, None), "node list").await;
    assert_eq!(ended.code, code(2), "{}", ended.remarks);
    assert!(ended.remarks.contains("takes no logins") && ended.remarks.contains("rest_jwt.grpc"), "{}", ended.remarks);
}
