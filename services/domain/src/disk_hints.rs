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
mod tests {
    use super::*;

    fn disk() -> Disk {
        Disk {
            name: "sdb".to_owned(),
            size_bytes: 100 << 30,
            serial: "S5H7NS0N".to_owned(),
            model: "Samsung SSD 860".to_owned(),
            rotational: false,
        }
    }

    #[test]
    fn a_disk_is_selected_by_every_expression_of_ironics_root_device_hints() {
        for (hint, value, source, right) in [
            ("serial", "s5h7ns0n", "ironic install guide: any case of letters", true),
            ("serial", "s== S5H7NS0N", "oslo.utils specs_matcher", true),
            ("serial", "S5H7NS0", "a part of it", false),
            ("serial", "s!= S5H7NS0N", "specs_matcher", false),
            ("model", "<in> samsung", "specs_matcher", true),
            ("model", "<or> Intel <or> samsung ssd 860", "specs_matcher", true),
            ("model", "<or> Intel <or> Toshiba", "specs_matcher", false),
            ("model", "<all-in> samsung 860", "specs_matcher", true),
            ("model", "<all-in> samsung 970", "specs_matcher", false),
            ("name", "/dev/sdb", "Metal3 deviceName", true),
            ("name", "s== /dev/sda", "Metal3", false),
            ("rotational", "False", "Metal3", true),
            ("rotational", "1", "strutils.bool_from_string", false),
            ("size", "100", "ironic install guide", true),
            ("size", "99", "equal, not at least", false),
            ("size", "= 60", "specs_matcher: a plain = is at least", true),
            ("size", ">= 100", "Metal3 minSizeGigabytes", true),
            ("size", "> 100", "specs_matcher", false),
            ("size", "<range-in> [ 90 100 ]", "specs_matcher", true),
            ("size", "<range-in> [ 90 100 )", "specs_matcher", false),
        ] {
            let hints = DiskHints::parse([(hint, value)]).unwrap_or_else(|error| panic!("{source}: {error}"));
            let verdict = if right { Verdict::Matches } else { Verdict::Differs };
            assert_eq!(hints.judge(&disk(), ""), verdict, "{hint} {value} ({source})");
        }
    }

    #[test]
    fn a_hint_that_cannot_be_evaluated_is_an_error_and_never_selects_another_disk() {
        for (hint, value) in [
            ("size", "big"),
            ("size", "0"),
            ("size", "-1"),
            ("size", "<range-in> 1 2"),
            ("size", "<range-in> [ 1"),
            ("size", "<range-in>"),
            ("rotational", "perhaps"),
            ("serial", ""),
            ("serial", "s=="),
            ("model", "<all-in>"),
            ("wwn", "0x5000"),
            ("hctl", "1:0:0:0"),
            ("colour", "red"),
        ] {
            assert!(DiskHints::parse([(hint, value)]).is_err(), "{hint} {value:?}");
        }
    }

    #[test]
    fn all_conditions_must_be_met_and_what_is_unknown_of_a_disk_meets_none() {
        let both = DiskHints::parse([("size", "100"), ("serial", "other")]).unwrap();
        assert_eq!(both.judge(&disk(), ""), Verdict::Differs);
        let unknown = Disk { serial: String::new(), model: String::new(), ..disk() };
        assert!(DiskHints::default().is_empty());
        for (hints, source, right) in [
            (&[][..], "no hints", Verdict::Matches),
            (&[("serial", "s!= x")], "another serial number", Verdict::Unknown),
            (&[("serial", "x")], "a serial number", Verdict::Unknown),
            (&[("model", "<in> x")], "a model", Verdict::Unknown),
            (&[("serial", "x"), ("size", "1")], "another condition is not met", Verdict::Differs),
            (&[("serial", "x"), ("size", "100")], "another condition is met", Verdict::Unknown),
            (&[("name", "/dev/sdb")], "what is known", Verdict::Matches),
        ] {
            assert_eq!(DiskHints::parse(hints.iter().copied()).unwrap().judge(&unknown, ""), right, "{source}");
        }
    }

    #[test]
    fn a_part_of_an_identifier_selects_no_disk_that_tells_its_serial_number() {
        const NAA: &str = "naa.5002538e40a1b2c3";
        // The serial number, the hint, whether the disk is one to skip, and whether it is one to write.
        for (serial, value, skips, selects) in [
            ("S5H7NS0N", "<in> 5002", true, false),
            ("S5H7NS0N", "<in> s5h7", true, true),
            ("S5H7NS0N", "s< s5", true, false),
            ("S5H7NS0N", "<all-in> 5002 538e", true, false),
            ("S5H7NS0N", NAA, true, true),
            ("S5H7NS0N", "<or> 5002538e40a1b2c3 <or> x", true, true),
            (NAA, "<in> naa.5002", true, true),
        ] {
            let disk = Disk { serial: serial.to_owned(), ..disk() };
            let hints = DiskHints::parse([("serial", value)]).unwrap();
            let judged = (hints.judge(&disk, NAA) == Verdict::Matches, hints.select(&disk, NAA));
            assert_eq!(judged, (skips, selects), "{serial} {value}");
        }
    }

    #[test]
    fn a_serial_number_is_that_of_the_disk_or_its_identifier() {
        use Verdict::{Differs, Matches, Unknown};
        const NAA: &str = "naa.5002538e40a1b2c3";
        for (serial, identifier, value, source, right) in [
            ("S5H7NS0N", NAA, "S5H7NS0N", "SCSI: the unit serial number", Matches),
            ("S5H7NS0N", NAA, NAA, "the identifier, as earlier inventories have it", Matches),
            ("S5H7NS0N", NAA, "5002538E40A1B2C3", "udev's ID_SERIAL_SHORT of a SAS disk", Matches),
            ("S5H7NS0N", NAA, "OTHER", "another disk", Differs),
            ("S5H7NS0N", NAA, "s!= S5H7NS0N", "all but this one", Differs),
            ("S5H7NS0N", NAA, "s!= OTHER", "all but another", Matches),
            (NAA, NAA, "S5H7NS0N", "the disk tells only its identifier", Unknown),
            (NAA, NAA, "naa.1", "the identifier of another disk", Differs),
            (NAA, NAA, NAA, "the identifier", Matches),
            (NAA, NAA, "s!= S5H7NS0N", "it may be that one", Unknown),
            ("", "", "S5H7NS0N", "nothing is known", Unknown),
            ("", "", "naa.1", "nothing is known, and an identifier is named", Unknown),
        ] {
            let disk = Disk { serial: serial.to_owned(), ..disk() };
            let hints = DiskHints::parse([("serial", value)]).unwrap();
            assert_eq!(hints.judge(&disk, identifier), right, "{value}: {source}");
        }
    }

    #[test]
    fn hints_of_ironics_own_agent_are_accepted_where_it_is_the_one_that_runs() {
        let only_ironics = |name: &str| Err(DiskHintsError::OnlyIronicsAgent(name.to_owned()));
        let unknown = |name: &str| Err(DiskHintsError::Unknown(name.to_owned()));
        for (name, value, skips, source, by_ironics, by_ours) in [
            ("wwn", "x", false, "a hint that the other agent does not know", Ok(()), only_ironics("wwn")),
            ("hctl", "x", true, "the same, for a disk to skip", Ok(()), only_ironics("hctl")),
            ("volume_name", "x", true, "ipa: get_skip_list_from_node", Ok(()), only_ironics("volume_name")),
            ("volume_name", "x", false, "no root device hint", unknown("volume_name"), only_ironics("volume_name")),
            ("colour", "x", true, "no hint", unknown("colour"), unknown("colour")),
            ("serial", "S1", true, "a text", Ok(()), Ok(())),
        ] {
            let hints = BTreeMap::from([(name.to_owned(), value.to_owned())]);
            assert_eq!(check(&hints, HintUse { by_ironics_agent: true, skips }), by_ironics, "{name}: {source}");
            assert_eq!(check(&hints, HintUse { by_ironics_agent: false, skips }), by_ours, "{name}: {source}");
        }
        for (name, value) in [("model", "<all-in> samsung ssd"), ("size", "int(1)"), ("serial", "<regex> x")] {
            let hints = BTreeMap::from([(name.to_owned(), value.to_owned())]);
            assert_eq!(check(&hints, HintUse { by_ironics_agent: true, skips: false }), Ok(()), "{name} {value}");
        }
    }
}
