//! Serializes visible fields of resources without copying them, for long lists.

use std::{borrow::Cow, fmt};

use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::{Map, Value};

use super::{Sub, chassis_nodes, subs};
use crate::{
    fields::{self, Columns, Field, Resource},
    version::Version,
};

/// Properties that all resources of one response share: fields, links and the base of the links.
#[derive(Debug, Clone)]
pub struct Frame {
    resource: &'static Resource,
    version: Version,
    base: String,
    fields: Vec<&'static Field>,
    subs: Vec<Sub>,
    has_nodes: bool,
}

impl Frame {
    /// Creates the frame of a response; `base` is scheme and host.
    #[must_use]
    pub fn new(resource: &'static Resource, version: Version, base: &str, columns: &Columns) -> Self {
        let has_subs = *columns == Columns::All || (resource.path == "drivers" && columns.show("hosts"));
        let subs = subs(resource).iter().filter(|sub| has_subs && version.has(sub.since)).copied();
        Self {
            resource,
            version,
            base: base.to_owned(),
            fields: fields::shown(resource, version, columns).collect(),
            subs: subs.collect(),
            has_nodes: *columns == Columns::All && resource.path == "chassis",
        }
    }

    /// Returns a resource as a value.
    #[must_use]
    pub fn shown(&self, whole: &Map<String, Value>) -> Value {
        // A map with text keys always serializes to an object.
        serde_json::to_value(self.around(whole)).unwrap_or_default()
    }

    /// Returns a resource for serialization. Fields that `whole` lacks have their initial values.
    #[must_use]
    pub const fn around<'a>(&'a self, whole: &'a Map<String, Value>) -> Framed<'a> {
        Framed { frame: self, whole }
    }
}

/// Resource that serializes its visible fields and links.
#[derive(Debug, Clone, Copy)]
pub struct Framed<'a> {
    frame: &'a Frame,
    whole: &'a Map<String, Value>,
}

impl Framed<'_> {
    fn key(&self) -> &str {
        self.whole.get(self.frame.resource.key).and_then(Value::as_str).unwrap_or_default()
    }
}

impl Serialize for Framed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Frame { resource, version, base, fields, subs, has_nodes } = self.frame;
        let mut members = serializer.serialize_map(None)?;
        for field in fields {
            let value: Cow<'_, Value> = fields::seen(resource, *version, field, self.whole.get(field.name));
            members.serialize_entry(field.name, value.as_ref())?;
        }
        let (path, key) = (resource.path, self.key());
        members.serialize_entry("links", &Links { base, path, key, below: "" })?;
        for sub in subs {
            members.serialize_entry(sub.name, &Links { base, path, key, below: sub.name })?;
        }
        if *has_nodes {
            members.serialize_entry("nodes", &chassis_nodes(base, key))?;
        }
        members.end()
    }
}

/// The two links of a resource, or of a subresource.
struct Links<'a> {
    base: &'a str,
    path: &'a str,
    key: &'a str,
    below: &'a str,
}

#[derive(Serialize)]
struct Link<'a> {
    href: Href<'a>,
    rel: &'static str,
}

struct Href<'a> {
    links: &'a Links<'a>,
    version: &'static str,
}

impl Serialize for Links<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let link = |version, rel| Link { href: Href { links: self, version }, rel };
        [link("/v1", "self"), link("", "bookmark")].serialize(serializer)
    }
}

impl Serialize for Href<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for Href<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Links { base, path, key, below } = self.links;
        write!(out, "{base}{}/{path}/{key}", self.version)?;
        if below.is_empty() { Ok(()) } else { write!(out, "/{below}") }
    }
}
