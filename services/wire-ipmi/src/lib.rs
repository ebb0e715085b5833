//! IPMI 2.0 over RMCP+, both halves, without sockets.
