//! Formats answers for programs.

use serde_json::Value;

use crate::Format;

/// What names a thing, the best first: its own name, or what an answer about it calls it.
const NAMES: &[&str] = &["name", "node_name", "id", "node", "image", "bulk", "allocation", "datacenter"];

/// An answer as text, with its last line feed; none for a table, which people read.
pub(crate) fn written(format: Format, answer: &Value) -> Option<String> {
    match format {
        Format::Table => None,
        Format::Json => Some(format!("{answer:#}\n")),
        // JSON is valid YAML, in case it cannot be written otherwise.
        Format::Yaml => Some(serde_saphyr::to_string(answer).unwrap_or_else(|_| format!("{answer}\n"))),
        Format::Name => Some(names(answer)),
    }
}

/// One of the answers that go on: a line of JSON, a document of YAML (YAML 1.2 §9.1.4), a line with a name.
pub(crate) fn piece(format: Format, answer: &Value) -> Option<String> {
    match format {
        Format::Json => Some(format!("{answer}\n")),
        Format::Yaml => written(format, answer).map(|text| format!("---\n{text}")),
        Format::Table | Format::Name => written(format, answer),
    }
}

/// A line for each thing.
fn names(answer: &Value) -> String {
    match answer {
        Value::Array(all) => all.iter().map(names).collect(),
        one @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_)) => {
            name(one).map(|name| format!("{}\n", crate::human::clean(name))).unwrap_or_default()
        }
    }
}

fn name(one: &Value) -> Option<&str> {
    let text = |key: &&str| one.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    NAMES.iter().find_map(text).or_else(|| name(one.get("node").filter(|node| node.is_object())?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_answer_is_written_in_each_form() {
        let all =
            json!([{"id": "1", "name": "n1", "rack": null}, {"id": "2", "name": ""}, {"event": "gone", "id": null}]);
        assert_eq!(written(Format::Table, &all), None);
        assert_eq!(written(Format::Name, &all).unwrap(), "n1\n2\n");
        assert_eq!(written(Format::Yaml, &json!({"a": ["yes", 1]})).unwrap(), "a:\n- \"yes\"\n- 1\n");
        assert_eq!(written(Format::Json, &json!({"a": 1})).unwrap(), "{\n  \"a\": 1\n}\n");
    }

    #[test]
    fn answers_that_go_on_are_told_apart() {
        let one = json!({"event": "node", "id": "1", "node": {"name": "n1"}});
        assert_eq!(piece(Format::Json, &json!({"a": 1})).unwrap(), "{\"a\":1}\n");
        assert_eq!(piece(Format::Yaml, &json!({"a": 1})).unwrap(), "---\na: 1\n");
        assert_eq!(piece(Format::Name, &one).unwrap(), "1\n");
    }
}
