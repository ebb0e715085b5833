//! Runs from memory on the node: reports, writes, wipes.
