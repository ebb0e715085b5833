//! Determines what to deploy on a node from its `instance_info`.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use domain::{
    driver::Driver,
    id::{ImageId, NodeId},
    image::{Digest, Encoding, Image, Purpose},
};
use keyspace::value::{ConfigDrive as Files, Deployment, ExtraFields};
use serde_json::{Map, Value, json};
use service_kit::status::chain;
use wire_ironic::{
    error::{Class, Error},
    verb::ConfigDrive,
};

use super::{
    ApiRequest, RestApi,
    config_drive_fetch::{self, ConfigDriveFetchError},
    fault::fault,
};
use scheduler_core::{node_view::NodeView, registry::Record};

/// Maximum size of a compressed config drive, in bytes. Sealed and in base64 it must fit into one transaction.
const MAX_PACKED_BYTES: usize = 128 << 10;

/// Image that `instance_info` names.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    /// Name or id of a registered image.
    Registered(String),
    /// URL and expected digest.
    Url(String, Digest),
}

/// Reason that a node cannot be deployed as it is specified.
#[derive(Debug, thiserror::Error)]
enum InvalidDeployment {
    #[error(
        "Cannot validate image information because one or more parameters are missing from its instance_info. Missing \
         are: ['instance_info.image_source']"
    )]
    NoImageSource,
    #[error("image_disk_format must be raw: machines are written octet by octet")]
    DiskFormat,
    #[error(
        "image_source's \"image_checksum\", or \"image_os_hash_algo\" and \"image_os_hash_value\" must be provided in \
         instance_info"
    )]
    NoChecksum,
    #[error(
        "the checksum must be a SHA-256 or SHA-512 in hexadecimal; MD5 proves nothing, and a checksum's URL is not read"
    )]
    Checksum,
    #[error(transparent)]
    Image(scheduler_core::Error),
    #[error(transparent)]
    Fetch(#[from] ConfigDriveFetchError),
    #[error("the packed config drive is not base64")]
    NotBase64(#[source] base64::DecodeError),
    #[error(
        "the packed config drive has {} KiB, and {} KiB are kept at most: leave out what the system can fetch when it \
         runs",
        bytes >> 10,
        MAX_PACKED_BYTES >> 10
    )]
    DriveTooLarge { bytes: usize },
    #[error(transparent)]
    Drive(#[from] wire_config_drive::ConfigDriveError),
}

impl RestApi {
    /// Determines what to deploy. `None` for a driver that does not deploy.
    pub(super) async fn deployment(
        &self,
        request: &ApiRequest,
        record: &Record,
        node: &NodeView,
        drive: Option<&ConfigDrive>,
    ) -> Result<Option<Deployment>, Error> {
        if record.intent.value.driver == Driver::FakeHardware {
            return Ok(None);
        }
        let refused = |why: InvalidDeployment| {
            let (uuid, why) = (record.node, chain(&why));
            Class::Invalid.error(format!("Failed to validate deploy or power info for node {uuid}: {why}"))
        };
        let empty = ExtraFields::new();
        let info = node.spec().instance_info.as_ref().unwrap_or(&empty);
        let image = match source(info).map_err(refused)? {
            Source::Registered(name) => {
                let found = self.app.registry.image_named(&name);
                found.map_err(|error| refused(InvalidDeployment::Image(error)))?.value.id
            }
            Source::Url(url, digest) => self.find_or_register_image(request, record.node, url, digest).await?,
        };
        let config_drive = match drive {
            None => None,
            Some(drive) => {
                let files = match drive {
                    ConfigDrive::Url(url) => {
                        let fetched = config_drive_fetch::config_drive(url).await;
                        unpack(&fetched.map_err(|error| refused(error.into()))?)
                    }
                    ConfigDrive::Packed(text) => unpack(text),
                    ConfigDrive::Parts(parts) => Ok(assemble_files(node, parts)),
                };
                let files = files.map_err(refused)?;
                let sealed = self.app.registry.sealer.seal_json(&format!("{}/config-drive", record.node), &files);
                Some(sealed.map_err(|error| fault(&record.node.to_string(), &error.into()))?)
            }
        };
        Ok(Some(Deployment { image, config_drive }))
    }

    /// Returns the image with this digest. Registers it if there is none.
    async fn find_or_register_image(
        &self,
        request: &ApiRequest,
        node: NodeId,
        url: String,
        digest: Digest,
    ) -> Result<ImageId, Error> {
        let registry = &self.app.registry;
        let known = registry.view().list(&keyspace::key::images()).into_iter();
        if let Some((_, image)) =
            known.into_iter().find(|(_, image)| image.value.digest == digest && image.value.url == url)
        {
            return Ok(image.value.id);
        }
        let id = ImageId::new(uuid::Uuid::new_v4());
        let encoding = encoding(&url);
        let name = format!("{}-{id}", url.rsplit('/').next().unwrap_or_default());
        let image = Image { id, name, url, digest, encoding, purpose: Purpose::Disk, unpacked_size: None };
        registry.create_image(&request.context(), &image).await.map_err(|error| fault(&node.to_string(), &error))?;
        Ok(id)
    }
}

/// Compression of an image, by its file extension.
fn encoding(url: &str) -> Encoding {
    match url.rsplit_once('.').map(|(_, ending)| ending) {
        Some("gz") => Encoding::Gzip,
        Some("zst") => Encoding::Zstd,
        _ => Encoding::Plain,
    }
}

fn source(info: &ExtraFields) -> Result<Source, InvalidDeployment> {
    let text = |name: &str| info.text(name).filter(|text| !text.is_empty());
    let Some(source) = text("image_source") else {
        return Err(InvalidDeployment::NoImageSource);
    };
    if text("image_disk_format").is_some_and(|format| format != "raw") {
        return Err(InvalidDeployment::DiskFormat);
    }
    if !["http://", "https://", "file://"].iter().any(|scheme| source.starts_with(scheme)) {
        return Ok(Source::Registered(source.to_owned()));
    }
    let named = text("image_os_hash_algo").zip(text("image_os_hash_value"));
    let digest = match (named, text("image_checksum")) {
        (Some((algorithm, value)), _) => format!("{algorithm}:{value}"),
        (None, Some(checksum)) if checksum.contains(':') => checksum.to_owned(),
        (None, Some(checksum)) if checksum.len() == 128 => format!("sha512:{checksum}"),
        (None, Some(checksum)) => format!("sha256:{checksum}"),
        (None, None) => return Err(InvalidDeployment::NoChecksum),
    };
    let digest = digest.parse().map_err(|_| InvalidDeployment::Checksum)?;
    Ok(Source::Url(source.to_owned(), digest))
}

/// Assembles the files of a config drive from its parts.
fn assemble_files(node: &NodeView, parts: &Map<String, Value>) -> Files {
    let mut files = BTreeMap::new();
    let mut put = |name: &str, content: Vec<u8>| files.insert(format!("openstack/latest/{name}"), content);
    let (uuid, name) = (node.node.to_string(), &node.intent.name);
    let name = if name.is_empty() { &uuid } else { name };
    let mut meta = Map::from_iter([
        ("uuid".to_owned(), json!(uuid)),
        ("name".to_owned(), json!(name)),
        ("hostname".to_owned(), json!(name)),
    ]);
    if let Some(Value::Object(more)) = parts.get("meta_data") {
        meta.extend(more.clone());
    }
    put("meta_data.json", Value::Object(meta).to_string().into_bytes());
    for part in ["network_data", "vendor_data"] {
        if let Some(value) = parts.get(part).filter(|value| value.is_object()) {
            put(&format!("{part}.json"), value.to_string().into_bytes());
        }
    }
    match parts.get("user_data") {
        None | Some(Value::Null) => {}
        Some(Value::String(text)) => drop(put("user_data", text.clone().into_bytes())),
        Some(other) => drop(put("user_data", other.to_string().into_bytes())),
    }
    files
}

/// Unpacks a config drive that the client built, so that an invalid one fails the request and not the deployment.
fn unpack(text: &str) -> Result<Files, InvalidDeployment> {
    let text: String = text.split_whitespace().collect();
    let octets = STANDARD.decode(text).map_err(InvalidDeployment::NotBase64)?;
    if octets.len() > MAX_PACKED_BYTES {
        return Err(InvalidDeployment::DriveTooLarge { bytes: octets.len() });
    }
    wire_config_drive::unpack(&octets)?;
    Ok(BTreeMap::from([(wire_config_drive::PACKED.to_owned(), octets)]))
}

#[cfg(test)]
mod tests {
    use keyspace::value::NodeSpec;

    use super::*;
    use crate::test_node::node;

    fn of(info: Value) -> Result<Source, String> {
        source(&ExtraFields::from(info.as_object().cloned().unwrap())).map_err(|refused| refused.to_string())
    }

    #[test]
    fn an_image_is_named_by_its_record_or_by_url_and_digest() {
        let sha = "ab".repeat(32);
        assert_eq!(of(json!({"image_source": "debian-12"})), Ok(Source::Registered("debian-12".to_owned())));
        let by_place = Source::Url("http://h/i.raw".to_owned(), format!("sha256:{sha}").parse().unwrap());
        assert_eq!(of(json!({"image_source": "http://h/i.raw", "image_checksum": sha})), Ok(by_place.clone()));
        let named =
            json!({"image_source": "http://h/i.raw", "image_os_hash_algo": "sha256", "image_os_hash_value": sha});
        assert_eq!(of(named), Ok(by_place));
    }

    #[test]
    fn a_missing_or_weak_checksum_is_rejected_and_named() {
        assert!(of(json!({})).unwrap_err().contains("image_source"));
        assert!(of(json!({"image_source": "http://h/i"})).unwrap_err().contains("image_checksum"));
        let md5 = json!({"image_source": "http://h/i", "image_checksum": "d41d8cd98f00b204e9800998ecf8427e"});
        assert!(of(md5).unwrap_err().contains("MD5"));
        let qcow = json!({"image_source": "http://h/i", "image_disk_format": "qcow2"});
        assert!(of(qcow).unwrap_err().contains("raw"));
    }

    #[test]
    fn a_config_drive_contains_its_parts_and_the_name_of_the_node() {
        let node = node(7, "n1", NodeSpec::default());
        let parts =
            json!({"meta_data": {"hostname": "other"}, "user_data": "#!/bin/sh", "network_data": {"links": []}});
        let files = assemble_files(&node, parts.as_object().unwrap());
        let meta: Value = serde_json::from_slice(&files["openstack/latest/meta_data.json"]).unwrap();
        assert_eq!((meta["hostname"].as_str(), meta["name"].as_str()), (Some("other"), Some("n1")));
        assert_eq!(files["openstack/latest/user_data"], b"#!/bin/sh");
        assert!(files.contains_key("openstack/latest/network_data.json"));
        assert!(unpack("aaaa").unwrap_err().to_string().contains("gzip"));
        assert!(unpack("not*base64").unwrap_err().to_string().contains("base64"));
    }
}
