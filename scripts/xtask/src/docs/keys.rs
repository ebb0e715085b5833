//! The table of keys that a service writes, from the table of all keys that keyspace's tests generate.

use anyhow::{Result, bail};

use super::markdown;
use crate::files;

/// The table of all keys, which a test of keyspace holds to its schema.
const KEYS: &str = "services/keyspace/src/key/golden/keys.md";

/// The keys that a service writes.
pub(super) fn table(service: &str) -> Result<String> {
    let rows: Vec<_> = rows(&files::read(KEYS)?).into_iter().filter(|row| writes(row, service)).collect();
    if rows.is_empty() {
        bail!("{KEYS} has no key that {service} writes");
    }
    let cells = rows.into_iter().map(|row| vec![row.key, row.value, row.writer, row.lease, row.followers]);
    Ok(markdown(&["key", "value", "writer", "lease", "followed by"], &cells.collect::<Vec<_>>()))
}

struct Row {
    key: String,
    value: String,
    writer: String,
    lease: String,
    /// Leaf services that follow it; the schedulers follow every key.
    followers: String,
}

fn writes(row: &Row, service: &str) -> bool {
    row.key.contains("{service}") || row.writer.contains(service)
}

fn rows(text: &str) -> Vec<Row> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("| `")?.strip_suffix(" |"));
    let rows = lines.filter_map(|line| {
        let [key, value, writer, lease, followers, ..] = line.split(" | ").collect::<Vec<_>>()[..] else { return None };
        let [value, writer, lease, followers] = [value, writer, lease, followers].map(ToOwned::to_owned);
        Some(Row { key: format!("`{key}"), value, writer, lease, followers })
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_writes_its_own_keys_and_those_that_every_service_has() {
        let text = "| key | value | writer | lease | followed by |\n| --- | --- | --- | --- | --- |\n\
                    | `a/{id}` | `A` | power-service | no | – |\n| `{scope}/{service}/b` | `B` | the leader | its own | – |\n\
                    | `c` | `C` | pxe-service | no | – |\n";
        let rows = rows(text);
        let keys: Vec<_> = rows.iter().filter(|row| writes(row, "power-service")).map(|row| row.key.as_str()).collect();
        assert_eq!(keys, ["`a/{id}`", "`{scope}/{service}/b`"]);
        assert_eq!(rows.first().map(|row| row.value.as_str()), Some("`A`"));
    }
}
