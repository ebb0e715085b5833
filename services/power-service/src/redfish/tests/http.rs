//! Redirects, bodies, collections and power states at services that deviate.

use std::io::Write as _;

use flate2::{Compression, write::GzEncoder};

use super::{
    odd_bmc::{Call, Odd, OddBmc, ROOT, Raw, State, complains, shows, status},
    repeat::power,
    *,
};

async fn read_once(driver: &Redfish, login: &Login) -> Result<Power, BmcError> {
    driver.open(login).await?.power().await
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

fn to(path: &str, code: u16) -> Option<Raw> {
    Some(Raw { head: format!("Location: {path}\r\n"), ..status(code) })
}

/// The system as JSON text.
fn text(state: &State) -> Vec<u8> {
    state.whole_system().to_string().into_bytes()
}

#[tokio::test]
async fn a_redirect_on_the_same_host_is_followed_and_the_resource_is_found_there_from_now_on() {
    let table: &[(&str, Odd)] = &[
        ("HPE iLO 5: 308 to the path with a slash", |s, c| match c.path.as_str() {
            SYSTEM => to("/redfish/v1/Systems/1/", 308),
            "/redfish/v1/Systems/1/" => Some(shows(200, &s.whole_system())),
            _ => None,
        }),
        ("301, a relative location", |s, c| match c.path.as_str() {
            SYSTEM => to("1/", 301),
            "/redfish/v1/Systems/1/" => Some(shows(200, &s.whole_system())),
            _ => None,
        }),
        ("302 and 307", |s, c| match c.path.as_str() {
            SYSTEM => to("/a", 302),
            "/a" => to("/b", 307),
            "/b" => Some(shows(200, &s.whole_system())),
            _ => None,
        }),
        ("a root without its slash", |_, c| match c.path.as_str() {
            ROOT => to("/redfish/v1", 308),
            "/redfish/v1" => Some(shows(200, &json!({"Systems": {"@odata.id": "/redfish/v1/Systems"}}))),
            _ => None,
        }),
        ("a collection", |_, c| match c.path.as_str() {
            "/redfish/v1/Systems" => to("/redfish/v1/Systems/", 301),
            "/redfish/v1/Systems/" => Some(shows(200, &json!({"Members": [{"@odata.id": SYSTEM}]}))),
            _ => None,
        }),
        ("an absolute location with our address", |s, c| match c.path.as_str() {
            SYSTEM => to(&format!("http://{}/redfish/v1/Systems/1/", c.header("host")), 308),
            "/redfish/v1/Systems/1/" => Some(shows(200, &s.whole_system())),
            _ => None,
        }),
    ];
    for (source, odd) in table {
        let bmc = OddBmc::new(*odd);
        bmc.run(async |driver, login| {
            let mut session = driver.open(login).await.unwrap();
            assert_eq!(session.power().await, Ok(Power::Off), "{source}");
            let redirected = session.system != SYSTEM;
            bmc.take_calls("");
            assert_eq!(session.power().await, Ok(Power::Off), "{source}");
            assert_eq!(bmc.take_calls("GET").len(), 1, "{source}: {redirected}");
        })
        .await;
    }
}

#[tokio::test]
async fn a_change_is_redirected_with_its_method_and_not_to_another_host() {
    fn reset(call: &Call) -> bool {
        call.method == "POST" && call.path.ends_with("ComputerSystem.Reset")
    }
    let table: &[(&str, Odd, Option<&str>)] = &[
        (
            "308",
            |_, c| reset(c).then(|| to("/moved", 308)).flatten().or_else(|| (c.path == "/moved").then(|| status(204))),
            None,
        ),
        (
            "307",
            |_, c| reset(c).then(|| to("/moved", 307)).flatten().or_else(|| (c.path == "/moved").then(|| status(204))),
            None,
        ),
        ("301", |_, c| reset(c).then(|| to("/moved", 301)).flatten(), Some("followed for reads only")),
        ("303", |_, c| reset(c).then(|| to("/moved", 303)).flatten(), Some("followed for reads only")),
        ("another host", |_, c| reset(c).then(|| to("http://evil/moved", 308)).flatten(), Some("http://evil/moved")),
        (
            "another scheme",
            |_, c| reset(c).then(|| to(&format!("https://{}/moved", c.header("host")), 308)).flatten(),
            Some("redfish_address"),
        ),
        (
            "a loop",
            |_, c| match c.path.as_str() {
                "/a" => to("/b", 308),
                "/b" => to("/a", 308),
                _ if reset(c) => to("/a", 308),
                _ => None,
            },
            Some("in a loop"),
        ),
    ];
    for (source, odd, error) in table {
        let bmc = OddBmc::new(*odd);
        let told = bmc
            .run(async |driver, login| tell(&mut read(driver.open(login).await).await, Command::On, true).await)
            .await;
        match error {
            None => assert_eq!(told, Ok(Reply::Done), "{source}"),
            Some(words) => {
                let why = told.unwrap_err().to_string();
                assert!(why.contains(words), "{source}: {why}");
            }
        }
        assert!(bmc.take_calls("POST").len() <= 7, "{source}");
    }
}

#[tokio::test]
async fn a_body_is_read_in_every_form_that_services_send_it() {
    fn system(state: &State, call: &Call, head: &str, body: Vec<u8>) -> Option<Raw> {
        (call.is("GET", SYSTEM) && state.is_known(call)).then(|| Raw { head: head.to_owned(), body, ..status(200) })
    }
    const BUSY: Result<Power, Verdict> = Err(Verdict::Later);
    const DOUBTFUL: Result<Power, Verdict> = Err(Verdict::Doubtful);
    let table: &[(&str, Odd, Result<Power, Verdict>)] = &[
        ("gzip unasked", |s, c| system(s, c, "Content-Encoding: gzip\r\n", gzip(&text(s))), Ok(Power::Off)),
        ("gzip without a header", |s, c| system(s, c, "", gzip(&text(s))), Ok(Power::Off)),
        ("a byte order mark", |s, c| system(s, c, "", [&[0xef, 0xbb, 0xbf], &text(s)[..]].concat()), Ok(Power::Off)),
        ("a NUL behind it", |s, c| system(s, c, "", [&text(s)[..], b"\0"].concat()), Ok(Power::Off)),
        ("a wrong type", |s, c| system(s, c, "Content-Type: text/html\r\n", text(s)), Ok(Power::Off)),
        (
            "chunked",
            |s, c| {
                let chunk = |body: &[u8]| [format!("{:x}\r\n", body.len()).as_bytes(), body, b"\r\n"].concat();
                let (first, second) = (text(s)[..9].to_vec(), text(s)[9..].to_vec());
                let body = [chunk(&first), chunk(&second), b"0\r\n\r\n".to_vec()].concat();
                system(s, c, "Transfer-Encoding: chunked\r\n", body)
            },
            Ok(Power::Off),
        ),
        ("an empty body", |s, c| system(s, c, "", Vec::new()), BUSY),
        ("204", |s, c| system(s, c, "", Vec::new()).map(|_| status(204)), BUSY),
        ("half of it", |s, c| system(s, c, "", text(s)[..20].to_vec()), BUSY),
        ("500", |s, c| system(s, c, "", Vec::new()).map(|_| status(500)), BUSY),
        ("503", |s, c| system(s, c, "", Vec::new()).map(|_| status(503)), BUSY),
        (
            "400, later",
            |s, c| system(s, c, "", Vec::new()).map(|_| complains(400, "ServiceTemporarilyUnavailable", &["30"])),
            BUSY,
        ),
        ("a page", |s, c| system(s, c, "Content-Type: text/html\r\n", b"<html>".to_vec()), DOUBTFUL),
        ("a list", |s, c| system(s, c, "", b"[]".to_vec()), DOUBTFUL),
    ];
    for (source, odd, right) in table {
        let read = OddBmc::new(*odd).run(read_once).await;
        assert_eq!(read.as_ref().map_err(BmcError::verdict), right.as_ref().map_err(|verdict| *verdict), "{source}");
    }
}

#[tokio::test]
async fn a_compressed_answer_without_end_is_given_up() {
    let odd: Odd =
        |s, c| (c.is("GET", SYSTEM) && s.is_known(c)).then(|| Raw { body: gzip(&vec![b' '; 64 << 20]), ..status(200) });
    let read = OddBmc::new(odd).run(read_once).await;
    assert!(matches!(read, Err(BmcError::Silent(_))), "{read:?}");
}

#[tokio::test]
async fn the_only_system_is_found_on_every_page_and_in_every_form() {
    const SYSTEMS: &str = "/redfish/v1/Systems";
    const SECOND: &str = "/redfish/v1/Systems?$skip=1";
    // The named system is the first one; with two systems the name decides.
    let table: &[(&str, Odd, &str, Option<&str>)] = &[
        (
            "DSP0266 §7.4.2: on the second page",
            |_, c| match c.path.as_str() {
                SYSTEMS => {
                    Some(shows(200, &json!({"Members": [{"@odata.id": "/s/2"}], "Members@odata.nextLink": SECOND})))
                }
                SECOND => Some(shows(200, &json!({"Members": [{"@odata.id": SYSTEM}]}))),
                _ => None,
            },
            "1",
            None,
        ),
        (
            "a first page without members",
            |_, c| match c.path.as_str() {
                SYSTEMS => Some(shows(200, &json!({"Members": [], "Members@odata.nextLink": SECOND}))),
                SECOND => Some(shows(200, &json!({"Members": [{"@odata.id": SYSTEM}]}))),
                _ => None,
            },
            "",
            None,
        ),
        (
            "the old name, and an absolute link",
            |_, c| match c.path.as_str() {
                SYSTEMS => {
                    Some(shows(200, &json!({"Members": [], "@odata.nextLink": format!("http://10.0.0.5{SECOND}")})))
                }
                SECOND => Some(shows(200, &json!({"Members": [{"@odata.id": SYSTEM}]}))),
                _ => None,
            },
            "",
            None,
        ),
        (
            "a link as an object",
            |_, c| match c.path.as_str() {
                SYSTEMS => Some(shows(200, &json!({"Members": [], "Members@odata.nextLink": {"@odata.id": SECOND}}))),
                SECOND => Some(shows(200, &json!({"Members": [{"@odata.id": SYSTEM}]}))),
                _ => None,
            },
            "",
            None,
        ),
        (
            "a last page that links to the first",
            |_, c| match c.path.as_str() {
                SYSTEMS => {
                    Some(shows(200, &json!({"Members": [{"@odata.id": SYSTEM}], "Members@odata.nextLink": SECOND})))
                }
                SECOND => {
                    Some(shows(200, &json!({"Members": [{"@odata.id": SYSTEM}], "Members@odata.nextLink": SYSTEMS})))
                }
                _ => None,
            },
            "",
            None,
        ),
        (
            "a member as an absolute URL",
            |_, c| {
                (c.path == SYSTEMS).then(|| {
                    shows(200, &json!({"Members": [{"@odata.id": format!("https://{}{SYSTEM}", c.header("host"))}]}))
                })
            },
            "",
            None,
        ),
        (
            "pages without end",
            |s, c| {
                c.path.starts_with(SYSTEMS).then(|| {
                    s.count += 1;
                    shows(200, &json!({"Members": [], "Members@odata.nextLink": format!("{SYSTEMS}?{}", s.count)}))
                })
            },
            "",
            Some("too many pages"),
        ),
        (
            "two systems",
            |_, c| match c.path.as_str() {
                SYSTEMS => {
                    Some(shows(200, &json!({"Members": [{"@odata.id": "/s/2"}], "Members@odata.nextLink": SECOND})))
                }
                SECOND => Some(shows(200, &json!({"Members": [{"@odata.id": SYSTEM}]}))),
                _ => None,
            },
            "",
            Some("redfish_system_id to one of 2, 1"),
        ),
    ];
    for (source, odd, name, error) in table {
        let bmc = OddBmc::new(*odd);
        let read = bmc
            .run(async |driver, login| {
                let mut login = login.clone();
                login.redfish.system = (*name).to_owned();
                power(driver, &login).await
            })
            .await;
        match error {
            None => assert_eq!(read, Ok(Power::Off), "{source}"),
            Some(words) => assert!(read.unwrap_err().to_string().contains(words), "{source}"),
        }
        assert!(bmc.take_calls("").len() < 80, "{source}");
    }
}

#[tokio::test]
async fn a_power_state_in_between_is_read_again() {
    let table: &[(&str, Odd, Power)] = &[
        ("null", |s, c| between(s, c, json!(null), json!("Off")), Power::Off),
        ("PoweringOn", |s, c| between(s, c, json!("PoweringOn"), json!("On")), Power::On),
        ("PoweringOn, and it fails", |s, c| between(s, c, json!("PoweringOn"), json!("Off")), Power::Off),
        ("PoweringOff", |s, c| between(s, c, json!("PoweringOff"), json!("Off")), Power::Off),
        ("Paused", |s, c| between(s, c, json!("Paused"), json!("On")), Power::On),
        ("not in the schema", |s, c| between(s, c, json!("Unknown"), json!("On")), Power::On),
    ];
    fn between(state: &mut State, call: &Call, first: Value, then: Value) -> Option<Raw> {
        if call.is("GET", SYSTEM) {
            state.count += 1;
            state.power = if state.count <= 1 { first } else { then };
        }
        None
    }
    for (source, odd, right) in table {
        assert_eq!(OddBmc::new(*odd).run(power).await, Ok(*right), "{source}");
    }
}
