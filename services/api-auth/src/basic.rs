//! A name and a password of a file (RFC 7617), as Ironic's `http_basic`: whoever stands there may everything.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use domain::{policy::Caller, secret::Secret};
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use crate::refusal::Refusal;

/// How often the file is looked at, whether it is another one.
const LOOK: Duration = Duration::from_secs(2);
/// Credentials that are remembered as right; beyond it all are forgotten. A check costs tens of milliseconds.
const REMEMBERED: usize = 1024;

/// The users of a file: `name:hash` a line, the hash bcrypt's.
#[derive(Debug)]
pub(super) struct Users {
    file: PathBuf,
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    looked: Instant,
    text: String,
    hashes: Arc<HashMap<String, String>>,
    /// Digests of credentials that were right.
    right: HashMap<[u8; 32], String>,
}

impl Users {
    /// Reads the file.
    ///
    /// # Errors
    /// It can not be read, or has a line that is none.
    pub(super) fn open(file: &Path) -> Result<Self, String> {
        let text = fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
        let hashes = Arc::new(parse(&text).map_err(|line| {
            format!("{}, line {line}: must be NAME:HASH, the hash made with htpasswd -nB NAME", file.display())
        })?);
        let known = Known { looked: Instant::now(), text, hashes, right: HashMap::new() };
        Ok(Self { file: file.to_owned(), known: Mutex::new(known) })
    }

    /// Who has these credentials, coded as the header has them.
    ///
    /// # Errors
    /// Nobody has.
    pub(super) async fn who(&self, coded: &str) -> Result<Arc<Caller>, Refusal> {
        let denied = |message: &str| Refusal::Unknown(message.to_owned());
        let (name, password) = credentials(coded).ok_or_else(|| denied("Authorization required"))?;
        let key = key(&name, &password);
        let (hashes, is_known) = self.look(&key);
        if is_known {
            return Ok(Arc::new(Caller::unrestricted(name)));
        }
        let hash = hashes.get(&name).cloned();
        let right = tokio::task::spawn_blocking(move || {
            // A name that nobody has costs as much as one that somebody has.
            let of_nobody = "$2b$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy";
            let matches = bcrypt::verify(password.expose(), hash.as_deref().unwrap_or(of_nobody)).unwrap_or(false);
            hash.filter(|_| matches)
        });
        let hash = right.await.ok().flatten().ok_or_else(|| denied("Incorrect username or password"))?;
        self.remember(key, hash);
        Ok(Arc::new(Caller::unrestricted(name)))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The users as the file has them by now, and whether these credentials were right before. A file that can not be
    /// read, or is wrong, leaves those of before.
    fn look(&self, key: &[u8; 32]) -> (Arc<HashMap<String, String>>, bool) {
        let mut known = self.lock();
        if known.looked.elapsed() > LOOK {
            known.looked = Instant::now();
            match self.read() {
                Ok(text) if text == known.text => {}
                Ok(text) => match parse(&text) {
                    Ok(hashes) => {
                        let hashes = Arc::new(hashes);
                        known.right.retain(|_, hash| hashes.values().any(|other| other == hash));
                        (known.text, known.hashes) = (text, hashes);
                    }
                    Err(line) => tracing::warn!(file = %self.file.display(), line, "a line of no user; the users stay"),
                },
                Err(error) => {
                    tracing::warn!(file = %self.file.display(), %error, "the users can not be read; they stay")
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
        if known.right.len() >= REMEMBERED {
            known.right.clear();
        }
        known.right.insert(key, hash);
    }
}

/// What credentials are remembered by.
fn key(name: &str, password: &Secret) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(name.as_bytes());
    hash.update([0]);
    hash.update(password.expose());
    hash.finalize().into()
}

/// Users by their names; else the number of the line that is none.
fn parse(text: &str) -> Result<HashMap<String, String>, usize> {
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

    async fn is_let_in(users: &Users, credentials: &str) -> bool {
        users.who(&BASE64_STANDARD.encode(credentials)).await.is_ok_and(|who| who.is_unrestricted())
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
        assert!(users.who("*").await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_taken_out_of_the_file_is_refused_and_a_file_that_is_wrong_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("users");
        let hash = bcrypt::hash("right", 4).unwrap();
        fs::write(&file, format!("ann:{hash}\n")).unwrap();
        let users = Users::open(&file).unwrap();
        assert!(is_let_in(&users, "ann:right").await);
        fs::write(&file, "ann:plain\n").unwrap();
        tokio::time::advance(LOOK * 2).await;
        assert!(is_let_in(&users, "ann:right").await);
        fs::write(&file, format!("bob:{}\n", bcrypt::hash("other", 4).unwrap())).unwrap();
        tokio::time::advance(LOOK * 2).await;
        assert!(!is_let_in(&users, "ann:right").await);
    }

    #[test]
    fn a_line_that_is_no_user_is_named() {
        assert_eq!(parse("ann:$2y$10$short\n"), Err(1));
        assert_eq!(parse("\n# x\nann\n"), Err(3));
    }
}
