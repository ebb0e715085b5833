//! The paths below `/v1`: which there are, since when, what they take, and the status of success.

use crate::error::{Class, Error, text};
use crate::version::{Collection, Version};

/// How a request older than a path is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Older {
    /// As if there were no such path.
    Missing,
    /// 406.
    NotAcceptable,
    /// 404, and which version would do; that is said to those alone who know the node and may do it.
    Endpoint,
    /// 406 for a read; what would write finds no such method, or nothing to take away.
    Written,
}

/// A path and what it takes.
#[derive(Debug, PartialEq, Eq)]
pub struct Route {
    /// The path, without `/v1`; `*` stands for any one step.
    pub path: &'static str,
    /// The methods, each with the status of success and the version that brought it.
    pub methods: &'static [(&'static str, u16, u16)],
    older: Older,
}

const fn row(path: &'static str, methods: &'static [(&'static str, u16, u16)]) -> Route {
    Route { path, methods, older: Older::Missing }
}

const fn strict(path: &'static str, methods: &'static [(&'static str, u16, u16)]) -> Route {
    Route { path, methods, older: Older::NotAcceptable }
}

const fn told(path: &'static str, methods: &'static [(&'static str, u16, u16)]) -> Route {
    Route { path, methods, older: Older::Endpoint }
}

/// The table. Of two rows that fit the first counts. Versions of whole collections are in [`Collection`].
static ROUTES: &[Route] = &[
    row("nodes", &[("GET", 200, 1), ("POST", 201, 1)]),
    row("nodes/detail", &[("GET", 200, 1)]),
    row("nodes/states/console/*", &[("GET", 200, 1)]),
    row("nodes/*", &[("GET", 200, 1), ("PATCH", 200, 1), ("DELETE", 204, 1)]),
    row("nodes/*/validate", &[("GET", 200, 1)]),
    row("nodes/*/states", &[("GET", 200, 1)]),
    row("nodes/*/states/power", &[("PUT", 202, 1)]),
    row("nodes/*/states/provision", &[("PUT", 202, 1)]),
    strict("nodes/*/states/raid", &[("PUT", 204, 12)]),
    row("nodes/*/states/console", &[("GET", 200, 1), ("PUT", 202, 1)]),
    told("nodes/*/states/boot_mode", &[("PUT", 202, 76)]),
    told("nodes/*/states/secure_boot", &[("PUT", 202, 76)]),
    row("nodes/*/maintenance", &[("PUT", 202, 1), ("DELETE", 202, 1)]),
    row("nodes/*/management/boot_device", &[("GET", 200, 1), ("PUT", 204, 1)]),
    row("nodes/*/management/boot_device/supported", &[("GET", 200, 1)]),
    row("nodes/*/management/inject_nmi", &[("PUT", 204, 29)]),
    row("nodes/*/management/indicators", &[("GET", 200, 63)]),
    row("nodes/*/management/indicators/*", &[("GET", 200, 63), ("PUT", 204, 63)]),
    Route {
        path: "nodes/*/traits",
        methods: &[("GET", 200, 37), ("PUT", 204, 37), ("DELETE", 204, 37)],
        older: Older::Written,
    },
    Route { path: "nodes/*/traits/*", methods: &[("PUT", 204, 37), ("DELETE", 204, 37)], older: Older::Written },
    row("nodes/*/vifs", &[("GET", 200, 28), ("POST", 204, 28)]),
    row("nodes/*/vifs/*", &[("DELETE", 204, 28)]),
    row("nodes/*/vmedia", &[("POST", 204, 89), ("DELETE", 204, 89), ("GET", 200, 93)]),
    row("nodes/*/bios", &[("GET", 200, 40)]),
    row("nodes/*/bios/*", &[("GET", 200, 40)]),
    row("nodes/*/firmware", &[("GET", 200, 86)]),
    row("nodes/*/history", &[("GET", 200, 78)]),
    row("nodes/*/history/*", &[("GET", 200, 78)]),
    row("nodes/*/inventory", &[("GET", 200, 81)]),
    row("nodes/*/children", &[("GET", 200, 83)]),
    row("nodes/*/allocation", &[("GET", 200, 52), ("DELETE", 204, 52)]),
    row("nodes/*/ports", &[("GET", 200, 1)]),
    row("nodes/*/ports/detail", &[("GET", 200, 1)]),
    row("nodes/*/portgroups", &[("GET", 200, 24)]),
    row("nodes/*/portgroups/detail", &[("GET", 200, 24)]),
    row("nodes/*/volume", &[("GET", 200, 32)]),
    row("nodes/*/volume/connectors", &[("GET", 200, 32)]),
    row("nodes/*/volume/targets", &[("GET", 200, 32)]),
    row("nodes/*/vendor_passthru/methods", &[("GET", 200, 1)]),
    // A method that nobody waits for is 202.
    row("nodes/*/vendor_passthru/*", PASSTHRU),
    row("ports", &[("GET", 200, 1), ("POST", 201, 1)]),
    row("ports/detail", &[("GET", 200, 1)]),
    row("ports/*", ONE),
    row("portgroups", &[("GET", 200, 23), ("POST", 201, 23)]),
    row("portgroups/detail", &[("GET", 200, 23)]),
    row("portgroups/*", ONE),
    row("portgroups/*/ports", &[("GET", 200, 24)]),
    row("chassis", &[("GET", 200, 1), ("POST", 201, 1)]),
    row("chassis/detail", &[("GET", 200, 1)]),
    row("chassis/*", ONE),
    row("chassis/*/nodes", &[("GET", 200, 1)]),
    row("drivers", &[("GET", 200, 1)]),
    row("drivers/*", &[("GET", 200, 1)]),
    row("drivers/*/properties", &[("GET", 200, 1)]),
    strict("drivers/*/raid/logical_disk_properties", &[("GET", 200, 12)]),
    row("drivers/*/vendor_passthru/methods", &[("GET", 200, 1)]),
    row("drivers/*/vendor_passthru/*", PASSTHRU),
    row("conductors", &[("GET", 200, 49)]),
    row("conductors/*", &[("GET", 200, 49)]),
    row("allocations", &[("GET", 200, 52), ("POST", 201, 52)]),
    row("allocations/*", ONE),
    row("deploy_templates", &[("GET", 200, 55), ("POST", 201, 55)]),
    row("deploy_templates/*", ONE),
    row("runbooks", &[("GET", 200, 92), ("POST", 201, 92)]),
    row("runbooks/*", ONE),
    row("runbooks/*/traits", &[("GET", 200, 112), ("PUT", 204, 112), ("DELETE", 204, 112)]),
    row("runbooks/*/traits/*", &[("PUT", 204, 112), ("DELETE", 204, 112)]),
    row("inspection_rules", &[("GET", 200, 96), ("POST", 201, 96), ("DELETE", 204, 96)]),
    row("inspection_rules/*", ONE),
    row("volume", &[("GET", 200, 32)]),
    row("volume/connectors", &[("GET", 200, 32), ("POST", 201, 32)]),
    row("volume/connectors/*", ONE),
    row("volume/targets", &[("GET", 200, 32), ("POST", 201, 32)]),
    row("volume/targets/*", ONE),
    row("shards", &[("GET", 200, 82)]),
    row("events", &[("POST", 204, 54)]),
    // Ours, and of every version.
    row("webhooks", &[("GET", 200, 1), ("POST", 201, 1)]),
    row("webhooks/*", ONE),
    row("lookup", &[("GET", 200, 1)]),
    row("heartbeat", &[("POST", 202, 1)]),
    row("heartbeat/*", &[("POST", 202, 1)]),
    row("continue_inspection", &[("POST", 202, 1)]),
];
const ONE: &[(&str, u16, u16)] = &[("GET", 200, 1), ("PATCH", 200, 1), ("DELETE", 204, 1)];
const PASSTHRU: &[(&str, u16, u16)] = &[("GET", 200, 1), ("POST", 200, 1), ("PUT", 200, 1), ("DELETE", 200, 1)];

/// The whole table.
pub(crate) const fn routes() -> &'static [Route] {
    ROUTES
}

/// The methods and paths that a version brought.
pub fn since(minor: u16) -> impl Iterator<Item = (&'static str, &'static str)> {
    let rows = ROUTES.iter().flat_map(|route| route.methods.iter().map(move |row| (route.path, row)));
    let collection = |path: &str| path.split('/').next().and_then(Collection::named).map_or(1, |found| found.since);
    let new = rows.filter(move |(path, (_, _, since))| collection(path).max(*since) == minor);
    new.map(|(path, (method, ..))| (*method, path))
}

/// A request that has found its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// The row.
    pub route: &'static Route,
    /// The status of success.
    pub success: u16,
    /// The version that brought it, where an older request is refused by whoever answers it.
    since: Option<u16>,
}

impl Found {
    /// What a request of an older version hears once it is known that it may be made at all.
    #[must_use]
    pub fn older(&self) -> Option<Error> {
        let since = self.since?;
        Some(Class::NotFound.says(format!("This endpoint is supported starting with the API version 1.{since}")))
    }
}

/// Finds the path of a request. `path` is without `/v1`, slashes at its ends and a suffix
/// ([`crate::version::without_suffix`]).
///
/// # Errors
/// 404 or 405 as the router says it; what is newer than the request is refused in its own way.
pub fn find(version: Version, method: &str, path: &str) -> Result<Found, Error> {
    let steps: Vec<&str> = path.split('/').collect();
    let nowhere = || match steps.as_slice() {
        // The states of a node are one place, which takes nothing under a name that it does not know.
        ["nodes", _, "states", _] if method != "GET" => text::method_not_allowed(),
        _ => text::no_such_path(),
    };
    let route = ROUTES.iter().find(|route| fits(route.path, &steps)).ok_or_else(nowhere)?;
    // A path of which nothing is there yet is not there itself.
    let is_there = route.older != Older::Missing || route.methods.iter().any(|(_, _, since)| version.has(*since));
    let unknown = || if is_there { text::method_not_allowed() } else { text::no_such_path() };
    let row = route.methods.iter().find(|(name, ..)| *name == method);
    let (_, success, since) = *row.ok_or_else(unknown)?;
    // That no node is named is said to every version.
    let collection = steps.first().and_then(|name| Collection::named(name)).filter(|_| route.path != "heartbeat");
    if let Some(collection) = collection {
        collection.check(version, method == "GET")?;
    }
    if version.has(since) {
        return Ok(Found { route, success, since: None });
    }
    Err(match route.older {
        Older::Missing => text::no_such_path(),
        Older::NotAcceptable => text::not_acceptable(),
        Older::Written if method == "PUT" => text::method_not_allowed(),
        Older::Written if method == "DELETE" => text::resource_not_found(),
        Older::Written => text::not_acceptable(),
        Older::Endpoint => return Ok(Found { route, success, since: Some(since) }),
    })
}

/// The methods that a path takes, in any version; none where there is no such path. `path` is as for [`find`].
pub fn methods(path: &str) -> impl Iterator<Item = &'static str> {
    let steps: Vec<&str> = path.split('/').collect();
    let route = ROUTES.iter().find(|route| fits(route.path, &steps));
    route.into_iter().flat_map(|route| route.methods).map(|(method, ..)| *method)
}

fn fits(route: &str, steps: &[&str]) -> bool {
    let mut route = route.split('/');
    let same = steps.iter().all(|step| route.next().is_some_and(|word| word == "*" || word == *step));
    same && route.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_is_in_the_golden_table_and_can_be_found() {
        let mut out = String::new();
        for route in ROUTES {
            let path = route.path.replace('*', "x");
            for (method, success, since) in route.methods {
                assert_eq!(find(Version::MAX, method, &path).unwrap(), Found { route, success: *success, since: None });
                out.push_str(&format!("{method:6} {:42} {since:>3}  {success}\n", route.path));
            }
        }
        crate::golden::check("paths.txt", &out);
    }

    #[test]
    fn a_known_path_refuses_an_unknown_method() {
        assert_eq!(find(Version::MAX, "POST", "nodes/n/states/power").unwrap_err(), text::method_not_allowed());
        assert_eq!(find(Version::MAX, "GET", "nodes/n/bogus").unwrap_err(), text::no_such_path());
        assert_eq!(find(Version::MIN, "GET", "nodes/n/traits").unwrap_err(), text::not_acceptable());
        assert_eq!(find(Version::MIN, "PUT", "nodes/n/traits/CUSTOM_A").unwrap_err(), text::method_not_allowed());
        assert_eq!(find(Version::MIN, "DELETE", "nodes/n/traits").unwrap_err(), text::resource_not_found());
        assert_eq!(find(Version::MAX, "PUT", "nodes/n/states/bogus").unwrap_err(), text::method_not_allowed());
        assert_eq!(find(Version::MAX, "GET", "nodes/n/states/bogus").unwrap_err(), text::no_such_path());
        assert_eq!(methods("nodes/n/traits").collect::<Vec<_>>(), ["GET", "PUT", "DELETE"]);
        assert_eq!(methods("nodes/n/bogus").count(), 0);
        assert_eq!(find(Version::MIN, "PUT", "nodes/n/vmedia").unwrap_err(), text::no_such_path());
    }
}
