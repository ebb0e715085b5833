//! Turns nodes on and off.
