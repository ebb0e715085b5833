//! DHCPv4 for network boot: who asks, and what it is answered.
