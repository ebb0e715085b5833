//! The store, its watch and its view when requests are lost, members hang, and backups are restored.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use domain::{
    generation,
    id::{ImageId, InstanceId},
    image::{Encoding, Image, Purpose},
    service::Service,
};
use keyspace::{
    Change, Error, Expect, Key, Store, Trouble, View,
    key::{self, ROOT, Scope},
    testing::{CallKind, ClusterId, Delivery, MemoryClient, MemoryEtcd, Space, WatchDelivery},
    value::Ack,
};
use tokio::time::{Instant, sleep, timeout};

/// How long a test waits for a state, on the paused clock.
const WAIT_TIMEOUT: Duration = Duration::from_secs(60);

fn acked(number: u128) -> Key<Ack> {
    key::ack(Scope::Datacenter, Service::Power, InstanceId::new(uuid::Uuid::from_u128(number)))
}

async fn put(store: &Store, number: u128, epoch: i64, expect: Expect) -> Result<i64, Error> {
    store.commit(Change::new().put(&acked(number), &Ack { epoch }, expect)?).await
}

async fn epoch(store: &Store, number: u128) -> Result<Option<i64>, Error> {
    Ok(store.get(&acked(number)).await?.map(|read| read.value.epoch))
}

/// Follows everything in the background; the view ends with the runtime.
fn follow(client: &MemoryClient) -> View {
    let (view, store) = (View::default(), client.store());
    let following = view.clone();
    #[expect(clippy::disallowed_methods, reason = "a test has no Host")]
    tokio::spawn(async move {
        following.follow(store, vec![ROOT.to_owned()], None, std::future::pending()).await;
    });
    view
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let waiting = async {
        while !is_so() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(timeout(WAIT_TIMEOUT, waiting).await.is_ok(), "waited in vain until {what}");
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_opens_after_its_client_has_given_up_is_closed() {
    let etcd = MemoryEtcd::new();
    let client = etcd.client();
    let late = Delivery::delayed(Duration::from_secs(5), Duration::ZERO);
    client.set_plan(move |call| if call.kind == CallKind::Watch { late } else { Delivery::PROMPT });
    let view = follow(&client);
    sleep(Duration::from_secs(20)).await;
    let written = put(&etcd.client().store(), 1, 1, Expect::Absent).await.unwrap();
    client.heal();
    until("the view shows it", || view.freshness().revision >= written).await;
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_answer_is_lost_was_carried_out_and_is_not_repeated() {
    let etcd = MemoryEtcd::new();
    let client = etcd.client();
    let store = client.store();
    client.set_delivery(Delivery::UNANSWERED);
    let begun = Instant::now();
    let written = put(&store, 1, 1, Expect::Absent).await;
    assert!(matches!(written, Err(Error::Unavailable { .. })), "{written:?}");
    assert_eq!(begun.elapsed(), Duration::from_secs(2), "the time limit of a request");
    assert_eq!(etcd.version(acked(1).path()), Some(1));
}

#[tokio::test(start_paused = true)]
async fn a_write_that_is_lost_was_not_carried_out() {
    let etcd = MemoryEtcd::new();
    let client = etcd.client();
    client.set_delivery(Delivery::LOST);
    assert!(put(&client.store(), 1, 1, Expect::Absent).await.is_err());
    assert_eq!(etcd.pair(acked(1).path()), None);
}

#[tokio::test(start_paused = true)]
async fn a_delayed_write_arrives_although_its_sender_gave_up() {
    let etcd = MemoryEtcd::new();
    let client = etcd.client();
    client.set_delivery(Delivery::delayed(Duration::from_secs(5), Duration::ZERO));
    assert!(put(&client.store(), 1, 1, Expect::Absent).await.is_err());
    assert_eq!(etcd.pair(acked(1).path()), None, "it is still on its way");
    sleep(Duration::from_secs(4)).await;
    assert!(etcd.pair(acked(1).path()).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_delayed_write_that_was_overtaken_fails_by_its_expectation() {
    let etcd = MemoryEtcd::new();
    let (slow, fast) = (etcd.client(), etcd.client());
    slow.set_delivery(Delivery::delayed(Duration::from_secs(1), Duration::ZERO));
    let (slow_store, fast_store) = (slow.store(), fast.store());
    let (late, early) = tokio::join!(put(&slow_store, 1, 1, Expect::Absent), put(&fast_store, 1, 2, Expect::Absent));
    assert!(early.is_ok() && matches!(late, Err(Error::Conflict)), "{early:?} {late:?}");
    assert_eq!(epoch(&fast_store, 1).await.unwrap(), Some(2));
}

#[tokio::test(start_paused = true)]
async fn a_read_is_tried_again_with_the_next_member() {
    let etcd = MemoryEtcd::new();
    let client = etcd.client();
    put(&client.store(), 1, 7, Expect::Absent).await.unwrap();
    client.set_plan(|call| if call.member == 0 { Delivery::LOST } else { Delivery::PROMPT });
    let store = client.store_with_members(3);
    assert_eq!(epoch(&store, 1).await.unwrap(), Some(7));
    let begun = Instant::now();
    assert_eq!(epoch(&store, 1).await.unwrap(), Some(7));
    assert_eq!(begun.elapsed(), Duration::ZERO, "the silent member is not asked again");
}

#[tokio::test(start_paused = true)]
async fn a_write_is_never_tried_with_a_second_member() {
    let etcd = MemoryEtcd::new();
    let (client, writes) = (etcd.client(), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&writes);
    client.set_plan(move |call| {
        if call.kind == CallKind::Write {
            counted.fetch_add(1, Ordering::Relaxed);
            return Delivery::REFUSED;
        }
        Delivery::PROMPT
    });
    let store = client.store_with_members(3);
    assert!(put(&store, 1, 1, Expect::Absent).await.is_err());
    assert_eq!(writes.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_change_beyond_the_limits_is_not_sent() {
    let store = MemoryEtcd::new().client().store();
    let mut change = Change::new();
    for number in 0..121 {
        change = change.clear(&acked(number));
    }
    let key = &acked(1);
    let read = |change: Change| async { store.commit_or_read(change, key).await.map(drop) };
    for (what, change, operations) in [
        ("operations", change.clone(), 121),
        (
            "operations of two changes",
            (0..61).fold(Change::new(), |all, n| all.clear(&acked(n)).and(Change::new().clear(key))),
            122,
        ),
        ("a value", large(1, Change::MAX_BYTES).unwrap(), 1),
        ("values together", large(1, Change::MAX_BYTES / 2).unwrap().and(large(2, Change::MAX_BYTES / 2).unwrap()), 2),
        ("a value of the largest body", large(1, 16 << 20).unwrap(), 1),
        ("a value of the largest request", large(1, 64 << 20).unwrap(), 1),
    ] {
        for outcome in [store.commit(change.clone()).await.map(drop), read(change).await] {
            let Err(error @ Error::TooLarge { operations: found, .. }) = outcome else { panic!("{what}: {outcome:?}") };
            let text = error.to_string();
            assert!(found == operations && text.contains("at most 1400 KiB in 120 records"), "{what}: {text}");
        }
    }
    assert!(store.commit(large(1, Change::MAX_BYTES - 1000).unwrap()).await.is_ok());
}

/// A change that writes one value of about this size.
fn large(number: u128, bytes: usize) -> Result<Change, Box<dyn std::error::Error>> {
    let key = key::image(ImageId::new(uuid::Uuid::from_u128(number)));
    let image = Image {
        id: ImageId::new(uuid::Uuid::from_u128(number)),
        name: "x".repeat(bytes),
        url: String::new(),
        digest: format!("sha256:{}", "1".repeat(64)).parse()?,
        encoding: Encoding::Plain,
        purpose: Purpose::Disk,
        unpacked_size: None,
    };
    Ok(Change::new().put(&key, &image, Expect::Absent)?)
}

#[tokio::test(start_paused = true)]
async fn a_failed_expectation_tells_what_is_there_instead() {
    let store = MemoryEtcd::new().client().store();
    put(&store, 1, 1, Expect::Absent).await.unwrap();
    let change = Change::new().put(&acked(1), &Ack { epoch: 2 }, Expect::Absent).unwrap();
    let found = store.commit_or_read(change, &acked(1)).await.unwrap().unwrap_err();
    assert_eq!(found.map(|read| read.value.epoch), Some(1));
    let change = Change::new().put(&acked(2), &Ack { epoch: 2 }, Expect::Absent).unwrap();
    assert!(store.commit_or_read(change, &acked(2)).await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_full_store_is_a_trouble_until_there_is_space() {
    let etcd = MemoryEtcd::new();
    let store = etcd.client().store();
    etcd.set_space(Space::Exhausted);
    assert!(matches!(put(&store, 1, 1, Expect::Absent).await, Err(Error::Full { .. })));
    assert_eq!(store.trouble(), Some(Trouble::Full));
    store.look_for_space().await.unwrap();
    assert_eq!(store.trouble(), Some(Trouble::Full), "the alarm is still raised");
    etcd.set_space(Space::Free);
    store.look_for_space().await.unwrap();
    assert_eq!(store.trouble(), None);
    put(&store, 1, 1, Expect::Absent).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn leases_have_their_full_time_after_the_store_was_down() {
    let etcd = MemoryEtcd::new();
    let store = etcd.client().store();
    let lease = store.grant(3).await.unwrap();
    store.commit(Change::new().put_leased(&acked(1), &Ack { epoch: 1 }, Expect::Absent, lease).unwrap()).await.unwrap();
    etcd.stop();
    assert!(matches!(store.get(&acked(1)).await, Err(Error::Unavailable { .. })));
    sleep(Duration::from_secs(10)).await;
    etcd.start();
    sleep(Duration::from_millis(2900)).await;
    assert!(etcd.pair(acked(1).path()).is_some());
    sleep(Duration::from_millis(200)).await;
    assert_eq!(etcd.pair(acked(1).path()), None);
    assert!(!store.keep_alive(lease, Duration::from_secs(1)).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_view_follows_every_change_and_says_how_far() {
    let etcd = MemoryEtcd::new();
    let client = etcd.client();
    let (view, store) = (follow(&client), etcd.client().store());
    put(&store, 1, 1, Expect::Absent).await.unwrap();
    let revision = put(&store, 2, 1, Expect::Absent).await.unwrap();
    view.reaches(revision).await;
    assert!(view.has(&acked(1)) && view.has(&acked(2)));
    let last = store.commit(Change::new().clear(&acked(1))).await.unwrap();
    view.reaches(last).await;
    assert!(!view.has(&acked(1)) && view.freshness().revision == last);
}

#[tokio::test(start_paused = true)]
async fn a_view_misses_nothing_when_its_stream_breaks_or_stalls() {
    let etcd = MemoryEtcd::new();
    let client = etcd.client();
    let (view, store) = (follow(&client), etcd.client().store());
    for number in 1..=20_u128 {
        match number % 4 {
            0 => client.break_watches(),
            1 => client.set_watch_delivery(WatchDelivery::Stalled),
            2 => client.set_watch_delivery(WatchDelivery::Delayed(Duration::from_millis(700))),
            _ => client.set_watch_delivery(WatchDelivery::Prompt),
        }
        put(&store, number, 1, Expect::Absent).await.unwrap();
        sleep(Duration::from_secs(1)).await;
    }
    client.heal();
    until("all changes are seen", || (1..=20).all(|number| view.has(&acked(number)))).await;
}

#[tokio::test(start_paused = true)]
async fn a_view_lists_again_after_a_partition_with_a_compaction() {
    let etcd = MemoryEtcd::new();
    let client = etcd.client();
    let (view, store) = (follow(&client), etcd.client().store());
    let revision = put(&store, 1, 1, Expect::Absent).await.unwrap();
    view.reaches(revision).await;
    client.partition();
    client.break_watches();
    store.commit(Change::new().clear(&acked(1))).await.unwrap();
    let last = put(&store, 2, 1, Expect::Absent).await.unwrap();
    etcd.compact(last);
    sleep(Duration::from_secs(10)).await;
    assert!(view.has(&acked(1)), "it knows nothing newer");
    client.heal();
    until("it lists again", || !view.has(&acked(1)) && view.has(&acked(2))).await;
}

#[tokio::test(start_paused = true)]
async fn a_restored_backup_is_neither_followed_nor_written_to_until_it_is_adopted() {
    for cluster in [ClusterId::Same, ClusterId::New] {
        let etcd = MemoryEtcd::new();
        let client = etcd.client();
        let (view, store) = (follow(&client), client.store());
        let backup = etcd.backup();
        let revision = put(&store, 1, 1, Expect::Absent).await.unwrap();
        view.reaches(revision).await;
        store.expect(store.standing().await.unwrap());
        etcd.restore(&backup, cluster);
        let read = store.get(&acked(1)).await;
        assert!(matches!(read, Err(Error::RestoredBackup(_))), "{cluster:?}: {read:?}");
        let written = put(&store, 2, 1, Expect::Absent).await;
        assert!(matches!(written, Err(Error::RestoredBackup(_))), "{cluster:?}: {written:?}");
        assert!(matches!(store.trouble(), Some(Trouble::RestoredBackup(_))));
        sleep(Duration::from_secs(5)).await;
        assert!(view.has(&acked(1)), "the view stays as it was");
        client.store().adopt(generation::Incarnation::default()).await.unwrap();
        until("the view is rebuilt", || view.freshness().rebuilds == 1 && !view.has(&acked(1))).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_restored_backup_that_grew_past_what_was_seen_is_still_noticed() {
    let etcd = MemoryEtcd::new();
    let client = etcd.client();
    let (view, store) = (follow(&client), etcd.client().store());
    let backup = etcd.backup();
    let revision = put(&store, 1, 1, Expect::Absent).await.unwrap();
    view.reaches(revision).await;
    client.partition();
    etcd.restore(&backup, ClusterId::Same);
    for number in 10..20 {
        put(&etcd.client().store(), number, 1, Expect::Absent).await.unwrap();
    }
    client.heal();
    let marked =
        || etcd.pair(key::incarnation().path()).is_some_and(|pair| pair.value.windows(8).any(|w| w == b"restored"));
    until("it is marked in the store", marked).await;
    assert!(view.has(&acked(1)) && !view.has(&acked(10)), "it is not followed");
}

#[tokio::test(start_paused = true)]
async fn a_view_starts_from_disk_while_the_store_is_down() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("view.zst");
    let etcd = MemoryEtcd::new();
    let client = etcd.client();
    put(&client.store(), 1, 7, Expect::Absent).await.unwrap();
    let prefixes = [ROOT.to_owned()];
    let view = keyspace::view::open(&client.store(), &prefixes, &file).await.unwrap();
    keyspace::snapshot::save(&file, &view.snapshot()).unwrap();
    etcd.stop();
    let view = keyspace::view::open(&client.store(), &prefixes, &file).await.unwrap();
    assert_eq!(view.get(&acked(1)).map(|read| read.value.epoch), Some(7));
    assert_eq!(view.freshness().heard, None, "etcd has not answered");
    let nothing = keyspace::view::open(&client.store(), &prefixes, &folder.path().join("none")).await;
    assert!(matches!(nothing, Err(Error::Unavailable { .. })));
}

#[tokio::test(start_paused = true)]
async fn the_same_calls_give_the_same_history() {
    let mut histories = Vec::new();
    for _ in 0..2 {
        let etcd = MemoryEtcd::new();
        let client = etcd.client();
        let store = client.store();
        let begun = Instant::now();
        client.set_delivery(Delivery::delayed(Duration::from_millis(30), Duration::from_millis(5)));
        let lease = store.grant(2).await.unwrap();
        let change = Change::new().put_leased(&acked(1), &Ack { epoch: 1 }, Expect::Absent, lease).unwrap();
        store.commit(change).await.unwrap();
        put(&store, 2, 2, Expect::Absent).await.unwrap();
        sleep(Duration::from_secs(3)).await;
        let told = |at: Instant| at.duration_since(begun);
        histories
            .push(etcd.history().into_iter().map(|one| (one.revision, told(one.at), one.events)).collect::<Vec<_>>());
    }
    assert_eq!(histories.first(), histories.last());
    let times: Vec<_> = histories.first().into_iter().flatten().map(|(_, at, _)| at.as_millis()).collect();
    assert_eq!(times, [65, 100, 2030], "the lease counts from when its grant arrived");
}
