//! The public API, and the life of every node.
