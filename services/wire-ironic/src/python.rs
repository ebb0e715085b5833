//! JSON values in Python's notation, as Ironic's error messages quote them.

use serde_json::Value;

/// Formats a value as error messages quote it.
pub(crate) fn quoted(value: &Value) -> String {
    match value {
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => quoted_text(text),
        Value::Array(items) => format!("[{}]", items.iter().map(quoted).collect::<Vec<_>>().join(", ")),
        Value::Object(members) => {
            let members = members.iter().map(|(key, value)| format!("{}: {}", quoted_text(key), quoted(value)));
            format!("{{{}}}", members.collect::<Vec<_>>().join(", "))
        }
    }
}

/// Formats a text as error messages quote it.
pub(crate) fn quoted_text(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut out = String::from(quote);
    for character in text.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            character if character == quote => {
                out.push('\\');
                out.push(character);
            }
            character => out.push(character),
        }
    }
    out.push(quote);
    out
}

/// Formats a list of texts as error messages quote it: `'a', 'b'`.
pub(crate) fn listed<T: AsRef<str>>(texts: &[T]) -> String {
    texts.iter().map(|text| quoted_text(text.as_ref())).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn json_is_quoted_as_python_prints_it() {
        let value = json!({"a": [null, true, 1, 2.5], "b": "it's", "c": "\"'"});
        assert_eq!(quoted(&value), r#"{'a': [None, True, 1, 2.5], 'b': "it's", 'c': '"\''}"#);
    }
}
