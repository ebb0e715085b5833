//! Calls of the API below `/v1`: methods, paths, first versions and authorization rules.

mod table;

pub use table::Call;

use table::ROUTES;

use crate::error::{Class, Error, text};
use crate::version::{Collection, Version};

/// Error for a request in a version older than the route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Older {
    /// 404, as for a path that does not exist.
    Missing,
    /// 406.
    NotAcceptable,
    /// 404 with the required version, only for callers that are allowed to make the call ([`Found::older`]).
    Endpoint,
    /// 406 for `GET`, 405 for `PUT`, 404 for `DELETE`.
    ByMethod,
}

/// Object of an authorization rule, whose owner and lessee decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// No particular record.
    Nothing,
    /// The node in the path.
    Node,
    /// The allocation of the node in the path.
    NodeAllocation,
    /// The node of the port in the path.
    Port,
    /// The node of the port group in the path.
    Portgroup,
    /// The node of the volume connector in the path.
    VolumeConnector,
    /// The node of the volume target in the path.
    VolumeTarget,
    /// The node that the body names.
    NodeInBody,
    /// The allocation in the path.
    Allocation,
    /// The runbook in the path.
    Runbook,
    /// A new node, which will belong to the caller's project.
    NewNode,
    /// A new allocation, which will belong to the caller's project.
    NewAllocation,
    /// A new runbook, which will belong to the caller's project.
    NewRunbook,
}

/// Requirement for making a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Requirement {
    /// None: requests are not authenticated.
    Public,
    /// Full administrative rights.
    Unrestricted,
    /// An authorization rule of Ironic.
    Rule {
        /// Name of the rule, such as `baremetal:node:get`.
        name: &'static str,
        /// Object of the rule.
        target: Target,
    },
}

/// One row of the table.
#[derive(Debug)]
pub struct Route {
    /// HTTP method.
    pub method: &'static str,
    /// Path without `/v1`, in which `*` stands for any one segment.
    pub path: &'static str,
    /// HTTP status of success.
    pub success: u16,
    /// First minor version with the call. That of its collection may be later ([`Collection`]).
    pub since: u16,
    /// Requirement for making the call.
    pub requirement: Requirement,
    older: Older,
    call: for<'p> fn(&[&'p str]) -> Option<Call<'p>>,
}

/// Returns the whole table.
pub fn routes() -> impl Iterator<Item = &'static Route> {
    ROUTES.iter()
}

/// Returns the calls that a version added.
pub fn since(minor: u16) -> impl Iterator<Item = &'static Route> {
    let collection = |path: &str| path.split('/').next().and_then(Collection::named).map_or(1, |found| found.since);
    ROUTES.iter().filter(move |route| collection(route.path).max(route.since) == minor)
}

/// A request that matches a route.
#[derive(Debug, Clone, Copy)]
pub struct Found<'p> {
    /// The row of the table.
    pub route: &'static Route,
    /// The call with its parameters.
    pub call: Call<'p>,
    /// The first parameter of the path: the id or name of the resource. Empty if the path has none.
    pub ident: &'p str,
    /// First version of the route, if the request is older and is rejected only after it is authorized.
    since: Option<u16>,
}

impl Found<'_> {
    /// Returns the error for a request in an older version, or `None` if the version suffices. The caller returns it after it
    /// has authorized the request.
    #[must_use]
    pub fn older(&self) -> Option<Error> {
        let since = self.since?;
        Some(Class::NotFound.error(format!("This endpoint is supported starting with the API version 1.{since}")))
    }
}

/// Finds the route of a request. `path` comes without `/v1`, without slashes at its ends and without a suffix
/// ([`crate::version::without_suffix`]).
///
/// # Errors
/// 404 or 405 in the format of the router if there is no such route, and 404, 405 or 406 if the route is newer than the
/// request.
pub fn find<'p>(version: Version, method: &str, path: &'p str) -> Result<Found<'p>, Error> {
    let segments: Vec<&'p str> = path.split('/').collect();
    let Some(rows) = rows(&segments) else {
        return Err(match segments.as_slice() {
            // In Ironic one controller serves a node's states, and rejects unknown names by method.
            ["nodes", _, "states", _] if method != "GET" => text::method_not_allowed(),
            _ => text::no_such_path(),
        });
    };
    let route = rows.clone().find(|route| route.method == method);
    let Some((route, (call, ident))) = route.and_then(|route| Some((route, route.bind(&segments)?))) else {
        // A path whose calls are all newer than the request does not exist for it.
        let exists = rows.clone().any(|route| route.older != Older::Missing || version.has(route.since));
        return Err(if exists { text::method_not_allowed() } else { text::no_such_path() });
    };
    // The error for a heartbeat without a node is the same in every version.
    let collection = segments.first().and_then(|name| Collection::named(name)).filter(|_| route.path != "heartbeat");
    if let Some(collection) = collection {
        collection.check(version, method == "GET")?;
    }
    if version.has(route.since) {
        return Ok(Found { route, call, ident, since: None });
    }
    Err(match route.older {
        Older::Missing => text::no_such_path(),
        Older::NotAcceptable => text::not_acceptable(),
        Older::ByMethod if method == "PUT" => text::method_not_allowed(),
        Older::ByMethod if method == "DELETE" => text::resource_not_found(),
        Older::ByMethod => text::not_acceptable(),
        Older::Endpoint => return Ok(Found { route, call, ident, since: Some(route.since) }),
    })
}

/// Returns the methods that a path supports in any version, or nothing if there is no such path. `path` is as for [`find`].
pub fn methods(path: &str) -> impl Iterator<Item = &'static str> {
    let segments: Vec<&str> = path.split('/').collect();
    let methods: Vec<&str> = rows(&segments).into_iter().flatten().map(|route| route.method).collect();
    methods.into_iter()
}

/// Returns the rows of the first path that matches these segments, or `None` if no path does.
fn rows(segments: &[&str]) -> Option<impl Iterator<Item = &'static Route> + Clone> {
    let mut rest = ROUTES.iter().skip_while(|route| !route.matches(segments)).peekable();
    let path = rest.peek()?.path;
    Some(rest.take_while(move |route| route.path == path))
}

impl Route {
    fn matches(&self, segments: &[&str]) -> bool {
        let mut own = self.path.split('/');
        let same = segments.iter().all(|segment| own.next().is_some_and(|name| name == "*" || name == *segment));
        same && own.next().is_none()
    }

    /// Returns the call with the parameters in these segments, and the first of them.
    fn bind<'p>(&self, segments: &[&'p str]) -> Option<(Call<'p>, &'p str)> {
        let pairs = self.path.split('/').zip(segments);
        let parameters: Vec<&'p str> = pairs.filter(|(name, _)| *name == "*").map(|(_, segment)| *segment).collect();
        Some(((self.call)(&parameters)?, parameters.first().copied().unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(version: Version, method: &str, path: &str) -> Error {
        find(version, method, path).unwrap_err()
    }

    #[test]
    fn every_path_is_in_the_golden_table_and_can_be_found() {
        let mut out = String::new();
        for route in ROUTES {
            let path = route.path.replace('*', "x");
            let found = find(Version::MAX, route.method, &path).unwrap();
            assert!(std::ptr::eq(found.route, route) && found.older().is_none(), "{route:?}");
            assert_eq!(found.ident, if route.path.contains('*') { "x" } else { "" });
            let Route { method, path, success, since, .. } = route;
            out.push_str(&format!("{method:6} {path:42} {since:>3}  {success}\n"));
        }
        crate::golden::check("paths.txt", &out);
    }

    #[test]
    fn a_call_has_the_parameters_of_its_path() {
        let call = |method, path| find(Version::MAX, method, path).unwrap().call;
        assert_eq!(call("GET", "nodes/detail"), Call::NodeListDetail);
        assert_eq!(call("GET", "nodes/n1"), Call::NodeShow { ident: "n1" });
        assert_eq!(call("GET", "nodes/states/console/n1"), Call::NodeConsoleShowByArgument { ident: "n1" });
        assert_eq!(call("DELETE", "nodes/n1/traits/CUSTOM_A"), Call::NodeTraitRemove { ident: "n1", name: "CUSTOM_A" });
        assert_eq!(call("PATCH", "volume/targets/t"), Call::VolumeTargetUpdate { ident: "t" });
    }

    #[test]
    fn the_rows_of_one_path_are_adjacent() {
        let mut paths: Vec<&str> = ROUTES.iter().map(|route| route.path).collect();
        paths.dedup();
        let unique: std::collections::BTreeSet<&str> = paths.iter().copied().collect();
        assert_eq!(paths.len(), unique.len());
    }

    #[test]
    fn a_call_that_changes_something_never_needs_only_a_rule_for_reading() {
        let reads = [":get", ":list", ":list_all", ":get_states"];
        for route in ROUTES.iter().filter(|route| route.method != "GET") {
            if let Requirement::Rule { name, .. } = route.requirement {
                assert!(!reads.iter().any(|read| name.ends_with(read)), "{route:?}");
            }
        }
    }

    #[test]
    fn a_known_path_rejects_an_unknown_method() {
        assert_eq!(error(Version::MAX, "POST", "nodes/n/states/power"), text::method_not_allowed());
        assert_eq!(error(Version::MAX, "GET", "nodes/n/bogus"), text::no_such_path());
        assert_eq!(error(Version::MIN, "GET", "nodes/n/traits"), text::not_acceptable());
        assert_eq!(error(Version::MIN, "PUT", "nodes/n/traits/CUSTOM_A"), text::method_not_allowed());
        assert_eq!(error(Version::MIN, "DELETE", "nodes/n/traits"), text::resource_not_found());
        assert_eq!(error(Version::MAX, "PUT", "nodes/n/states/bogus"), text::method_not_allowed());
        assert_eq!(error(Version::MAX, "GET", "nodes/n/states/bogus"), text::no_such_path());
        assert_eq!(methods("nodes/n/traits").collect::<Vec<_>>(), ["GET", "PUT", "DELETE"]);
        assert_eq!(methods("nodes/n/bogus").count(), 0);
        assert_eq!(error(Version::MIN, "PUT", "nodes/n/vmedia"), text::no_such_path());
    }
}
