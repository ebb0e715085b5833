//! Messages of real firmware and systems. Each file in `golden/` names its origin.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::net::Ipv4Addr;

use wire_dhcp::{
    Architecture, Boot, BootFile, Client, Destination, Kind, MessageType, NoReply, Replica, Reply, Request,
    Reservation, ServerReply,
};

const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 99, 1, 11);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 99, 1, 1);
/// 4c4c4544-0001-4c41-8042-525400000001 as SMBIOS stores it: the first three fields are little endian.
const UUID: [u8; 16] = [0x44, 0x45, 0x4c, 0x4c, 1, 0, 0x41, 0x4c, 0x80, 0x42, 0x52, 0x54, 0, 0, 0, 1];

macro_rules! golden {
    ($name:literal) => {
        read(include_str!(concat!("../golden/", $name, ".hex")))
    };
}

fn bytes(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .flat_map(str::bytes)
        .map(|digit| u8::try_from(char::from(digit).to_digit(16).unwrap()).unwrap())
        .collect();
    digits.chunks(2).map(|pair| pair.iter().fold(0, |sum, digit| sum * 16 + digit)).collect()
}

fn read(text: &str) -> Request {
    Request::decode(&bytes(text)).unwrap()
}

fn reply(request: &Request) -> Result<Reply, NoReply> {
    let reservation = Reservation {
        address: ADDRESS,
        prefix: 24,
        router: None,
        dns: vec![],
        lease_seconds: 3600,
        host_name: None,
        boot: Some(Boot { next_server: None, file: BootFile::new("file").unwrap() }),
    };
    wire_dhcp::answer(request, &reservation, &Replica { server_identifier: SERVER, address: SERVER })
}

fn identity(request: &Request) -> (MessageType, Client, Option<[u8; 16]>) {
    (request.message_type, request.client, request.uuid)
}

#[test]
fn ipxe_in_a_bios_rom_gets_a_reply() {
    let discover = golden!("ipxe-rom-bios-discover");
    assert_eq!(identity(&discover), (MessageType::Discover, Client::Ipxe(Architecture::Bios), Some(UUID)));
    assert_eq!(discover.user_class.as_deref(), Some("iPXE"));
    assert_eq!(discover.hardware.mac().unwrap().to_string(), "52:54:00:01:00:01");
    assert!(ServerReply::decode(&reply(&discover).unwrap().bytes).unwrap().no_proxy);
    let taken = reply(&golden!("ipxe-rom-bios-request")).unwrap();
    assert_eq!((taken.kind, taken.destination), (Kind::Ack, Destination::Broadcast));
}

#[test]
fn ipxe_loaded_by_firmware_is_not_mistaken_for_the_firmware() {
    let undionly = golden!("ipxe-undionly-discover");
    assert_eq!(identity(&undionly), (MessageType::Discover, Client::Ipxe(Architecture::Bios), Some(UUID)));
    assert!(undionly.wants_broadcast, "the driver beneath is the firmware's");
    let discover = golden!("ipxe-snponly-discover");
    assert_eq!(identity(&discover), (MessageType::Discover, Client::Ipxe(Architecture::UefiX64), Some(UUID)));
}

#[test]
fn ovmf_pxe_gets_a_reply() {
    let discover = golden!("ovmf-pxe-discover");
    assert_eq!(identity(&discover), (MessageType::Discover, Client::Pxe(Architecture::UefiX64), Some(UUID)));
    assert!(discover.wants_broadcast);
    assert_eq!(discover.vendor_class.as_deref(), Some("PXEClient:Arch:00007:UNDI:003000"));
    assert_eq!(ServerReply::decode(&reply(&discover).unwrap().bytes).unwrap().discovery_control, Some(8));
    let taken = golden!("ovmf-pxe-request");
    assert_eq!((taken.server_identifier, taken.requested), (Some(SERVER), Some(ADDRESS)));
    assert_eq!(reply(&taken).unwrap().kind, Kind::Ack);
}

#[test]
fn ovmf_http_boot_gets_a_reply() {
    let discover = golden!("ovmf-http-discover");
    assert_eq!(identity(&discover), (MessageType::Discover, Client::Http(Architecture::UefiX64), Some(UUID)));
    let offer = ServerReply::decode(&reply(&discover).unwrap().bytes).unwrap();
    assert_eq!(offer.vendor_class.as_deref(), Some("HTTPClient"));
}

#[test]
fn a_system_keeps_its_address() {
    let discover = golden!("udhcpc-discover");
    assert_eq!(identity(&discover), (MessageType::Discover, Client::System, None));
    assert_eq!(discover.vendor_class.as_deref(), Some("udhcp 1.35.0"));
    assert_eq!(ServerReply::decode(&reply(&discover).unwrap().bytes).unwrap().file, None);
    let renew = golden!("udhcpc-renew");
    assert_eq!((renew.message_type, renew.current), (MessageType::Request, Some(ADDRESS)));
    assert_eq!(reply(&renew).unwrap().destination, Destination::Unicast(ADDRESS));
    let release = golden!("udhcpc-release");
    assert_eq!((release.message_type, release.current), (MessageType::Release, Some(ADDRESS)));
    assert_eq!(reply(&release), Err(NoReply::NotDue));
}

#[test]
fn a_real_message_with_any_octet_changed_does_not_panic() {
    let good = bytes(include_str!("../golden/ipxe-rom-bios-discover.hex"));
    for at in 0..good.len() {
        for octet in [0, 1, 17, 127, 128, 254, 255] {
            let mut bad = good.clone();
            *bad.get_mut(at).unwrap() = octet;
            if let Ok(request) = Request::decode(&bad) {
                let _ = reply(&request);
            }
        }
    }
}
