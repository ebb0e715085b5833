//! Decides what follows a response: the HTTP policy for Redfish services. Pure.
//!
//! Sources: DSP0266 §6.5 (redirects, entity tags), RFC 9110 §13.1.1 (`If-Match` needs a strong comparison, and a weak tag
//! never matches one), §15.4 (redirects), §15.5.13, RFC 6585 §3 (428).

use hyper::Uri;

use super::error::RedfishError;

/// Maximum number of redirects that are followed for one request.
pub(super) const MAX_REDIRECTS: usize = 4;
/// Maximum length of a path, in bytes.
const MAX_PATH_BYTES: usize = 1024;
/// Maximum length of a location in an error, in characters.
const MAX_SHOWN_CHARS: usize = 300;

/// Where requests go. Credentials must not go anywhere else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) scheme: &'static str,
    /// Host in lower case.
    pub(super) host: String,
    pub(super) port: u16,
}

/// What to do after a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Next {
    /// The response is the result.
    Final,
    /// Send the request again to this path.
    FollowTo(String),
    /// Send the request again with the next precondition.
    RetryWith(EtagForm),
    /// Open a new session and send the request again.
    NewSession,
    /// The request cannot be answered.
    Failed(RedfishError),
}

/// Form of an entity tag in `If-Match`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EtagForm {
    /// As in the `ETag` header.
    Header,
    /// As in the body's `@odata.etag`, where it differs.
    Body,
    /// As a strong tag: without `W/`, in one pair of quotes.
    Strong,
    /// No `If-Match` at all.
    Omitted,
    /// `*`: any version.
    Any,
    /// Without quotes.
    Bare,
}

/// The entity tags that a service sent with a resource.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Etags {
    /// From the `ETag` header.
    pub(super) header: Option<String>,
    /// From `@odata.etag`.
    pub(super) body: Option<String>,
}

impl Etags {
    /// Returns the values of `If-Match` to try, in this order and each once: as sent, as a strong tag, none, any version,
    /// and without quotes. `known` is the form that this service accepted before; it comes first.
    pub(super) fn forms(&self, known: Option<EtagForm>) -> Vec<(EtagForm, Option<String>)> {
        let sent = self.header.as_ref().or(self.body.as_ref());
        let opaque = sent.map(|tag| {
            let tag = tag.trim();
            tag.strip_prefix("W/").or_else(|| tag.strip_prefix("w/")).unwrap_or(tag).trim_matches('"').to_owned()
        });
        let all = [
            (EtagForm::Header, self.header.clone()),
            (EtagForm::Body, self.body.clone()),
            (EtagForm::Strong, opaque.as_ref().map(|tag| format!("\"{tag}\""))),
            (EtagForm::Omitted, None),
            (EtagForm::Any, Some("*".to_owned())),
            (EtagForm::Bare, opaque),
        ];
        let mut forms: Vec<(EtagForm, Option<String>)> = Vec::new();
        for (form, value) in all {
            let is_missing = value.is_none() && form != EtagForm::Omitted;
            if !is_missing && !forms.iter().any(|(_, known)| *known == value) {
                forms.push((form, value));
            }
        }
        forms.sort_by_key(|(form, _)| Some(*form) != known);
        forms
    }
}

/// What the policy needs to know of a request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call<'a> {
    pub(super) method: &'static str,
    pub(super) path: &'a str,
}

/// What the policy needs to know of a response.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head<'a> {
    pub(super) status: u16,
    pub(super) location: Option<&'a str>,
}

/// State of one request and its repetitions.
#[derive(Debug, Clone)]
pub(super) struct Exchange {
    origin: Origin,
    redirects: usize,
    /// Forms of the entity tag that were not tried yet.
    forms: Vec<EtagForm>,
    /// Whether a session that has ended may be replaced.
    may_renew: bool,
}

impl Exchange {
    /// Starts an exchange. `forms` are the preconditions besides the first one, `may_renew` says whether a session may be
    /// replaced once if it has ended.
    pub(super) fn new(origin: Origin, forms: Vec<EtagForm>, may_renew: bool) -> Self {
        Self { origin, redirects: 0, forms, may_renew }
    }

    /// Decides what follows a response to `call`. Each repetition uses up a bounded allowance, so that it ends.
    pub(super) fn next(&mut self, call: Call<'_>, response: Head<'_>) -> Next {
        match response.status {
            301 | 302 | 303 | 307 | 308 => self.redirect(call, response),
            412 | 428 if !self.forms.is_empty() => Next::RetryWith(self.forms.remove(0)),
            401 if std::mem::take(&mut self.may_renew) => Next::NewSession,
            _ => Next::Final,
        }
    }

    fn redirect(&mut self, call: Call<'_>, response: Head<'_>) -> Next {
        let to = response.location.unwrap_or_default();
        let shown: String = to.chars().filter(|sign| !sign.is_control()).take(MAX_SHOWN_CHARS).collect();
        // RFC 9110 §15.4: only 307 and 308 guarantee that the method is kept.
        let keeps_method = call.method == "GET" || matches!(response.status, 307 | 308);
        if !keeps_method {
            let (method, status) = (call.method, response.status);
            return Next::Failed(RedfishError::RedirectedChange { method, status, to: shown });
        }
        let Some(path) = self.origin.resolve(call.path, to) else {
            return Next::Failed(RedfishError::RedirectedAway(shown));
        };
        if self.redirects >= MAX_REDIRECTS || path == call.path {
            return Next::Failed(RedfishError::RedirectLoop(shown));
        }
        self.redirects += 1;
        Next::FollowTo(path)
    }
}

impl Origin {
    /// Returns the path of a `Location`, which may be relative to `base`. Returns `None` if it is at another origin or is
    /// not valid.
    pub(super) fn resolve(&self, base: &str, location: &str) -> Option<String> {
        let location = location.trim().split('#').next().unwrap_or_default();
        if location.is_empty() {
            return None;
        }
        let has_scheme = location.split(['/', '?']).next().is_some_and(|first| first.contains(':'));
        let path = if has_scheme || location.starts_with("//") {
            let absolute = if has_scheme { location.to_owned() } else { format!("{}:{location}", self.scheme) };
            let uri: Uri = absolute.parse().ok()?;
            self.is_at(&uri).then(|| uri.path_and_query().map_or("/", |path| path.as_str()).to_owned())?
        } else if location.starts_with('/') {
            location.to_owned()
        } else {
            let folder = base.split('?').next().unwrap_or_default();
            format!("{}/{location}", folder.rsplit_once('/').map_or("", |(folder, _)| folder))
        };
        let path = without_dots(&path);
        let fits = path.len() <= MAX_PATH_BYTES && path.bytes().all(|octet| octet.is_ascii_graphic());
        fits.then_some(path)
    }

    fn is_at(&self, uri: &Uri) -> bool {
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else { return false };
        let default = if scheme.eq_ignore_ascii_case("http") { 80 } else { 443 };
        let port = if authority.port().is_some() { uri.port_u16() } else { Some(default) };
        scheme.eq_ignore_ascii_case(self.scheme)
            && !authority.as_str().contains('@')
            && authority.host().trim_end_matches('.').eq_ignore_ascii_case(&self.host)
            && port == Some(self.port)
    }
}

/// Removes dot segments (RFC 3986 §5.2.4) and empty segments at the start of a path.
fn without_dots(path: &str) -> String {
    let (path, query) = match path.split_once('?') {
        Some((path, query)) => (path, format!("?{query}")),
        None => (path, String::new()),
    };
    let mut kept: Vec<&str> = Vec::new();
    let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let last = segments.len().saturating_sub(1);
    for (number, segment) in segments.into_iter().enumerate() {
        match segment {
            "." | ".." => {
                if segment == ".." {
                    kept.pop();
                }
                if number == last {
                    kept.push("");
                }
            }
            segment => kept.push(segment),
        }
    }
    format!("/{}{query}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin() -> Origin {
        Origin { scheme: "https", host: "bmc7".to_owned(), port: 443 }
    }

    fn next(method: &'static str, status: u16, location: &str) -> Next {
        let call = Call { method, path: "/redfish/v1/Systems/1" };
        Exchange::new(origin(), Vec::new(), false).next(call, Head { status, location: Some(location) })
    }

    #[test]
    fn a_redirect_is_followed_on_the_same_host_only_and_with_the_same_method_only() {
        let path = "/redfish/v1/Systems/1/";
        let follow = |path: &str| Some(path.to_owned());
        let table = [
            ("GET", 301, path, follow(path), "openbmc/bmcweb: a path without its slash"),
            ("GET", 302, path, follow(path), "RFC 9110 §15.4.3"),
            ("GET", 303, path, follow(path), "RFC 9110 §15.4.4"),
            ("GET", 307, path, follow(path), "DSP0266 §6.5.2"),
            ("GET", 308, path, follow(path), "HPE iLO 5: a path without its slash"),
            ("PATCH", 307, path, follow(path), "RFC 9110 §15.4.8"),
            ("POST", 308, path, follow(path), "RFC 9110 §15.4.9"),
            ("DELETE", 308, path, follow(path), "RFC 9110 §15.4.9"),
            ("GET", 301, "https://bmc7/redfish/v1/Systems/1/", follow(path), "an absolute location"),
            (
                "GET",
                301,
                "HTTPS://BMC7:443/redfish/v1/Systems/1/",
                follow(path),
                "case and default port, RFC 3986 §6.2",
            ),
            ("GET", 301, "//bmc7/redfish/v1/Systems/1/", follow(path), "RFC 3986 §4.2"),
            ("GET", 301, "1/", follow(path), "RFC 3986 §5.2: relative to the folder"),
            ("GET", 301, "../Systems/1/#/Boot", follow(path), "RFC 3986 §5.2.4"),
            ("GET", 301, "/s?$skip=2", follow("/s?$skip=2"), "a query"),
            ("PATCH", 301, path, None, "RFC 9110 §15.4.2: clients change the method"),
            ("POST", 302, path, None, "RFC 9110 §15.4.3"),
            ("POST", 303, path, None, "RFC 9110 §15.4.4: a GET elsewhere"),
            ("GET", 308, "https://evil/redfish/v1/Systems/1/", None, "another host"),
            ("GET", 308, "//evil/redfish/v1/", None, "another host"),
            ("GET", 308, "http://bmc7/redfish/v1/", None, "in clear"),
            ("GET", 308, "https://bmc7:8443/redfish/v1/", None, "another port"),
            ("GET", 308, "https://bmc7@evil/", None, "user information"),
            ("GET", 308, "https://bmc7.evil/", None, "a longer name"),
            ("GET", 308, "javascript:alert(1)", None, "no HTTP"),
            ("GET", 308, "/a b", None, "no URI"),
            ("GET", 308, "", None, "no location"),
            ("GET", 308, "/redfish/v1/Systems/1", None, "to itself"),
        ];
        for (method, status, location, right, source) in table {
            let next = next(method, status, location);
            match right {
                Some(path) => assert_eq!(next, Next::FollowTo(path), "{source}"),
                None => assert!(matches!(next, Next::Failed(_)), "{source}: {next:?}"),
            }
        }
        let Next::Failed(error) = next("GET", 302, "https://evil/x\r\n") else { panic!("followed") };
        assert!(
            error.to_string().contains("https://evil/x") && error.to_string().contains("redfish_address"),
            "{error}"
        );
    }

    #[test]
    fn redirects_end() {
        let mut exchange = Exchange::new(origin(), Vec::new(), false);
        let mut path = "/a";
        for _ in 0..MAX_REDIRECTS {
            let other = if path == "/a" { "/b" } else { "/a" };
            let next = exchange.next(Call { method: "GET", path }, Head { status: 302, location: Some(other) });
            assert_eq!(next, Next::FollowTo(other.to_owned()));
            path = other;
        }
        let next = exchange.next(Call { method: "GET", path }, Head { status: 302, location: Some("/c") });
        assert!(matches!(next, Next::Failed(RedfishError::RedirectLoop(_))), "{next:?}");
    }

    #[test]
    fn an_entity_tag_is_sent_in_each_form_once() {
        let tags = |header: Option<&str>, body: Option<&str>| Etags {
            header: header.map(str::to_owned),
            body: body.map(str::to_owned),
        };
        let none = "(none)";
        let table: &[(Etags, &[&str], &str)] = &[
            (tags(Some("\"1\""), None), &["\"1\"", none, "*", "1"], "RFC 9110 §8.8.3"),
            (tags(Some("W/\"1\""), None), &["W/\"1\"", "\"1\"", none, "*", "1"], "sushy: fix-return-full-weak-etag"),
            (tags(None, Some("W/\"1\"")), &["W/\"1\"", "\"1\"", none, "*", "1"], "Gigabyte, community.general #6434"),
            (tags(Some("\"1\""), Some("W/\"1\"")), &["\"1\"", "W/\"1\"", none, "*", "1"], "two tags"),
            (tags(Some("1"), None), &["1", "\"1\"", none, "*"], "a tag without quotes"),
            (
                tags(Some("\"\"1\"\""), Some("\"1\"")),
                &["\"\"1\"\"", "\"1\"", none, "*", "1"],
                "community.general #3268",
            ),
            (tags(None, None), &[none, "*"], "Lenovo SR655, gofish #171: 428 without one"),
        ];
        for (tags, right, source) in table {
            let forms = tags.forms(None);
            let values: Vec<&str> = forms.iter().map(|(_, value)| value.as_deref().unwrap_or(none)).collect();
            assert_eq!(&values, right, "{source}");
        }
        let known = tags(Some("W/\"1\""), None).forms(Some(EtagForm::Omitted));
        assert_eq!(known[0], (EtagForm::Omitted, None), "what worked before comes first");
        assert_eq!(known.len(), 5);
    }

    #[test]
    fn preconditions_and_sessions_are_retried_until_nothing_is_left() {
        let call = Call { method: "GET", path: "/s" };
        let mut exchange = Exchange::new(origin(), vec![EtagForm::Strong, EtagForm::Omitted], true);
        let mut next = |status| exchange.next(call, Head { status, location: None });
        assert_eq!(next(412), Next::RetryWith(EtagForm::Strong));
        assert_eq!(next(428), Next::RetryWith(EtagForm::Omitted));
        assert_eq!(next(412), Next::Final);
        assert_eq!(next(401), Next::NewSession);
        assert_eq!(next(401), Next::Final);
        for status in [200, 204, 300, 304, 400, 403, 404, 405, 409, 429, 500, 503] {
            assert_eq!(next(status), Next::Final, "{status}");
        }
    }
}
