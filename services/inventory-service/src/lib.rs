//! Knows what every node is; the agents' door.
