//! `driver_info`: how the BMC is reached, in Ironic's words.

use serde_json::Value;

use super::{Bmc, ExtraFields};

/// Sets the keys of a BMC that was changed by other means than a client of Ironic's API.
pub fn set_bmc(info: &mut ExtraFields, bmc: &Bmc) {
    if let Some(redfish) = &bmc.redfish {
        info.set_text("redfish_address", redfish.url(&bmc.address));
        info.set_text("redfish_username", bmc.user.as_str());
        info.set_sealed("redfish_password", &bmc.password);
    } else {
        info.set_text("ipmi_address", bmc.address.host.as_str());
        info.as_map_mut().insert("ipmi_port".to_owned(), Value::from(bmc.address.port));
        info.set_text("ipmi_username", bmc.user.as_str());
        info.set_sealed("ipmi_password", &bmc.password);
    }
}

/// Secrets of one kind of BMC, and the keys that decide to whom they are sent.
struct Credentials {
    secrets: &'static [&'static str],
    /// Address, transport and trust, each with the value that a missing key stands for.
    destination: &'static [(&'static str, &'static str)],
}

/// The key that says whose certificates are believed.
const TRUST: &str = "redfish_verify_ca";

const CREDENTIALS: &[Credentials] = &[
    Credentials {
        secrets: &["ipmi_password", "ipmi_hex_kg_key"],
        destination: &[
            ("ipmi_address", ""),
            ("ipmi_port", "623"),
            ("ipmi_protocol_version", "2.0"),
            ("ipmi_bridging", "no"),
            ("ipmi_transit_address", ""),
            ("ipmi_transit_channel", ""),
            ("ipmi_target_address", ""),
            ("ipmi_target_channel", ""),
        ],
    },
    Credentials {
        secrets: &["redfish_password"],
        destination: &[("redfish_address", ""), (TRUST, "true"), ("redfish_tls_minimum_version", "")],
    },
];

/// A stored secret that a change would send to another destination than the one that it was given for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "driver_info/{changed} cannot be changed without driver_info/{secret}: a stored secret is not sent to another \
     destination; give {secret} again in the same request, or remove it"
)]
pub struct MovedSecret {
    /// The changed key.
    pub changed: &'static str,
    /// The key of the secret.
    pub secret: &'static str,
}

/// Checks that no secret stays while the address, the transport or the trust that it was given for changes. Both
/// dictionaries are as they are stored or requested, with sealed secrets: one that is given again is not sealed yet.
///
/// # Errors
/// [`MovedSecret`] with the first such key.
pub fn check_secrets_stay(before: &ExtraFields, after: &ExtraFields) -> Result<(), MovedSecret> {
    for Credentials { secrets, destination } in CREDENTIALS {
        let moved = destination.iter().find(|(key, default)| word(before, key, default) != word(after, key, default));
        let Some((changed, _)) = moved else { continue };
        if let Some(secret) = secrets.iter().find(|secret| is_kept(before, after, secret)) {
            return Err(MovedSecret { changed, secret });
        }
    }
    Ok(())
}

fn is_kept(before: &ExtraFields, after: &ExtraFields, secret: &str) -> bool {
    after.as_map().get(secret).is_some_and(|value| before.as_map().get(secret) == Some(value))
}

/// The value of a key as a lower-case word: clients send numbers and Booleans as text as well. The case of certificates and
/// of the names of their files has a meaning.
fn word(fields: &ExtraFields, key: &str, default: &str) -> String {
    match fields.as_map().get(key) {
        None | Some(Value::Null) => default.to_owned(),
        Some(Value::String(text)) if key == TRUST && !text.trim().eq_ignore_ascii_case(default) => {
            text.trim().to_owned()
        }
        Some(Value::String(text)) => text.trim().to_ascii_lowercase(),
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fields(value: Value) -> ExtraFields {
        serde_json::from_value(value).unwrap()
    }

    const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";

    #[test]
    fn a_stored_secret_is_not_sent_to_another_destination() {
        let sealed = json!({"sealed": {"key": "k", "sealed": "s"}});
        let ipmi = json!({"ipmi_address": "10.0.0.5", "ipmi_username": "admin", "ipmi_password": sealed});
        let redfish = json!({"redfish_address": "https://bmc/", "redfish_password": sealed, "redfish_verify_ca": true});
        let named =
            json!({"redfish_address": "https://bmc/", "redfish_password": sealed, "redfish_verify_ca": "ca.pem"});
        let pem =
            json!({"redfish_address": "https://bmc/", "redfish_password": sealed, "redfish_verify_ca": CERTIFICATE});
        // What a client changes, and the key for which the secret is asked again.
        for (before, change, refused) in [
            (&ipmi, json!({"ipmi_address": "10.6.6.6"}), Some("ipmi_address")),
            (&ipmi, json!({"ipmi_address": null}), Some("ipmi_address")),
            (&ipmi, json!({"ipmi_port": 6623}), Some("ipmi_port")),
            (&ipmi, json!({"ipmi_port": 623}), None),
            (&ipmi, json!({"ipmi_port": "623"}), None),
            (&ipmi, json!({"ipmi_protocol_version": "1.5"}), Some("ipmi_protocol_version")),
            (&ipmi, json!({"ipmi_bridging": "single"}), Some("ipmi_bridging")),
            (&ipmi, json!({"ipmi_address": "10.6.6.6", "ipmi_password": "new"}), None),
            (&ipmi, json!({"ipmi_address": "10.6.6.6", "ipmi_password": null}), None),
            (&ipmi, json!({"ipmi_username": "root", "deploy_kernel": "k"}), None),
            (&ipmi, json!({"redfish_address": "https://evil/"}), None),
            (&redfish, json!({"redfish_address": "https://evil/"}), Some("redfish_address")),
            (&redfish, json!({"redfish_address": "http://bmc/"}), Some("redfish_address")),
            (&redfish, json!({"redfish_verify_ca": false}), Some("redfish_verify_ca")),
            (&redfish, json!({"redfish_verify_ca": "True"}), None),
            (&redfish, json!({"redfish_verify_ca": "ca.pem"}), Some("redfish_verify_ca")),
            (&named, json!({"redfish_verify_ca": "ca.pem"}), None),
            (&named, json!({"redfish_verify_ca": "CA.pem"}), Some("redfish_verify_ca")),
            (&named, json!({"redfish_verify_ca": true}), Some("redfish_verify_ca")),
            (&pem, json!({"redfish_verify_ca": CERTIFICATE.replace('M', "m")}), Some("redfish_verify_ca")),
            (&pem, json!({"redfish_verify_ca": CERTIFICATE.trim()}), None),
            (&redfish, json!({"redfish_verify_ca": null}), None),
            (&redfish, json!({"redfish_system_id": "/redfish/v1/Systems/2"}), None),
        ] {
            let mut after = before.clone();
            for (key, value) in change.as_object().unwrap() {
                after[key] = value.clone();
                if value.is_null() {
                    after.as_object_mut().unwrap().remove(key);
                }
            }
            let checked = check_secrets_stay(&fields(before.clone()), &fields(after));
            assert_eq!(checked.err().map(|moved| moved.changed), refused, "{change}");
        }
    }

    #[test]
    fn the_error_names_both_keys_and_what_to_do() {
        let text = MovedSecret { changed: "ipmi_address", secret: "ipmi_password" }.to_string();
        assert!(text.contains("driver_info/ipmi_address") && text.contains("give ipmi_password again"), "{text}");
    }
}
