//! What a Redfish service says about an error (DSP0266 §8.6 and §9.11). Pure.
//!
//! The texts are foreign: they are bounded, and free of characters that change how they are shown.

use serde_json::Value;

use super::connection::Answer;

/// Maximum length of a service's error message that is kept, in characters.
const MAX_MESSAGE_CHARS: usize = 300;
/// Maximum length of what is kept of a service's messages to find the reason of a rejection, in bytes.
const MAX_COMPLAINT_BYTES: usize = 8 << 10;

/// Removes what could change how a text is shown, and shortens it.
pub(super) fn clean(text: &str, most: usize) -> String {
    let is_shown = |sign: &char| {
        // Format characters change the direction of the text or are invisible.
        let is_format =
            matches!(*sign, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
        !sign.is_control() && !is_format
    };
    text.chars().filter(is_shown).take(most).collect()
}

/// Returns the messages of a body: those of the error, and those about the resource and its properties (DSP0266 §9.11).
fn messages(body: &Value) -> impl Iterator<Item = &Value> {
    const KEY: &str = "@Message.ExtendedInfo";
    let of_error = body.get("error").and_then(|error| error.get(KEY));
    let boot = body.get("Boot").and_then(Value::as_object).into_iter().flatten();
    let of_properties = body.as_object().into_iter().flatten().chain(boot);
    let annotated = of_properties.filter(|(name, _)| name.ends_with(KEY)).map(|(_, messages)| messages);
    of_error.into_iter().chain(annotated).filter_map(Value::as_array).flatten()
}

/// Returns the ids of the messages of a body, and the code of its error.
pub(super) fn message_ids(body: &Value) -> impl Iterator<Item = &str> {
    let code = body.pointer("/error/code").and_then(Value::as_str);
    messages(body).filter_map(|message| message.get("MessageId")?.as_str()).chain(code)
}

/// Returns the text of a message, with its arguments. Some services send the id and the arguments only.
fn message_text(message: &Value) -> Option<String> {
    let arguments = message.get("MessageArgs").and_then(Value::as_array).into_iter().flatten();
    let arguments: Vec<String> =
        arguments.take(9).map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned)).collect();
    let text = message.get("Message").and_then(Value::as_str).filter(|text| !text.is_empty());
    let Some(text) = text else {
        let id = message.get("MessageId")?.as_str()?;
        return Some(if arguments.is_empty() { id.to_owned() } else { format!("{id}: {}", arguments.join(", ")) });
    };
    let numbered = arguments.iter().enumerate();
    Some(numbered.fold(text.to_owned(), |text, (index, value)| text.replace(&format!("%{}", index + 1), value)))
}

/// Returns the error message of a service (DSP0266 §8.6): the longest one, which says most.
pub(super) fn error_text(answer: &Answer) -> String {
    let body = answer.json();
    let general = body.pointer("/error/message").or_else(|| body.get("error")).and_then(Value::as_str);
    let texts = messages(body).filter_map(message_text).chain(general.map(str::to_owned));
    let longest = texts.filter(|text| !text.is_empty()).max_by_key(String::len).unwrap_or_default();
    let kept = clean(&longest, MAX_MESSAGE_CHARS);
    if kept.is_empty() { format!("status {}", answer.status) } else { format!("{kept} (status {})", answer.status) }
}

/// Returns everything that a service says about a rejection, to find out what it rejects.
pub(super) fn complaint(answer: &Answer) -> String {
    let mut words = String::new();
    for message in messages(answer.json()) {
        let related = message.get("RelatedProperties").map(Value::to_string).unwrap_or_default();
        let id = message.get("MessageId").and_then(Value::as_str).unwrap_or_default();
        for word in [id, &message_text(message).unwrap_or_default(), &related] {
            if words.len() + word.len() < MAX_COMPLAINT_BYTES {
                words.push_str(word);
                words.push(' ');
            }
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::redfish::decode::Body;

    fn text(body: Value) -> String {
        error_text(&Answer { status: 400, body: Body::Json(body), ..Answer::default() })
    }

    #[test]
    fn an_error_is_shown_in_the_words_of_the_service_wherever_it_puts_them() {
        let info = |message: Value| json!({"error": {"@Message.ExtendedInfo": [message]}});
        let table = [
            (info(json!({"Message": "The lid is open."})), "The lid is open. (status 400)", "DSP0266 §8.6"),
            (info(json!({"MessageId": "iLO.2.8.X"})), "iLO.2.8.X (status 400)", "HPE iLO: an id only"),
            (
                info(json!({"MessageId": "iLO.2.8.X", "MessageArgs": ["Boot", 7]})),
                "iLO.2.8.X: Boot, 7 (status 400)",
                "HPE iLO: an id and arguments",
            ),
            (
                info(json!({"Message": "%1 is not %2.", "MessageArgs": ["A", "B"]})),
                "A is not B. (status 400)",
                "arguments that were not filled in",
            ),
            (json!({"error": {"message": "A general error."}}), "A general error. (status 400)", "no extended info"),
            (json!({"error": "plain"}), "plain (status 400)", "a text in place of the object"),
            (
                json!({"@Message.ExtendedInfo": [{"Message": "top"}]}),
                "top (status 400)",
                "DSP0266 §9.11: beside the resource",
            ),
            (
                json!({"Boot": {"X@Message.ExtendedInfo": [{"Message": "inside"}]}}),
                "inside (status 400)",
                "DSP0266 §9.11: beside a property",
            ),
            (json!({"error": {"@Message.ExtendedInfo": {"Message": 1}}}), "status 400", "not a list"),
            (info(json!({"Message": "a\u{1b}[0m\r\nb\u{202e}c\u{200b}"})), "a[0mbc (status 400)", "control and format"),
        ];
        for (body, right, source) in table {
            assert_eq!(text(body), right, "{source}");
        }
        let long = text(info(json!({"Message": "\u{e4}".repeat(100_000)})));
        assert_eq!(long.chars().count(), MAX_MESSAGE_CHARS + " (status 400)".len());
        let many: Vec<Value> = (0..10_000).map(|_| json!({"Message": "many words"})).collect();
        let many = Answer { body: Body::Json(json!({"error": {"@Message.ExtendedInfo": many}})), ..Answer::default() };
        assert!(complaint(&many).len() <= MAX_COMPLAINT_BYTES + 10);
    }
}
