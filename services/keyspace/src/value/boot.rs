//! What a node boots when it asks, and what its agent does then.

use domain::{
    generation::{Generation, Token},
    image::{Digest, Encoding},
    step::Step,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

use super::Sealed;

/// What a node boots from the network. While there is none it is told to boot from its disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootDecision {
    /// The boot that it is for.
    pub generation: Generation,
    /// The claim under which it was minted.
    pub token: Token,
    /// When.
    pub minted_at: Timestamp,
    /// The agent's kernel.
    pub kernel: BootFile,
    /// The agent's ramdisk.
    pub ramdisk: BootFile,
    /// Added to the kernel's command line. Never a secret.
    pub arguments: String,
    /// Over TFTP rather than HTTP.
    #[serde(default)]
    pub by_tftp: bool,
    /// 32 random octets, sealed: what the agent proves itself with, once.
    pub boot_token: Sealed,
    /// What the agent is to do.
    pub work: Work,
    /// Whose protocol the agent speaks.
    #[serde(default, skip_serializing_if = "Protocol::is_ours")]
    pub protocol: Protocol,
    /// The steps that a person named, as Ironic writes them, as far as this boot's agent was handed them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<Step>,
    /// Where they stand among all that he named; none: the agent goes by its own list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<Part>,
}

/// A part of a course of steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// How many steps were made before this boot.
    pub from: u32,
    /// How many are made with it.
    pub to: u32,
}

impl BootDecision {
    /// How many of the named steps are made once the agent has done its work.
    #[must_use]
    pub fn reaches(&self) -> u32 {
        self.part.map_or(0, |part| part.to)
    }
}

/// Whose protocol an agent speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// Ours: it proves itself by a key, and has a stream.
    #[default]
    Ironmesh,
    /// Ironic's: it looks itself up, beats, and is called.
    Ironic,
}

impl Protocol {
    /// Whether it is the one that needs no word in the store.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        *self == Self::Ironmesh
    }
}

/// A file by what it must hash to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootFile {
    /// The registered image's name, for messages.
    pub name: String,
    /// Its digest.
    pub digest: Digest,
}

/// What an agent is to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "do")]
pub enum Work {
    /// Write an image.
    Write {
        /// The image's name, for messages.
        name: String,
        /// What the packed file must hash to.
        digest: Digest,
        /// How it is packed.
        encoding: Encoding,
        /// Octets once unpacked, where they are known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        unpacked_size: Option<u64>,
        /// The config drive's files as JSON, sealed.
        config_drive: Sealed,
    },
    /// Make the disks forget, or the clean steps that were named.
    Wipe,
    /// Make the service steps that were named.
    Service,
    /// Say what the machine is made of, and nothing else.
    Inspect,
}
