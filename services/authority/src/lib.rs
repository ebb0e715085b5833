//! The authority of a datacenter: it has the keys of the CAs, and lets hosts join.
//!
//! | module | content |
//! |---|---|
//! | [`etcd_address`] | where the members of etcd of hosts are |
//! | [`issue`] | issues certificates of a data directory |
//! | [`ledger`] | the record of issued certificates |
//! | [`realm_file`] | the trust domain and datacenter of a folder of certificates |
//! | [`revocation`] | tells services which certificates were revoked |
//! | [`sealing`] | the files with sealing keys |
//! | [`purpose`] | what certificates of a host are for, and which ones it needs |
//! | [`admission`] | decides which hosts may join; pure |
//! | [`keys`] | private keys of a host |
//! | [`client`] | the host's side of the API |
//! | [`server`] | the authority's side of the API |
//! | [`reconcile`] | brings etcd's users and members and the record of certificates to what the hosts are |

pub mod admission;
pub mod client;
pub mod etcd_address;
pub mod issue;
pub mod keys;
pub mod ledger;
pub mod purpose;
pub mod realm_file;
pub mod reconcile;
pub mod revocation;
pub mod sealing;
pub mod server;
pub mod signing;
