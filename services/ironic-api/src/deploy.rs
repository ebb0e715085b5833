//! Determines what to deploy on a node from its `instance_info`.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use domain::{
    id::{ImageId, NodeId},
    image::{
        Digest, Encoding, Image, Purpose,
        checksum::{self, ChecksumError},
        format::{Description, ImageFormatError, file_name},
    },
    plan::Executor,
    provision::Phase,
    url_text::{self, UrlTextError},
};
use keyspace::{
    seal::{Place, open_value},
    value::{ConfigDrive as Files, Deployment, ExtraFields, InstanceInfo, NodeSpec},
};
use serde_json::{Map, Value, json};
use service_kit::status::chain;
use wire_ironic::{
    error::{Class, Error},
    verb::ConfigDrive,
};

use super::{
    ApiRequest, RestApi,
    checksum_fetch::{self, ChecksumFetchError},
    config_drive_fetch::{self, ConfigDriveFetchError},
    fault::fault,
};
use scheduler_core::{node_view::NodeView, registry::Record};

/// Maximum size of a compressed config drive, in bytes. It is stored twice, sealed and in base64, in one transaction.
const MAX_PACKED_BYTES: usize = 256 << 10;

/// Image that `instance_info` names.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    /// Name or id of a registered image.
    Registered(String),
    /// Image that need not be registered.
    Url { url: String, checksum: Checksum, encoding: Encoding },
}

/// Image of a URL, with what is known of it.
struct UrlImage {
    url: String,
    digest: Digest,
    encoding: Encoding,
}

/// Checksum of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Checksum {
    Digest(Digest),
    /// URL of a list of checksums, and the algorithm if one is named.
    List {
        url: String,
        algorithm: Option<String>,
    },
}

/// Reason that a node cannot be deployed as it is specified.
#[derive(Debug, thiserror::Error)]
enum InvalidDeployment {
    #[error(
        "Cannot validate image information because one or more parameters are missing from its instance_info. Missing \
         are: ['instance_info.image_source']"
    )]
    NoImageSource,
    #[error(transparent)]
    Format(#[from] ImageFormatError),
    #[error(
        "image_source's \"image_checksum\", or \"image_os_hash_algo\" and \"image_os_hash_value\" must be provided in \
         instance_info"
    )]
    NoChecksum,
    #[error(transparent)]
    Checksum(#[from] ChecksumError),
    #[error(transparent)]
    ChecksumList(#[from] ChecksumFetchError),
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
    #[error("image_source")]
    UrlText(#[from] UrlTextError),
    #[error(transparent)]
    Drive(#[from] wire_config_drive::ConfigDriveError),
}

impl InvalidDeployment {
    /// The class of the response: a server that is sent too many requests now is no mistake of the client.
    const fn class(&self) -> Class {
        let is_busy = matches!(
            self,
            Self::ChecksumList(ChecksumFetchError::Download(why)) | Self::Fetch(ConfigDriveFetchError::Download(why))
                if why.is_busy()
        );
        if is_busy { Class::Unavailable } else { Class::Invalid }
    }
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
        let driver = record.intent.value.driver;
        if NodeSpec::executor(Some(node.spec()), driver, Phase::Deploy) == Executor::Fake {
            return Ok(None);
        }
        let refused = |why: InvalidDeployment| {
            let (uuid, class, why) = (record.node, why.class(), chain(&why));
            class.error(format!("Failed to validate deploy or power info for node {uuid}: {why}"))
        };
        let empty = ExtraFields::new();
        let info = InstanceInfo::of(node.spec().instance_info.as_ref().unwrap_or(&empty));
        // Also a rule of `Registry::accept`; here it precedes the downloads and the registration of the image.
        driver_info::check_disks(driver, node.spec())?;
        let image = match source(info).map_err(refused)? {
            Source::Registered(name) => {
                let found = self.app.registry.image_named(&name);
                let image = found.map_err(|error| refused(InvalidDeployment::Image(error)))?.value;
                description("", info, Some(image.encoding)).encoding().map_err(|error| refused(error.into()))?;
                image.id
            }
            Source::Url { url, checksum, encoding } => {
                let digest = match checksum {
                    Checksum::Digest(digest) => digest,
                    Checksum::List { url: list, algorithm } => {
                        let found = checksum_fetch::checksum(&self.outbound, &list, &url, algorithm.as_deref()).await;
                        found.map_err(|error| refused(error.into()))?
                    }
                };
                self.find_or_register_image(request, record.node, UrlImage { url, digest, encoding }).await?
            }
        };
        let stored = if drive.is_none() { self.stored_drive(record.node)? } else { None };
        let config_drive = match drive.or(stored.as_ref()) {
            None => None,
            Some(drive) => {
                let files = match drive {
                    ConfigDrive::Url(url) => {
                        let fetched = config_drive_fetch::config_drive(&self.outbound, url).await;
                        unpack(&fetched.map_err(|error| refused(error.into()))?)
                    }
                    ConfigDrive::Packed(text) => unpack(text),
                    ConfigDrive::Parts(parts) => Ok(assemble_files(node, parts)),
                };
                let files = files.map_err(refused)?;
                let sealed = self.app.registry.sealed_drive(&Place::config_drive(record.rack, record.node), &files);
                Some(sealed.map_err(|error| fault(&record.node.to_string(), &error))?)
            }
        };
        Ok(Some(Deployment { image, config_drive }))
    }

    /// Returns the config drive in the node's `instance_info`: of its last deployment, or set by a client.
    fn stored_drive(&self, node: NodeId) -> Result<Option<ConfigDrive>, Error> {
        let registry = &self.app.registry;
        let spec = registry.held(node).and_then(|held| held.spec).map(|read| read.value.spec);
        let Some(info) = spec.and_then(|spec| spec.instance_info) else { return Ok(None) };
        let place = format!("{node}/instance_info");
        let opened = open_value(&info, &place, InstanceInfo::CONFIG_DRIVE, &registry.sealer);
        let sealed = |source| fault(&node.to_string(), &scheduler_core::Error::Sealed { node, source });
        opened.map_err(sealed)?.map_or(Ok(None), |drive| ConfigDrive::stored(&drive))
    }

    /// Returns the image with this URL, digest and encoding. Registers it if there is none.
    async fn find_or_register_image(
        &self,
        request: &ApiRequest,
        node: NodeId,
        image: UrlImage,
    ) -> Result<ImageId, Error> {
        let UrlImage { url, digest, encoding } = image;
        let registry = &self.app.registry;
        let known = registry.view().list(&keyspace::key::images()).into_iter();
        if let Some(image) = known.into_iter().map(|(_, image)| image).find(|image| {
            let Image { url: theirs, digest: known, encoding: packed, .. } = &image.value;
            (theirs, known, packed) == (&url, &digest, &encoding)
        }) {
            return Ok(image.value.id);
        }
        let id = ImageId::new(uuid::Uuid::new_v4());
        let name = format!("{}-{id}", file_name(&url));
        let image = Image { id, name, url, digest, encoding, purpose: Purpose::Disk, unpacked_size: None };
        registry.create_image(&request.context(), &image).await.map_err(|error| fault(&node.to_string(), &error))?;
        Ok(id)
    }
}

/// What `instance_info` says about the format of an image.
fn description<'d>(url: &'d str, info: InstanceInfo<'d>, encoding: Option<Encoding>) -> Description<'d> {
    let (disk_format, container_format) = (info.image_disk_format(), info.image_container_format());
    Description { url, disk_format, container_format, encoding }
}

fn source(info: InstanceInfo<'_>) -> Result<Source, InvalidDeployment> {
    let Some(source) = info.image_source() else {
        return Err(InvalidDeployment::NoImageSource);
    };
    if !["http://", "https://", "file://"].iter().any(|scheme| source.starts_with(scheme)) {
        return Ok(Source::Registered(source.to_owned()));
    }
    let encoding = description(source, info, None).encoding()?;
    url_text::check(source)?;
    let (algorithm, value) = match (info.image_os_hash(), info.image_checksum()) {
        (Some((algorithm, value)), _) => (Some(algorithm), value),
        (None, Some(checksum)) => (None, checksum),
        (None, None) => return Err(InvalidDeployment::NoChecksum),
    };
    let checksum = if checksum::is_url(value) {
        Checksum::List { url: value.to_owned(), algorithm: algorithm.map(str::to_owned) }
    } else {
        Checksum::Digest(checksum::parse(algorithm, value)?)
    };
    Ok(Source::Url { url: source.to_owned(), checksum, encoding })
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
    use super::*;
    use crate::test_node::node;

    fn of(info: Value) -> Result<Source, String> {
        let fields = ExtraFields::from(info.as_object().cloned().unwrap());
        source(InstanceInfo::of(&fields)).map_err(|refused| refused.to_string())
    }

    #[test]
    fn an_image_is_named_by_its_record_or_by_url_and_digest() {
        let sha = "ab".repeat(32);
        assert_eq!(of(json!({"image_source": "debian-12"})), Ok(Source::Registered("debian-12".to_owned())));
        // A registered image says itself what it is.
        assert_eq!(of(json!({"image_source": "web.xz"})), Ok(Source::Registered("web.xz".to_owned())));
        let list = |algorithm: Option<&str>| {
            let (url, algorithm) = ("http://h/SHA256SUMS".to_owned(), algorithm.map(str::to_owned));
            Checksum::List { url, algorithm }
        };
        let digest = Checksum::Digest(format!("sha256:{sha}").parse().unwrap());
        for (more, source, checksum) in [
            (json!({"image_checksum": sha}), "Ironic", digest.clone()),
            (json!({"image_checksum": format!("{sha}\n")}), "a line end", digest.clone()),
            (json!({"image_checksum": format!("SHA256:{}", sha.to_uppercase())}), "capitals", digest.clone()),
            (json!({"image_os_hash_algo": "sha256", "image_os_hash_value": sha}), "Glance", digest.clone()),
            (json!({"image_os_hash_algo": "SHA-256", "image_os_hash_value": sha}), "FIPS 180-4", digest),
            (json!({"image_checksum": "http://h/SHA256SUMS"}), "Metal3, bifrost", list(None)),
            (
                json!({"image_os_hash_algo": "sha256", "image_os_hash_value": "http://h/SHA256SUMS"}),
                "Ironic 39",
                list(Some("sha256")),
            ),
        ] {
            let mut info = json!({"image_source": "http://h/i.raw"});
            info.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let url = "http://h/i.raw".to_owned();
            assert_eq!(of(info), Ok(Source::Url { url, checksum, encoding: Encoding::Plain }), "{source}");
        }
    }

    #[test]
    fn a_missing_or_weak_checksum_is_rejected_and_named() {
        assert!(of(json!({})).unwrap_err().contains("image_source"));
        assert!(of(json!({"image_source": "http://h/i"})).unwrap_err().contains("image_checksum"));
        let md5 = json!({"image_source": "http://h/i", "image_checksum": "d41d8cd98f00b204e9800998ecf8427e"});
        assert!(of(md5).unwrap_err().contains("MD5"));
    }

    #[test]
    fn what_cannot_be_written_to_a_disk_is_refused_with_the_request() {
        for (url, format, source, right) in [
            ("http://h/x.raw.gz?sha256=1", "raw", "a query", Ok(Encoding::Gzip)),
            ("http://h/X.RAW.GZ", "", "upper case", Ok(Encoding::Gzip)),
            ("http://h/x.qcow2", "qcow2", "Metal3, bifrost", Ok(Encoding::Qcow2)),
            ("http://h/x.qcow2", "", "without a disk format", Ok(Encoding::Qcow2)),
            ("http://h/x.img", "QCOW2", "upper case", Ok(Encoding::Qcow2)),
            ("http://h/x.raw.xz", "raw", "xz", Err("packed with xz")),
            ("http://h/x.raw.bz2", "", "bzip2", Err("packed with bzip2")),
            ("http://h/x.vmdk", "", "VMDK", Err("qemu-img convert -O raw")),
            ("http://h/x.img", "vhd", "VHD", Err("VHD")),
            ("http://h/x.qcow2", "raw", "a contradiction", Err("by its name it is a QCOW2 image")),
        ] {
            let info = json!({"image_source": url, "image_disk_format": format, "image_checksum": "ab".repeat(32)});
            match (of(info), right) {
                (Ok(Source::Url { encoding, .. }), Ok(right)) => assert_eq!(encoding, right, "{source}"),
                (Err(error), Err(right)) => assert!(error.contains(right), "{source}: {error}"),
                (got, _) => panic!("{source}: {got:?}"),
            }
        }
    }

    #[test]
    fn a_packed_config_drive_is_taken_in_base64_with_line_breaks() {
        let volume = wire_config_drive::volume(&BTreeMap::from([("a".to_owned(), vec![1])]), [7; 16], 512).unwrap();
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut packed, &volume).unwrap();
        let text = STANDARD.encode(packed.finish().unwrap());
        let lines = |end: &str| text.as_bytes().chunks(76).map(|line| String::from_utf8_lossy(line) + end).collect();
        for (text, source) in [
            (text.clone(), "RFC 4648"),
            (lines("\n"), "base64(1)"),
            (lines("\r\n"), "RFC 2045 §6.8"),
            (format!("{text}\n"), "a line end"),
            (format!("  {text}"), "indented"),
            (lines("\n  "), "a YAML block"),
        ] {
            assert!(unpack(&text).is_ok(), "{source}");
        }
        assert!(unpack(&text[..text.len() / 2 / 4 * 4]).is_err());
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
