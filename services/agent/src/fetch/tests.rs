use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use domain::failure::Cause;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
};

use super::*;

/// How a server treats one request.
#[derive(Debug, Clone, Copy)]
enum Habit {
    /// As it should.
    Well,
    /// Cuts the connection after so many bytes of the body.
    Cut(usize),
    /// Knows no ranges, and cuts too.
    NoRanges(usize),
    /// Does not say how much there is, and does not chunk: the end is the connection's.
    Unsized,
    /// Sends another part than was asked for.
    Elsewhere,
    /// Answers with this status.
    Status(u16),
    /// Says nothing.
    Silent,
}

type Asked = Arc<Mutex<Vec<usize>>>;

/// A server with one habit for each request in turn, the last one for all that follow; where each request began is
/// kept.
async fn server(content: Vec<u8>, habits: Vec<Habit>) -> (String, Asked) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/image", listener.local_addr().unwrap());
    let asked = Asked::default();
    let (kept, count) = (Arc::clone(&asked), AtomicUsize::new(0));
    service_kit::Host::default().spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let turn = count.fetch_add(1, Ordering::Relaxed);
            let habit = habits[turn.min(habits.len() - 1)];
            // A connection that is cut is a normal thing here.
            drop(answer(stream, &content, habit, &kept).await);
        }
    });
    (url, asked)
}

async fn answer(stream: TcpStream, content: &[u8], habit: Habit, asked: &Asked) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut from = 0;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        if let Some(range) = line.to_lowercase().strip_prefix("range: bytes=") {
            from = range.trim().trim_end_matches('-').parse().unwrap();
        }
        if line.trim().is_empty() {
            break;
        }
    }
    asked.lock().unwrap().push(from);
    let total = content.len();
    let part = |first: usize| {
        format!("HTTP/1.1 206 Partial Content\r\ncontent-range: bytes {first}-{}/{total}\r\n", total - 1)
    };
    let (head, body) = match habit {
        Habit::Well | Habit::Cut(_) if from > 0 => (part(from), &content[from..]),
        Habit::Elsewhere => (part(from + 1), &content[from..]),
        Habit::Status(status) => (format!("HTTP/1.1 {status} No\r\n"), &content[..0]),
        Habit::Well | Habit::Cut(_) | Habit::NoRanges(_) | Habit::Unsized | Habit::Silent => {
            ("HTTP/1.1 200 OK\r\n".to_owned(), content)
        }
    };
    let length = match habit {
        Habit::Unsized => String::new(),
        Habit::Well | Habit::Cut(_) | Habit::NoRanges(_) | Habit::Elsewhere | Habit::Status(_) | Habit::Silent => {
            format!("content-length: {}\r\n", body.len())
        }
    };
    let sent = match habit {
        Habit::Cut(bytes) | Habit::NoRanges(bytes) => &body[..bytes.min(body.len())],
        Habit::Silent => {
            sleep(Duration::from_secs(60)).await;
            body
        }
        Habit::Well | Habit::Unsized | Habit::Elsewhere | Habit::Status(_) => body,
    };
    let head = format!("{head}{length}connection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(sent).await?;
    stream.flush().await
}

const RETRY_POLICY: RetryPolicy = RetryPolicy {
    idle: Duration::from_millis(600),
    pause: Duration::from_millis(1),
    longest: Duration::from_millis(5),
    silence: Duration::from_millis(300),
};

fn content() -> Vec<u8> {
    (0..3_000_000_usize).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[2]).collect()
}

async fn fetched(urls: &[String]) -> Result<Vec<u8>, WorkError> {
    service_kit::tls::install_provider();
    let (to, mut from) = mpsc::channel(MAX_QUEUED_CHUNKS);
    let urls = urls.to_vec();
    let client = Client::builder().no_proxy().tls_backend_preconfigured(no_tls()).build().unwrap();
    service_kit::Host::default().spawn(async move { fetch(&client, &urls, RETRY_POLICY, to, &mut |_, _| {}).await });
    let mut all = vec![];
    loop {
        match from.recv().await.unwrap() {
            Chunk::Data(bytes) => all.extend_from_slice(&bytes),
            Chunk::End => return Ok(all),
            Chunk::Broken(error) => return Err(error),
        }
    }
}

fn no_tls() -> rustls::ClientConfig {
    rustls::ClientConfig::builder().with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth()
}

#[tokio::test]
async fn a_transfer_that_breaks_goes_on_at_the_octet_where_it_broke() {
    let habits = vec![Habit::Cut(1_000_000), Habit::Cut(0), Habit::Cut(1_000_001), Habit::Well];
    let (url, asked) = server(content(), habits).await;
    assert!(fetched(&[url]).await.unwrap() == content());
    assert_eq!(*asked.lock().unwrap(), [0, 1_000_000, 1_000_000, 2_000_001]);
}

#[tokio::test]
async fn a_server_that_knows_no_ranges_sends_all_and_each_octet_is_written_once() {
    let (url, _) =
        server(content(), vec![Habit::NoRanges(2_000_000), Habit::NoRanges(2_500_000), Habit::NoRanges(usize::MAX)])
            .await;
    assert!(fetched(&[url]).await.unwrap() == content());
}

#[tokio::test]
async fn the_next_url_takes_over_from_one_that_fails_is_mute_or_sends_another_part() {
    for bad in [Habit::Status(404), Habit::Status(503), Habit::Silent, Habit::Elsewhere, Habit::Cut(77)] {
        let (first, _) = server(content(), vec![bad]).await;
        let (second, asked) = server(content(), vec![Habit::Well]).await;
        let unreachable = "http://127.0.0.1:1/image".to_owned();
        assert!(fetched(&[unreachable, first, second]).await.unwrap() == content(), "{bad:?}");
        assert_eq!(asked.lock().unwrap().len(), 1, "{bad:?}");
    }
}

#[tokio::test]
async fn a_body_of_unknown_length_ends_with_the_connection() {
    let (url, _) = server(content(), vec![Habit::Unsized]).await;
    assert!(fetched(&[url]).await.unwrap() == content());
}

#[tokio::test]
async fn servers_that_stay_away_are_given_up_after_a_bounded_time_with_the_last_word_of_the_last() {
    let (url, asked) = server(content(), vec![Habit::Cut(1_500_000), Habit::Status(503)]).await;
    let error = fetched(std::slice::from_ref(&url)).await.unwrap_err();
    assert_eq!(error.cause(), Cause::ImageServerGone);
    let text = error.to_string();
    assert!(text.contains("byte 1500000 ") && text.contains(&url) && text.contains("503"), "{text}");
    let asked = asked.lock().unwrap();
    assert!(asked.len() > 3 && asked.iter().skip(1).all(|from| *from == 1_500_000), "{asked:?}");
}
