//! Which fields an update changes (AIP-134).

pub use prost_types::FieldMask;

use super::Invalid;

/// Names all fields.
const ALL: &str = "*";

/// The fields that a request changes: those that its `update_mask` names, or those that are set if it names none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mask {
    /// `None`: those that are set.
    named: Option<Vec<&'static str>>,
}

impl Mask {
    /// Reads the `update_mask` of a request whose fields have these names.
    ///
    /// # Errors
    /// [`Invalid`] with the name of `update_mask` and the first path in it that is none of the fields.
    pub fn read(wire: Option<&FieldMask>, fields: &'static [&'static str]) -> Result<Self, Invalid> {
        let paths = wire.map(|mask| mask.paths.as_slice()).unwrap_or_default();
        if paths.is_empty() {
            return Ok(Self { named: None });
        }
        let mut named: Vec<&'static str> = Vec::new();
        for path in paths {
            if path == ALL {
                named.extend(fields);
                continue;
            }
            let field = fields
                .iter()
                .find(|field| *field == path)
                .ok_or_else(|| Invalid::wrong("update_mask", format!("{path:?} is none of {}", fields.join(", "))))?;
            named.push(*field);
        }
        Ok(Self { named: Some(named) })
    }

    /// Returns whether a field is changed.
    #[must_use]
    pub fn changes(&self, field: &str, is_set: bool) -> bool {
        self.named.as_ref().map_or(is_set, |named| named.contains(&field))
    }

    /// Returns the new value of a field: `None` if it is not changed, its default if it is named and not set.
    #[must_use]
    pub fn value<T: Default>(&self, field: &str, value: Option<T>) -> Option<T> {
        self.changes(field, value.is_some()).then(|| value.unwrap_or_default())
    }

    /// Returns whether the mask names this field and no other. `None` if it names none at all.
    #[must_use]
    pub fn names_only(&self, field: &str) -> Option<bool> {
        self.named.as_ref().map(|named| named.iter().all(|name| *name == field))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIELDS: &[&str] = &["name", "size", "is_on"];

    fn read(paths: &[&str]) -> Result<Mask, Invalid> {
        let paths = paths.iter().map(|path| (*path).to_owned()).collect();
        Mask::read(Some(&FieldMask { paths }), FIELDS)
    }

    #[test]
    fn an_empty_or_absent_mask_means_the_fields_that_are_set() {
        for mask in [Mask::read(None, FIELDS).unwrap(), read(&[]).unwrap()] {
            assert_eq!(mask.value("name", Some("x")), Some("x"));
            assert_eq!(mask.value::<&str>("name", None), None);
            assert_eq!(mask.names_only("name"), None);
        }
    }

    #[test]
    fn a_mask_changes_the_fields_that_it_names_and_no_other() {
        let mask = read(&["name", "is_on"]).unwrap();
        let cases =
            [("name", Some(7), Some(7)), ("is_on", None, Some(0)), ("size", Some(7), None), ("size", None, None)];
        for (field, set, expected) in cases {
            assert_eq!(mask.value(field, set), expected, "{field} {set:?}");
        }
        assert_eq!(
            (mask.names_only("name"), read(&["name", "name"]).unwrap().names_only("name")),
            (Some(false), Some(true))
        );
    }

    #[test]
    fn a_star_names_all_fields() {
        let mask = read(&["*"]).unwrap();
        assert!(FIELDS.iter().all(|field| mask.changes(field, false)));
    }

    #[test]
    fn an_unknown_path_is_refused_with_its_name() {
        for (paths, unknown) in [
            (&["nmae"][..], "nmae"),
            (&["name", "owner.id"][..], "owner.id"),
            (&["Name"][..], "Name"),
            (&[""][..], "\"\""),
            (&["*", "x"][..], "x"),
        ] {
            let error = read(paths).unwrap_err().to_string();
            assert!(error.starts_with("update_mask: ") && error.contains(unknown), "{error}");
        }
    }
}
