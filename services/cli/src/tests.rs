//! The whole command line against a scheduler-service of canned answers, over real gRPC and mutual TLS.

use clap::{CommandFactory as _, Parser};

use super::*;

#[derive(Debug, Parser)]
#[command(name = "ironmesh")]
struct Tree {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[test]
fn the_command_tree_holds_together() {
    Tree::command().debug_assert();
}
