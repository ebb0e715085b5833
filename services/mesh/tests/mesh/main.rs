//! The shipped loops of the mesh over an in-memory store with a paused clock: no etcd, no network, no root.

#[cfg(test)]
mod claims;
#[cfg(test)]
mod death;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod islands;
#[cfg(test)]
mod journals;
#[cfg(test)]
mod leadership;
#[cfg(test)]
mod membership;
