//! Keeps the files with sealing keys of a running `ironmesh up` up to date.

use std::{path::PathBuf, time::Duration};

use authority::sealing::distribute_if_free;
pub(crate) use authority::sealing::{distribute, file, prepare, prepare_all, racks, root};
use service_kit::Host;

use crate::console::Failures;

/// How often the root keys are read, so that the files of leaf services follow a file that was replaced by hand.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// Keeps the files of a rack's services up to date until the host stops.
pub(crate) async fn keep(data: PathBuf, rack: String, host: Host) {
    let mut failures = Failures::default();
    loop {
        tokio::select! {
            () = host.stopping() => return,
            () = tokio::time::sleep(CHECK_INTERVAL) => {}
        }
        let failed = distribute_if_free(&data, &rack).err();
        failures.report(failed.map(|error| format!("cannot distribute the sealing keys, will retry: {error:#}")));
    }
}
