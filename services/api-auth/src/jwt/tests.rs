//! Tokens as a provider signs them, and as others do.

use std::{fs, path::Path};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use domain::policy::{Roles, Scope};
use ring::{
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
        RsaPublicKeyComponents,
    },
};
use serde_json::json;
use service_kit::{
    bearer_token::{TokenError, VerifyToken as _},
    clock,
    tls::Role as OperatorRole,
};

use super::*;

/// Made for this test alone: `openssl genpkey -algorithm RSA`.
const RSA: &[u8] = include_bytes!("golden/rsa.pk8");

fn coded(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// A provider's key pair.
enum Pair {
    Rsa(RsaKeyPair),
    Curve(EcdsaKeyPair),
    Edwards(Ed25519KeyPair),
}

impl Pair {
    fn rsa() -> Self {
        Self::Rsa(RsaKeyPair::from_pkcs8(RSA).unwrap())
    }

    fn curve() -> Self {
        let (kind, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
        let key = EcdsaKeyPair::generate_pkcs8(kind, &random).unwrap();
        Self::Curve(EcdsaKeyPair::from_pkcs8(kind, key.as_ref(), &random).unwrap())
    }

    fn edwards() -> Self {
        let key = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Self::Edwards(Ed25519KeyPair::from_pkcs8(key.as_ref()).unwrap())
    }

    const fn name(&self) -> &'static str {
        match self {
            Self::Rsa(_) => "RS256",
            Self::Curve(_) => "ES256",
            Self::Edwards(_) => "EdDSA",
        }
    }

    fn jwk(&self, id: &str) -> Value {
        let mut jwk = match self {
            Self::Rsa(pair) => {
                let RsaPublicKeyComponents { n, e } = RsaPublicKeyComponents::<Vec<u8>>::from(pair.public());
                json!({"kty": "RSA", "n": coded(n), "e": coded(e)})
            }
            Self::Curve(pair) => {
                let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
                json!({"kty": "EC", "crv": "P-256", "x": coded(x), "y": coded(y)})
            }
            Self::Edwards(pair) => json!({"kty": "OKP", "crv": "Ed25519", "x": coded(pair.public_key())}),
        };
        jwk["kid"] = json!(id);
        jwk
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        let text = format!("{}.{}", coded(header.to_string()), coded(claims.to_string()));
        let random = SystemRandom::new();
        let signature = match self {
            Self::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, text.as_bytes(), &mut signature).unwrap();
                signature
            }
            Self::Curve(pair) => pair.sign(&random, text.as_bytes()).unwrap().as_ref().to_vec(),
            Self::Edwards(pair) => pair.sign(text.as_bytes()).as_ref().to_vec(),
        };
        format!("{text}.{}", coded(signature))
    }

    /// A token that is right but for what is said otherwise.
    fn token(&self, more: &Value) -> String {
        self.sign(&json!({"alg": self.name(), "kid": self.name()}), &claims(more))
    }
}

/// In seconds, from now on.
fn at(seconds: i64) -> i64 {
    clock::now().millis() / 1000 + seconds
}

fn claims(more: &Value) -> Value {
    let mut claims = json!({
        "iss": "https://id", "aud": ["other", "ironmesh"], "exp": at(300), "sub": "u1", "preferred_username": "ann",
        "roles": ["member"], "project_id": "p1",
    });
    claims.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
    claims
}

fn publish(folder: &Path, pairs: &[&Pair]) {
    let keys: Vec<Value> = pairs.iter().map(|pair| pair.jwk(pair.name())).collect();
    fs::write(folder.join("keys"), json!({"keys": keys}).to_string()).unwrap();
}

fn issuer(folder: &Path) -> Issuer {
    let config = config::Jwt {
        keys: folder.join("keys").display().to_string(),
        issuer: "https://id".to_owned(),
        audience: "ironmesh".to_owned(),
        ..config::Jwt::default()
    };
    Issuer::open(&config, &OutboundConfig::default()).unwrap()
}

#[tokio::test]
async fn a_token_signed_with_any_of_the_three_algorithms_says_who_and_where() {
    let folder = tempfile::tempdir().unwrap();
    let pairs = [Pair::rsa(), Pair::curve(), Pair::edwards()];
    publish(folder.path(), &pairs.each_ref());
    let issuer = issuer(folder.path());
    for pair in &pairs {
        let caller = issuer.authenticate(&pair.token(&json!({}))).await.unwrap();
        assert_eq!((caller.name.as_str(), caller.roles), ("ann", Roles::named(["member"])), "{}", pair.name());
        assert_eq!(caller.scope, Scope::Project { id: "p1".to_owned(), is_services: false });
    }
}

#[tokio::test]
async fn a_token_with_wrong_times_audience_or_issuer_is_rejected() {
    let folder = tempfile::tempdir().unwrap();
    let pair = Pair::edwards();
    publish(folder.path(), &[&pair]);
    let issuer = issuer(folder.path());
    let wrong = [
        json!({"exp": at(-60)}),
        json!({"exp": null}),
        json!({"exp": "never"}),
        json!({"nbf": at(60)}),
        json!({"nbf": "soon"}),
        json!({"iss": "https://other"}),
        json!({"iss": null}),
        json!({"aud": "other"}),
        json!({"aud": null}),
        json!({"typ": "ID"}),
        json!({"sub": null, "preferred_username": null}),
    ];
    for wrong in wrong {
        assert!(matches!(issuer.authenticate(&pair.token(&wrong)).await, Err(Refusal::Unknown(_))), "{wrong}");
    }
    assert!(issuer.authenticate(&pair.token(&json!({"exp": at(-5)}))).await.is_ok(), "clocks differ");
}

#[tokio::test]
async fn unsigned_tokens_and_other_algorithms_are_rejected() {
    let folder = tempfile::tempdir().unwrap();
    let pair = Pair::rsa();
    publish(folder.path(), &[&pair]);
    let issuer = issuer(folder.path());
    let right = pair.token(&json!({}));
    let (text, signature) = right.rsplit_once('.').unwrap();
    let claims = text.split_once('.').unwrap().1;
    for algorithm in ["none", "None", "HS256", "HS512", "RS512", "PS256", "ES256"] {
        let header = coded(json!({"alg": algorithm, "kid": "RS256"}).to_string());
        for signature in ["", signature] {
            assert!(issuer.authenticate(&format!("{header}.{claims}.{signature}")).await.is_err(), "{algorithm}");
        }
    }
    let critical = json!({"alg": "RS256", "kid": "RS256", "crit": ["exp"]});
    assert!(issuer.authenticate(&pair.sign(&critical, &tests::claims(&json!({})))).await.is_err());
    for wrong in ["", ".", "..", "a.b.c", text, &format!("{text}.{}", coded([0; 256]))] {
        assert!(matches!(issuer.authenticate(wrong).await, Err(Refusal::Unknown(_))), "{wrong}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_key_is_accepted_and_a_removed_key_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (Pair::curve(), Pair::edwards());
    publish(folder.path(), &[&old]);
    let issuer = issuer(folder.path());
    assert!(issuer.authenticate(&new.token(&json!({}))).await.is_err());
    publish(folder.path(), &[&new]);
    tokio::time::advance(std::time::Duration::from_secs(5)).await;
    assert!(issuer.authenticate(&new.token(&json!({}))).await.is_ok());
    assert!(issuer.authenticate(&old.token(&json!({}))).await.is_err());
    fs::write(folder.path().join("keys"), "{}").unwrap();
    tokio::time::advance(std::time::Duration::from_secs(5)).await;
    assert!(issuer.authenticate(&new.token(&json!({}))).await.is_ok(), "an invalid file changes nothing");
    tokio::time::advance(std::time::Duration::from_secs(3601)).await;
    assert!(matches!(issuer.authenticate(&new.token(&json!({}))).await, Err(Refusal::Away(_))), "but not for ever");
}

#[test]
fn a_file_without_usable_keys_is_rejected_immediately() {
    let folder = tempfile::tempdir().unwrap();
    for keys in
        [json!([]), json!([{"kty": "oct", "k": "AAAA"}]), json!([{"kty": "EC", "crv": "P-384", "x": "AA", "y": "AA"}])]
    {
        fs::write(folder.path().join("keys"), json!({"keys": keys}).to_string()).unwrap();
        let config = config::Jwt { keys: folder.path().join("keys").display().to_string(), ..config::Jwt::default() };
        assert!(
            Issuer::open(&config, &OutboundConfig::default()).unwrap_err().to_string().contains("has no key for"),
            "{keys}"
        );
    }
}

#[tokio::test]
async fn a_valid_token_names_an_operator_of_the_grpc_api_until_it_ends() {
    let folder = tempfile::tempdir().unwrap();
    let pair = Pair::edwards();
    publish(folder.path(), &[&pair]);
    let issuer = issuer(folder.path());
    let exp = at(300);
    let right = pair.token(&json!({"exp": exp, "system_scope": "all", "roles": ["member"]}));
    let bearer = issuer.verify(&right).await.unwrap();
    assert_eq!((bearer.name.as_str(), bearer.account.as_str(), bearer.role), ("ann", "jwt u1", OperatorRole::Member));
    assert_eq!(bearer.expires.millis(), (exp + 30) * 1000);
    for wrong in [json!({"exp": at(-60)}), json!({"iss": "https://other"}), json!({"aud": "other"})] {
        assert!(matches!(issuer.verify(&pair.token(&wrong)).await, Err(TokenError::Invalid(_))), "{wrong}");
    }
    assert!(matches!(issuer.verify(&pair.token(&json!({}))).await, Err(TokenError::Forbidden(_))), "of a project");
}

#[tokio::test]
async fn tokens_are_for_the_grpc_api_only_where_the_configuration_says_so() {
    let folder = tempfile::tempdir().unwrap();
    publish(folder.path(), &[&Pair::edwards()]);
    let keys = folder.path().join("keys").display().to_string();
    for (jwt, is_for_grpc) in [
        (config::Jwt::default(), false),
        (config::Jwt { grpc: true, ..config::Jwt::default() }, false),
        (config::Jwt { keys: keys.clone(), ..config::Jwt::default() }, false),
        (config::Jwt { keys, grpc: true, ..config::Jwt::default() }, true),
    ] {
        let config = config::AuthConfig { jwt, ..config::AuthConfig::default() };
        let authenticator = crate::Authenticator::open(&config).unwrap();
        assert_eq!(authenticator.grpc_tokens().is_some(), is_for_grpc, "{config:?}");
    }
}
