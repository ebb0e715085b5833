//! Tests of the view.

use super::*;

fn pair(path: &str, revision: i64) -> Pair {
    Pair { path: path.to_owned(), value: b"1".to_vec(), revision, created: 1 }
}

fn delete(path: &str, revision: i64) -> Event {
    Event::Delete { path: path.to_owned(), revision }
}

fn paths(view: &View) -> Vec<String> {
    view.paths("/")
}

#[tokio::test]
async fn a_change_that_is_older_than_what_is_known_is_not_applied() {
    let view = View::default();
    view.apply(Update::Snapshot { pairs: vec![pair("/a", 5)], lowest: 5, revision: 5 });
    view.apply(Update::Changes { changes: vec![delete("/a", 4)], revision: Some(6) });
    assert_eq!(paths(&view), ["/a"]);
    view.apply(Update::Changes { changes: vec![delete("/a", 7), Event::Put(pair("/b", 7))], revision: Some(7) });
    assert_eq!(paths(&view), ["/b"]);
    assert_eq!((view.freshness().revision, view.newest()), (7, 7));
}

#[tokio::test]
async fn changes_under_another_prefix_do_not_count_as_having_seen_the_first_one() {
    let view = View::default();
    view.apply(Update::Snapshot { pairs: vec![], lowest: 5, revision: 5 });
    view.apply(Update::Changes { changes: vec![Event::Put(pair("/other", 9))], revision: None });
    assert_eq!((paths(&view), view.freshness().revision), (vec!["/other".to_owned()], 5));
}

#[tokio::test]
async fn a_rebuilt_view_forgets_what_was_newer_and_releases_who_waits_for_it() {
    let view = View::default();
    view.apply(Update::Snapshot { pairs: vec![pair("/a", 5), pair("/b", 9)], lowest: 9, revision: 9 });
    let mut news = view.subscribe();
    let waiting = view.reaches(20);
    let building = async { view.apply(Update::Rebuilt { pairs: vec![pair("/a", 3)], revision: 4 }) };
    tokio::join!(waiting, building);
    assert_eq!((paths(&view), view.freshness().revision), (vec!["/a".to_owned()], 4));
    assert_eq!(news.next().await, Some(News::Everything));
    view.apply(Update::Changes { changes: vec![Event::Put(pair("/c", 5))], revision: Some(5) });
    assert_eq!(paths(&view), ["/a", "/c"]);
}

#[tokio::test]
async fn a_list_drops_what_is_gone_and_tells_that_anything_may_have_changed() {
    let view = View::default();
    view.apply(Update::Snapshot { pairs: vec![pair("/a", 5), pair("/b", 5)], lowest: 5, revision: 5 });
    let mut news = view.subscribe();
    view.apply(Update::Snapshot { pairs: vec![pair("/b", 5), pair("/c", 8)], lowest: 8, revision: 8 });
    assert_eq!(paths(&view), ["/b", "/c"]);
    assert_eq!(news.next().await, Some(News::Everything));
}

thread_local! {
    static READ: std::cell::RefCell<View> = std::cell::RefCell::new(View::default());
}

/// A value whose decoding finds out whether a change could be applied meanwhile.
struct Unlocked(bool);

impl<'de> serde::Deserialize<'de> for Unlocked {
    fn deserialize<D: serde::Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        serde::de::IgnoredAny::deserialize(source)?;
        Ok(Self(READ.with_borrow(|view| view.pairs.try_write().is_some())))
    }
}

#[test]
fn no_value_is_decoded_while_changes_wait_for_the_lock() {
    let view = View::default();
    view.apply(Update::Snapshot { pairs: vec![pair("/a", 5), pair("/b", 5)], lowest: 5, revision: 5 });
    READ.set(view.clone());
    assert!(view.get(&Key::<Unlocked>::at("/a".to_owned())).unwrap().value.0);
    let all = view.list(&Prefix::<Unlocked>::at("/".to_owned()));
    assert!(all.len() == 2 && all.iter().all(|(_, read)| read.value.0));
}
