//! Hints that select disks of a machine, as Ironic's `root_device` and `skip_block_devices` have them.
//!
//! Source: Ironic 39, `common/utils.py` (`parse_root_device_hints`), and `oslo_utils/specs_matcher.py`. A text without an
//! operator must be equal, in any case of letters. Sizes are in GiB. Of the hints, those are evaluated that the agent knows
//! of a disk. A serial number is compared with the disk's own and with its identifier (`wwid` of Linux), with and without the
//! prefix of that: which of them Ironic's agent calls the serial number depends on the kind of the disk.

use std::collections::BTreeMap;

use crate::hardware::Disk;

const GIB: u128 = 1 << 30;

/// Hints that every agent evaluates.
const OF_EVERY_AGENT: &[&str] = &["size", "rotational", "model", "serial", "name"];
/// Hints that Ironic knows and that only its own agent evaluates.
const ONLY_IRONICS_AGENT: &[&str] = &["by_path", "hctl", "vendor", "wwn", "wwn_vendor_extension", "wwn_with_extension"];
/// Operators, those before others that they begin with.
const OPERATORS: &[&str] = &[
    "<range-in>",
    "<all-in>",
    "<or>",
    "<in>",
    "s==",
    "s!=",
    "s<=",
    "s>=",
    "s<",
    "s>",
    "==",
    "!=",
    "<=",
    ">=",
    "=",
    "<",
    ">",
];

/// Hints of Ironic's agent for disks that it leaves alone (ironic-python-agent 13, `hardware.py`, `get_skip_list_from_node`).
const ONLY_IRONICS_AGENT_SKIPS: &str = "volume_name";
/// Prefixes of identifiers of disks (Linux, `scsi_vpd_lun_id` of drivers/scsi/scsi_lib.c, and `wwid_show` of
/// drivers/nvme/host/sysfs.c).
const IDENTIFIER_PREFIXES: [&str; 5] = ["naa.", "eui.", "t10.", "uuid.", "nvme."];

/// What hints say about a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It meets all conditions.
    Matches,
    /// There is a condition that it does not meet.
    Differs,
    /// A fact that a condition is about is not known of the disk; it meets the others.
    Unknown,
}

/// Who evaluates hints, and what they select.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HintUse {
    /// Whether Ironic's own agent evaluates them, or is not known yet not to.
    pub by_ironics_agent: bool,
    /// Whether they are of disks to skip.
    pub skips: bool,
}

/// Conditions that a disk must all meet.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DiskHints(Vec<Condition>);

/// Why hints cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DiskHintsError {
    /// There is no such hint.
    #[error("{0:?} is no hint; the hints are size, model, serial, name, rotational, and those of Ironic's own agent")]
    Unknown(String),
    /// Ironic's own agent evaluates it, but not the one of this service.
    #[error(
        "the hint {0} is evaluated by ironic-python-agent only: name its files with driver_info/deploy_kernel and \
         driver_info/deploy_ramdisk, or use the hints size, model, serial, name or rotational"
    )]
    OnlyIronicsAgent(String),
    /// A value cannot be parsed.
    #[error("the value {value:?} of the hint {hint} is invalid: it must be {wanted}")]
    Value {
        /// The hint.
        hint: String,
        /// Its value.
        value: String,
        /// The valid values.
        wanted: &'static str,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Condition {
    Size(Bounds),
    Rotational(bool),
    Text { of: TextField, operator: &'static str, values: Vec<String> },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TextField {
    Model,
    Serial,
    Name,
}

/// A condition on a size, in GiB.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Bounds {
    Compare { operator: &'static str, gib: u128 },
    Range { from: u128, with_from: bool, to: u128, with_to: bool },
}

impl DiskHints {
    /// Parses hints by name.
    ///
    /// # Errors
    /// [`DiskHintsError`]
    pub fn parse<'h>(hints: impl IntoIterator<Item = (&'h str, &'h str)>) -> Result<Self, DiskHintsError> {
        hints.into_iter().map(|(hint, value)| condition(hint, value)).collect::<Result<_, _>>().map(Self)
    }

    /// Returns whether there are no hints.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Compares a disk that is to be left alone with all conditions: a part of a serial number may also be one of its
    /// identifier. `identifier` is the disk's `wwid`, or empty; a serial number that is equal to it
    /// stands for one that is not known.
    #[must_use]
    pub fn judge(&self, disk: &Disk, identifier: &str) -> Verdict {
        self.judge_as(disk, identifier, Reach::AnyName)
    }

    /// Returns whether a disk that is to be written meets all conditions for sure. An order, or a part of a serial number, is
    /// about the serial number itself if the disk tells it.
    #[must_use]
    pub fn select(&self, disk: &Disk, identifier: &str) -> bool {
        self.judge_as(disk, identifier, Reach::SerialNumber) == Verdict::Matches
    }

    fn judge_as(&self, disk: &Disk, identifier: &str, reach: Reach) -> Verdict {
        let of_each = || self.0.iter().map(|condition| condition.judge(disk, identifier, reach));
        if of_each().any(|verdict| verdict == Verdict::Differs) {
            return Verdict::Differs;
        }
        of_each().find(|verdict| *verdict == Verdict::Unknown).unwrap_or(Verdict::Matches)
    }
}

/// Checks hints as their client gave them. What Ironic's own agent evaluates is left to it: the values are not checked, as it
/// has more operators, and only the names are.
///
/// # Errors
/// [`DiskHintsError`]
pub fn check(hints: &BTreeMap<String, String>, used: HintUse) -> Result<(), DiskHintsError> {
    if !used.by_ironics_agent {
        return DiskHints::parse(hints.iter().map(|(hint, value)| (hint.as_str(), value.as_str()))).map(drop);
    }
    let is_known = |hint: &str| {
        OF_EVERY_AGENT.contains(&hint)
            || ONLY_IRONICS_AGENT.contains(&hint)
            || used.skips && hint == ONLY_IRONICS_AGENT_SKIPS
    };
    match hints.keys().find(|hint| !is_known(hint)) {
        Some(unknown) => Err(DiskHintsError::Unknown(unknown.clone())),
        None => Ok(()),
    }
}

fn condition(hint: &str, value: &str) -> Result<Condition, DiskHintsError> {
    let wrong = |wanted| DiskHintsError::Value { hint: hint.to_owned(), value: value.to_owned(), wanted };
    let text = value.trim().to_lowercase();
    let of = match hint {
        "size" => {
            return size(&text).map(Condition::Size).ok_or_else(|| wrong("a number of GiB, such as 100 or >= 100"));
        }
        "rotational" => {
            return match text.as_str() {
                "true" | "1" | "t" | "on" | "y" | "yes" => Ok(Condition::Rotational(true)),
                "false" | "0" | "f" | "off" | "n" | "no" => Ok(Condition::Rotational(false)),
                _ => Err(wrong("true or false")),
            };
        }
        "model" => TextField::Model,
        "serial" => TextField::Serial,
        "name" => TextField::Name,
        known if ONLY_IRONICS_AGENT.contains(&known) || known == ONLY_IRONICS_AGENT_SKIPS => {
            return Err(DiskHintsError::OnlyIronicsAgent(hint.to_owned()));
        }
        _ => return Err(DiskHintsError::Unknown(hint.to_owned())),
    };
    let (operator, rest) = operator(&text).unwrap_or(("s==", &text));
    let values: Vec<String> = match operator {
        "<or>" => rest.split("<or>").map(|value| value.trim().to_owned()).filter(|value| !value.is_empty()).collect(),
        "<all-in>" => {
            let rest = rest.trim();
            let all = rest.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(rest);
            let separators = |c: char| c.is_whitespace() || ",'\"".contains(c);
            vec![all.split(separators).filter(|value| !value.is_empty()).collect::<Vec<_>>().join(" ")]
        }
        "<in>" | "s==" | "s!=" | "s<" | "s<=" | "s>" | "s>=" => vec![rest.trim().to_owned()],
        _ => return Err(wrong("a text, which s==, s!=, <in>, <all-in> or <or> may precede")),
    };
    if values.iter().all(String::is_empty) {
        return Err(wrong("a text that is not empty"));
    }
    Ok(Condition::Text { of, operator, values })
}

/// Splits an expression into its operator and what follows. `None` without an operator.
fn operator(text: &str) -> Option<(&'static str, &str)> {
    OPERATORS.iter().find_map(|operator| Some((*operator, text.strip_prefix(operator)?)))
}

fn size(text: &str) -> Option<Bounds> {
    let positive = |text: &str| text.trim().parse().ok().filter(|gib: &u128| *gib > 0 && *gib < u128::from(u64::MAX));
    let (operator, rest) = operator(text).unwrap_or(("==", text));
    match operator {
        // A plain = is "at least", as in oslo.utils.
        "=" | "==" | "!=" | "<=" | "<" | ">=" | ">" => Some(Bounds::Compare { operator, gib: positive(rest)? }),
        "<range-in>" => {
            let rest = rest.trim();
            let (with_from, rest) = match rest.strip_prefix('[') {
                Some(rest) => (true, rest),
                None => (false, rest.strip_prefix('(')?),
            };
            let (with_to, rest) = match rest.strip_suffix(']') {
                Some(rest) => (true, rest),
                None => (false, rest.strip_suffix(')')?),
            };
            let (from, to) = rest.trim().split_once(char::is_whitespace)?;
            Some(Bounds::Range { from: positive(from)?, with_from, to: positive(to)?, with_to })
        }
        _ => None,
    }
}

/// What orders and parts of a serial number are compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// The serial number and the identifier.
    AnyName,
    /// The serial number, if the disk tells it.
    SerialNumber,
}

impl Condition {
    fn judge(&self, disk: &Disk, identifier: &str, reach: Reach) -> Verdict {
        let verdict = |is_met: bool| if is_met { Verdict::Matches } else { Verdict::Differs };
        match self {
            // A disk of which the size is not known has 0 bytes and is not used.
            Self::Size(bounds) => verdict(bounds.contain(u128::from(disk.size_bytes))),
            Self::Rotational(wanted) => verdict(disk.rotational == *wanted),
            Self::Text { of, operator, values } => {
                let (found, is_known) = match of {
                    TextField::Model => (vec![disk.model.clone()], !disk.model.trim().is_empty()),
                    TextField::Serial => {
                        let is_equality = matches!(*operator, "s==" | "s!=" | "<or>");
                        serials(disk, identifier, values, is_equality || reach == Reach::AnyName)
                    }
                    TextField::Name => (vec![format!("/dev/{}", disk.name)], true),
                };
                let found = found.iter().map(|text| text.trim().to_lowercase()).filter(|text| !text.is_empty());
                let is_met = |found: String| values.iter().any(|value| compare(operator, &found, value));
                // All names of a disk must be others for it to be another disk.
                let mut found = found.peekable();
                let is_any = found.peek().is_some();
                let is_met = if *operator == "s!=" { is_any && found.all(is_met) } else { found.any(is_met) };
                if is_known || is_met && *operator != "s!=" { verdict(is_met) } else { Verdict::Unknown }
            }
        }
    }
}

/// Returns the texts that may be meant by the serial number of a disk, and whether the one that the values are about is among
/// them.
fn serials(disk: &Disk, identifier: &str, values: &[String], with_identifier: bool) -> (Vec<String>, bool) {
    let lower = identifier.trim().to_lowercase();
    let without_prefix = IDENTIFIER_PREFIXES.iter().find_map(|prefix| lower.strip_prefix(prefix)).unwrap_or_default();
    let is_of_identifier =
        |value: &String| IDENTIFIER_PREFIXES.iter().any(|prefix| value.starts_with(prefix)) && !lower.is_empty();
    let has_serial = !disk.serial.trim().is_empty() && disk.serial != identifier;
    let mut texts = vec![disk.serial.clone()];
    if !has_serial || with_identifier {
        texts.extend([lower.clone(), without_prefix.to_owned()]);
    }
    (texts, has_serial || values.iter().all(is_of_identifier))
}

fn compare(operator: &str, found: &str, value: &str) -> bool {
    match operator {
        "<in>" => found.contains(value),
        "<all-in>" => value.split(' ').all(|part| found.contains(part)),
        "s!=" => found != value,
        "s<" => found < value,
        "s<=" => found <= value,
        "s>" => found > value,
        "s>=" => found >= value,
        _ => found == value,
    }
}

impl Bounds {
    fn contain(&self, bytes: u128) -> bool {
        match self {
            Self::Compare { operator, gib } => {
                let wanted = gib * GIB;
                match *operator {
                    "!=" => bytes != wanted,
                    "<=" => bytes <= wanted,
                    "<" => bytes < wanted,
                    "=" | ">=" => bytes >= wanted,
                    ">" => bytes > wanted,
                    _ => bytes == wanted,
                }
            }
            Self::Range { from, with_from, to, with_to } => {
                let (from, to) = (from * GIB, to * GIB);
                (bytes > from || *with_from && bytes == from) && (bytes < to || *with_to && bytes == to)
            }
        }
    }
}

#[cfg(test)]
mod tests;
