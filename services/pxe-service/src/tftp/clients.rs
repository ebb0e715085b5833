//! The clients that are being served, and how many there may be.

use std::{collections::HashMap, net::SocketAddrV4, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::watch;
use wire_tftp::Request;

/// Maximum number of clients that have acknowledged a packet; firmware retries if there is no slot.
const MAX_CONFIRMED: usize = 1024;
/// Maximum number of clients that have acknowledged nothing: their addresses may be forged. The oldest gives way.
const MAX_UNCONFIRMED: usize = 256;
/// Maximum number of clients, which are ports, of one address. A machine uses a few at a time.
const MAX_OF_ADDRESS: usize = 64;

/// What becomes of a request.
#[derive(Debug)]
pub(super) enum Admission {
    /// It was passed to the client's task.
    Passed,
    /// A new task serves it, and the client's later requests.
    New(watch::Receiver<Request>),
    /// The address has too many transfers that are under way. Firmware repeats its request.
    TooMany,
}

/// A client that is being served.
#[derive(Debug)]
struct Client {
    /// Its latest request. Its task ends when this is dropped.
    latest: watch::Sender<Request>,
    is_confirmed: bool,
    /// Counts the clients in the order of their first requests.
    number: u64,
}

/// The clients by address and port.
#[derive(Debug, Default)]
struct Table {
    clients: HashMap<SocketAddrV4, Client>,
    next_number: u64,
}

impl Table {
    /// Ends the oldest client of these addresses that has acknowledged nothing. Returns whether there is one.
    fn forget_oldest(&mut self, is_candidate: impl Fn(&SocketAddrV4) -> bool) -> bool {
        let unconfirmed = self.clients.iter().filter(|(known, client)| !client.is_confirmed && is_candidate(known));
        let oldest = unconfirmed.min_by_key(|(_, client)| client.number).map(|(known, _)| *known);
        oldest.is_some_and(|known| self.clients.remove(&known).is_some())
    }
}

/// The clients that are being served. Clones share the same state.
#[derive(Debug, Clone, Default)]
pub(super) struct Clients(Arc<Mutex<Table>>);

impl Clients {
    /// Decides who serves a request.
    pub(super) fn admit(&self, from: SocketAddrV4, request: Request) -> Admission {
        let table = &mut *self.0.lock();
        if let Some(client) = table.clients.get(&from) {
            client.latest.send_replace(request);
            return Admission::Passed;
        }
        let of_address = table.clients.keys().filter(|known| known.ip() == from.ip()).count();
        if of_address >= MAX_OF_ADDRESS && !table.forget_oldest(|known| known.ip() == from.ip()) {
            return Admission::TooMany;
        }
        if table.clients.values().filter(|client| !client.is_confirmed).count() >= MAX_UNCONFIRMED {
            table.forget_oldest(|_| true);
        }
        let (latest, mut requests) = watch::channel(request);
        requests.mark_changed();
        table.clients.insert(from, Client { latest, is_confirmed: false, number: table.next_number });
        table.next_number = table.next_number.wrapping_add(1);
        Admission::New(requests)
    }

    /// Gives the client a slot, because it has acknowledged a packet. Returns whether there is one.
    pub(super) fn confirm(&self, from: SocketAddrV4) -> bool {
        let table = &mut *self.0.lock();
        let confirmed = table.clients.values().filter(|client| client.is_confirmed).count();
        match table.clients.get_mut(&from) {
            Some(client) if client.is_confirmed || confirmed < MAX_CONFIRMED => {
                client.is_confirmed = true;
                true
            }
            Some(_) | None => false,
        }
    }

    /// Returns the client's request that is not served yet. If there is none, forgets the client: its next request starts
    /// another task.
    pub(super) fn next_request(&self, from: SocketAddrV4, requests: &mut watch::Receiver<Request>) -> Option<Request> {
        let table = &mut *self.0.lock();
        match requests.has_changed() {
            Ok(true) => Some(requests.borrow_and_update().clone()),
            Ok(false) => {
                table.clients.remove(&from);
                None
            }
            // The client gave way, and another one may have its address and port by now.
            Err(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(file: &str) -> Request {
        Request { file: file.to_owned(), mode: "octet".to_owned(), options: Vec::new() }
    }

    fn address(host: usize, port: u16) -> SocketAddrV4 {
        SocketAddrV4::new([10, 77, u8::try_from(host / 256).unwrap(), u8::try_from(host % 256).unwrap()].into(), port)
    }

    fn new(admission: Admission) -> watch::Receiver<Request> {
        match admission {
            Admission::New(requests) => requests,
            Admission::Passed | Admission::TooMany => panic!("{admission:?}"),
        }
    }

    #[test]
    fn a_client_has_one_task_which_serves_its_latest_request() {
        let clients = Clients::default();
        let (from, other) = (address(1, 2070), address(1, 2071));
        let [first, second] = ["snponly.efi", "ipxe.efi"].map(request);
        let mut requests = new(clients.admit(from, first.clone()));
        assert!(matches!(clients.admit(from, first.clone()), Admission::Passed), "the same request again");
        // Another port is another client (RFC 1350 §4).
        new(clients.admit(other, first.clone()));
        assert_eq!(clients.next_request(from, &mut requests), Some(first.clone()));
        assert!(matches!(clients.admit(from, second.clone()), Admission::Passed));
        assert_eq!(clients.next_request(from, &mut requests), Some(second));
        assert_eq!(clients.next_request(from, &mut requests), None);
        new(clients.admit(from, first));
    }

    #[test]
    fn forged_requests_take_no_slot_and_end_no_transfer_of_a_machine_that_is_there() {
        let clients = Clients::default();
        let machine = address(1, 2070);
        let _served = new(clients.admit(machine, request("ipxe.efi")));
        assert!(clients.confirm(machine));
        let mut first = new(clients.admit(address(2, 2070), request("ipxe.efi")));
        assert_eq!(clients.next_request(address(2, 2070), &mut first), Some(request("ipxe.efi")));
        for host in 3..5000 {
            new(clients.admit(address(host, 2070), request("ipxe.efi")));
        }
        assert_eq!(clients.0.lock().clients.len(), MAX_UNCONFIRMED + 1);
        assert!(first.has_changed().is_err(), "the oldest gave way");
        assert_eq!(clients.next_request(address(2, 2070), &mut first), None);
        assert!(!clients.confirm(address(2, 2070)));
        assert!(clients.confirm(machine));
    }

    #[test]
    fn an_address_and_all_clients_together_have_limits() {
        let clients = Clients::default();
        let ports = 2000..2000 + u16::try_from(MAX_OF_ADDRESS).unwrap();
        let mut one: Vec<_> =
            ports.clone().map(|port| new(clients.admit(address(1, port), request("ipxe.efi")))).collect();
        // Requests with a forged address do not keep the machine that has it from being served.
        one.push(new(clients.admit(address(1, 1999), request("ipxe.efi"))));
        assert!(one[0].has_changed().is_err(), "the oldest gave way");
        for port in ports.skip(1).chain([1999]) {
            assert!(clients.confirm(address(1, port)));
        }
        assert!(matches!(clients.admit(address(1, 1998), request("ipxe.efi")), Admission::TooMany));
        let mut confirmed = MAX_OF_ADDRESS;
        for host in 2..2000 {
            let _requests = new(clients.admit(address(host, 2070), request("ipxe.efi")));
            confirmed += usize::from(clients.confirm(address(host, 2070)));
        }
        assert_eq!(confirmed, MAX_CONFIRMED);
    }
}
