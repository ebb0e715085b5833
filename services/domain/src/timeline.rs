//! Events of a boot, from the first DHCP packet to the first call of the deployed system, and their diagnosis.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{failure::Cause, time::Timestamp};

/// Maximum number of entries of a boot. Later ones are dropped, because a boot with so many is in a loop.
pub const MAX_ENTRIES: usize = 300;

/// Event of a boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Time.
    pub at: Timestamp,
    /// Replica that observed or served it.
    pub by: String,
    /// Kind of the event.
    pub mark: Mark,
    /// Subject of the event: a file, an address, a disk or a message.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub subject: String,
    /// Progress, if the event has any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<Amount>,
}

/// Progress of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amount {
    /// Bytes transferred.
    pub done: u64,
    /// Total bytes, or zero if unknown.
    pub total: u64,
}

macro_rules! marks {
    ($($(#[$doc:meta])* $mark:ident, $word:literal, $words:literal;)*) => {
        /// Kind of an event of a boot.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Mark { $($(#[$doc])* #[serde(rename = $word)] $mark,)* }
        impl Mark {
            /// All marks, in the order of a boot.
            pub const ALL: &'static [Self] = &[$(Self::$mark,)*];
            /// Returns the stable name for programs.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $(Self::$mark => $word,)* }
            }
            /// Returns the text for a timeline.
            #[must_use]
            pub const fn words(self) -> &'static str {
                match self { $(Self::$mark => $words,)* }
            }
        }
    };
}

marks! {
    /// The machine was observed with power off.
    PowerOff, "POWER_OFF", "power off";
    /// The BMC accepted the command to power on.
    PowerOn, "POWER_ON", "power on";
    /// The firmware or iPXE requested an address.
    DhcpDiscover, "DHCP_DISCOVER", "asked for an address";
    /// An address was offered.
    DhcpOffer, "DHCP_OFFER", "offered";
    /// The offered address was taken.
    DhcpAck, "DHCP_ACK", "took the address";
    /// Another address than the reserved one was requested.
    DhcpNak, "DHCP_NAK", "refused another address";
    /// A boot loader was requested by TFTP.
    LoaderAsked, "LOADER_ASKED", "asked for the loader";
    /// The boot loader was delivered.
    LoaderSent, "LOADER_SENT", "loader delivered";
    /// The transfer of the boot loader failed.
    LoaderLost, "LOADER_LOST", "loader's transfer died";
    /// iPXE loaded its script.
    ScriptSent, "SCRIPT_SENT", "script delivered";
    /// The kernel was delivered.
    KernelSent, "KERNEL_SENT", "kernel delivered";
    /// The ramdisk was delivered.
    RamdiskSent, "RAMDISK_SENT", "ramdisk delivered";
    /// The boot token was delivered.
    TokenSent, "TOKEN_SENT", "boot token delivered";
    /// A boot file is missing.
    FileMissing, "FILE_MISSING", "boot file missing";
    /// The transfer of a boot file failed.
    FileLost, "FILE_LOST", "boot file's transfer died";
    /// The agent authenticated itself.
    AgentHello, "AGENT_HELLO", "agent called";
    /// A machine that is not bound to the token presented it.
    AgentRefused, "AGENT_REFUSED", "agent refused";
    /// The agent reported the hardware.
    AgentReport, "AGENT_REPORT", "hardware reported";
    /// The image is being written.
    ImageProgress, "IMAGE_PROGRESS", "writing the image";
    /// The image was written and verified.
    ImageWritten, "IMAGE_WRITTEN", "image written and verified";
    /// The config drive was written.
    ConfigDriveWritten, "CONFIG_DRIVE_WRITTEN", "config drive written";
    /// The disks were wiped.
    Wiped, "WIPED", "disks wiped";
    /// The agent's report completed its work.
    Inspected, "INSPECTED", "machine inspected";
    /// The agent reported that it cannot continue.
    AgentFailed, "AGENT_FAILED", "agent failed";
    /// The deployed system called.
    FirstLife, "FIRST_LIFE", "first sign of life";
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.mark.words())?;
        if !self.subject.is_empty() {
            write!(f, ": {}", self.subject)?;
        }
        match self.amount {
            Some(Amount { done, total }) if total > 0 => write!(f, " ({} %)", done.saturating_mul(100) / total),
            Some(Amount { done, .. }) => write!(f, " ({done} octets)"),
            None => Ok(()),
        }
    }
}

/// Diagnoses where a boot stopped and why, from its events since the instruction to boot.
///
/// Returns `None` if nothing is wrong: the agent or the deployed system called.
#[must_use]
pub fn diagnose(entries: &[Entry]) -> Option<(Cause, String)> {
    let last = |mark| entries.iter().rev().find(|entry| entry.mark == mark);
    let has = |mark| last(mark).is_some();
    if let Some(refused) = last(Mark::AgentRefused) {
        return Some((Cause::TwoMachines, format!("the agent was refused: {}", refused.subject)));
    }
    if has(Mark::FirstLife) || has(Mark::AgentHello) {
        return None;
    }
    if let Some(missing) = last(Mark::FileMissing) {
        return Some((Cause::RamdiskMissing, format!("the boot file {} is not to be had", missing.subject)));
    }
    if has(Mark::RamdiskSent) {
        return Some((Cause::AgentMute, "kernel and ramdisk were delivered, and the agent never called".to_owned()));
    }
    if let Some(lost) = last(Mark::FileLost) {
        return Some((Cause::HttpBlocked, format!("the transfer died: {lost}")));
    }
    if has(Mark::KernelSent) || has(Mark::ScriptSent) {
        return Some((Cause::HttpBlocked, "iPXE took its script and stopped before it had its ramdisk".to_owned()));
    }
    if has(Mark::LoaderSent) {
        return Some((Cause::HttpBlocked, "the loader was delivered and fetched no script over HTTP".to_owned()));
    }
    if let Some(asked) = last(Mark::LoaderLost).or_else(|| last(Mark::LoaderAsked)) {
        return Some((Cause::TftpBlocked, format!("the loader did not arrive whole by TFTP: {asked}")));
    }
    if let Some(ack) = last(Mark::DhcpAck) {
        let (cause, next) = if ack.subject.contains("iPXE") {
            (Cause::HttpBlocked, "iPXE has its address and fetched no script over HTTP")
        } else {
            (Cause::TftpBlocked, "the firmware has its address and asked for no loader by TFTP")
        };
        return Some((cause, next.to_owned()));
    }
    if has(Mark::DhcpDiscover) {
        return Some((
            Cause::DhcpNotTaken,
            "the machine asked for an address and did not take the one offered".to_owned(),
        ));
    }
    has(Mark::PowerOn).then(|| (Cause::NoDhcp, "the machine was switched on and asked for no address".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boot(marks: &[(Mark, &str)]) -> Vec<Entry> {
        marks
            .iter()
            .map(|(mark, subject)| Entry {
                at: Timestamp::from_millis(0),
                by: "pxe-service".to_owned(),
                mark: *mark,
                subject: (*subject).to_owned(),
                amount: None,
            })
            .collect()
    }

    fn cause(marks: &[(Mark, &str)]) -> Option<Cause> {
        diagnose(&boot(marks)).map(|(cause, _)| cause)
    }

    #[test]
    fn each_event_at_which_a_boot_can_stop_has_its_own_cause() {
        let mut seen = vec![(Mark::PowerOn, "")];
        assert_eq!(cause(&seen), Some(Cause::NoDhcp));
        seen.push((Mark::DhcpDiscover, "PXE (BIOS)"));
        assert_eq!(cause(&seen), Some(Cause::DhcpNotTaken));
        seen.push((Mark::DhcpAck, "10.0.0.9 PXE (BIOS)"));
        assert_eq!(cause(&seen), Some(Cause::TftpBlocked));
        seen.push((Mark::LoaderAsked, "undionly.kpxe"));
        assert_eq!(cause(&seen), Some(Cause::TftpBlocked));
        seen.push((Mark::LoaderSent, "undionly.kpxe"));
        assert_eq!(cause(&seen), Some(Cause::HttpBlocked));
        seen.push((Mark::ScriptSent, ""));
        assert_eq!(cause(&seen), Some(Cause::HttpBlocked));
        seen.push((Mark::RamdiskSent, ""));
        assert_eq!(cause(&seen), Some(Cause::AgentMute));
        seen.push((Mark::AgentHello, ""));
        assert_eq!(cause(&seen), None);
        seen.push((Mark::AgentRefused, "two machines asked as this node"));
        assert_eq!(cause(&seen), Some(Cause::TwoMachines));
    }

    #[test]
    fn an_entry_reads_as_a_sentence() {
        let entry = Entry {
            at: Timestamp::from_millis(0),
            by: String::new(),
            mark: Mark::ImageProgress,
            subject: "debian to vda".to_owned(),
            amount: Some(Amount { done: 30, total: 120 }),
        };
        assert_eq!(entry.to_string(), "writing the image: debian to vda (25 %)");
    }
}
