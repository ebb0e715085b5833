//! What a node boots from the network, and what its agent does.

use domain::{
    generation::{Generation, Token},
    image::{Digest, Encoding, Image},
    kernel_arguments::KernelArguments,
    step::Step,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

use super::Sealed;

/// What a node boots from the network. Without a decision it is told to boot from its disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootDecision {
    /// The boot that it is for.
    pub generation: Generation,
    /// The claim under which it was made.
    pub token: Token,
    /// When.
    pub minted_at: Timestamp,
    /// The agent's kernel. `None` for a stand-in, which nothing boots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<BootFile>,
    /// The agent's ramdisk. `None` for a stand-in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ramdisk: Option<BootFile>,
    /// Added to the kernel's command line. Never a secret.
    pub arguments: KernelArguments,
    /// Whether boot files are served over TFTP instead of HTTP.
    #[serde(default)]
    pub by_tftp: bool,
    /// 32 random bytes, sealed, with which the agent proves its identity once.
    pub boot_token: Sealed,
    /// The agent's work.
    pub work: Work,
    /// The protocol that the agent speaks.
    #[serde(default, skip_serializing_if = "Protocol::is_ours")]
    pub protocol: Protocol,
    /// The steps that a user requested, in Ironic's form, as far as this boot's agent was given them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<Step>,
    /// Their place among all requested steps. `None` if the agent uses its own list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<Part>,
}

/// A part of an operation's steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Number of steps that were done before this boot.
    pub from: u32,
    /// Number of steps that are done after it.
    pub to: u32,
}

impl BootDecision {
    /// Number of requested steps that are done once the agent has finished its work.
    #[must_use]
    pub fn reaches(&self) -> u32 {
        self.part.map_or(0, |part| part.to)
    }

    /// The files that the machine boots. A stand-in boots none.
    pub fn boot_files(&self) -> impl Iterator<Item = &BootFile> {
        self.kernel.iter().chain(&self.ramdisk)
    }
}

/// A protocol of agents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// Ours: the agent authenticates with a key and holds a stream open.
    #[default]
    Ironmesh,
    /// Ironic's: the agent does a lookup, sends heartbeats, and is called.
    Ironic,
    /// Ironic's, spoken by a stand-in for an agent: the node has no machine (`fake-hardware`), so that nothing boots it and
    /// no address is assigned to it.
    StandIn,
}

impl Protocol {
    /// Whether it is the default, which is not stored.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        *self == Self::Ironmesh
    }

    /// Whether the agent speaks Ironic's protocol.
    #[must_use]
    pub const fn is_ironics(self) -> bool {
        matches!(self, Self::Ironic | Self::StandIn)
    }
}

/// A file and its digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootFile {
    /// The registered image's name, for messages.
    pub name: String,
    /// Its digest.
    pub digest: Digest,
}

impl From<Image> for BootFile {
    fn from(image: Image) -> Self {
        Self { name: image.name, digest: image.digest }
    }
}

/// Work of an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "do")]
pub enum Work {
    /// Write an image.
    Write {
        /// The image's name, for messages.
        name: String,
        /// Digest of the file as it is served.
        digest: Digest,
        /// How the file is compressed.
        encoding: Encoding,
        /// Size after decompression in bytes, if it is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        unpacked_size: Option<u64>,
        /// The config drive's files as JSON, sealed.
        config_drive: Sealed,
    },
    /// Erase the disks, or do the requested clean steps.
    Wipe,
    /// Do the requested service steps.
    Service,
    /// Report the hardware inventory only.
    Inspect,
}
