//! Authentication at services that deviate.

use super::{
    odd_bmc::{Call, Odd, OddBmc, ROOT, Raw, SESSIONS, complains, shows, status},
    *,
};

/// The password is used by a session and by basic authentication.
fn attempts(calls: &[String]) -> (usize, usize) {
    let sessions = calls.iter().filter(|call| call.starts_with(&format!("POST {SESSIONS}"))).count();
    (sessions, calls.iter().filter(|call| call.contains("Basic ")).count())
}

fn logs_in(call: &Call) -> bool {
    call.is("POST", SESSIONS)
}

fn refuses_login(call: &Call, code: u16) -> Option<Raw> {
    logs_in(call).then(|| status(code))
}

async fn power(driver: &Redfish, login: &Login) -> Result<Power, BmcError> {
    let mut bmc = driver.open(login).await?;
    let power = bmc.power().await;
    bmc.close().await;
    power
}

#[tokio::test]
async fn basic_authentication_is_used_where_sessions_do_not_work_and_the_detour_is_made_once() {
    // The last value is the number of sessions that are asked for the second time: a failure may pass.
    let table: &[(&str, Odd, usize)] = &[
        ("proxmox-redfish #42: 401", |_, call| refuses_login(call, 401), 0),
        ("401 with a body that is cut", |_, call| logs_in(call).then(|| Raw { cut: true, ..status(401) }), 0),
        ("403: sessions for administrators only", |_, call| refuses_login(call, 403), 0),
        ("404: a link to nothing", |_, call| refuses_login(call, 404), 0),
        ("405", |_, call| refuses_login(call, 405), 0),
        ("410", |_, call| refuses_login(call, 410), 0),
        ("400", |_, call| refuses_login(call, 400), 0),
        ("501", |_, call| refuses_login(call, 501), 0),
        ("500", |_, call| refuses_login(call, 500), 1),
        (
            "HPE iLO: 400 UnauthorizedLoginAttempt",
            |_, call| logs_in(call).then(|| complains(400, "UnauthorizedLoginAttempt", &[])),
            0,
        ),
        (
            "DSP0268, Base: 400 SessionLimitExceeded",
            |_, call| logs_in(call).then(|| complains(400, "SessionLimitExceeded", &[])),
            1,
        ),
        (
            "DSP0268, Base: 503 SessionLimitExceeded",
            |_, call| logs_in(call).then(|| complains(503, "SessionLimitExceeded", &[])),
            1,
        ),
        (
            "a session without a token",
            |state, call| {
                logs_in(call).then(|| {
                    let path = format!("{SESSIONS}/{}", state.open_session());
                    Raw { head: format!("Location: {path}\r\n"), ..shows(201, &json!({})) }
                })
            },
            0,
        ),
        ("a token that is not accepted", |_, call| (!call.header("x-auth-token").is_empty()).then(|| status(401)), 0),
        (
            "a root that demands authentication",
            |state, call| {
                if call.path == ROOT && !state.is_known(call) { Some(status(401)) } else { refuses_login(call, 404) }
            },
            0,
        ),
    ];
    for (source, odd, again) in table {
        let bmc = OddBmc::new(*odd);
        bmc.run(async |driver, login| {
            let mut session = driver.open(login).await.unwrap();
            assert_eq!(session.power().await, Ok(Power::Off), "{source}");
            assert_eq!(session.path(), "", "{source}: a successor must wait for commands without a session");
            assert!(bmc.state.lock().sessions.is_empty(), "{source}: a session was left");
            session.close().await;
            assert_eq!(attempts(&bmc.take_calls("")).0, 1, "{source}");
            assert_eq!(power(driver, login).await, Ok(Power::Off), "{source}");
            assert_eq!(attempts(&bmc.take_calls("")).0, *again, "{source}");
            let mut changed = login.clone();
            changed.redfish.system = SYSTEM.to_owned();
            drop(power(driver, &changed).await);
            assert_eq!(attempts(&bmc.take_calls("")).0, 1, "{source}: forgotten when the record changes");
        })
        .await;
    }
}

#[tokio::test]
async fn a_session_is_used_in_every_form_in_which_services_open_one() {
    fn opens(head: &str, body: &Value) -> Raw {
        Raw { head: format!("X-Auth-Token: t\r\n{head}"), ..shows(201, body) }
    }
    let path = "/redfish/v1/SessionService/Sessions/t";
    let table: &[(&str, Odd, &str)] = &[
        (
            "DSP0266 §13.3.4",
            |s, c| {
                logs_in(c).then(|| {
                    s.sessions.insert("t".to_owned());
                    opens("Location: /redfish/v1/SessionService/Sessions/t\r\n", &json!({}))
                })
            },
            path,
        ),
        (
            "an absolute location",
            |s, c| {
                logs_in(c).then(|| {
                    s.sessions.insert("t".to_owned());
                    opens("Location: https://10.0.0.5/redfish/v1/SessionService/Sessions/t\r\n", &json!({}))
                })
            },
            path,
        ),
        (
            "a location in the body only",
            |s, c| {
                logs_in(c).then(|| {
                    s.sessions.insert("t".to_owned());
                    opens("", &json!({"@odata.id": "/redfish/v1/SessionService/Sessions/t"}))
                })
            },
            path,
        ),
        (
            "no location",
            |s, c| {
                logs_in(c).then(|| {
                    s.sessions.insert("t".to_owned());
                    opens("", &json!({}))
                })
            },
            "",
        ),
        (
            "status 200",
            |s, c| {
                logs_in(c).then(|| {
                    s.sessions.insert("t".to_owned());
                    Raw { status: 200, ..opens("Location: /redfish/v1/SessionService/Sessions/t\r\n", &json!({})) }
                })
            },
            path,
        ),
        (
            "a body that is cut",
            |s, c| {
                logs_in(c).then(|| {
                    s.sessions.insert("t".to_owned());
                    Raw { cut: true, ..opens("Location: /redfish/v1/SessionService/Sessions/t\r\n", &json!({})) }
                })
            },
            path,
        ),
        (
            "redirected",
            |s, c| match () {
                () if logs_in(c) => Some(Raw { head: format!("Location: {SESSIONS}/\r\n"), ..status(308) }),
                () if c.is("POST", &format!("{SESSIONS}/")) => {
                    s.sessions.insert("t".to_owned());
                    Some(opens("Location: /redfish/v1/SessionService/Sessions/t\r\n", &json!({})))
                }
                () => None,
            },
            path,
        ),
        (
            "basic authentication disabled, root closed",
            |s, c| match () {
                () if !c.header("authorization").is_empty() => Some(status(401)),
                () if c.path == ROOT && !s.is_known(c) => Some(status(401)),
                () if logs_in(c) => {
                    s.sessions.insert("t".to_owned());
                    Some(opens("Location: /redfish/v1/SessionService/Sessions/t\r\n", &json!({})))
                }
                () => None,
            },
            path,
        ),
    ];
    for (source, odd, path) in table {
        let bmc = OddBmc::new(*odd);
        bmc.run(async |driver, login| {
            let mut session = driver.open(login).await.unwrap();
            assert_eq!(session.path(), *path, "{source}");
            assert_eq!(session.power().await, Ok(Power::Off), "{source}");
            assert_eq!(session.close().await, !path.is_empty(), "{source}");
        })
        .await;
        let calls = bmc.take_calls("");
        assert!(attempts(&calls).1 <= 1, "{source}: {calls:#?}");
    }
}

#[tokio::test]
async fn a_wrong_password_is_tried_once_in_each_way_and_is_called_so() {
    fn refuses(call: &Call, answer: fn() -> Raw) -> Option<Raw> {
        (call.path != ROOT).then(answer)
    }
    let table: &[(&str, Odd)] = &[
        ("DSP0266 §13.2: 401", |_, call| refuses(call, || status(401))),
        ("401 with a body that is cut", |_, call| refuses(call, || Raw { cut: true, ..status(401) })),
        ("401 cut inside of its body", |_, call| {
            refuses(call, || Raw { cut: true, body: b"{\"error".to_vec(), ..status(401) })
        }),
        ("401 and the connection is closed", |_, call| {
            refuses(call, || Raw { head: "Connection: close\r\n".to_owned(), ..status(401) })
        }),
        ("401 with a page", |_, call| refuses(call, || Raw { body: b"<html>".to_vec(), ..status(401) })),
        ("401 with damaged gzip", |_, call| {
            refuses(call, || Raw {
                head: "Content-Encoding: gzip\r\n".to_owned(),
                body: vec![0x1f, 0x8b, 9],
                ..status(401)
            })
        }),
        ("HPE iLO: 400 UnauthorizedLoginAttempt", |_, call| {
            refuses(call, || complains(400, "UnauthorizedLoginAttempt", &[]))
        }),
        ("401 for the root too", |_, _| Some(status(401))),
    ];
    for (source, odd) in table {
        for (method, sessions, basics) in
            [(value::Login::Auto, 1, 1), (value::Login::Session, 1, 0), (value::Login::Basic, 0, 1)]
        {
            let bmc = OddBmc::new(*odd);
            let result = bmc.run_as(method, power).await;
            assert!(matches!(result, Err(BmcError::Password(_))), "{source}, {method:?}: {result:?}");
            assert_eq!(result.unwrap_err().verdict(), Verdict::WrongCredentials, "it is not tried again");
            let calls = bmc.take_calls("");
            assert_eq!(attempts(&calls), (sessions, basics), "{source}, {method:?}: {calls:#?}");
        }
    }
}

#[tokio::test]
async fn a_session_that_ends_is_replaced_once_for_reads_and_never_for_commands() {
    let bmc = OddBmc::new(|_, _| None);
    bmc.run(async |driver, login| {
        let mut session = driver.open(login).await.unwrap();
        session.power().await.unwrap();
        bmc.state.lock().sessions.clear();
        assert_eq!(session.power().await, Ok(Power::Off));
        assert_eq!(attempts(&bmc.take_calls("")), (2, 0));
        let told = session.prepare().await;
        assert!(matches!(&told, Err(BmcError::SessionLost { .. })), "{told:?}");
        bmc.state.lock().sessions.clear();
        let read = session.power().await;
        assert!(matches!(&read, Err(BmcError::SessionLost { .. })), "{read:?}");
        assert_eq!(attempts(&bmc.take_calls("")), (0, 0), "replaced once");
        session.close().await;
        assert!(bmc.state.lock().sessions.is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_command_in_a_session_that_has_ended_may_be_repeated() {
    let bmc = OddBmc::new(|_, _| None);
    bmc.run(async |driver, login| {
        let mut session = read(driver.open(login).await).await;
        session.prepare().await.unwrap();
        bmc.state.lock().sessions.clear();
        let told = session.execute(Command::On, || true).await;
        assert!(matches!(&told, Ok(Reply::NotNow(BmcError::SessionLost { .. }))), "{told:?}");
        assert_eq!(bmc.state.lock().power, "Off");
    })
    .await;
}

#[tokio::test]
async fn an_error_repeats_no_password_and_nothing_that_changes_how_it_is_shown() {
    let odd: Odd = |_, call| {
        let text = format!("the value pw\u{202e}\r\n\u{1b}[31m of Password is wrong {}", "x".repeat(5000));
        (call.path != ROOT).then(|| {
            let info = json!([{"MessageId": "Base.1.8.PropertyValueFormatError", "Message": text}]);
            shows(400, &json!({"error": {"@Message.ExtendedInfo": info}}))
        })
    };
    for method in [value::Login::Session, value::Login::Basic, value::Login::Auto] {
        let why = OddBmc::new(odd).run_as(method, power).await.unwrap_err().to_string();
        assert!(why.contains("the value ******") && why.contains("(status 400)") && why.len() < 500, "{why:?}");
        assert!(!why.contains("pw") && !why.chars().any(|sign| sign.is_control() || sign == '\u{202e}'), "{why:?}");
    }
}
