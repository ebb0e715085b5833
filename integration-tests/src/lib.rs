//! A virtual rack: real firmware, simulated machines, and the tests that use them.

pub mod authority;
pub mod baremetal;
pub mod beside;
pub mod bmc;
pub mod check;
pub mod cluster;
pub mod collector;
pub mod etcd;
pub mod etcd_members;
pub mod fault;
pub mod firmware;
pub mod fleet;
pub mod hostile;
pub mod hosts;
pub mod ironic;
pub mod keystone;
pub mod lab;
pub mod machine;
pub mod mesh;
pub mod model;
pub mod openid;
pub mod peer;
pub mod proxy;
pub mod record;
pub mod redfish;
pub mod site;
pub mod stand_in;

pub use virtual_rack as rack;
