//! What the stock agent says and is told: lookup, heartbeat, what an inspection found, and the commands that go back.
//!
//! The agent (`ironic-python-agent`) is a server of its own: it calls three paths here, and is called at the address
//! that its heartbeat names.

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
pub use heartbeat::{Heartbeat, Heed, Phase, heed};
pub use inspection::{Callback, Report};
pub use inventory::{Boot, Cpu, Disk, Firmware, Interface, Inventory, Memory, SystemVendor};
pub use lookup::{AgentConfig, Containers, FastTrack, Lookup, Metrics, Statsd, findable, shows_token};
pub use next_command::{Next, RequestedStep, Task, WRITE_IMAGE, next};
