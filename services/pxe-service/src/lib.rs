//! Answers machines that boot from the network.
