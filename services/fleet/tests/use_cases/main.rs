//! The use cases over an in-memory store. They need no root and no etcd.

#[cfg(test)]
mod fleet;
