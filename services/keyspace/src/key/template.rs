//! Path templates: how the arguments of a key become a path, and a path becomes arguments again.

use std::{
    fmt::{Display, Write as _},
    net::Ipv4Addr,
    str::FromStr,
};

use domain::{
    id::{ImageId, InstanceId, NodeId, RackId},
    net::{BmcAddr, MacAddr},
    service::Service,
};
use uuid::Uuid;

use super::{ROOT, Scope};

/// Room for the path of most keys: two ids and a few words.
const USUAL_LENGTH: usize = 128;

/// A path without [`ROOT`], such as `{rack}/node/{node}/life`.
#[derive(Debug)]
pub(super) struct Template {
    segments: Vec<Segment>,
    family: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Segment {
    Literal(&'static str),
    Parameter,
}

impl Template {
    pub(super) fn new(text: &'static str) -> Self {
        let segment =
            |text: &'static str| if text.starts_with('{') { Segment::Parameter } else { Segment::Literal(text) };
        let segments: Vec<_> = text.split('/').map(segment).collect();
        let is_named = |name: &&str| *name != DATACENTER && name.parse::<Service>().is_err();
        let names = segments.iter().filter_map(|segment| match segment {
            Segment::Literal(name) => Some(*name),
            Segment::Parameter => None,
        });
        let family = names.filter(is_named).collect::<Vec<_>>().join("/");
        Self { segments, family }
    }

    /// The literal segments, without those that say whose the key is: `node/life`.
    pub(super) fn family(&self) -> &str {
        &self.family
    }

    /// Fills in the arguments. With fewer arguments than parameters, the result is the prefix of all keys with these
    /// arguments.
    pub(super) fn path(&self, arguments: &[&dyn Display]) -> String {
        let (mut path, mut arguments) = (String::with_capacity(USUAL_LENGTH), arguments.iter());
        path.push_str(ROOT);
        for (number, segment) in self.segments.iter().enumerate() {
            if number > 0 {
                path.push('/');
            }
            match segment {
                Segment::Literal(text) => path.push_str(text),
                Segment::Parameter => match arguments.next() {
                    // Writing to a string does not fail.
                    Some(argument) => drop(write!(path, "{argument}")),
                    None => return path,
                },
            }
        }
        path
    }

    /// The texts at the places of the parameters, if the path has this form. A parameter at the end takes all that is
    /// left.
    pub(super) fn captures<'a>(&self, path: &Split<'a>) -> Option<Captures<'a>> {
        let (count, ends_open) = (self.segments.len(), self.segments.last() == Some(&Segment::Parameter));
        if path.count < count || (path.count > count && !ends_open) {
            return None;
        }
        let mut captures = Captures { texts: [""; MAX_SEGMENTS], count: 0, next: 0 };
        for (number, (segment, found)) in self.segments.iter().zip(&path.segments).enumerate() {
            match segment {
                Segment::Literal(text) if text == found => {}
                Segment::Literal(_) => return None,
                Segment::Parameter => {
                    let text = if number + 1 == count { path.from(number)? } else { found };
                    *captures.texts.get_mut(captures.count)? = text;
                    captures.count += 1;
                }
            }
        }
        Some(captures)
    }
}

/// The scope of what belongs to no rack.
pub(super) const DATACENTER: &str = "dc";
/// Segments of the longest template; a longer path is told apart by the first ones.
const MAX_SEGMENTS: usize = 6;

/// A path, split once for all templates.
#[derive(Debug)]
pub(super) struct Split<'a> {
    whole: &'a str,
    segments: [&'a str; MAX_SEGMENTS],
    count: usize,
}

impl<'a> Split<'a> {
    /// Splits a path; `None` if it is not under [`ROOT`].
    pub(super) fn new(path: &'a str) -> Option<Self> {
        let whole = path.strip_prefix(ROOT)?;
        let (mut segments, mut count) = ([""; MAX_SEGMENTS], 0);
        for segment in whole.split('/') {
            if let Some(place) = segments.get_mut(count) {
                *place = segment;
            }
            count += 1;
        }
        Some(Self { whole, segments, count })
    }

    /// Everything from a segment on.
    fn from(&self, segment: usize) -> Option<&'a str> {
        let before: usize = self.segments.iter().take(segment).map(|text| text.len() + 1).sum();
        self.whole.get(before..)
    }
}

/// What stands at the places of a template's parameters, in order.
#[derive(Debug)]
pub(super) struct Captures<'a> {
    texts: [&'a str; MAX_SEGMENTS],
    count: usize,
    next: usize,
}

impl Captures<'_> {
    /// Parses the next one; `None` if it is not of this type.
    pub(super) fn take<T: Argument>(&mut self) -> Option<T> {
        let text = self.texts.get(..self.count)?.get(self.next)?;
        self.next += 1;
        T::parse(text)
    }
}

/// An argument of a key.
pub trait Argument: Sized {
    /// How a constructor takes it.
    type Taken<'a>: Display;

    /// Reads it from a path.
    fn parse(text: &str) -> Option<Self>;

    /// Notes what the key is about.
    fn note(&self, _about: &mut About) {}
}

/// What a key is about, as far as its path says so.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct About {
    /// The rack that it belongs to as a rack's own key. Keys of a rack's services have a [`Scope`] instead.
    pub rack: Option<RackId>,
    /// The node that it is about.
    pub node: Option<NodeId>,
}

macro_rules! arguments {
    ($($kind:ty: $taken:ty;)*) => {
        $(impl Argument for $kind {
            type Taken<'a> = $taken;

            fn parse(text: &str) -> Option<Self> {
                Self::from_str(text).ok()
            }
        })*
    };
}

arguments! {
    ImageId: Self;
    InstanceId: Self;
    MacAddr: Self;
    Ipv4Addr: Self;
    Uuid: Self;
    Service: Self;
    BmcAddr: &'a Self;
    String: &'a str;
}

impl Argument for RackId {
    type Taken<'a> = Self;

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn note(&self, about: &mut About) {
        about.rack = Some(*self);
    }
}

impl Argument for NodeId {
    type Taken<'a> = Self;

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn note(&self, about: &mut About) {
        about.node = Some(*self);
    }
}

impl Argument for Scope {
    type Taken<'a> = Self;

    fn parse(text: &str) -> Option<Self> {
        if text == DATACENTER { Some(Self::Datacenter) } else { text.parse().ok().map(Self::Rack) }
    }
}
