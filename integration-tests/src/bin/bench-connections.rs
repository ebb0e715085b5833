//! Opens 10,000 slow and idle connections to a running mesh, and measures authenticated requests meanwhile.
//! `scripts/bench connections` starts the mesh and runs this program.

use std::{path::PathBuf, time::Duration};

use anyhow::{Result, ensure};
use clap::Parser;
use integration_tests::{
    fault::tell,
    hostile::{crowd, floods::Place, raw},
};
use service_kit::listener::raise_descriptor_limit;

/// Upper bound of the 99th percentile.
const MAX_P99: Duration = Duration::from_secs(1);

/// Measures authenticated requests beside 10,000 slow and idle connections.
#[derive(Debug, Parser)]
enum Command {
    /// Prints a file of users for the mesh
    Users,
    /// Measures a running mesh
    Measure {
        /// Folder of the mesh
        #[arg(long)]
        data: PathBuf,
        /// Number of rounds
        #[arg(long, default_value_t = 5)]
        rounds: usize,
    },
}

#[tokio::main]
async fn main() -> Result<()> {
    match Command::parse() {
        Command::Users => tell(raw::USERS.trim_end()),
        Command::Measure { data, rounds } => {
            raise_descriptor_limit();
            let place = Place::of(data)?;
            let alone = crowd::alone(&place).await?;
            tell(format_args!("without them: REST {}, gRPC {}", alone.rest, alone.grpc));
            for round in 1..=rounds {
                let report = crowd::measure(&place).await?;
                let crowd::Report { rest, grpc, opened } = report;
                tell(format_args!("round {round}: beside {opened} connections: REST {rest}, gRPC {grpc}"));
                ensure!(rest.p99 < MAX_P99 && grpc.p99 < MAX_P99, "the p99 is over {MAX_P99:?}");
            }
        }
    }
    Ok(())
}
