//! What a member of etcd runs with: its command line. Pure, but for free ports.

use std::{
    net::{IpAddr, Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
};

use anyhow::Result;
use service_kit::tls::Files;

use authority::etcd_address::{client_urls, peer_urls, url};
use service_kit::ports::ETCD_PORT;

use crate::{certs::ETCD_PEER, store::QUOTA};

/// Name of the only member of `ironmesh up`.
const UP_NAME: &str = "ironmesh";

/// A member of etcd.
#[derive(Debug, Clone)]
pub(crate) struct EtcdConfig {
    /// Its name; for a host that of the host.
    pub(crate) name: String,
    /// The folder with its data in `etcd`, its log and its process id.
    pub(crate) data: PathBuf,
    /// URLs at which it listens for clients.
    pub(crate) listen_client_urls: Vec<String>,
    /// URLs for clients, which the list of the members shows.
    pub(crate) client_urls: Vec<String>,
    /// URLs at which it listens for the other members, and at which they reach it.
    pub(crate) peer_urls: Vec<String>,
    /// Its cluster. Of no effect if it has data already.
    pub(crate) state: ClusterState,
    pub(crate) tls: EtcdTls,
}

/// The cluster of a member that has no data yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ClusterState {
    /// It is the first and only member.
    New,
    /// It was added to a cluster; the text is `NAME=URL,…` of all members (`keyspace::cluster::plan::initial_cluster`).
    Existing(String),
}

/// Its certificates. It reads the certificate and the key with each connection, and the others when it starts.
#[derive(Debug, Clone)]
pub(crate) struct EtcdTls {
    /// The CA, and the member's certificate and key.
    pub(crate) files: Files,
    /// List of the certificates that it refuses.
    pub(crate) revoked: PathBuf,
}

impl EtcdConfig {
    /// The only member of `ironmesh up`, on free ports of loopback.
    pub(crate) fn loopback(data: &Path, tls: EtcdTls) -> Result<Self> {
        let url = || Ok::<_, std::io::Error>(url(Ipv4Addr::LOCALHOST.into(), free_port()?));
        let (client, peer) = (vec![url()?], vec![url()?]);
        Ok(Self {
            name: UP_NAME.to_owned(),
            data: data.to_owned(),
            listen_client_urls: client.clone(),
            client_urls: client,
            peer_urls: peer,
            state: ClusterState::New,
            tls,
        })
    }

    /// The member of a host, at its address. For the services of the host it listens on 127.0.0.1, too.
    pub(crate) fn of_host(name: &str, advertise: IpAddr, data: &Path, tls: EtcdTls, state: ClusterState) -> Self {
        let clients = client_urls(advertise);
        let mut listen = clients.clone();
        // Hosts on one machine have addresses of loopback, and would share that one.
        if !advertise.is_loopback() {
            listen.push(url(Ipv4Addr::LOCALHOST.into(), ETCD_PORT));
        }
        Self {
            name: name.to_owned(),
            data: data.to_owned(),
            listen_client_urls: listen,
            client_urls: clients,
            peer_urls: peer_urls(advertise),
            state,
            tls,
        }
    }

    /// The folder with its database and log of the consensus protocol.
    pub(crate) fn folder(&self) -> PathBuf {
        self.data.join("etcd")
    }

    /// Its log file.
    pub(crate) fn log(&self) -> PathBuf {
        self.data.join("etcd.log")
    }

    /// The URL for clients on the same host.
    pub(crate) fn local_endpoint(&self) -> &str {
        self.listen_client_urls.last().map_or("", String::as_str)
    }

    /// Returns etcd's command line.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let path = |path: &Path| path.display().to_string();
        let files = &self.tls.files;
        let (ca, certificate, key) = (path(&files.ca), path(&files.certificate), path(&files.key));
        let revoked = path(&self.tls.revoked);
        let (state, cluster) = match &self.state {
            ClusterState::New => {
                ("new", join(&self.peer_urls.iter().map(|url| format!("{}={url}", self.name)).collect::<Vec<_>>()))
            }
            ClusterState::Existing(cluster) => ("existing", cluster.clone()),
        };
        let arguments = [
            ("name", self.name.clone()),
            ("data-dir", path(&self.folder())),
            ("listen-client-urls", join(&self.listen_client_urls)),
            ("advertise-client-urls", join(&self.client_urls)),
            ("listen-peer-urls", join(&self.peer_urls)),
            ("initial-advertise-peer-urls", join(&self.peer_urls)),
            ("initial-cluster", cluster),
            ("initial-cluster-state", state.to_owned()),
            ("cert-file", certificate.clone()),
            ("key-file", key.clone()),
            ("trusted-ca-file", ca.clone()),
            ("client-crl-file", revoked.clone()),
            ("peer-crl-file", revoked),
            ("peer-cert-file", certificate),
            ("peer-key-file", key),
            ("peer-trusted-ca-file", ca),
            ("peer-cert-allowed-hostname", ETCD_PEER.to_owned()),
            // A host with several addresses may call others from another one than its certificate names.
            ("experimental-peer-skip-client-san-verification", "true".to_owned()),
            // A member that was cut off does not make the others elect a leader when it comes back.
            ("pre-vote", "true".to_owned()),
            ("auto-compaction-mode", "periodic".to_owned()),
            ("auto-compaction-retention", "5m".to_owned()),
            ("quota-backend-bytes", QUOTA.to_string()),
        ];
        let arguments = arguments.map(|(name, value)| format!("--{name}={value}")).into_iter();
        arguments.chain(["--client-cert-auth", "--peer-client-cert-auth"].map(str::to_owned)).collect()
    }
}

fn join(urls: &[String]) -> String {
    urls.join(",")
}

fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tls() -> EtcdTls {
        let path = |name: &str| Path::new("/d/certs").join(name);
        let files = Files { ca: path("etcd-ca.pem"), certificate: path("m.pem"), key: path("m.key") };
        EtcdTls { files, revoked: path("etcd.crl") }
    }

    #[test]
    fn the_member_of_a_host_listens_where_the_others_and_its_own_services_reach_it() {
        // The address; where it listens for clients, and what it tells clients and members.
        let table = [
            (
                "10.0.0.11",
                "https://10.0.0.11:2379,https://127.0.0.1:2379",
                "https://10.0.0.11:2379",
                "https://10.0.0.11:2380",
            ),
            (
                "192.168.1.1",
                "https://192.168.1.1:2379,https://127.0.0.1:2379",
                "https://192.168.1.1:2379",
                "https://192.168.1.1:2380",
            ),
            (
                "fd00::11",
                "https://[fd00::11]:2379,https://127.0.0.1:2379",
                "https://[fd00::11]:2379",
                "https://[fd00::11]:2380",
            ),
            ("127.0.0.1", "https://127.0.0.1:2379", "https://127.0.0.1:2379", "https://127.0.0.1:2380"),
            ("127.0.0.2", "https://127.0.0.2:2379", "https://127.0.0.2:2379", "https://127.0.0.2:2380"),
            ("::1", "https://[::1]:2379", "https://[::1]:2379", "https://[::1]:2380"),
        ];
        for (address, listen, clients, peers) in table {
            let advertise = address.parse().unwrap();
            let config = EtcdConfig::of_host("h1", advertise, Path::new("/d"), tls(), ClusterState::New);
            let words = config.arguments();
            for word in [
                format!("--listen-client-urls={listen}"),
                format!("--advertise-client-urls={clients}"),
                format!("--listen-peer-urls={peers}"),
                format!("--initial-advertise-peer-urls={peers}"),
                format!("--initial-cluster=h1={peers}"),
                "--initial-cluster-state=new".to_owned(),
                "--name=h1".to_owned(),
                "--data-dir=/d/etcd".to_owned(),
            ] {
                assert!(words.contains(&word), "{address}: {word} in {words:?}");
            }
            assert_eq!(config.local_endpoint(), listen.rsplit(',').next().unwrap());
        }
    }

    #[test]
    fn a_member_that_joins_names_the_whole_cluster() {
        let all = "h1=https://10.0.0.11:2380,h2=https://10.0.0.12:2380";
        let state = ClusterState::Existing(all.to_owned());
        let words = EtcdConfig::of_host("h2", [10, 0, 0, 12].into(), Path::new("/d"), tls(), state).arguments();
        assert!(words.contains(&format!("--initial-cluster={all}")), "{words:?}");
        assert!(words.contains(&"--initial-cluster-state=existing".to_owned()), "{words:?}");
    }

    #[test]
    fn every_member_demands_certificates_of_clients_and_members() {
        let up = EtcdConfig::loopback(Path::new("/d"), tls()).unwrap();
        let host = EtcdConfig::of_host("h1", [10, 0, 0, 1].into(), Path::new("/d"), tls(), ClusterState::New);
        for config in [up, host] {
            let words = config.arguments();
            for word in [
                "--client-cert-auth",
                "--peer-client-cert-auth",
                "--trusted-ca-file=/d/certs/etcd-ca.pem",
                "--peer-trusted-ca-file=/d/certs/etcd-ca.pem",
                "--client-crl-file=/d/certs/etcd.crl",
                "--peer-crl-file=/d/certs/etcd.crl",
                "--peer-cert-allowed-hostname=etcd-member.ironmesh.internal",
            ] {
                assert!(words.iter().any(|found| found == word), "{word} in {words:?}");
            }
            assert!(!words.iter().any(|word| word.contains("http://")), "{words:?}");
        }
    }
}
