//! Protocol of ironic-python-agent: lookup, heartbeat, inspection reports, and commands.
//!
//! The agent is also a server: it calls three paths of this API, and receives commands at the URL that its heartbeat
//! contains.

mod command;
mod heartbeat;
mod inspection;
mod inventory;
mod lookup;
mod next_command;
#[cfg(test)]
mod tests;

pub use command::{Command, Commands, ImageInfo, Kind, Outcome, Status, StepsFound, commands_url};
pub(crate) use heartbeat::{ARGUMENTS as HEARTBEAT_ARGUMENTS, PHASES};
pub use heartbeat::{Heartbeat, HeartbeatEffect, Phase, heartbeat_effect};
pub use inspection::{Report, ReportResponse};
pub use inventory::{Boot, Cpu, Disk, Firmware, Interface, Inventory, Memory, SystemVendor};
pub use lookup::{AgentConfig, Containers, FastTrack, Lookup, Metrics, Statsd, findable, shows_token};
pub use next_command::{Next, RequestedStep, Task, WRITE_IMAGE, next};
