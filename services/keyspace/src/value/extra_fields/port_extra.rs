//! A port's `extra`.

use super::ExtraFields;

const CLIENT_ID: &str = "client-id";

/// Returns the DHCP client identifier (option 61) of an InfiniBand port, as octets. Ironic stores it in hexadecimal, with a
/// colon after each octet: `ff:00:00:00:…`. Returns `None` if there is none, or it is not of this form.
#[must_use]
pub fn dhcp_client_identifier(extra: &ExtraFields) -> Option<Vec<u8>> {
    let text = extra.text(CLIENT_ID)?.trim();
    // `from_str_radix` alone would take "+f".
    let is_octet = |octet: &&str| octet.len() == 2 && octet.bytes().all(|digit| digit.is_ascii_hexdigit());
    text.split(':')
        .map(|octet| Some(octet).filter(is_octet).and_then(|octet| u8::from_str_radix(octet, 16).ok()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_identifier_is_octets_in_hexadecimal() {
        let read = |text: &str| {
            let mut extra = ExtraFields::new();
            extra.set_text(CLIENT_ID, text);
            dhcp_client_identifier(&extra)
        };
        assert_eq!(read("ff:00:7C:fe"), Some(vec![0xff, 0, 0x7c, 0xfe]));
        assert_eq!(read(" 01:02\n"), Some(vec![1, 2]));
        for text in ["", "ff:0", "ff::00", "ff:00:", "+f:00", "ff0:0", "node-1"] {
            assert_eq!(read(text), None, "{text:?}");
        }
        assert_eq!(dhcp_client_identifier(&ExtraFields::new()), None);
    }
}
