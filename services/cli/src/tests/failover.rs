//! Contexts with several replicas, of which some do not answer.

use std::fs;

use tokio::net::TcpListener;

use super::{at, code, fake::Fake};

#[tokio::test]
async fn replicas_that_are_dead_or_silent_are_passed_over() {
    let fake = Fake::serve().await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dead = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (silent_at, dead_at) = (silent.local_addr().unwrap().to_string(), dead.local_addr().unwrap().to_string());
    drop(dead);
    let (silent_at, dead_at, here) = (silent_at.as_str(), dead_at.as_str(), fake.endpoint.as_str());
    let text = fs::read_to_string(&fake.context).unwrap();
    let context = fake.folder.path().join("several.toml");
    for (case, replicas, is_reached) in [
        ("it alone", vec![here], true),
        ("a dead one first", vec![dead_at, here], true),
        ("a silent one first", vec![silent_at, here], true),
        ("a dead and a silent one first", vec![dead_at, silent_at, here], true),
        ("others behind it", vec![here, silent_at, dead_at], true),
        ("a name that does not exist first", vec!["nowhere.invalid:1", here], true),
        ("two dead ones", vec![dead_at, dead_at], false),
    ] {
        let endpoint = replicas.join(",");
        fs::write(&context, text.replace(here, &endpoint)).unwrap();
        // Once read, once changed.
        for words in ["node show n1", "node power n1 off --timeout 60s"] {
            let ended = at(&context, words).await;
            assert_eq!(ended.code == code(0), is_reached, "{case}: {words}: {}", ended.remarks);
        }
    }
}
