//! Hints that select disks of a machine, as Ironic's `root_device` and `skip_block_devices` have them.
//!
//! Source: Ironic 39, `common/utils.py` (`parse_root_device_hints`), and `oslo_utils/specs_matcher.py`. A text without an
//! operator must be equal, in any case of letters. Sizes are in GiB. Of the hints, those are evaluated that the agent knows
//! of a disk.

use std::collections::BTreeMap;

use crate::hardware::Disk;

const GIB: u128 = 1 << 30;

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

    /// Returns whether a disk meets all conditions.
    #[must_use]
    pub fn matches(&self, disk: &Disk) -> bool {
        self.0.iter().all(|condition| condition.matches(disk))
    }
}

/// Checks hints as their client gave them: it may have named an agent that evaluates all of Ironic's.
///
/// # Errors
/// [`DiskHintsError`]
pub fn check(hints: &BTreeMap<String, String>, by_ironics_agent: bool) -> Result<(), DiskHintsError> {
    let evaluated = hints.iter().filter(|(hint, _)| !by_ironics_agent || !ONLY_IRONICS_AGENT.contains(&hint.as_str()));
    DiskHints::parse(evaluated.map(|(hint, value)| (hint.as_str(), value.as_str()))).map(drop)
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
        known if ONLY_IRONICS_AGENT.contains(&known) => return Err(DiskHintsError::OnlyIronicsAgent(hint.to_owned())),
        _ => return Err(DiskHintsError::Unknown(hint.to_owned())),
    };
    let (operator, rest) = operator(&text).unwrap_or(("s==", &text));
    let values: Vec<String> = match operator {
        "<or>" => rest.split("<or>").map(|value| value.trim().to_owned()).filter(|value| !value.is_empty()).collect(),
        "<in>" | "s==" | "s!=" | "s<" | "s<=" | "s>" | "s>=" => vec![rest.trim().to_owned()],
        _ => return Err(wrong("a text, which s==, s!=, <in> or <or> may precede")),
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

impl Condition {
    fn matches(&self, disk: &Disk) -> bool {
        match self {
            Self::Size(bounds) => bounds.contain(u128::from(disk.size_bytes)),
            Self::Rotational(wanted) => disk.rotational == *wanted,
            Self::Text { of, operator, values } => {
                let found = match of {
                    TextField::Model => disk.model.trim().to_lowercase(),
                    TextField::Serial => disk.serial.trim().to_lowercase(),
                    TextField::Name => format!("/dev/{}", disk.name),
                };
                // As in Ironic, a disk of which this is not known meets no condition on it.
                !found.is_empty() && values.iter().any(|value| compare(operator, &found, value))
            }
        }
    }
}

fn compare(operator: &str, found: &str, value: &str) -> bool {
    match operator {
        "<in>" => found.contains(value),
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
            assert_eq!(hints.matches(&disk()), right, "{hint} {value} ({source})");
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
            ("model", "<all-in> a b"),
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
        assert!(!both.matches(&disk()));
        let unknown = Disk { serial: String::new(), ..disk() };
        assert!(!DiskHints::parse([("serial", "s!= x")]).unwrap().matches(&unknown));
        assert!(DiskHints::default().is_empty() && DiskHints::default().matches(&unknown));
    }

    #[test]
    fn hints_of_ironics_own_agent_are_accepted_where_it_is_the_one_that_runs() {
        let hints = |name: &str| BTreeMap::from([(name.to_owned(), "x".to_owned())]);
        for name in ONLY_IRONICS_AGENT {
            assert_eq!(check(&hints(name), true), Ok(()), "{name}");
            assert_eq!(check(&hints(name), false), Err(DiskHintsError::OnlyIronicsAgent((*name).to_owned())));
        }
        assert!(check(&hints("size"), true).is_err());
        assert!(check(&hints("colour"), true).is_err());
    }
}
