//! What nodes, racks and images are, and how they may change.
