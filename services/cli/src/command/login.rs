//! Logging in at an OpenID provider, logging out, and who the API takes the user for.

use std::{
    fs, io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow, bail};
use clap::Args;
use durable_file::Access;
use proto::api::v1::{Caller, CallerCredential, GetCallerRequest};
use serde::Serialize;
use serde_json::{Value, json};

use super::answered;
use crate::{
    call::Api,
    context::{self, Context, Credentials},
    error::Error,
    human::{at, clean, length, second},
    json,
    login::{
        DEFAULT_SCOPES, LoginConfig, LoginError,
        device_flow::DeviceAuthorization,
        provider::{Provider, Revocation, configuration_url},
        store::LoginFile,
        token::Tokens,
    },
    output::Screen,
    table,
};

/// Where to log in. What is left out is as in the context.
#[derive(Debug, Clone, Args)]
pub struct Login {
    /// URL of the OpenID provider, as it writes it itself.
    #[arg(long, value_name = "URL")]
    issuer: Option<String>,
    /// Id of this program at the provider: a public client that may use the device authorization grant.
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
    /// Scope to ask for; may be given several times [default: openid profile offline_access].
    #[arg(long, value_name = "SCOPE")]
    scope: Vec<String>,
    /// Scheduler-service to use, as host:port; several replicas with commas between them.
    #[arg(long, value_name = "HOST:PORT")]
    server: Option<String>,
    /// CA certificate (PEM) of the site.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// CA certificate (PEM) for the provider [default: the CAs of the operating system].
    #[arg(long, value_name = "FILE")]
    issuer_ca: Option<PathBuf>,
}

/// A context file with a login, as it is written.
#[derive(Serialize)]
struct ContextText<'c> {
    endpoint: &'c str,
    ca: &'c Path,
    login: &'c LoginConfig,
}

/// A context that a login is for.
#[derive(Debug, PartialEq, Eq)]
struct Target {
    endpoint: String,
    ca: PathBuf,
    login: LoginConfig,
}

impl Login {
    /// Returns the context with what the command line says, over what an existing context says.
    fn target(self, path: &Path, existing: Option<&Context>) -> anyhow::Result<Target> {
        let known = existing.map(|context| context.credentials()).transpose();
        if let Some(Credentials::Certificate(_)) = known.with_context(|| path.display().to_string())? {
            bail!(
                "the context {} has a certificate, and needs no login; name another file with --context FILE",
                path.display()
            );
        }
        let known = existing.map(Target::of).transpose()?.flatten();
        let (known_ca, known) = known.map(|target| (target.ca, target.login)).unzip();
        let missing =
            |option: &str, what: &str| anyhow!("the context {} does not name {what}; give {option}", path.display());
        let endpoint = self.server.or_else(|| existing.map(|context| context.endpoint.clone()));
        let ca = self.ca.map(std::path::absolute).transpose()?.or(known_ca);
        let issuer = self.issuer.or_else(|| known.as_ref().map(|login| login.issuer.clone()));
        // A client may be registered under one id everywhere; scopes and the CA are those of one provider.
        let of_same = known.as_ref().filter(|login| Some(&login.issuer) == issuer.as_ref());
        let client_id = self.client_id.or_else(|| known.as_ref().map(|login| login.client_id.clone()));
        let scopes = if self.scope.is_empty() { of_same.map(|login| login.scopes.clone()) } else { None };
        let issuer_ca = self.issuer_ca.map(std::path::absolute).transpose()?;
        let issuer_ca = issuer_ca.or_else(|| of_same.and_then(|login| login.ca.clone()));
        let target = Target {
            endpoint: endpoint.ok_or_else(|| missing("--server HOST:PORT", "the scheduler-service"))?,
            ca: ca.ok_or_else(|| missing("--ca FILE", "the CA certificate of the site"))?,
            login: LoginConfig {
                issuer: issuer.ok_or_else(|| missing("--issuer URL", "the OpenID provider"))?,
                client_id: client_id.ok_or_else(|| missing("--client-id ID", "the client at the OpenID provider"))?,
                scopes: scopes.unwrap_or_else(|| {
                    if self.scope.is_empty() { DEFAULT_SCOPES.to_owned() } else { self.scope.join(" ") }
                }),
                ca: issuer_ca,
            },
        };
        configuration_url(&target.login.issuer)?;
        Ok(target)
    }
}

impl Target {
    /// Returns what an existing context says, with absolute paths: those in a file are relative to its folder, and a path
    /// that was read is relative to the working directory. `None` if it has no login.
    fn of(context: &Context) -> io::Result<Option<Self>> {
        let Ok(Credentials::Login { ca, mut login }) = context.credentials() else { return Ok(None) };
        login.ca = login.ca.map(std::path::absolute).transpose()?;
        Ok(Some(Self { endpoint: context.endpoint.clone(), ca: std::path::absolute(ca)?, login }))
    }

    /// Writes the context file, unless it says the same already: its comments and relative paths stay.
    fn write_over(&self, path: &Path, existing: Option<&Context>) -> anyhow::Result<()> {
        match existing.map(Self::of).transpose()?.flatten() {
            Some(known) if known == *self => Ok(()),
            _ => self.write(path),
        }
    }

    /// Writes the context file.
    fn write(&self, path: &Path) -> anyhow::Result<()> {
        let text = toml::to_string(&ContextText { endpoint: &self.endpoint, ca: &self.ca, login: &self.login })?;
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
            made.with_context(|| format!("cannot create the folder {}", folder.display()))?;
        }
        Ok(durable_file::write(path, text.as_bytes(), Access::Everyone)?)
    }
}

pub(crate) async fn login(screen: &Screen, named: Option<&Path>, login: Login) -> Result<Api, Error> {
    let path = context::path(named).ok_or_else(|| anyhow!("name the context file to write with --context FILE"))?;
    let existing = if path.exists() { Some(context::find(Some(&path))?) } else { None };
    let target = login.target(&path, existing.as_ref())?;
    let provider = Provider::discover(&target.login).await.map_err(failed)?;
    let authorization = provider.authorize_device().await.map_err(failed)?;
    let file = LoginFile::beside(&path);
    if let Some((config, file)) = existing.as_ref().and_then(Context::login) {
        end_earlier(screen, config, &file).await?;
    }
    screen.note(&invitation(&authorization));
    let tokens = provider.await_login(&authorization).await.map_err(failed)?;
    target.write_over(&path, existing.as_ref())?;
    let lock = file.lock().await.map_err(failed)?;
    file.write(&target.login, &tokens).map_err(failed)?;
    drop(lock);
    screen.note(&format!("logged in; the tokens are in {}", file.path().display()));
    Api::new(&context::find(Some(&path))?)
}

/// Ends the login that a new one replaces, so that its refresh token does not stay valid unseen. It is revoked before the
/// new tokens are requested: Keycloak ends all sessions of the user and the client with a refresh token.
async fn end_earlier(screen: &Screen, config: &LoginConfig, file: &LoginFile) -> Result<(), Error> {
    let _alone = file.lock().await.map_err(failed)?;
    // A damaged file is replaced.
    let Ok(Some(tokens)) = file.read(config) else { return Ok(()) };
    if tokens.refresh_token.is_none() {
        return Ok(());
    }
    let ending = async { Provider::discover(config).await?.revoke(&tokens).await };
    let outcome = ending.await;
    if let Ok(Revocation::Done) = outcome {
        file.remove().map_err(failed)?;
    } else {
        screen.note(&remainder("the login before this one was not revoked", &outcome, &tokens, config));
    }
    Ok(())
}

/// Says what stays valid of a login that could not be revoked, and where to end it.
fn remainder(what: &str, outcome: &Result<Revocation, LoginError>, tokens: &Tokens, config: &LoginConfig) -> String {
    let why = match outcome {
        Err(error) => error.to_string(),
        Ok(_) => "the provider cannot revoke tokens".to_owned(),
    };
    let stays = if tokens.refresh_token.is_some() {
        "a copy of the refresh token can still be used for new access tokens"
    } else {
        "a copy of the access token can still be used until it expires"
    };
    let issuer = clean(&config.issuer);
    format!(
        "{what}: {why}; {stays}\nnext: end the session in the account pages of {issuer}, or have an administrator end it"
    )
}

/// The text that asks the user to confirm the login.
fn invitation(authorization: &DeviceAuthorization) -> String {
    let DeviceAuthorization { user_code, verification_uri, verification_uri_complete, .. } = authorization;
    let direct = verification_uri_complete.as_ref().map(|uri| format!("\nor open   {uri}")).unwrap_or_default();
    let lifetime = length(authorization.lifetime());
    format!(
        "to log in, open {verification_uri} in a browser on any device,\nand enter {user_code}{direct}\nwaiting up to \
         {lifetime} for the confirmation; ^C gives up"
    )
}

fn failed(error: LoginError) -> Error {
    Error::Usage(anyhow!(error))
}

/// Forgets the login of the context.
#[derive(Debug, Clone, Args)]
pub struct Logout {}

pub(crate) async fn logout(screen: &Screen, named: Option<&Path>) -> Result<(), Error> {
    let context = context::find(named)?;
    let Some((config, file)) = context.login() else {
        let text = "has a certificate and no login; revoke a certificate where the CA is: ironmesh certificate revoke";
        return Err(anyhow!("the context {} {text}", context.path.display()).into());
    };
    let _alone = file.lock().await.map_err(failed)?;
    let tokens = file.read(config);
    // What is removed here cannot be used from here, even if the provider is away.
    let was_logged_in = file.remove().map_err(failed)?;
    let mut is_revoked = false;
    if let Ok(Some(tokens)) = tokens {
        let revoked = async { Provider::discover(config).await?.revoke(&tokens).await };
        match revoked.await {
            Ok(Revocation::Done) => is_revoked = true,
            outcome => {
                let what = "the tokens were removed here, but not revoked at the provider";
                screen.note(&remainder(what, &outcome, &tokens, config));
            }
        }
    }
    let text = if was_logged_in { "logged out" } else { "there was no login" };
    screen.show(|| text.to_owned(), || json!({"logged_out": was_logged_in, "revoked": is_revoked}))
}

/// Shows who the API takes you for.
#[derive(Debug, Clone, Args)]
pub struct Whoami {}

pub(crate) async fn whoami(screen: &Screen, api: &Api) -> Result<(), Error> {
    let caller = answered(api.callers().get_caller(GetCallerRequest {}).await?.into_inner().caller)?;
    let credential = match caller.credential() {
        CallerCredential::Certificate => "certificate",
        CallerCredential::Token => "login",
        CallerCredential::Unspecified => "",
    };
    let until = at(caller.expire_time).map(second).unwrap_or_default();
    let facts = || {
        table::facts(
            screen,
            [
                ("name", caller.name.clone()),
                ("role", caller.role.clone()),
                ("by", credential.to_owned()),
                // A login is renewed.
                (if credential == "login" { "token until" } else { "until" }, until.clone()),
            ],
        )
    };
    screen.show(facts, || caller_json(&caller, credential))
}

fn caller_json(caller: &Caller, credential: &str) -> Value {
    json!({
        "name": caller.name,
        "role": caller.role,
        "credential": credential,
        "expire_time": json::time(caller.expire_time),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(words: &str) -> Login {
        #[derive(clap::Parser)]
        struct Tree {
            #[command(flatten)]
            login: Login,
        }
        let words = std::iter::once("login").chain(words.split_whitespace());
        <Tree as clap::Parser>::try_parse_from(words).unwrap().login
    }

    const ALL: &str = "--issuer https://id --client-id c --server h:1 --ca /ca.pem";

    #[test]
    fn the_first_login_writes_a_context_and_the_next_one_needs_no_options() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/client.toml");
        let first = login(&format!("{ALL} --issuer-ca /id.pem --scope openid --scope a")).target(&path, None).unwrap();
        first.write(&path).unwrap();
        let context = context::find(Some(&path)).unwrap();
        assert_eq!(context.endpoint, "h:1");
        assert_eq!(login("").target(&path, Some(&context)).unwrap(), first);
        let other = login("--scope openid --server h:2").target(&path, Some(&context)).unwrap();
        assert_eq!((other.login.scopes.as_str(), other.endpoint.as_str()), ("openid", "h:2"));
        assert_eq!(login(ALL).target(&path, None).unwrap().login.scopes, DEFAULT_SCOPES);
        // What belongs to one provider is not for another one.
        let other = login("--issuer https://other").target(&path, Some(&context)).unwrap().login;
        assert_eq!((other.ca, other.scopes.as_str()), (None, DEFAULT_SCOPES));
        assert_eq!(other.client_id, "c");
        let same = login("--issuer https://id --server h:2").target(&path, Some(&context)).unwrap();
        assert_eq!(same.login, first.login);
    }

    #[test]
    fn a_context_with_relative_paths_names_the_same_files_after_another_login() {
        let here = std::env::current_dir().unwrap();
        let folder = tempfile::tempdir_in(&here).unwrap();
        // As `--context lab/client.toml` names it.
        let path = Path::new(folder.path().file_name().unwrap()).join("client.toml");
        let text = "# of the lab\nendpoint = \"h:1\"\nca = \"ca.pem\"\n[login]\nissuer = \"https://id\"\nclient_id = \"c\"\n\
                    ca = \"id/ca.pem\"\n";
        // The options, and whether the file changes.
        for (words, is_written) in [
            ("", false),
            ("--server h:1", false),
            ("--issuer https://id --client-id c", false),
            ("--server h:2", true),
            ("--scope openid", true),
            ("--client-id d", true),
        ] {
            fs::write(&path, text).unwrap();
            let context = context::find(Some(&path)).unwrap();
            login(words).target(&path, Some(&context)).unwrap().write_over(&path, Some(&context)).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap() != text, is_written, "{words}");
            let known = Target::of(&context::find(Some(&path)).unwrap()).unwrap().unwrap();
            let expected = (folder.path().join("ca.pem"), Some(folder.path().join("id/ca.pem")));
            assert_eq!((known.ca, known.login.ca), expected, "{words}");
        }
    }

    #[test]
    fn what_stays_valid_of_a_login_is_said() {
        let tokens = |refresh_token: Option<&str>| {
            let answer = json!({"access_token": "hush", "token_type": "Bearer", "refresh_token": refresh_token});
            Tokens::read(answer.to_string().as_bytes(), None, domain::time::Timestamp::from_millis(0)).unwrap()
        };
        let config = login(ALL).target(Path::new("client.toml"), None).unwrap().login;
        for (outcome, refresh_token, parts) in [
            (Ok(Revocation::NotOffered), Some("hush"), ["cannot revoke tokens", "copy of the refresh token"]),
            (Ok(Revocation::NotOffered), None, ["cannot revoke tokens", "until it expires"]),
            (Err(LoginError::Away(503)), Some("hush"), ["503", "copy of the refresh token"]),
            (Err(LoginError::Away(503)), None, ["503", "until it expires"]),
            (Err(LoginError::Refused("no".to_owned())), Some("hush"), ["refused: no", "copy of the refresh token"]),
            (Err(LoginError::Refused("no".to_owned())), None, ["refused: no", "until it expires"]),
        ] {
            let text = remainder("the tokens were removed here", &outcome, &tokens(refresh_token), &config);
            assert!(
                parts.iter().all(|part| text.contains(part)) && text.contains("account pages of https://id"),
                "{text}"
            );
            assert!(!text.contains("hush"), "{text}");
        }
    }

    #[test]
    fn a_login_says_what_is_missing_or_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("client.toml");
        for (words, part) in [
            ("--client-id c --server h:1 --ca /ca.pem", "--issuer URL"),
            ("--issuer https://id --server h:1 --ca /ca.pem", "--client-id ID"),
            ("--issuer https://id --client-id c --ca /ca.pem", "--server HOST:PORT"),
            ("--issuer https://id --client-id c --server h:1", "--ca FILE"),
            ("--issuer http://id --client-id c --server h:1 --ca /ca.pem", "https://"),
            ("--issuer id --client-id c --server h:1 --ca /ca.pem", "https://"),
        ] {
            let error = login(words).target(&path, None).unwrap_err();
            assert!(format!("{error:#}").contains(part), "{words}: {error:#}");
        }
        fs::write(&path, "endpoint = \"h:1\"\nca = \"ca.pem\"\ncertificate = \"a\"\nkey = \"b\"\n").unwrap();
        let context = context::find(Some(&path)).unwrap();
        let error = login(ALL).target(&path, Some(&context)).unwrap_err().to_string();
        assert!(error.contains("has a certificate") && error.contains("--context FILE"), "{error}");
    }
}
