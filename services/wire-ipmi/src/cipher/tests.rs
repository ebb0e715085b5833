use proptest::prelude::*;

use super::*;
use crate::rmcp::Datagram;

fn keys(suite: Suite) -> Keys {
    Keys::derive(suite, &hmac(suite, b"key", &[b"session"]))
}

fn open(keys: &Keys, bytes: &[u8]) -> Result<Vec<u8>, Malformed> {
    match Datagram::decode(bytes)? {
        Datagram::Plus(packet) => keys.open(&packet),
        Datagram::Ping { .. } | Datagram::Sessionless(_) => Err(Malformed::Foreign),
    }
}

#[test]
fn hmac_agrees_with_the_standards() {
    // RFC 2202 §3 and RFC 4231 §4.3, test case 2.
    let (key, text) = (b"Jefe", b"what do ya want for nothing?");
    assert_eq!(hmac(Suite::Three, key, &[text]).octets().first_chunk(), Some(&[0xef, 0xfc, 0xdf, 0x6a, 0xe5, 0xeb]));
    assert_eq!(
        hmac(Suite::Seventeen, key, &[text]).octets().first_chunk(),
        Some(&[0x5b, 0xdc, 0xc1, 0x46, 0xbf, 0x60])
    );
}

proptest! {
    #[test]
    fn what_is_sealed_is_opened_and_no_flipped_bit_is(
        message in proptest::collection::vec(any::<u8>(), 0..100), at in 4..200_usize, bit in 0..8_u8,
    ) {
        for suite in [Suite::Three, Suite::Seventeen] {
            let mut bytes = keys(suite).seal(5, 6, [7; 16], &message);
            prop_assert_eq!(open(&keys(suite), &bytes), Ok(message.clone()));
            let at = at % (bytes.len() - 4) + 4;
            *bytes.get_mut(at).unwrap() ^= 1 << bit;
            prop_assert!(open(&keys(suite), &bytes).is_err());
        }
    }
}
