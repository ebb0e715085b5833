//! The model of nodes, racks and images, and the rules for changing them.
//!
//! This crate opens no socket, reads no clock and draws no random number. Time and randomness are arguments, so that
//! every decision can be tested, and searched by the model test, without a runtime.
//!
//! | module | content |
//! |---|---|
//! | [`id`], [`net`], [`time`], [`secret`], [`generation`] | basic types |
//! | [`power`], [`image`], [`hardware`] | power, boot settings, images and hardware of a machine |
//! | [`raw_command`] | raw IPMI commands, as `ipmitool raw` takes them |
//! | [`disk_hints`] | choice of a machine's disks, by Ironic's hints |
//! | [`provision`] | `step(state, event)`: the only way a node changes its provision state |
//! | [`plan`] | remaining work for a node, from its intended and its observed state |
//! | [`step`], [`step_plan`] | steps of an operation, and which one is next |
//! | [`placement`] | choice of the node that an allocation is given |
//! | [`name_pattern`] | patterns that select nodes by name |
//! | [`bulk`] | one verb for many nodes, and which of them is next |
//! | [`driver`] | drivers, and what their interfaces support |
//! | [`policy`] | authorization: role × rule, owner and lessee |
//! | [`timeline`] | events of one boot, and the diagnosis of where it stopped |
//! | [`change_index`] | last change of each node, for watchers |
//! | [`url_text`] | characters that a URL cannot have |
//! | [`webhook_delivery`] | events that a webhook's receiver still needs, and when to retry |
//! | [`ring`] | ownership of nodes, claims, departed members, and the timing rules of fences |

pub mod bulk;
pub mod change_index;
pub mod disk_hints;
pub mod driver;
pub mod failure;
pub mod generation;
pub mod hardware;
pub mod id;
pub mod image;
pub mod kernel_arguments;
pub mod name_pattern;
pub mod net;
pub mod placement;
pub mod plan;
pub mod policy;
pub mod power;
pub mod provision;
pub mod raw_command;
pub mod ring;
pub mod secret;
pub mod service;
pub mod step;
pub mod step_plan;
pub mod time;
pub mod timeline;
pub mod url_text;
pub mod webhook_delivery;
