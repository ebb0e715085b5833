//! What users have the services request: internal servers, files, and places that a redirect leads to.

use super::Attack;

/// The only address of loopback that users may name in this rack.
pub const ALLOWED: &str = "127.0.0.9";
/// Words of a refused destination.
pub const REFUSED: &str = "is not an allowed destination";

/// Addresses of the servers that URLs of the tables name: `{inside}` stands for the first, and so on.
#[derive(Debug, Clone)]
pub struct Places {
    /// An internal server on loopback, as `http://host:port`.
    pub inside: String,
    /// Its port.
    pub port: String,
    /// An allowed server that redirects to the internal one.
    pub redirect: String,
    /// An allowed server that redirects to a file.
    pub downgrade: String,
    /// The REST API.
    pub rest: String,
    /// The listener of agents.
    pub agents: String,
    /// Address of a BMC.
    pub bmc: String,
    /// The folder from which images may be read.
    pub folder: String,
}

impl Places {
    /// A URL of the tables with the addresses in it.
    #[must_use]
    pub fn fill(&self, url: &str) -> String {
        let Self { inside, port, redirect, downgrade, rest, agents, bmc, folder } = self;
        let names = [
            ("{inside}", inside),
            ("{port}", port),
            ("{redirect}", redirect),
            ("{downgrade}", downgrade),
            ("{rest}", rest),
            ("{agents}", agents),
            ("{bmc}", bmc),
            ("{folder}", folder),
        ];
        names.iter().fold(url.to_owned(), |url, (name, value)| url.replace(name, value))
    }
}

/// What the URL is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// A config drive.
    Drive,
    /// A receiver of webhooks.
    Webhook,
    /// An image to deploy.
    Image,
    /// Kernel and ramdisk.
    BootFile,
}

/// A URL, what it is given for, and the words with which it is refused.
#[derive(Debug, Clone, Copy)]
pub struct Named {
    /// What the URL is for.
    pub used: Use,
    /// The URL, with names of [`Places`].
    pub url: &'static str,
    /// Words of the refusal.
    pub words: &'static str,
}

const fn row(
    name: &'static str,
    source: &'static str,
    used: Use,
    url: &'static str,
    words: &'static str,
) -> Attack<Named> {
    Attack { name, source, how: Named { used, url, words } }
}

/// The attacks.
pub const TABLE: &[Attack<Named>] = &[
    row("A config drive is on loopback", "ISSUES-SEEN §6, CWE-918", Use::Drive, "{inside}/drive", REFUSED),
    row("A config drive is on localhost", "CWE-918", Use::Drive, "http://localhost:{port}/drive", REFUSED),
    row("A config drive's host is a number", "WHATWG URL §3.5", Use::Drive, "http://2130706433:{port}/drive", REFUSED),
    row("A config drive's host is octal", "WHATWG URL §3.5", Use::Drive, "http://0177.0.0.1:{port}/drive", REFUSED),
    row(
        "A config drive's host is a mapped address",
        "RFC 4291 §2.5.5.2",
        Use::Drive,
        "http://[::ffff:127.0.0.1]:{port}/drive",
        REFUSED,
    ),
    row(
        "A config drive's host is the unspecified address",
        "RFC 1122 §3.2.1.3",
        Use::Drive,
        "http://0.0.0.0:{port}/drive",
        REFUSED,
    ),
    row(
        "A config drive's user looks like its host",
        "RFC 3986 §7.6",
        Use::Drive,
        "http://127.0.0.9@127.0.0.1:{port}/drive",
        "",
    ),
    row("A config drive is our REST API", "ISSUES-SEEN §6", Use::Drive, "{rest}/v1/nodes", REFUSED),
    row(
        "A config drive is our cache of images",
        "ISSUES-SEEN §6",
        Use::Drive,
        "http://10.77.1.1:8081/files/sha256:0",
        REFUSED,
    ),
    row("A config drive is our listener of agents", "ISSUES-SEEN §6", Use::Drive, "{agents}/v1/lookup", REFUSED),
    row("A config drive finds a closed port", "CWE-203, port scan", Use::Drive, "http://127.0.0.1:1/drive", REFUSED),
    row("A config drive is on another machine", "issue 18 item 3", Use::Drive, "http://10.77.1.150/drive", REFUSED),
    row("A config drive is on a BMC", "issue 18 item 3", Use::Drive, "http://{bmc}/drive", REFUSED),
    row(
        "A config drive is a cloud's metadata",
        "CVE-2019-19921, IMDS",
        Use::Drive,
        "http://169.254.169.254/latest/user-data",
        REFUSED,
    ),
    row("A config drive redirects to loopback", "ISSUES-SEEN §6", Use::Drive, "{redirect}/drive", REFUSED),
    row(
        "A config drive redirects to a file",
        "RFC 9110 §15.4",
        Use::Drive,
        "{downgrade}/drive",
        "without a valid address",
    ),
    row("A config drive is a file", "CWE-73", Use::Drive, "file:///etc/passwd", "http://"),
    row("A webhook's receiver is on loopback", "ISSUES-SEEN §6", Use::Webhook, "{inside}/", REFUSED),
    row("A webhook's receiver is a cloud's metadata", "CWE-918", Use::Webhook, "http://169.254.169.254/", REFUSED),
    row(
        "A webhook's receiver redirects to loopback",
        "Standard Webhooks, SSRF",
        Use::Webhook,
        "{redirect}/",
        "redirects are not followed",
    ),
    row("An image is our REST API", "ISSUES-SEEN §6", Use::Image, "{rest}", REFUSED),
    row("An image is a cloud's metadata", "CWE-918", Use::Image, "http://169.254.169.254/latest/meta-data", REFUSED),
    row("An image redirects to loopback", "ISSUES-SEEN §6", Use::Image, "{redirect}/image.raw", REFUSED),
    row(
        "An image is a file of the system",
        "CVE-2024-44082",
        Use::Image,
        "file:///etc/passwd",
        "in no directory of storage.files_from",
    ),
    row(
        "An image asks whether a file exists",
        "CWE-203",
        Use::Image,
        "file:///etc/no-such-file",
        "in no directory of storage.files_from",
    ),
    row(
        "An image's path climbs out of its folder",
        "CWE-22",
        Use::Image,
        "file://{folder}/../mesh/client.toml",
        "in no directory of storage.files_from",
    ),
    row(
        "An image is a link to a file of the system",
        "CWE-59",
        Use::Image,
        "file://{folder}/link.raw",
        "symbolic link",
    ),
    row("An image is below a link to a folder", "CWE-59", Use::Image, "file://{folder}/etc/passwd", "symbolic link"),
    row("An image is a folder", "CWE-59", Use::Image, "file://{folder}/folder.raw", "not a regular file"),
    row(
        "A wrong checksum asks for the true one",
        "ISSUES-SEEN §6",
        Use::Image,
        "file://{folder}/other.raw",
        "does not have the registered digest",
    ),
    row("A boot file redirects to loopback", "ISSUES-SEEN §6", Use::BootFile, "{redirect}/kernel", REFUSED),
];
