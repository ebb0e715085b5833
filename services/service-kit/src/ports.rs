//! Ports of the processes of a host: the one place from which services listen, others call them, and firewalls are opened.

/// TCP port of the authority.
pub const AUTHORITY_PORT: u16 = 7380;
/// TCP port of the scheduler-service's gRPC API on a host.
pub const SCHEDULER_PORT: u16 = 7390;
/// TCP port of a host's member of etcd, for clients.
pub const ETCD_PORT: u16 = 2379;
/// TCP port of a host's member of etcd, for the other members.
pub const ETCD_PEER_PORT: u16 = 2380;
/// TCP port of boot files, on the provisioning address.
pub const BOOT_FILES_PORT: u16 = 8080;
/// TCP port of images, on the provisioning address.
pub const IMAGES_PORT: u16 = 8081;
/// TCP port for agents, on the provisioning address.
pub const AGENTS_PORT: u16 = 8443;
/// TCP port for agents that use Ironic's protocol, on the provisioning address.
pub const IRONIC_AGENTS_PORT: u16 = 6386;
/// TCP port of the gRPC API of the first service of a host's first rack.
pub const RACK_PORT: u16 = 7400;
/// Number of ports from one rack of a host to the next.
pub const RACK_STRIDE: u16 = 10;
/// How far the port for metrics and health of a service is from that of its gRPC API.
pub const MONITOR_OFFSET: u16 = 100;
/// Number of racks that a host may serve: another one would take the port of the scheduler-service's metrics.
pub const MAX_RACKS: u8 = 9;
