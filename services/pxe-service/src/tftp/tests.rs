use std::time::Duration;

use super::*;

fn request(file: &str, options: &[(&str, &str)]) -> Request {
    let options = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Request { file: file.to_owned(), mode: "octet".to_owned(), options }
}

/// A client's socket, a transfer of 1,500 bytes to it, and the sender of further requests.
async fn client(
    asked: Request,
) -> (UdpSocket, watch::Sender<Request>, tokio::task::JoinHandle<std::io::Result<Option<Outcome>>>) {
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    server.connect(client.local_addr().unwrap()).await.unwrap();
    client.connect(server.local_addr().unwrap()).await.unwrap();
    let (latest, mut requests) = watch::channel(asked.clone());
    #[expect(clippy::disallowed_methods, reason = "a test has no host")]
    let running =
        tokio::spawn(async move { drive(&server, Bytes::from(vec![7; 1500]), &asked, &mut requests, || true).await });
    (client, latest, running)
}

/// Returns the next datagram. The client's socket is connected, so that it comes from the port of the first answer.
async fn receive(client: &UdpSocket) -> Vec<u8> {
    let mut buffer = [0; BUFFER_BYTES];
    let got = tokio::time::timeout(Duration::from_secs(5), client.recv(&mut buffer)).await.unwrap().unwrap();
    buffer[..got].to_vec()
}

#[tokio::test]
async fn a_request_that_is_repeated_within_milliseconds_continues_the_same_transfer() {
    for options in [&[][..], &[("tsize", "0")], &[("blksize", "1428")], &[("blksize", "512"), ("windowsize", "4")]] {
        let asked = request("snponly.efi", options);
        let (client, latest, running) = client(asked.clone()).await;
        let first = receive(&client).await;
        latest.send_replace(asked);
        assert_eq!(receive(&client).await, first, "{options:?}: the same packet again");
        let mut packet = first;
        loop {
            // DATA has the number of its block there; the ACK of an OACK is 0.
            let is_offer = packet[1] == 6;
            let ack = if is_offer { [0, 4, 0, 0] } else { [0, 4, packet[2], packet[3]] };
            client.send(&ack).await.unwrap();
            if running.is_finished() || (!is_offer && packet.len() < 4 + 512) {
                break;
            }
            packet = receive(&client).await;
        }
        let outcome = running.await.unwrap().unwrap().unwrap();
        assert_eq!((outcome.end, outcome.bytes_acknowledged), (End::Delivered, 1500), "{options:?}");
    }
}

#[tokio::test]
async fn another_request_from_the_same_port_ends_the_transfer_and_is_served_next() {
    let (client, latest, running) = client(request("snponly.efi", &[("tsize", "0")])).await;
    receive(&client).await;
    latest.send_replace(request("ipxe.efi", &[]));
    assert_eq!(running.await.unwrap().unwrap(), None);
}
