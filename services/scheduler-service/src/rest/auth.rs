//! Who asks: nobody is asked, or a name and a password of a file (RFC 7617), as Ironic's `http_basic`.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::http::{HeaderMap, header};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use domain::secret::Secret;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

/// How often the file is looked at, whether it is another one.
const LOOK: Duration = Duration::from_secs(2);
/// Credentials that are remembered as right; beyond it all are forgotten. A check costs tens of milliseconds.
const REMEMBERED: usize = 1024;

/// What is refused without credentials, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Denied {
    pub(super) body: Value,
    /// What the client may answer with.
    pub(super) challenge: &'static str,
}

/// Who is asked for.
#[derive(Debug)]
pub(crate) enum Auth {
    /// Nobody.
    Nobody,
    /// Whoever stands in a file.
    Users(Users),
}

/// The users of a file: `name:hash` a line, the hash bcrypt's.
#[derive(Debug)]
pub(crate) struct Users {
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

impl Auth {
    /// Reads the file; none: nobody is asked.
    ///
    /// # Errors
    /// It can not be read, or has a line that is none.
    pub(crate) fn open(file: &Path) -> Result<Self, String> {
        if file.as_os_str().is_empty() {
            return Ok(Self::Nobody);
        }
        let text = fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
        let hashes = Arc::new(parse(&text).map_err(|line| {
            format!("{}, line {line}: must be NAME:HASH, the hash made with htpasswd -nB NAME", file.display())
        })?);
        let known = Known { looked: Instant::now(), text, hashes, right: HashMap::new() };
        Ok(Self::Users(Users { file: file.to_owned(), known: Mutex::new(known) }))
    }

    /// Lets a request through. `path` is what it asks for, without `/v1`.
    ///
    /// # Errors
    /// The refusal.
    pub(super) async fn check(self: &Arc<Self>, path: &str, headers: &HeaderMap) -> Result<(), Denied> {
        let Self::Users(users) = self.as_ref() else { return Ok(()) };
        if is_public(path) {
            return Ok(());
        }
        let denied = |message: &str| Denied {
            body: json!({"error": {"message": message, "code": 401}}),
            challenge: "Basic realm=\"Baremetal API\"",
        };
        let Some((name, password)) = credentials(headers) else {
            return Err(denied("Authorization required"));
        };
        let key = key(&name, &password);
        let (hashes, is_known) = users.look(&key);
        if is_known {
            return Ok(());
        }
        let hash = hashes.get(&name).cloned();
        let right = tokio::task::spawn_blocking(move || {
            // A name that nobody has costs as much as one that somebody has.
            let of_nobody = "$2b$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy";
            let matches = bcrypt::verify(password.expose(), hash.as_deref().unwrap_or(of_nobody)).unwrap_or(false);
            hash.filter(|_| matches)
        });
        match right.await.ok().flatten() {
            Some(hash) => {
                users.remember(key, hash);
                Ok(())
            }
            None => Err(denied("Incorrect username or password")),
        }
    }
}

impl Users {
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

fn credentials(headers: &HeaderMap) -> Option<(String, Secret)> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, coded) = value.split_once(' ')?;
    let decoded = BASE64_STANDARD.decode(coded.trim()).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
    let text = String::from_utf8(decoded).ok()?;
    let (name, password) = text.split_once(':')?;
    Some((name.to_owned(), Secret::new(password.as_bytes().to_vec())))
}

/// What everybody may ask for: where things are, and what agents say, who have tokens of their own.
fn is_public(path: &str) -> bool {
    let path = path.trim_matches('/');
    let first = path.split('/').next().unwrap_or_default();
    path.is_empty() || matches!(path, "lookup" | "continue_inspection") || first == "heartbeat"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(text: &str) -> HeaderMap {
        let value = format!("Basic {}", BASE64_STANDARD.encode(text));
        HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().unwrap())])
    }

    #[tokio::test]
    async fn a_name_and_a_password_of_the_file_are_let_through_and_no_others() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("users");
        let hash = bcrypt::hash("right", 4).unwrap().replace("$2b$", "$2y$");
        fs::write(&file, format!("# people\nann:{hash}\n")).unwrap();
        let auth = Arc::new(Auth::open(&file).unwrap());
        for _ in 0..2 {
            assert_eq!(auth.check("nodes", &headers("ann:right")).await, Ok(()));
        }
        for wrong in ["ann:wrong", "bob:right", "ann", ":", ""] {
            assert!(auth.check("nodes", &headers(wrong)).await.is_err(), "{wrong}");
        }
        assert!(auth.check("nodes", &HeaderMap::new()).await.is_err());
        for open in ["/", "/lookup", "/heartbeat/x", "continue_inspection"] {
            assert_eq!(auth.check(open, &HeaderMap::new()).await, Ok(()), "{open}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_taken_out_of_the_file_is_refused_and_a_file_that_is_wrong_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("users");
        let hash = bcrypt::hash("right", 4).unwrap();
        fs::write(&file, format!("ann:{hash}\n")).unwrap();
        let auth = Arc::new(Auth::open(&file).unwrap());
        assert_eq!(auth.check("nodes", &headers("ann:right")).await, Ok(()));
        fs::write(&file, "ann:plain\n").unwrap();
        tokio::time::advance(LOOK * 2).await;
        assert_eq!(auth.check("nodes", &headers("ann:right")).await, Ok(()));
        fs::write(&file, format!("bob:{}\n", bcrypt::hash("other", 4).unwrap())).unwrap();
        tokio::time::advance(LOOK * 2).await;
        assert!(auth.check("nodes", &headers("ann:right")).await.is_err());
    }

    #[test]
    fn a_line_that_is_no_user_is_named() {
        assert_eq!(parse("ann:$2y$10$short\n"), Err(1));
        assert_eq!(parse("\n# x\nann\n"), Err(3));
    }
}
