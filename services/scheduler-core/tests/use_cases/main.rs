//! The use cases and the reconcile loop over an in-memory store, with leaves that answer real gRPC calls on loopback.
//! They need no root and no etcd. The clock is paused: only the wall clock runs while they wait.

#[cfg(test)]
mod allocations;
#[cfg(test)]
mod bulks;
#[cfg(test)]
mod etags;
#[cfg(test)]
mod failures;
#[cfg(test)]
mod history;
#[cfg(test)]
mod lab;
#[cfg(test)]
mod leaves;
#[cfg(test)]
mod lifecycle;
#[cfg(test)]
mod locks;
#[cfg(test)]
mod nodes;
#[cfg(test)]
mod ports;
#[cfg(test)]
mod power;
#[cfg(test)]
mod races;
#[cfg(test)]
mod rehome;
#[cfg(test)]
mod request_contexts;
#[cfg(test)]
mod requests;
#[cfg(test)]
mod resource_rules;
#[cfg(test)]
mod resources;
#[cfg(test)]
mod selectors;
#[cfg(test)]
mod stand_ins;
#[cfg(test)]
mod takeover;
#[cfg(test)]
mod webhooks;
