//! Serializes visible fields of resources without copying them, for long lists.

use std::fmt;

use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::Value;

use super::{Sub, chassis_nodes, subs};
use crate::{
    fields::{self, Columns, Field, FieldSource, Resource},
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
    pub fn shown<S: FieldSource>(&self, whole: &S) -> Value {
        // A map with text keys always serializes to an object.
        serde_json::to_value(self.around(whole)).unwrap_or_default()
    }

    /// Returns a resource for serialization. Fields that `whole` lacks have their initial values.
    #[must_use]
    pub const fn around<'a, S: FieldSource>(&'a self, whole: &'a S) -> Framed<'a, S> {
        Framed { frame: self, whole }
    }
}

/// Resource that serializes its visible fields and links.
#[derive(Debug)]
pub struct Framed<'a, S> {
    frame: &'a Frame,
    whole: &'a S,
}

impl<F: FieldSource> Serialize for Framed<'_, F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Frame { resource, version, base, fields, subs, has_nodes } = self.frame;
        let mut members = serializer.serialize_map(None)?;
        for field in fields {
            let value = fields::seen(resource, *version, field, self.whole.field(field.name));
            members.serialize_entry(field.name, &value)?;
        }
        let key = self.whole.field(resource.key);
        let (path, key) = (resource.path, key.as_ref().and_then(|key| key.as_str()).unwrap_or_default());
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
