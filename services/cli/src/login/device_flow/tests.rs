//! The answers of providers, and what is done about them.

use serde_json::{Value, json};

use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_000_000);

fn authorization(more: &Value) -> Result<DeviceAuthorization, LoginError> {
    let mut answer = json!({
        "device_code": "hush", "user_code": "WDJB-MJHT", "verification_uri": "https://id.example/device", "expires_in": 600,
    });
    answer.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
    answer.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    DeviceAuthorization::read(answer.to_string().as_bytes())
}

/// Status and body of a response; 0 stands for none, because of the network, and 1 for none, because of what is configured.
type Received = (u16, String);

/// A short name of what is done.
fn named(next: &Next) -> String {
    match next {
        Next::Wait(time) => format!("wait {}", time.as_secs()),
        Next::LoggedIn(tokens) => format!("logged in with {}", tokens.access_token.reveal()),
        Next::Failed(LoginError::Denied) => "denied".to_owned(),
        Next::Failed(LoginError::CodeExpired) => "expired".to_owned(),
        Next::Failed(LoginError::CodeExpiredUnheard(why)) => format!("expired: {why}"),
        Next::Failed(LoginError::Unheard(why)) => format!("unheard: {why}"),
        Next::Failed(LoginError::Refused(why)) => format!("refused {why}"),
        Next::Failed(LoginError::Malformed(_)) => "malformed".to_owned(),
        Next::Failed(error) => panic!("{error}"),
    }
}

#[test]
fn each_answer_of_a_token_endpoint_has_its_consequence() {
    let long = "x".repeat(1000);
    let said = |error: &str| json!({ "error": error }).to_string();
    let whole = json!({"access_token": "a", "token_type": "Bearer", "expires_in": 60}).to_string();
    let described = json!({"error": "invalid_client", "error_description": "no\u{1b}[31m such client"}).to_string();
    let lengthy = json!({"error": "invalid_client", "error_description": long}).to_string();
    let shortened = format!("refused invalid_client: {}", &long[..MAX_SHOWN_CHARS - "invalid_client: ".len()]);
    // The answers in turn, each after 10 s, their source, and what the last one leads to. The interval is 5 s.
    let cases: Vec<(Vec<Received>, &str, String)> = vec![
        (vec![(200, whole)], "RFC 8628 §3.5", "logged in with a".to_owned()),
        (vec![(400, said("authorization_pending"))], "RFC 8628 §3.5", "wait 5".to_owned()),
        (vec![(400, said("slow_down"))], "RFC 8628 §3.5", "wait 10".to_owned()),
        (vec![(400, said("slow_down")), (400, said("slow_down"))], "RFC 8628 §3.5", "wait 15".to_owned()),
        (
            vec![(400, said("slow_down")), (400, said("authorization_pending"))],
            "RFC 8628 §3.5: for all subsequent requests",
            "wait 10".to_owned(),
        ),
        (vec![(400, said("access_denied"))], "RFC 8628 §3.5", "denied".to_owned()),
        (vec![(400, said("authorization_declined"))], "Entra ID", "denied".to_owned()),
        (vec![(1, String::new())], "a certificate of another CA", "unheard: no TLS".to_owned()),
        (
            [vec![(0, String::new()); 9], vec![(400, said("authorization_pending"))]].concat(),
            "an answer ends the backoff",
            "wait 5".to_owned(),
        ),
        (vec![(0, String::new()); 60], "the reason is told", "expired: no network".to_owned()),
        (vec![(503, String::new()); 60], "the reason is told", "expired: it answered 503".to_owned()),
        (
            [vec![(0, String::new()); 59], vec![(400, said("authorization_pending"))]].concat(),
            "it was heard at last",
            "expired".to_owned(),
        ),
        // After 590 s of 600 s.
        (vec![(0, String::new()); 59], "the last request is sent before the end", "wait 9".to_owned()),
        (
            [vec![(0, String::new()); 58], vec![(400, said("slow_down"))]].concat(),
            "not earlier than the provider wants",
            "expired".to_owned(),
        ),
        (vec![(400, said("expired_token"))], "RFC 8628 §3.5", "expired".to_owned()),
        (vec![(401, said("invalid_client"))], "RFC 6749 §5.2", "refused invalid_client".to_owned()),
        (vec![(403, said("authorization_pending"))], "Google answers 428 or 403", "wait 5".to_owned()),
        (vec![(428, said("authorization_pending"))], "Google answers 428 or 403", "wait 5".to_owned()),
        (vec![(0, String::new())], "RFC 8628 §3.5: exponential backoff", "wait 10".to_owned()),
        (vec![(0, String::new()), (0, String::new())], "RFC 8628 §3.5: exponential backoff", "wait 20".to_owned()),
        (vec![(503, "<html>".to_owned())], "a proxy", "wait 10".to_owned()),
        (vec![(429, String::new())], "RFC 6585 §4", "wait 10".to_owned()),
        (vec![(0, String::new()); 9], "at most a minute", "wait 60".to_owned()),
        (vec![(400, said("authorization_pending")); 60], "RFC 8628 §3.2: expires_in", "expired".to_owned()),
        (vec![(404, "<html>".to_owned())], "no JSON", "refused it answered 404".to_owned()),
        (vec![(302, String::new())], "redirects are not followed", "refused it answered 302".to_owned()),
        (vec![(200, "{}".to_owned())], "RFC 6749 §5.1", "malformed".to_owned()),
        (vec![(400, described)], "control characters", "refused invalid_client: no\u{fffd}[31m such client".to_owned()),
        (vec![(400, lengthy)], "length", shortened),
    ];
    for (answers, source, expected) in cases {
        let mut polling = Polling::new(&authorization(&json!({})).unwrap());
        assert_eq!(polling.first(), DEFAULT_INTERVAL);
        let mut last = String::new();
        for (number, (status, body)) in answers.iter().enumerate() {
            let elapsed = Duration::from_secs(10 * (u64::try_from(number).unwrap() + 1));
            let answer = match status {
                0 => Answer::None { why: "no network".to_owned(), is_transient: true },
                1 => Answer::None { why: "no TLS".to_owned(), is_transient: false },
                status => Answer::Response { status: *status, body: body.as_bytes() },
            };
            last = named(&polling.decide(answer, elapsed, NOW));
        }
        assert_eq!(last, expected, "{source}");
    }
}

#[test]
fn the_answer_of_a_device_authorization_endpoint_is_read_or_refused() {
    // What is in the answer, its source, and the interval in seconds; `None` if it is refused.
    for (more, source, interval) in [
        (json!({}), "RFC 8628 §3.2: 5 seconds", Some(5)),
        (json!({"interval": 7}), "RFC 8628 §3.2", Some(7)),
        (json!({"interval": 0}), "at least a second", Some(1)),
        (json!({"interval": 1e9}), "at most a minute", Some(60)),
        (json!({"interval": -1}), "no duration", Some(5)),
        (json!({"verification_uri_complete": "https://id.example/device?code=WDJB-MJHT"}), "RFC 8628 §3.3.1", Some(5)),
        (
            json!({"verification_uri": null, "verification_url": "https://id.example/d"}),
            "Google, before the RFC",
            Some(5),
        ),
        (json!({"verification_uri": "http://id.example/device"}), "no TLS", None),
        (json!({"verification_uri": "javascript:alert(1)"}), "another scheme", None),
        (json!({"verification_uri": "https://id.example/\u{1b}]0;x\u{7}"}), "terminal escapes", None),
        (json!({"verification_uri_complete": "file:///etc/passwd"}), "another scheme", None),
        (json!({"user_code": "WDJB\u{1b}[2J"}), "terminal escapes", None),
        (json!({"user_code": ""}), "nothing to enter", None),
        (json!({"expires_in": 0}), "RFC 8628 §3.2", None),
        (json!({"expires_in": "soon"}), "RFC 8628 §3.2", None),
        (json!({"device_code": null}), "RFC 8628 §3.2", None),
    ] {
        match (authorization(&more), interval) {
            (Ok(authorization), Some(interval)) => {
                assert_eq!(authorization.interval, Duration::from_secs(interval), "{source}: {more}");
                assert!(!format!("{authorization:?}").contains("hush"), "{source}");
            }
            (Err(error), None) => assert!(!error.to_string().contains("hush"), "{source}: {error}"),
            (found, _) => panic!("{source}: {more}: {found:?}"),
        }
    }
}
