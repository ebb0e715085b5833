//! What nodes, racks and images are, and how they may change.
//!
//! Nothing here opens a socket, reads a clock or draws a random number: time and randomness come in as arguments,
//! so every decision of the mesh can be read, tested and searched by a model without a runtime.
//!
//! | module | what it decides |
//! |---|---|
//! | [`id`], [`net`], [`time`], [`secret`], [`generation`] | the words that everything else is written in |
//! | [`power`], [`image`], [`hardware`] | what a machine is, runs and is made of |
//! | [`provision`] | `step(state, event)`: the only way a node's life moves |
//! | [`plan`] | what is left to do for a node, from what is wanted and what was seen |
//! | [`policy`] | who may do what: role × rule, owner and lessee |
//! | [`timeline`] | one boot as a story, and where it stopped |
//! | [`ring`] | who owns a node, who may claim it, who is gone; the arithmetic of fences |

pub mod course;
pub mod driver;
pub mod failure;
pub mod generation;
pub mod hardware;
pub mod id;
pub mod image;
pub mod net;
pub mod plan;
pub mod policy;
pub mod power;
pub mod provision;
pub mod ring;
pub mod secret;
pub mod service;
pub mod step;
pub mod time;
pub mod timeline;
