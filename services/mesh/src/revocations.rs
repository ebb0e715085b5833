//! Tells the TLS configuration of the process which certificates were revoked, from the view.

use keyspace::{View, key, view::News};
use service_kit::{
    Host,
    tls::{Revocations, Serial},
};

/// Adds all revoked certificates that the view knows. If the store cannot be reached, that is the last list that was read,
/// from disk too.
pub(crate) fn add(view: &View, revocations: &Revocations) {
    // From the paths: a value that a later version wrote in another form revokes the certificate, too.
    let paths = view.paths(key::revoked_certificates().path());
    let serials = paths.iter().filter_map(|path| key::revoked_serial_of(path)?.parse::<Serial>().ok());
    let added = revocations.add(serials);
    if added > 0 {
        tracing::info!(added, "certificates were revoked: connections with them end");
    }
}

/// Adds what is revoked from now on, until the host stops.
pub(crate) async fn follow(view: View, revocations: Revocations, host: Host) {
    let mut news = view.subscribe();
    // What changed before the subscription.
    add(&view, &revocations);
    let prefix = key::revoked_certificates();
    let following = async {
        while let Some(news) = news.next().await {
            match news {
                News::Path(path) if !path.starts_with(prefix.path()) => {}
                News::Path(_) | News::Everything => add(&view, &revocations),
            }
        }
    };
    tokio::select! {
        biased;
        () = host.stopping() => {}
        () = following => {}
    }
}
