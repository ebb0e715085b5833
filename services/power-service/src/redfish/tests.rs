//! Tests the driver against a scripted Redfish service on loopback, over plain HTTP.

use std::net::Ipv4Addr;

use domain::power::{BootDevice, BootMode, Persistence};
use futures::join;
use serde_json::{Value, json};
use service_kit::outbound_http::OutboundConfig;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use super::{
    connection::{Connection, Endpoint, TransportError},
    *,
};
use crate::retry::Verdict;

mod boot;
mod http;
mod login;
mod odd_bmc;
mod repeat;
mod slow;

const D: Duration = Duration::from_millis(500);
const SYSTEM: &str = "/redfish/v1/Systems/1";

/// A scripted response: status, further headers, body, and what happens to the connection.
struct ScriptedResponse(u16, &'static str, Value, AfterResponse);

#[derive(PartialEq)]
enum AfterResponse {
    Stays,
    Closes,
    /// Closed without a response.
    Breaks,
}
use AfterResponse::{Breaks, Closes, Stays};

fn root() -> ScriptedResponse {
    let sessions = json!({"@odata.id": "/redfish/v1/SessionService/Sessions"});
    ScriptedResponse(
        200,
        "",
        json!({"Systems": {"@odata.id": "/redfish/v1/Systems"}, "Links": {"Sessions": sessions}}),
        Stays,
    )
}

fn session() -> ScriptedResponse {
    let head = "X-Auth-Token: t0k\r\nLocation: https://elsewhere/redfish/v1/SessionService/Sessions/7\r\n";
    ScriptedResponse(201, head, json!({}), Stays)
}

fn systems() -> ScriptedResponse {
    ScriptedResponse(200, "", json!({"Members": [{"@odata.id": SYSTEM}]}), Stays)
}

fn system(after: AfterResponse) -> ScriptedResponse {
    ScriptedResponse(200, "ETag: \"v1\"\r\n", json!({"PowerState": "Off", "Model": "X1"}), after)
}

/// Serves the script, over as many connections as the client opens. Returns the requests.
async fn serve(listener: &TcpListener, script: Vec<ScriptedResponse>) -> Vec<String> {
    let (mut asked, mut open): (_, Option<TcpStream>) = (Vec::new(), None);
    for ScriptedResponse(status, head, body, after) in script {
        let mut stream = match open.take() {
            Some(stream) => stream,
            None => listener.accept().await.unwrap().0,
        };
        asked.push(request(&mut stream).await);
        if after == Breaks {
            continue;
        }
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let close = if after == Closes { "Connection: close\r\n" } else { "" };
        let answer = format!("HTTP/1.1 {status} X\r\n{head}{close}Content-Length: {}\r\n\r\n{body}", body.len());
        // The client may have closed the connection.
        drop(stream.write_all(answer.as_bytes()).await);
        open = (after == Stays).then_some(stream);
    }
    asked
}

/// Returns the request connection, credentials, entity tag and body.
async fn request(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    loop {
        let mut buffer = [0; 4096];
        let size = stream.read(&mut buffer).await.unwrap();
        assert!(size > 0, "half a request: {text}");
        text.push_str(std::str::from_utf8(&buffer[..size]).unwrap());
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let header =
            |name: &str| head.lines().find_map(|connection| connection.strip_prefix(name)).unwrap_or_default().trim();
        if body.len() < header("content-length:").parse().unwrap_or(0) {
            continue;
        }
        let first = head.lines().next().unwrap_or_default().trim_end_matches(" HTTP/1.1");
        let shown = [header("authorization:"), header("x-auth-token:"), header("if-match:"), body];
        return [&[first], &shown[..]]
            .concat()
            .into_iter()
            .filter(|text| !text.is_empty())
            .collect::<Vec<_>>()
            .join(" ");
    }
}

/// Rules that allow the scripted services.
fn loopback() -> Outbound {
    let config = OutboundConfig { allow: vec!["127.0.0.1".parse().unwrap()], ..OutboundConfig::default() };
    Outbound::new(&config).unwrap()
}

/// Runs `work` with a session at a scripted service. Returns the requests and the result.
async fn at<T>(
    login: value::Login,
    script: Vec<ScriptedResponse>,
    work: impl AsyncFnOnce(Result<RedfishSession, BmcError>) -> T,
) -> (Vec<String>, T) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let redfish = value::Redfish { transport: value::Transport::Http, login, ..value::Redfish::default() };
    let login = Login {
        address: listener.local_addr().unwrap().to_string().parse().unwrap(),
        user: "admin".to_owned(),
        password: Secret::new(b"pw".to_vec()),
        redfish,
    };
    join!(serve(&listener, script), async { work(Redfish::new(D, Path::new(""), loopback()).open(&login).await).await })
}

const BASIC: &str = "Basic YWRtaW46cHc=";

#[tokio::test]
async fn a_session_is_opened_where_the_service_has_them_and_closed_by_its_path() {
    let closed = ScriptedResponse(204, "", Value::Null, Closes);
    let script = vec![root(), session(), systems(), system(Stays), closed];
    let (asked, done) = at(value::Login::Auto, script, async |opened| {
        let mut bmc = opened.unwrap();
        assert_eq!(bmc.path(), "/redfish/v1/SessionService/Sessions/7");
        assert_eq!(bmc.describe().await.as_deref(), Ok("X1 (Redfish)"));
        bmc.close().await
    })
    .await;
    assert!(done);
    assert_eq!(
        asked,
        [
            "GET /redfish/v1/",
            r#"POST /redfish/v1/SessionService/Sessions {"Password":"pw","UserName":"admin"}"#,
            "GET /redfish/v1/Systems t0k",
            "GET /redfish/v1/Systems/1 t0k",
            "DELETE /redfish/v1/SessionService/Sessions/7 t0k",
        ]
    );
}

#[tokio::test]
async fn a_service_that_has_no_sessions_is_spoken_to_with_basic() {
    let none = ScriptedResponse(404, "", Value::Null, Closes);
    let (asked, power) = at(value::Login::Auto, vec![root(), none, systems(), system(Closes)], async |opened| {
        let mut bmc = opened.unwrap();
        let power = bmc.power().await;
        assert!(bmc.close().await, "nothing is left open");
        power
    })
    .await;
    assert_eq!(power, Ok(Power::Off));
    assert_eq!(asked[3], format!("GET {SYSTEM} {BASIC}"));
}

#[tokio::test]
async fn a_session_of_a_previous_owner_is_closed_by_its_path_and_one_that_is_gone_is_closed() {
    let answers = [(204, Stays), (404, Stays), (403, Closes)];
    let closes = answers.map(|(status, after)| ScriptedResponse(status, "", Value::Null, after));
    let script = [vec![root(), session(), systems()], closes.into_iter().collect()].concat_all();
    let (asked, done) = at(value::Login::Session, script, async |opened| {
        let mut bmc = opened.unwrap();
        let mut done = Vec::new();
        for path in ["/s/1", "/s/2", "/s/3", "", "/redfish/v1/SessionService/Sessions/7"] {
            done.push(bmc.close_other(1, path).await);
        }
        done
    })
    .await;
    assert_eq!(done, [Ok(true), Ok(true), Ok(false), Ok(false), Ok(true)], "the path of the last one was reused");
    assert_eq!(asked[3..], ["DELETE /s/1 t0k", "DELETE /s/2 t0k", "DELETE /s/3 t0k"]);
}

/// Concatenates vectors of values that are not `Clone`.
trait ConcatAll<T> {
    fn concat_all(self) -> Vec<T>;
}

impl<T, const N: usize> ConcatAll<T> for [Vec<T>; N] {
    fn concat_all(self) -> Vec<T> {
        self.into_iter().flatten().collect()
    }
}

/// Returns a session in which the system was read.
async fn read(opened: Result<RedfishSession, BmcError>) -> RedfishSession {
    let mut bmc = opened.unwrap();
    bmc.power().await.unwrap();
    bmc
}

async fn tell(bmc: &mut RedfishSession, command: Command, may_send: bool) -> Result<Reply, BmcError> {
    bmc.prepare().await.unwrap();
    bmc.execute(command, || may_send).await
}

fn with_basic(more: Vec<ScriptedResponse>) -> Vec<ScriptedResponse> {
    [vec![root(), systems()], more].concat_all()
}

#[tokio::test]
async fn what_is_not_permitted_does_not_leave() {
    let script = with_basic(vec![system(Stays), system(Closes)]);
    let (asked, told) = at(value::Login::Basic, script, async |opened| {
        let mut bmc = read(opened).await;
        let told = tell(&mut bmc, Command::On, false).await;
        bmc.power().await.unwrap();
        told
    })
    .await;
    assert_eq!(told, Err(BmcError::NotPermitted));
    assert!(asked.iter().all(|asked| asked.starts_with("GET")), "{asked:?}");
}

#[tokio::test]
async fn a_command_without_an_answer_is_unknown_and_is_not_sent_again() {
    let script = with_basic(vec![system(Closes), ScriptedResponse(0, "", Value::Null, Breaks), system(Closes)]);
    let (asked, (told, closed)) = at(value::Login::Basic, script, async |opened| {
        let mut bmc = read(opened).await;
        let told = tell(&mut bmc, Command::Off, true).await;
        bmc.power().await.unwrap();
        (told, bmc.close().await)
    })
    .await;
    assert!(matches!(told, Err(BmcError::Unknown(_))), "{told:?}");
    assert!(!closed, "it may still be under way");
    let off = format!(r#"POST {SYSTEM}/Actions/ComputerSystem.Reset {BASIC} {{"ResetType":"ForceOff"}}"#);
    assert_eq!(asked[3..], [off, format!("GET {SYSTEM} {BASIC}")]);
}

#[tokio::test]
async fn a_session_counts_as_closed_only_if_no_command_of_it_can_still_be_carried_out() {
    // Status of the answer to a command, and whether it may still be under way (RFC 9110 §15.5 and §15.6).
    for (status, may_be_under_way) in [(204, false), (400, false), (403, false), (500, true), (502, true), (507, true)]
    {
        let script = with_basic(vec![system(Stays), ScriptedResponse(status, "", Value::Null, Closes)]);
        let (_, closed) = at(value::Login::Basic, script, async |opened| {
            let mut bmc = read(opened).await;
            drop(tell(&mut bmc, Command::SoftOff, true).await);
            bmc.close().await
        })
        .await;
        assert_eq!(closed, !may_be_under_way, "{status}");
    }
}

#[tokio::test]
async fn a_version_that_the_service_refuses_is_left_out_once() {
    let stale = ScriptedResponse(412, "", Value::Null, Stays);
    let script = with_basic(vec![system(Stays), stale, ScriptedResponse(200, "", Value::Null, Closes)]);
    let boot = Boot { device: BootDevice::Pxe, persistence: Persistence::Once, mode: BootMode::Uefi };
    let (asked, told) = at(value::Login::Basic, script, async |opened| {
        tell(&mut read(opened).await, Command::Boot(boot, 0), true).await
    })
    .await;
    assert_eq!(told, Ok(Reply::Done));
    let body = r#"{"Boot":{"BootSourceOverrideEnabled":"Once","BootSourceOverrideTarget":"Pxe"}}"#;
    let with = format!(r#"PATCH {SYSTEM} {BASIC} "v1" {body}"#);
    assert_eq!(asked[3..], [with, format!("PATCH {SYSTEM} {BASIC} {body}")]);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let away = ScriptedResponse(308, "Location: https://evil/redfish/v1/\r\n", Value::Null, Closes);
    let (asked, opened) = at(value::Login::Basic, vec![away], async |opened| opened.map(drop)).await;
    let why = opened.unwrap_err().to_string();
    assert!(why.contains("https://evil") && why.contains("redfish_address"), "{why}");
    assert_eq!(asked.len(), 1);
}

#[tokio::test]
async fn an_answer_without_end_is_given_up() {
    let huge = ScriptedResponse(200, "", json!({"PowerState": "x".repeat(2 << 20)}), Closes);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let endpoint = Endpoint {
        address: listener.local_addr().unwrap().to_string().parse().unwrap(),
        tls: None,
        outbound: Arc::new(loopback()),
        user_timeout: D,
    };
    let ask = async {
        let request = RedfishRequest::get("/").request(&endpoint.address, &Credentials::Anonymous).unwrap();
        Connection::new(endpoint.clone()).ask(request, || true).await
    };
    let (_, answer) = join!(serve(&listener, vec![huge]), ask);
    assert!(matches!(&answer, Err(TransportError::Unanswered(why)) if why.contains("larger than")), "{answer:?}");
}

#[tokio::test]
async fn a_read_is_asked_again_where_the_kept_connection_was_none() {
    let script = with_basic(vec![ScriptedResponse(0, "", Value::Null, Breaks), system(Closes)]);
    let (asked, power) = at(value::Login::Basic, script, async |opened| opened.unwrap().power().await).await;
    assert_eq!(power, Ok(Power::Off));
    assert_eq!(asked[2], asked[3]);
}

#[tokio::test]
async fn a_service_that_is_not_there_is_silent() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address: BmcAddr = listener.local_addr().unwrap().to_string().parse().unwrap();
    drop(listener);
    let password = Secret::new(Vec::new());
    let redfish = value::Redfish { transport: value::Transport::Http, ..value::Redfish::default() };
    let login = Login { address: address.clone(), user: String::new(), password, redfish };
    let opened = Redfish::new(D, Path::new(""), loopback()).open(&login).await.map(drop);
    assert_eq!(opened, Err(BmcError::Silent(address.to_string())));
}

#[tokio::test]
async fn an_address_at_which_no_bmc_is_receives_nothing_and_the_error_names_the_setting() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    for (host, source) in [
        ("127.0.0.1", "RFC 1122: loopback"),
        ("localhost", "RFC 6761: a name of loopback"),
        ("127.1", "inet_aton(3): two parts"),
        ("2130706433", "inet_aton(3): one number"),
        ("0.0.0.0", "Linux connects it to this host"),
        ("169.254.169.254", "a metadata service"),
    ] {
        let redfish = value::Redfish { transport: value::Transport::Http, ..value::Redfish::default() };
        let address: BmcAddr = format!("{host}:{port}").parse().unwrap();
        let login = Login { address, user: String::new(), password: Secret::new(Vec::new()), redfish };
        let opened = Redfish::new(D, Path::new(""), Outbound::default()).open(&login).await.map(drop);
        let Err(BmcError::Refused { why, .. }) = opened else { panic!("{source}: {opened:?}") };
        assert!(why.contains("is not an allowed destination") && why.contains("outbound.allow"), "{source}: {why}");
    }
    let accepted = tokio::time::timeout(Duration::from_millis(1), listener.accept()).await;
    assert!(accepted.is_err(), "something connected");
}
