//! Decides who may call as the agent of a node, and where the agent may be called. Pure.
//!
//! The agent of a machine proves its place: it calls from the address that we assigned to the machine, after a boot that we
//! commanded, and is called there over TLS. A node of `fake-hardware` has neither an address nor a boot. A stand-in for its
//! agent calls through the REST API, where `scheduler.rest_agents` allows it, and is called on loopback.

use std::net::IpAddr;

use domain::{
    driver::Driver,
    provision::{Stage, State},
};
use keyspace::value::{BootDecision, Protocol, PxeSeen};
use service_kit::outbound_http::policy::Policy;

use super::{
    Origin,
    agent_client::{self, Peer},
};

/// Returns whether a node with this driver can have the agent of a decision. Only a node without a machine has a stand-in:
/// what that one need not prove, the agent of a machine must.
pub(super) fn has_protocol_of(decision: &BootDecision, driver: Driver) -> bool {
    match decision.protocol {
        Protocol::Ironmesh => false,
        Protocol::Ironic => true,
        Protocol::StandIn => driver == Driver::FakeHardware,
    }
}

/// Returns whether the node was booted for a decision: the machine asked for an address after it was switched on for it. A
/// node without a machine is awaited as soon as everything is prepared.
pub(super) fn has_booted(decision: &BootDecision, state: State, pxe: Option<&PxeSeen>) -> bool {
    match decision.protocol {
        Protocol::Ironmesh | Protocol::Ironic => {
            pxe.is_some_and(|pxe| pxe.generation == decision.generation && pxe.exchange_at.is_some())
        }
        Protocol::StandIn => matches!(state.stage(), Some(Stage::Boot | Stage::Work)),
    }
}

/// Returns whether a call that a scheduler passes on came over loopback of this host. `is_local`: it came over loopback of the
/// scheduler's host, which is this one only if the scheduler's address (`None` if it is not known) is. `is_own` returns
/// whether this host has an address.
pub(crate) fn is_from_this_host(is_local: bool, scheduler: Option<IpAddr>, is_own: impl Fn(IpAddr) -> bool) -> bool {
    let scheduler = scheduler.map(|address| address.to_canonical());
    is_local && scheduler.is_some_and(|address| address.is_loopback() || is_own(address))
}

/// Checks the URL at which an agent wants to be called. `is_own` returns whether we assigned an address to the machine.
///
/// # Errors
/// Why it is refused.
pub(super) fn check_callback(
    peer: &Peer,
    origin: Origin,
    is_own: impl Fn(IpAddr) -> bool,
    policy: &Policy,
) -> Result<(), &'static str> {
    let (host, port) = agent_client::host(&peer.url).ok_or("its host must be an IPv4 address")?;
    if !agent_client::is_plain(&peer.url) {
        return Err("it must have no user, query or fragment: the path of the commands is appended to it");
    }
    let is_allowed = policy.check(peer.purpose(), host.into(), port).is_ok();
    if peer.is_stand_in {
        return match (origin, host.is_loopback() && is_allowed) {
            (Origin::Scheduler { local: true }, true) => Ok(()),
            (Origin::Scheduler { local: true }, false) => Err("a stand-in for an agent is called on loopback only"),
            (Origin::Scheduler { local: false } | Origin::Network(_), _) => {
                Err("a stand-in for an agent is called only if its heartbeat came to the REST API over loopback")
            }
        };
    }
    if !is_own(host.into()) {
        return Err("it is not an address assigned to the machine");
    }
    if !is_allowed {
        return Err("its host is not an address of a machine");
    }
    if !peer.is_over_tls() {
        return Err("agents are called over https only, with the certificate in agent_verify_ca; the agent's option \
             enable_auto_tls must be on");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use domain::{
        generation::{Generation, Token},
        time::Timestamp,
    };
    use keyspace::value::Work;

    use super::*;

    const OWN: &str = "10.77.1.100";

    fn decision(protocol: Protocol) -> BootDecision {
        BootDecision {
            generation: Generation::from_number(3),
            token: Token::default(),
            minted_at: Timestamp::default(),
            kernel: None,
            ramdisk: None,
            arguments: "".parse().unwrap(),
            by_tftp: false,
            boot_token: serde_json::from_str(r#"{"key": "k", "sealed": ""}"#).unwrap(),
            work: Work::Wipe,
            protocol,
            steps: vec![],
            part: None,
        }
    }

    #[test]
    fn only_a_node_without_a_machine_has_a_stand_in_for_its_agent() {
        for (protocol, driver, right) in [
            (Protocol::StandIn, Driver::FakeHardware, true),
            (Protocol::StandIn, Driver::Ipmi, false),
            (Protocol::StandIn, Driver::Redfish, false),
            (Protocol::StandIn, Driver::ManualManagement, false),
            (Protocol::Ironic, Driver::Ipmi, true),
            (Protocol::Ironic, Driver::ManualManagement, true),
            (Protocol::Ironmesh, Driver::FakeHardware, false),
            (Protocol::Ironmesh, Driver::Ipmi, false),
        ] {
            assert_eq!(has_protocol_of(&decision(protocol), driver), right, "{protocol:?} {driver}");
        }
    }

    #[test]
    fn a_machine_has_booted_when_it_asked_for_an_address_and_a_node_without_one_when_all_is_prepared() {
        let by = "00000000-0000-0000-0000-000000000001".parse().unwrap();
        let pxe = |generation, asked: bool| {
            let (generation, at) = (Generation::from_number(generation), Timestamp::from_millis(1));
            PxeSeen { generation, exchange_at: asked.then_some(at), life_at: None, seen_at: at, seen_by: by }
        };
        let asked = pxe(3, true);
        for (what, protocol, stage, pxe, right) in [
            ("a stand-in is awaited", Protocol::StandIn, Stage::Boot, None, true),
            ("a stand-in works", Protocol::StandIn, Stage::Work, None, true),
            ("its image is on the way", Protocol::StandIn, Stage::Prepare, None, false),
            ("the same, with a DHCP exchange", Protocol::StandIn, Stage::Prepare, Some(&asked), false),
            ("it is done", Protocol::StandIn, Stage::Finish, None, false),
            ("a machine that asked", Protocol::Ironic, Stage::Boot, Some(&asked), true),
            ("a machine that was only switched on", Protocol::Ironic, Stage::Boot, None, false),
            ("a machine that works without having asked", Protocol::Ironic, Stage::Work, None, false),
            ("a machine that did not ask yet", Protocol::Ironic, Stage::Boot, Some(&pxe(3, false)), false),
            ("a machine that asked before", Protocol::Ironic, Stage::Boot, Some(&pxe(2, true)), false),
        ] {
            assert_eq!(has_booted(&decision(protocol), State::Deploying { stage }, pxe), right, "{what}");
        }
        let (state, held) = (State::Active, State::CleanHold);
        assert!([state, held].into_iter().all(|state| !has_booted(&decision(Protocol::StandIn), state, None)));
    }

    #[test]
    fn a_call_is_local_if_the_scheduler_that_says_so_is_on_this_host() {
        for (what, is_local, scheduler, right) in [
            ("on loopback", true, Some("127.0.0.1"), true),
            ("on IPv6 loopback", true, Some("::1"), true),
            ("on loopback, mapped", true, Some("::ffff:127.0.0.1"), true),
            ("at an address of this host", true, Some("192.0.2.7"), true),
            ("the same, mapped", true, Some("::ffff:192.0.2.7"), true),
            ("on another host", true, Some("192.0.2.8"), false),
            ("at an address that is not known", true, None, false),
            ("on loopback, of a call from elsewhere", false, Some("127.0.0.1"), false),
        ] {
            let scheduler = scheduler.map(|address| address.parse().unwrap());
            let found = is_from_this_host(is_local, scheduler, |address| address.to_string() == "192.0.2.7");
            assert_eq!(found, right, "{what}");
        }
    }

    #[test]
    fn a_machine_is_called_at_its_address_over_tls_and_a_stand_in_on_loopback_alone() {
        let (local, remote) = (Origin::Scheduler { local: true }, Origin::Scheduler { local: false });
        let network = Origin::Network(OWN.parse().unwrap());
        let of = |is_stand_in, origin, url: &str, has_certificate: bool| {
            let certificate = has_certificate.then(|| "pem".to_owned());
            let peer = Peer { url: url.to_owned(), certificate, is_stand_in };
            check_callback(&peer, origin, |address| address.to_string() == OWN, &Policy::default()).err()
        };
        let own = "https://10.77.1.100:9999";
        for (what, is_stand_in, origin, url, has_certificate, why) in [
            ("a stand-in", true, local, "http://127.0.0.1:9999", false, None),
            ("over TLS", true, local, "https://127.0.0.1:9999", true, None),
            ("elsewhere on loopback", true, local, "http://127.0.0.9:1", false, None),
            ("by an API that listens elsewhere", true, remote, "http://127.0.0.1:9999", false, Some("over loopback")),
            ("by the provisioning network", true, network, "http://127.0.0.1:9999", false, Some("over loopback")),
            ("at a machine", true, local, own, true, Some("loopback only")),
            ("on the internet", true, local, "http://192.0.2.1", false, Some("loopback only")),
            ("at the metadata service", true, local, "http://169.254.169.254", false, Some("loopback only")),
            ("by name", true, local, "http://localhost:9999", false, Some("IPv4 address")),
            ("with a path", true, local, "http://127.0.0.1:9999/ipa/", false, None),
            ("with a query", true, local, "http://127.0.0.1:9999/?a=", false, Some("no user")),
            ("with an empty query", true, local, "http://127.0.0.1:9999/admin?", false, Some("no user")),
            ("with a fragment", true, local, "http://127.0.0.1:9999/admin#", false, Some("no user")),
            ("with a user", true, local, "http://root@127.0.0.1:9999", false, Some("no user")),
            ("with a password", true, local, "http://:secret@127.0.0.1:9999", false, Some("no user")),
            ("a machine's agent with a query", false, network, "https://10.77.1.100:9999/?a=", true, Some("no user")),
            ("a machine's agent with a path", false, network, "https://10.77.1.100:9999/ipa", true, None),
            ("this host, short", true, local, "http://0.0.0.0:9999", false, Some("loopback only")),
            ("a machine's agent", false, network, own, true, None),
            ("through the REST API", false, local, own, true, None),
            ("a machine's agent on loopback", false, local, "https://127.0.0.1:9999", true, Some("assigned")),
            ("the same over HTTP", false, local, "http://127.0.0.1:9999", false, Some("assigned")),
            ("over HTTP", false, local, "http://10.77.1.100:9999", true, Some("https only")),
            ("without a certificate", false, local, own, false, Some("https only")),
            ("at another machine", false, network, "https://10.77.1.101:9999", true, Some("assigned")),
        ] {
            let told = of(is_stand_in, origin, url, has_certificate);
            match why {
                None => assert_eq!(told, None, "{what}"),
                Some(why) => assert!(told.is_some_and(|told| told.contains(why)), "{what}: {told:?}"),
            }
        }
        // An address assigned to a machine by mistake does not open the way to this host.
        let peer =
            Peer { url: "https://127.0.0.1:9999".to_owned(), certificate: Some("pem".to_owned()), is_stand_in: false };
        assert!(check_callback(&peer, local, |_| true, &Policy::default()).is_err());
    }
}
