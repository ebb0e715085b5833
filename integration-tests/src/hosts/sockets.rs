//! Listening sockets of a host, as Linux lists them in /proc/net.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::{Context as _, Result};

use crate::rack::hosts::VirtualHost;

/// `st` of a listening TCP socket (proc(5)).
const LISTEN: &str = "0A";
/// `st` of a UDP socket that is not connected.
const UNCONNECTED: &str = "07";

/// A socket that receives from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listening {
    /// Whether it is of TCP, and not of UDP.
    pub is_tcp: bool,
    /// Its address.
    pub at: SocketAddr,
}

/// All listening sockets on a host.
///
/// # Errors
/// cat(1) cannot be run there.
pub fn listening(host: &VirtualHost) -> Result<Vec<Listening>> {
    let mut all = Vec::new();
    for table in ["tcp", "tcp6", "udp", "udp6"] {
        let text = host.place().run(&["cat", &format!("/proc/net/{table}")])?;
        all.extend(parse(&text, table.starts_with("tcp")).with_context(|| format!("/proc/net/{table}: {text}"))?);
    }
    all.sort_unstable();
    Ok(all)
}

/// Reads a table such as /proc/net/tcp6.
fn parse(text: &str, is_tcp: bool) -> Option<Vec<Listening>> {
    let mut all = Vec::new();
    for line in text.lines().skip(1) {
        let mut words = line.split_whitespace().skip(1);
        let (local, _, state) = (words.next()?, words.next()?, words.next()?);
        if state == if is_tcp { LISTEN } else { UNCONNECTED } {
            all.push(Listening { is_tcp, at: address(local)? });
        }
    }
    Some(all)
}

/// An address such as `0100007F:1CDC`: each 32 bits in the host's order of bytes, which is little-endian here.
fn address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| u32::from_str_radix(address.get(at * 8..at * 8 + 8)?, 16).ok().map(u32::to_ne_bytes);
    let address: IpAddr = match address.len() {
        8 => Ipv4Addr::from(word(0)?).into(),
        32 => {
            let octets = [word(0)?, word(1)?, word(2)?, word(3)?].concat();
            Ipv6Addr::from(<[u8; 16]>::try_from(octets).ok()?).to_canonical()
        }
        _ => return None,
    };
    Some((address, port).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TCP: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid
   0: 0100007F:1CDC 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 5551 1
   1: 0B01500A:094B 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 5552 1
   2: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 5553 1
   3: 0B01500A:9C40 0C01500A:094B 01 00000000:00000000 00:00000000 00000000     0        0 5554 1\n";
    const TCP6: &str = "  sl  local_address                         remote_address                        st
   0: 000080FD000000000000000001001100:1CD4 00000000000000000000000000000000:0000 0A 0 0 0
   1: 00000000000000000000000001000000:1CD4 00000000000000000000000000000000:0000 0A 0 0 0
   2: 0000000000000000FFFF00000B01500A:1CD4 00000000000000000000000000000000:0000 0A 0 0 0\n";
    const UDP: &str = "  sl  local_address rem_address   st
   0: 0101510A:0043 00000000:0000 07 00000000:00000000
   1: 0101510A:9C40 0101510A:0045 01 00000000:00000000\n";

    #[test]
    fn the_kernels_tables_are_read() {
        // Table, whether of TCP, and the addresses that listen.
        for (table, is_tcp, wanted) in [
            (TCP, true, vec!["127.0.0.1:7388", "10.80.1.11:2379", "0.0.0.0:8080"]),
            (TCP6, true, vec!["[fd80::11:1]:7380", "[::1]:7380", "10.80.1.11:7380"]),
            (UDP, false, vec!["10.81.1.1:67"]),
            ("header\n", true, vec![]),
        ] {
            let found: Vec<String> = parse(table, is_tcp).unwrap().iter().map(|one| one.at.to_string()).collect();
            assert_eq!(found, wanted, "{table}");
        }
        for cut in ["header\n 0: 0100007F", "header\n 0: 01:1CDC 0:0 0A", "header\n 0: 0100007F:XX 0:0 0A"] {
            assert_eq!(parse(cut, true), None, "{cut}");
        }
    }
}
