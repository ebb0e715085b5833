//! Pages of lists (AIP-158): every `List` RPC takes `page_size` and `page_token`, and returns `next_page_token`.
//!
//! A list is sorted by [`Position`]. A token holds the position of the last item of a page, so that items which appear or
//! disappear between two calls neither repeat nor hide others. It also holds a fingerprint of the request's other fields:
//! a token that belongs to another list is refused.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use domain::time::Timestamp;
use prost::Message;
use proto::{
    api::v1::{
        ListAllocationsRequest, ListBulksRequest, ListImagesRequest, ListLocksRequest, ListNodesRequest,
        ListOperationsRequest, ListRacksRequest, ListWebhooksRequest,
    },
    convert::Invalid,
};

/// Number of items in a page if the request names none.
const DEFAULT_PAGE_SIZE: usize = 1000;
/// Maximum number of items in a page.
const MAX_PAGE_SIZE: usize = 1000;
/// First byte of a token: the version of its layout.
const VERSION: u8 = 1;

/// Where an item is in its list.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    /// The time by which the list is sorted, in milliseconds since 1970; zero in a list that is sorted by ids only.
    time: i64,
    /// Distinguishes items of the same time.
    id: String,
}

impl Position {
    /// Creates the position in a list that is sorted by ids.
    pub(super) fn of_id(id: impl ToString) -> Self {
        Self { time: 0, id: id.to_string() }
    }

    /// Creates the position in a list that is sorted by times.
    pub(super) fn of_time(time: Timestamp, id: impl ToString) -> Self {
        Self { time: time.millis(), id: id.to_string() }
    }
}

/// The page that a request asks for.
#[derive(Debug)]
pub(super) struct Page {
    size: usize,
    after: Option<Position>,
    fingerprint: u64,
}

/// The request of a `List` RPC.
pub(super) trait ListRequest: Message {
    /// The name of the RPC.
    const NAME: &'static str;
    /// Returns `page_size` and `page_token`, and clears them.
    fn take_page(&mut self) -> (i32, String);
}

macro_rules! list_requests {
    ($($name:ident),* $(,)?) => {$(
        impl ListRequest for $name {
            const NAME: &'static str = stringify!($name);
            fn take_page(&mut self) -> (i32, String) {
                (std::mem::take(&mut self.page_size), std::mem::take(&mut self.page_token))
            }
        }
    )*};
}

list_requests![
    ListAllocationsRequest,
    ListBulksRequest,
    ListImagesRequest,
    ListLocksRequest,
    ListNodesRequest,
    ListOperationsRequest,
    ListRacksRequest,
    ListWebhooksRequest,
];

impl Page {
    /// Reads the page that a request asks for. The page's fields of the request are cleared.
    ///
    /// # Errors
    /// [`Invalid`] names `page_size` if it is negative, and `page_token` if it is not a token of this list.
    pub(super) fn read<T: ListRequest>(request: &mut T) -> Result<Self, Invalid> {
        let (size, token) = request.take_page();
        let size = usize::try_from(size).map_err(|_| Invalid::wrong("page_size", "must not be negative"))?;
        let size = if size == 0 { DEFAULT_PAGE_SIZE } else { size.min(MAX_PAGE_SIZE) };
        let fingerprint = fingerprint(T::NAME, request);
        let after = if token.is_empty() { None } else { Some(position(&token, fingerprint)?) };
        Ok(Self { size, after, fingerprint })
    }

    /// Returns whether an item may be in this page or a later one.
    pub(super) fn may_have(&self, position: &Position) -> bool {
        self.after.as_ref().is_none_or(|after| position > after)
    }

    /// Cuts the page from a list that is sorted by position. Returns its items and the token of the next page, which is
    /// empty if this is the last page.
    pub(super) fn cut<T>(&self, sorted: impl IntoIterator<Item = (Position, T)>) -> (Vec<T>, String) {
        let mut rest = sorted.into_iter().filter(|(position, _)| self.may_have(position));
        let (mut items, mut last) = (Vec::new(), None);
        for (position, item) in rest.by_ref().take(self.size) {
            items.push(item);
            last = Some(position);
        }
        let token = last.filter(|_| rest.next().is_some()).map(|last| token(&last, self.fingerprint));
        (items, token.unwrap_or_default())
    }

    /// Cuts the page from a list in any order. See [`Page::cut`].
    pub(super) fn cut_unsorted<T>(&self, all: impl IntoIterator<Item = (Position, T)>) -> (Vec<T>, String) {
        let mut all: Vec<_> = all.into_iter().filter(|(position, _)| self.may_have(position)).collect();
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        self.cut(all)
    }
}

/// FNV-1a over the RPC and the encoded request without the page's fields. Not a protection: a client may list what it
/// wants.
fn fingerprint(name: &str, request: &impl Message) -> u64 {
    let bytes = name.bytes().chain(request.encode_to_vec());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

fn token(position: &Position, fingerprint: u64) -> String {
    let mut bytes = vec![VERSION];
    bytes.extend(fingerprint.to_be_bytes());
    bytes.extend(position.time.to_be_bytes());
    bytes.extend(position.id.bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

fn position(token: &str, fingerprint: u64) -> Result<Position, Invalid> {
    let refused = || {
        let why = "is not a next_page_token that this list returned for a request with the same fields; start again \
                   without a token";
        Invalid::wrong("page_token", why)
    };
    let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| refused())?;
    let (version, bytes) = bytes.split_first().ok_or_else(refused)?;
    let (found, bytes) = bytes.split_first_chunk().ok_or_else(refused)?;
    let (time, id) = bytes.split_first_chunk().ok_or_else(refused)?;
    let id = std::str::from_utf8(id).map_err(|_| refused())?;
    if *version != VERSION || u64::from_be_bytes(*found) != fingerprint {
        return Err(refused());
    }
    Ok(Position { time: i64::from_be_bytes(*time), id: id.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(page_size: i32, page_token: &str) -> ListOperationsRequest {
        ListOperationsRequest { page_size, page_token: page_token.to_owned(), running: false }
    }

    fn page(page_size: i32, page_token: &str) -> Page {
        Page::read(&mut request(page_size, page_token)).unwrap()
    }

    fn items(count: i64) -> Vec<(Position, i64)> {
        (0..count).map(|n| (Position::of_time(Timestamp::from_millis(n / 3), format!("{n:06}")), n)).collect()
    }

    /// Follows the pages of a list to the end.
    fn all(size: i32, list: &[(Position, i64)]) -> Vec<Vec<i64>> {
        let (mut pages, mut token) = (Vec::new(), String::new());
        loop {
            let (found, next) = page(size, &token).cut(list.to_vec());
            pages.push(found);
            token = next;
            if token.is_empty() {
                return pages;
            }
        }
    }

    #[test]
    fn pages_hold_every_item_once_and_in_order() {
        for (size, count) in [(1, 0), (1, 1), (1, 3), (2, 7), (7, 7), (6, 7), (8, 7), (0, 2500), (5000, 2500)] {
            let pages = all(size, &items(count));
            assert_eq!(pages.concat(), (0..count).collect::<Vec<_>>(), "{size} {count}");
            let longest = if size == 0 { MAX_PAGE_SIZE } else { usize::try_from(size).unwrap().min(MAX_PAGE_SIZE) };
            assert!(pages.iter().rev().skip(1).all(|page| page.len() == longest), "{size} {count}");
        }
    }

    #[test]
    fn the_last_page_has_no_token() {
        assert_eq!(all(3, &items(6)), [vec![0, 1, 2], vec![3, 4, 5]]);
        assert_eq!(all(3, &[]), [Vec::<i64>::new()]);
    }

    #[test]
    fn items_that_come_or_go_between_two_pages_do_not_move_the_others() {
        let (found, token) = page(2, "").cut(items(6));
        assert_eq!(found, [0, 1]);
        // The last item of the page is gone, and an earlier one is new.
        let mut list = items(6);
        list.remove(1);
        list.insert(0, (Position::of_time(Timestamp::from_millis(-1), "new"), 100));
        assert_eq!(page(2, &token).cut(list).0, [2, 3]);
    }

    #[test]
    fn a_list_in_any_order_is_sorted_by_position() {
        let mut list = items(5);
        list.reverse();
        let (found, token) = page(3, "").cut_unsorted(list.clone());
        assert_eq!(found, [0, 1, 2]);
        assert_eq!(page(3, &token).cut_unsorted(list), (vec![3, 4], String::new()));
    }

    #[test]
    fn an_invalid_token_is_refused_with_the_name_of_its_field() {
        let valid = page(1, "").cut(items(2)).1;
        let mut long = URL_SAFE_NO_PAD.decode(&valid).unwrap();
        long[0] = VERSION + 1;
        let other_version = URL_SAFE_NO_PAD.encode(&long);
        let not_utf8 = URL_SAFE_NO_PAD.encode([&URL_SAFE_NO_PAD.decode(&valid).unwrap()[..17], &[0xff]].concat());
        let invalid =
            ["x", "!!!!", "AQ", "AQAAAAAAAAAA", &valid[1..], &format!("{valid}="), &other_version, &not_utf8, "ø"];
        for token in invalid {
            let error = Page::read(&mut request(1, token)).unwrap_err();
            assert!(error.to_string().starts_with("page_token: "), "{token}: {error}");
        }
    }

    #[test]
    fn a_token_of_another_list_is_refused() {
        let token = page(1, "").cut(items(2)).1;
        let mut other_filter = ListOperationsRequest { running: true, ..request(1, &token) };
        assert!(Page::read(&mut other_filter).is_err());
        let mut other_list = ListRacksRequest { page_size: 1, page_token: token.clone() };
        assert!(Page::read(&mut other_list).is_err());
        // The size may change.
        assert!(Page::read(&mut request(7, &token)).is_ok());
    }

    #[test]
    fn a_negative_size_is_refused_with_the_name_of_its_field() {
        for size in [-1, i32::MIN] {
            let error = Page::read(&mut request(size, "")).unwrap_err();
            assert!(error.to_string().starts_with("page_size: "), "{error}");
        }
    }
}
