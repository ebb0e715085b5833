//! Logging in at a real OpenID provider with the command line, in place of using a certificate.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, anyhow, ensure};
use integration_tests::{
    fleet::Fleet,
    mesh::{Options, program},
    openid::{ADMINS, AUDIENCE, CLIENT, Provider},
};
use serde_json::{Value, json};

/// The end of a command.
struct Ended {
    code: Option<i32>,
    answer: Value,
    remarks: String,
}

/// A user of the command line.
struct User<'p> {
    name: &'static str,
    provider: &'p Provider,
    context: PathBuf,
    /// Where the scheduler-service is, and the CA of the mesh.
    endpoint: &'p str,
    ca: PathBuf,
}

impl User<'_> {
    fn command(&self, words: &[&str]) -> Result<Command> {
        let mut command = Command::new(program()?);
        command.arg("--context").arg(&self.context).args(words).args(["-o", "json"]).stdin(Stdio::null());
        Ok(command)
    }

    fn run(&self, words: &[&str]) -> Result<Ended> {
        let output = self.command(words)?.output()?;
        let remarks = String::from_utf8_lossy(&output.stderr).into_owned();
        let answer = serde_json::from_slice(&output.stdout).unwrap_or_default();
        Ok(Ended { code: output.status.code(), answer, remarks })
    }

    /// Runs a command that must succeed.
    fn must(&self, words: &[&str]) -> Result<Value> {
        let ended = self.run(words)?;
        ensure!(ended.code == Some(0), "{}: {words:?}: {:?} {}", self.name, ended.code, ended.remarks);
        Ok(ended.answer)
    }

    /// Runs a command that must fail with exit code 1, and with these words.
    fn fails(&self, words: &[&str], said: &[&str]) -> Result<()> {
        let Ended { code, remarks, .. } = self.run(words)?;
        let is_said = said.iter().all(|part| remarks.contains(part));
        ensure!(code == Some(1) && is_said, "{}: {words:?}: {code:?} {remarks}", self.name);
        Ok(())
    }

    /// Logs in: the command shows a page, and the user's browser confirms or refuses there.
    fn login(&self, is_refused: bool) -> Result<Ended> {
        let (issuer, ca) = (self.provider.issuer(), self.ca.display().to_string());
        let issuer_ca = self.provider.ca().display().to_string();
        let at_provider = ["--issuer", &issuer, "--issuer-ca", &issuer_ca, "--client-id", CLIENT];
        let words = [&["login", "--server", self.endpoint, "--ca", &ca][..], &at_provider].concat();
        let mut child = self.command(&words)?.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let mut said = BufReader::new(child.stderr.take().context("no stderr")?);
        let mut remarks = String::new();
        let page = loop {
            let mut line = String::new();
            ensure!(said.read_line(&mut line)? > 0, "no page is shown: {remarks}");
            remarks.push_str(&line);
            if let Some(page) = line.strip_prefix("or open ") {
                break page.trim().to_owned();
            }
        };
        self.provider.browse(&page, self.name, is_refused)?;
        said.read_to_string(&mut remarks)?;
        let output = child.wait_with_output()?;
        let answer = serde_json::from_slice(&output.stdout).unwrap_or_default();
        Ok(Ended { code: output.status.code(), answer, remarks })
    }

    fn file(&self) -> PathBuf {
        self.context.with_extension("login.json")
    }

    fn stored(&self) -> Result<Value> {
        Ok(serde_json::from_slice(&fs::read(self.file())?)?)
    }

    /// Changes the stored login, as time or an attacker does.
    fn change(&self, key: &str, value: Value) -> Result<()> {
        let mut stored = self.stored()?;
        *stored.get_mut(key).context("no such key")? = value;
        Ok(fs::write(self.file(), stored.to_string())?)
    }
}

#[test]
fn operators_log_in_at_an_openid_provider_and_use_the_mesh_with_its_tokens() {
    let folder = tempfile::tempdir().unwrap();
    let provider = Provider::prepare(folder.path()).unwrap();
    let set = |key: &str, value: &str| format!("scheduler.rest_jwt.{key}={value}");
    let set = vec![
        set("keys", &format!("{}/jwks", provider.issuer())),
        set("ca", &provider.ca().display().to_string()),
        set("issuer", &provider.issuer()),
        set("audience", AUDIENCE),
        set(&format!("role_names.{ADMINS}"), "admin"),
        set("role_names.reader", "reader"),
        set("fleet_wide", "true"),
        set("grpc", "true"),
    ];
    let fleet = Fleet::up("login", 0, &Options { set, ..Options::default() }).unwrap();
    let running = provider.up(fleet.place()).unwrap();
    fleet.run(async |_, fleet| by_command_line(fleet, &provider, folder.path()).await).unwrap();
    drop(running);
}

async fn by_command_line(fleet: &Fleet, provider: &Provider, folder: &Path) -> Result<()> {
    let client: toml::Table = fs::read_to_string(fleet.data().join("client.toml"))?.parse()?;
    let text = |key: &str| client.get(key).and_then(toml::Value::as_str).with_context(|| key.to_owned());
    let (endpoint, ca) = (text("endpoint")?, PathBuf::from(text("ca")?));
    let user = |name, context: &str| {
        let context = folder.join(context).join("client.toml");
        User { name, provider, context, endpoint, ca: ca.clone() }
    };
    let (ann, rob, eve, refusing) = (user("ann", "a"), user("rob", "b"), user("eve", "c"), user("ann", "d"));
    // All at the same time, as each waits for seconds between its questions to the provider.
    let [refused, by_ann, by_rob, by_eve] = std::thread::scope(|scope| {
        let all = [(&refusing, true), (&ann, false), (&rob, false), (&eve, false)];
        let all = all.map(|(user, is_refused)| scope.spawn(move || user.login(is_refused)));
        all.map(|login| login.join().unwrap_or_else(|_| Err(anyhow!("the login panicked"))))
    });
    let refused = refused?;
    ensure!(refused.code == Some(2) && refused.remarks.contains("refused in the browser"), "{}", refused.remarks);
    ensure!(!refusing.context.exists() && !refusing.file().exists(), "a refused login leaves something behind");
    for (user, login, role) in [(&ann, by_ann?, "admin"), (&rob, by_rob?, "reader")] {
        let Ended { code, answer, remarks } = login;
        ensure!(code == Some(0), "{remarks}");
        let name = format!("oidc:{}", user.name);
        ensure!(answer["name"] == json!(name) && answer["role"] == json!(role), "{answer}");
        ensure!(answer["credential"] == "login" && user.must(&["whoami"])? == answer, "{answer}");
        ensure!(fs::metadata(user.file())?.permissions().mode() & 0o777 == 0o600, "others can read the tokens");
    }
    let Ended { code, remarks, .. } = by_eve?;
    ensure!(code == Some(1) && remarks.contains("user eve has no role"), "{remarks}");

    let password = folder.join("password");
    fs::write(&password, "bmc\n")?;
    let password = password.display().to_string();
    let of_node = ["--bmc", "127.9.0.1", "--bmc-user", "a", "--mac", "52:54:00:00:00:01"];
    let create = [&["node", "create", "n1"][..], &of_node, &["--bmc-password-file", &password]].concat();
    rob.fails(&create, &["operator oidc:rob (reader) may not call"])?;
    ann.must(&create)?;
    ensure!(rob.must(&["node", "list"])?.to_string().contains("\"n1\""), "no node");

    renewals(&ann)?;
    let log = fleet.mesh().log("scheduler-service-1")?;
    let is_audited = |line: &str| ["oidc:ann", "jwt ann", "CreateNode"].iter().all(|word| line.contains(word));
    ensure!(log.lines().any(is_audited), "no audit record");
    for user in [&ann, &rob, &eve] {
        let token = user.stored()?["access_token"].as_str().context("no token")?.to_owned();
        ensure!(!log.contains(&token), "a token of {} is in the log", user.name);
    }

    // An administrator of the provider ends the sessions of a user.
    provider.end_sessions("rob").await?;
    rob.change("expires_ms", json!(0))?;
    rob.fails(&["node", "list"], &["the login has ended", "invalid_grant", "log in again with ironmesh login"])?;
    logout(&ann)
}

/// The user notices nothing of the end of an access token.
fn renewals(user: &User<'_>) -> Result<()> {
    for (key, value, why) in [
        ("expires_ms", json!(0), "it has ended"),
        ("access_token", json!("forged"), "the server refuses it"),
        ("expires_ms", json!(0), "it has ended again"),
    ] {
        let before = user.stored()?;
        user.change(key, value)?;
        let ended = user.run(&["node", "list"])?;
        ensure!(ended.code == Some(0) && ended.remarks.is_empty(), "{why}: {}", ended.remarks);
        let after = user.stored()?;
        // The provider gives a new refresh token with each access token, and accepts each once.
        for token in ["access_token", "refresh_token"] {
            ensure!(before[token] != after[token], "{why}: {token} is the same");
        }
    }
    Ok(())
}

/// After a logout neither the files of the user nor copies of them are of use.
fn logout(user: &User<'_>) -> Result<()> {
    let copy = fs::read(user.file())?;
    let said = user.must(&["logout"])?;
    ensure!(said == json!({"logged_out": true, "revoked": true}), "{said}");
    ensure!(!user.file().exists(), "the tokens are still there");
    user.fails(&["node", "list"], &["not logged in; log in with ironmesh login"])?;
    let said = user.must(&["logout"])?;
    ensure!(said == json!({"logged_out": false, "revoked": false}), "{said}");
    fs::write(user.file(), copy)?;
    user.change("expires_ms", json!(0))?;
    user.fails(&["node", "list"], &["the login has ended"])
}
