//! The stock command line, driven by a script: `ironic/baremetal.txt`, with the expected result of each call. The
//! script also passes against a real Ironic 39.0.0.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::Stdio,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use integration_tests::{
    fault::tell,
    fleet::Fleet,
    mesh::Options,
    rack::{namespace::Namespace, wait},
};

/// Maximum time for a node to reach an awaited state.
const WAIT_TIMEOUT: Duration = Duration::from_secs(30);
/// Number of calls in the script.
const AT_LEAST: usize = 150;

#[test]
#[ignore = "takes minutes, most of it Python's start: scripts/test --all"]
fn the_stock_command_line_does_all_that_its_script_says() {
    let fleet = Fleet::up("script", 0, &Options::default()).unwrap();
    let script = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("ironic/baremetal.txt")).unwrap();
    let mut player = Player::new(fleet.place().clone(), fleet.mesh().rest(1).unwrap());
    let lines = script.lines().enumerate().filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
    let wrong: Vec<String> = lines
        .filter_map(|(number, line)| Some(format!("{}: {line}\n    {:#}", number + 1, player.play(line).err()?)))
        .collect();
    let calls = player.calls.load(Ordering::Relaxed);
    tell(format_args!("{calls} calls of the stock command line"));
    assert!(wrong.is_empty() && calls >= AT_LEAST, "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

struct Player {
    place: Namespace,
    endpoint: String,
    program: String,
    /// Output of earlier calls, by the names that the script gave it.
    names: BTreeMap<String, String>,
    calls: AtomicUsize,
}

impl Player {
    fn new(place: Namespace, endpoint: String) -> Self {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/clients/bin/baremetal");
        let program = program.display().to_string();
        Self { place, endpoint, program, names: BTreeMap::new(), calls: AtomicUsize::new(0) }
    }

    /// One call: its output, or its error.
    fn call(&self, words: &str) -> Result<Result<String, String>> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let mut command = self.place.command(&self.program);
        command.args(self.filled(words).split_whitespace()).stdin(Stdio::null());
        command.envs([("OS_ENDPOINT", self.endpoint.as_str()), ("OS_AUTH_TYPE", "none")]);
        let output = command.output()?;
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).trim().to_owned();
        Ok(if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) })
    }

    /// Replaces names by their values; the longest names first, since one may be a prefix of another.
    fn filled(&self, words: &str) -> String {
        let mut names: Vec<_> = self.names.iter().collect();
        names.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
        names.into_iter().fold(words.to_owned(), |words, (name, value)| words.replace(&format!("${name}"), value))
    }

    /// The value that a line waits for; a space is written as `_`.
    fn wanted(&self, text: &str) -> [String; 2] {
        let filled = self.filled(text.trim());
        [filled.replace('_', " "), filled]
    }

    fn play(&mut self, line: &str) -> Result<()> {
        if let Some(words) = line.strip_prefix("until ") {
            return self.until(words);
        }
        if let Some((name, words)) = line.split_once('=').filter(|(name, _)| is_name(name)) {
            let said = self.call(words)?.map_err(anyhow::Error::msg)?;
            ensure!(!said.is_empty(), "it prints nothing");
            self.names.insert(name.to_owned(), said);
            return Ok(());
        }
        let by = |sign: &str| line.split_once(sign);
        if let Some((words, text)) = by(" !> ") {
            return match self.call(words)? {
                Ok(said) => bail!("it was not refused: {said}"),
                Err(said) => self.has(&said.to_lowercase(), &text.to_lowercase()),
            };
        }
        if let Some((words, text)) = by(" ~> ") {
            let said = self.call(words)?.map_err(anyhow::Error::msg)?;
            return self.has(&said, text);
        }
        let (words, text) = by(" => ").unwrap_or((line, ""));
        let said = self.call(words)?.map_err(anyhow::Error::msg)?;
        ensure!(text.is_empty() || self.wanted(text).contains(&said), "it prints {said}");
        Ok(())
    }

    fn has(&self, said: &str, text: &str) -> Result<()> {
        ensure!(self.wanted(text).iter().any(|wanted| said.contains(wanted.as_str())), "it says {said}");
        Ok(())
    }

    fn until(&self, words: &str) -> Result<()> {
        let mut words = words.split_whitespace();
        let (node, field, text) = (words.next(), words.next(), words.next());
        let (node, field) = node.zip(field).context("until NODE FIELD TEXT")?;
        let wanted = self.wanted(text.context("until NODE FIELD TEXT")?);
        wait::until(&format!("{field} of {node}"), WAIT_TIMEOUT, || {
            let said = self.call(&format!("node show {node} -f value -c {field}"))?;
            Ok(said.is_ok_and(|said| wanted.contains(&said)).then_some(()))
        })
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
}
