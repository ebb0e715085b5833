//! TFTP for boot firmware, without sockets.
