//! The contract of the store, over the in-memory one. `integration-tests/tests/store.rs` has it over a real etcd.

use futures::future::BoxFuture;
use keyspace::{
    Store,
    testing::{MemoryEtcd, contract::Subject},
};

struct Memory(MemoryEtcd);

impl Subject for Memory {
    fn store(&self) -> BoxFuture<'_, Store> {
        Box::pin(std::future::ready(self.0.client().store()))
    }

    fn compact(&self, revision: i64) -> BoxFuture<'_, ()> {
        self.0.compact(revision);
        Box::pin(std::future::ready(()))
    }
}

fn memory() -> Memory {
    Memory(MemoryEtcd::new())
}

keyspace::contract_tests!(
    #[tokio::test(start_paused = true)]
    memory
);

/// The same, while a task drives the store.
mod driven {
    use super::{Memory, MemoryEtcd};

    fn memory() -> Memory {
        let etcd = MemoryEtcd::new();
        let driven = etcd.clone();
        #[expect(clippy::disallowed_methods, reason = "a test has no Host")]
        tokio::spawn(async move { driven.drive().await });
        Memory(etcd)
    }

    keyspace::contract_tests!(
        #[tokio::test(start_paused = true)]
        memory
    );
}
