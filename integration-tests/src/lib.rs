//! A virtual rack: real firmware, simulated machines, and the tests that use them.

pub mod etcd;
pub mod rack;
