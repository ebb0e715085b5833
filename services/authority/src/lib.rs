//! The authority of a datacenter: it has the keys of the CAs, and lets hosts join.
//!
//! | module | content |
//! |---|---|
//! | [`issue`] | issues certificates of a data directory |
//! | [`ledger`] | the record of issued certificates |
//! | [`realm_file`] | the trust domain and datacenter of a folder of certificates |
//! | [`sealing`] | the files with sealing keys |

pub mod issue;
pub mod ledger;
pub mod realm_file;
pub mod sealing;
