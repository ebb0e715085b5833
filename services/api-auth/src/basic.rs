//! HTTP basic authentication (RFC 7617) with a file of users, as Ironic's `http_basic`. Users in this file have full
//! administrative rights.

use std::{
    collections::{BTreeMap, HashMap},
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use domain::{policy::Caller, secret::Secret};
use parking_lot::{Mutex, MutexGuard};
use service_kit::listener::AddressKey;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use crate::{error::Error, refusal::Refusal, turns::Turns};

/// Minimum interval between two reads of the file.
const RELOAD_INTERVAL: Duration = Duration::from_secs(2);
/// Maximum number of cached verified credentials. If there are more, the cache is cleared. Verifying takes tens of
/// milliseconds.
const MAX_CACHED_CREDENTIALS: usize = 1024;

/// The hash against which passwords are verified if the file has no users.
const HASH_WITHOUT_USERS: &str = "$2b$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy";

/// The users in a file with `name:hash` lines, where the hash is bcrypt's.
#[derive(Debug)]
pub(super) struct Users {
    file: PathBuf,
    known: Mutex<Known>,
    turns: Turns,
}

#[derive(Debug)]
struct Known {
    looked: Instant,
    text: String,
    hashes: Arc<BTreeMap<String, String>>,
    /// Digests of verified credentials, with the password hash that they matched.
    right: HashMap<[u8; 32], String>,
}

impl Users {
    /// Reads the file.
    ///
    /// # Errors
    /// [`Error::Content`] if the file cannot be read, [`Error::UsersLine`] if one of its lines is invalid.
    pub(super) fn open(file: &Path) -> Result<Self, Error> {
        let text = fs::read_to_string(file).map_err(|cause| Error::Read { cause }.at(file.display()))?;
        let hashes = parse(&text).map_err(|line| Error::UsersLine { path: file.to_owned(), line })?;
        let hashes = Arc::new(hashes);
        let known = Known { looked: Instant::now(), text, hashes, right: HashMap::new() };
        Ok(Self { file: file.to_owned(), known: Mutex::new(known), turns: Turns::default() })
    }

    /// Returns the user with these credentials, which are encoded as in the header, and come from an address.
    ///
    /// # Errors
    /// [`Refusal::Unknown`] if no user has these credentials, [`Refusal::Away`] if there was no turn to verify them.
    pub(super) async fn authenticate(&self, coded: &str, from: AddressKey) -> Result<Arc<Caller>, Refusal> {
        let denied = |message: &str| Refusal::Unknown(message.to_owned());
        let (name, password) = credentials(coded).ok_or_else(|| denied("Authorization required"))?;
        let key = key(&name, &password);
        let (_, is_known) = self.look(&key);
        if is_known {
            return Ok(Arc::new(Caller::unrestricted(name)));
        }
        let busy = || Refusal::Away("too many passwords are being verified; repeat the request".to_owned());
        let turn = self.turns.take(from).await.ok_or_else(busy)?;
        // Another request of the client may have verified them meanwhile.
        let (hashes, is_known) = self.look(&key);
        if is_known {
            return Ok(Arc::new(Caller::unrestricted(name)));
        }
        let user = name.clone();
        let right = tokio::task::spawn_blocking(move || {
            // A client that disconnects does not end the verification, which keeps its turn.
            let _turn = turn;
            let matches = bcrypt::verify(password.expose(), hash_to_verify(&hashes, &user)).unwrap_or(false);
            hashes.get(&user).filter(|_| matches).cloned()
        });
        let hash = right.await.ok().flatten().ok_or_else(|| denied("Incorrect username or password"))?;
        self.remember(key, hash);
        Ok(Arc::new(Caller::unrestricted(name)))
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock()
    }

    /// Returns the current users of the file, and whether these credentials are verified already. If the file cannot be
    /// read or is invalid, the previous users stay.
    fn look(&self, key: &[u8; 32]) -> (Arc<BTreeMap<String, String>>, bool) {
        let mut known = self.lock();
        if known.looked.elapsed() > RELOAD_INTERVAL {
            known.looked = Instant::now();
            match self.read() {
                Ok(text) if text == known.text => {}
                Ok(text) => match parse(&text) {
                    Ok(hashes) => {
                        let hashes = Arc::new(hashes);
                        known.right.retain(|_, hash| hashes.values().any(|other| other == hash));
                        (known.text, known.hashes) = (text, hashes);
                    }
                    Err(line) => {
                        tracing::warn!(file = %self.file.display(), line, "ignoring the invalid users file, keeping the previous users")
                    }
                },
                Err(error) => {
                    tracing::warn!(file = %self.file.display(), %error, "users file cannot be read, keeping the previous users")
                }
            }
        }
        (Arc::clone(&known.hashes), known.right.contains_key(key))
    }

    fn read(&self) -> io::Result<String> {
        fs::read_to_string(&self.file)
    }

    fn remember(&self, key: [u8; 32], hash: String) {
        let mut known = self.lock();
        if known.right.len() >= MAX_CACHED_CREDENTIALS {
            known.right.clear();
        }
        known.right.insert(key, hash);
    }
}

/// Returns the hash against which a password is verified. For an unknown name that is the hash of a user whom the name
/// selects, so that refusing it is as much work as refusing a known name: the cost of a hash is in the file, and
/// `htpasswd -B` uses another one than most libraries. The time of a refusal does not tell which names exist.
fn hash_to_verify<'h>(hashes: &'h BTreeMap<String, String>, name: &str) -> &'h str {
    let [first, ..] = key(name, &Secret::new(Vec::new())).map(usize::from);
    // Selected for a known name too, so that it is the same work.
    let selected = hashes.values().nth(first % hashes.len().max(1));
    hashes.get(name).or(selected).map_or(HASH_WITHOUT_USERS, String::as_str)
}

/// Returns the digest by which credentials are cached.
fn key(name: &str, password: &Secret) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(name.as_bytes());
    hash.update([0]);
    hash.update(password.expose());
    hash.finalize().into()
}

/// Returns the hashes by user name, or the number of the first invalid line.
fn parse(text: &str) -> Result<BTreeMap<String, String>, usize> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
    lines
        .map(|(number, line)| {
            let user = line.trim().split_once(':').filter(|(name, hash)| {
                let is_bcrypt = ["$2y$", "$2b$", "$2a$"].iter().any(|kind| hash.starts_with(kind));
                !name.is_empty() && is_bcrypt && hash.len() == 60
            });
            user.map(|(name, hash)| (name.to_owned(), hash.to_owned())).ok_or(number + 1)
        })
        .collect()
}

fn credentials(coded: &str) -> Option<(String, Secret)> {
    let text = String::from_utf8(BASE64_STANDARD.decode(coded.trim()).ok()?).ok()?;
    let (name, password) = text.split_once(':')?;
    Some((name.to_owned(), Secret::new(password.as_bytes().to_vec())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here() -> AddressKey {
        AddressKey::of([127, 0, 0, 1].into())
    }

    async fn is_let_in(users: &Users, credentials: &str) -> bool {
        users
            .authenticate(&BASE64_STANDARD.encode(credentials), here())
            .await
            .is_ok_and(|caller| caller.is_unrestricted())
    }

    #[tokio::test]
    async fn a_name_and_a_password_of_the_file_are_let_through_and_no_others() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("users");
        let hash = bcrypt::hash("right", 4).unwrap().replace("$2b$", "$2y$");
        fs::write(&file, format!("# people\nann:{hash}\n")).unwrap();
        let users = Users::open(&file).unwrap();
        for _ in 0..2 {
            assert!(is_let_in(&users, "ann:right").await);
        }
        for wrong in ["ann:wrong", "bob:right", "ann", ":", ""] {
            assert!(!is_let_in(&users, wrong).await, "{wrong}");
        }
        assert!(users.authenticate("*", here()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_removed_user_is_rejected_and_an_invalid_file_keeps_the_users() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("users");
        let hash = bcrypt::hash("right", 4).unwrap();
        fs::write(&file, format!("ann:{hash}\n")).unwrap();
        let users = Users::open(&file).unwrap();
        assert!(is_let_in(&users, "ann:right").await);
        fs::write(&file, "ann:plain\n").unwrap();
        tokio::time::advance(RELOAD_INTERVAL * 2).await;
        assert!(is_let_in(&users, "ann:right").await);
        fs::write(&file, format!("bob:{}\n", bcrypt::hash("other", 4).unwrap())).unwrap();
        tokio::time::advance(RELOAD_INTERVAL * 2).await;
        assert!(!is_let_in(&users, "ann:right").await);
    }

    #[test]
    fn refusing_an_unknown_name_is_as_much_work_as_refusing_a_known_one() {
        let cost = |hash: &str| hash.split('$').nth(2).unwrap().to_owned();
        // The costs of the users' hashes, and those that refusals of unknown names have.
        for costs in [&["05"][..], &["10"], &["12"], &["05", "12"], &["04", "08", "12"], &["05", "05", "05"]] {
            let user =
                |(number, cost): (usize, &&str)| (format!("user{number}"), format!("$2y${cost}${}", "a".repeat(53)));
            let hashes: BTreeMap<String, String> = costs.iter().enumerate().map(user).collect();
            let unknown: Vec<String> = (0..200).map(|number| format!("unknown{number}")).collect();
            let seen: std::collections::BTreeSet<String> =
                unknown.iter().map(|name| cost(hash_to_verify(&hashes, name))).collect();
            assert_eq!(seen, costs.iter().map(|cost| (*cost).to_owned()).collect(), "{costs:?}");
            assert_eq!(hash_to_verify(&hashes, "user0"), hashes["user0"], "a user has its own hash");
        }
        assert_eq!(hash_to_verify(&BTreeMap::new(), "ann"), HASH_WITHOUT_USERS);
        assert!(HASH_WITHOUT_USERS.len() == 60);
    }

    #[test]
    fn an_invalid_line_is_named_by_its_number() {
        assert_eq!(parse("ann:$2y$10$short\n"), Err(1));
        assert_eq!(parse("\n# x\nann\n"), Err(3));
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_is_gone_keeps_the_users() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("users");
        fs::write(&file, format!("ann:{}\n", bcrypt::hash("right", 4).unwrap())).unwrap();
        let users = Users::open(&file).unwrap();
        fs::remove_file(&file).unwrap();
        tokio::time::advance(RELOAD_INTERVAL * 2).await;
        assert!(is_let_in(&users, "ann:right").await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_changed_password_replaces_the_cached_one() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("users");
        fs::write(&file, format!("ann:{}\n", bcrypt::hash("right", 4).unwrap())).unwrap();
        let users = Users::open(&file).unwrap();
        assert!(is_let_in(&users, "ann:right").await);
        fs::write(&file, format!("ann:{}\n", bcrypt::hash("other", 4).unwrap())).unwrap();
        tokio::time::advance(RELOAD_INTERVAL * 2).await;
        assert!(!is_let_in(&users, "ann:right").await);
        assert!(is_let_in(&users, "ann:other").await);
    }

    #[test]
    fn the_cache_of_credentials_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("users");
        fs::write(&file, "# none\n").unwrap();
        let users = Users::open(&file).unwrap();
        for number in 0..=MAX_CACHED_CREDENTIALS {
            users.remember(key(&number.to_string(), &Secret::new(Vec::new())), String::new());
        }
        assert!(users.lock().right.len() <= MAX_CACHED_CREDENTIALS);
    }

    #[test]
    fn an_unreadable_file_and_an_invalid_line_fail_the_start_with_the_file_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("users");
        assert!(Users::open(&file).unwrap_err().to_string().contains("users"));
        fs::write(&file, "# x\nann:plain\n").unwrap();
        assert!(Users::open(&file).unwrap_err().to_string().contains("line 2"));
    }
}
