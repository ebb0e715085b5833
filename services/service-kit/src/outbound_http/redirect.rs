//! Where a redirect leads, and what the next request may carry along.

use reqwest::{
    Method, StatusCode, Url,
    header::{AUTHORIZATION, COOKIE, HeaderMap, HeaderName, PROXY_AUTHORIZATION},
};

use super::target;

/// Headers with credentials, which another origin does not get.
const CREDENTIALS: [HeaderName; 5] = [
    AUTHORIZATION,
    COOKIE,
    PROXY_AUTHORIZATION,
    HeaderName::from_static("x-auth-token"),
    HeaderName::from_static("x-subject-token"),
];

/// Reason that a redirect is not followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RedirectError {
    /// It has no valid `Location`, or of a scheme that we do not request.
    Invalid,
    /// It leads from HTTPS to HTTP.
    Downgrade,
}

/// Returns whether a response is a redirect of a request (RFC 9110 §15.4). A request with a body is never redirected: it
/// would be sent to a server that was not named.
pub(super) fn is_redirect(method: &Method, status: StatusCode) -> bool {
    matches!(*method, Method::GET | Method::HEAD) && matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// Returns the URL that a redirect leads to, without the credentials that its `Location` may contain. The fragment stays
/// out: it is not sent.
pub(super) fn next(from: &Url, location: Option<&str>) -> Result<Url, RedirectError> {
    let location = location.ok_or(RedirectError::Invalid)?;
    let mut to = from.join(location).map_err(|_| RedirectError::Invalid)?;
    target::check(&to).map_err(|_| RedirectError::Invalid)?;
    if from.scheme() == "https" && to.scheme() == "http" {
        return Err(RedirectError::Downgrade);
    }
    let cleared = to.set_username("").and_then(|()| to.set_password(None));
    cleared.map_err(|()| RedirectError::Invalid)?;
    if to.origin() == from.origin() {
        // The server that has them already.
        let kept = to.set_username(from.username()).and_then(|()| to.set_password(from.password()));
        kept.map_err(|()| RedirectError::Invalid)?;
    }
    to.set_fragment(None);
    Ok(to)
}

/// Removes the headers with credentials if a redirect leads to another origin (scheme, host and port; RFC 9110 §4.3.1).
pub(super) fn keep_headers(headers: &mut HeaderMap, from: &Url, to: &Url) {
    if from.origin() != to.origin() {
        CREDENTIALS.iter().for_each(|name| drop(headers.remove(name)));
    }
}

#[cfg(test)]
mod tests {
    use reqwest::header::{HeaderValue, RANGE};

    use super::*;

    #[test]
    fn a_redirect_is_resolved_against_its_url_and_never_leaves_https() {
        use RedirectError::{Downgrade, Invalid};
        for (from, location, to) in [
            // A release of GitHub, and a mirror.
            ("https://github.com/a/b", Some("https://objects.example/x?sig=1"), Ok("https://objects.example/x?sig=1")),
            ("http://mirror.example/a", Some("https://cdn.example/a"), Ok("https://cdn.example/a")),
            ("http://h/a/b", Some("c"), Ok("http://h/a/c")),
            ("http://h:8080/a", Some("/c#f"), Ok("http://h:8080/c")),
            ("https://h/a", Some("//other/c"), Ok("https://other/c")),
            ("http://h/a", Some("http://2130706433/"), Ok("http://127.0.0.1/")),
            ("http://h/a", Some("http://ann:secret@other/"), Ok("http://other/")),
            ("http://ann:secret@h/a", Some("/b"), Ok("http://ann:secret@h/b")),
            ("http://ann:secret@h/a", Some("http://other/b"), Ok("http://other/b")),
            ("http://ann:secret@h/a", Some("http://h:81/b"), Ok("http://h:81/b")),
            ("https://h/a", Some("http://h/a"), Err(Downgrade)),
            ("http://h/a", Some("file:///etc/passwd"), Err(Invalid)),
            ("http://h/a", Some("gopher://h/"), Err(Invalid)),
            ("http://h/a", Some("http://[fe80::1%25eth0]/"), Err(Invalid)),
            ("http://h/a", Some("http://"), Err(Invalid)),
            ("http://h/a", None, Err(Invalid)),
        ] {
            let next = next(&Url::parse(from).unwrap(), location).map(String::from);
            assert_eq!(next.as_deref(), to.as_deref(), "{from} {location:?}");
        }
    }

    #[test]
    fn credentials_stay_with_their_origin() {
        let url = |text| Url::parse(text).unwrap();
        for (to, keeps) in [
            ("https://h/other", true),
            ("https://h:443/", true),
            ("https://h:8443/", false),
            ("https://www.h/", false),
            ("https://other/", false),
            ("http://h/", false),
        ] {
            let value = HeaderValue::from_static("x");
            let mut headers = HeaderMap::from_iter([
                (AUTHORIZATION, value.clone()),
                (COOKIE, value.clone()),
                (HeaderName::from_static("x-auth-token"), value.clone()),
                (RANGE, value),
            ]);
            keep_headers(&mut headers, &url("https://h/"), &url(to));
            assert_eq!(headers.len(), if keeps { 4 } else { 1 }, "{to}");
            assert!(headers.contains_key(RANGE));
        }
    }

    #[test]
    fn only_a_request_without_a_body_is_redirected() {
        assert!(is_redirect(&Method::GET, StatusCode::FOUND));
        assert!(!is_redirect(&Method::GET, StatusCode::NOT_MODIFIED));
        assert!(!is_redirect(&Method::POST, StatusCode::TEMPORARY_REDIRECT));
    }
}
