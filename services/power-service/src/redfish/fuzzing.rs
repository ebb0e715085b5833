//! Entry point for fuzzers and for the test below: responses of a Redfish service, and what must hold for each.

use std::time::Duration;

use super::{
    connection::Answer,
    decode::{Body, decode},
    http_policy::Etags,
    messages::{error_text, message_ids},
    response::{IN_BETWEEN_TIMEOUT, System, choose_system, classify, classify_change, link, members, next_page},
};

/// Maximum size of a decoded response here, in bytes.
const MAX_BYTES: usize = 64 << 10;

/// Any body is decoded within the limit or refused, and each link in it that would be followed is a path of the service.
///
/// # Panics
/// If that does not hold.
pub fn response(encoding: &str, status: u16, data: &[u8]) {
    let Ok(body) = decode(encoding, data.to_vec(), MAX_BYTES) else { return };
    let answer = Answer {
        status,
        path: String::new(),
        etag: None,
        location: Some(encoding.to_owned()),
        token: None,
        content_type: String::new(),
        body,
    };
    let _ = (classify(&answer), classify_change(&answer), message_ids(answer.json()).count());
    assert!(error_text(&answer).chars().all(|c| !c.is_control()), "the text of an error has control characters");
    if let Body::Json(value) = &answer.body {
        let links = members(value).into_iter().chain(next_page(value)).chain(link(value, "/Systems"));
        for path in links {
            let is_path = path.starts_with('/') && !path.starts_with("//");
            assert!(is_path && path.bytes().all(|octet| octet.is_ascii_graphic()), "{path:?}");
        }
        let _ = choose_system(&members(value), "1");
    }
    let system = System::of("/redfish/v1/Systems/1", answer);
    for waited in [Duration::ZERO, IN_BETWEEN_TIMEOUT] {
        let _ = system.power(waited, true);
    }
    let _ = (system.boot_order(), system.allows("/Boot/BootSourceOverrideTarget", "Pxe"));
    assert!(system.description().chars().all(|c| !c.is_control()), "the description has control characters");
    let Etags { header, body } = &system.etags;
    assert!([header, body].into_iter().flatten().all(|tag| !tag.trim().is_empty()), "an entity tag is empty");
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use proptest::{prelude::*, sample::Index};

    use super::*;

    const SYSTEM: &str = r##"{"@odata.id": "/redfish/v1/Systems/1", "@odata.etag": "W/\"1\"", "PowerState": "On",
        "Boot": {"BootSourceOverrideEnabled": "Once", "BootSourceOverrideTarget": "Pxe",
        "BootSourceOverrideTarget@Redfish.AllowableValues": ["Pxe", "Hdd"]}, "Model": "x\u0007y",
        "Members": [{"@odata.id": "/redfish/v1/Systems/1"}, {"@odata.id": "//h/x"}, 7],
        "Members@odata.nextLink": "https://h/redfish/v1/Systems?$skip=1",
        "error": {"@Message.ExtendedInfo": [{"MessageId": "Base.1.8.ResourceInUse", "Message": "a\nb"}]}}"##;

    proptest! {
        #[test]
        fn a_changed_response_is_decoded_or_refused(
            edits in prop::collection::vec((any::<Index>(), any::<u8>()), 0..12),
            cut in any::<Index>(),
            encoding in prop::sample::select(vec!["", "gzip", "deflate", "br", "http://h//x"]),
            is_packed in any::<bool>(),
            status in prop::sample::select(vec![200_u16, 202, 204, 301, 400, 401, 403, 404, 412, 500, 503, 504]),
        ) {
            let mut data = SYSTEM.as_bytes().to_vec();
            if is_packed {
                let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
                packed.write_all(&data).unwrap();
                data = packed.finish().unwrap();
            }
            for (at, octet) in edits {
                let at = at.index(data.len());
                data[at] = octet;
            }
            if cut.index(4) == 0 {
                data.truncate(cut.index(data.len()));
            }
            response(encoding, status, &data);
        }
    }
}
