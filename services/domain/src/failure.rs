//! Causes of failures, with a text for operators and a stable code for programs.

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

macro_rules! causes {
    ($($(#[$doc:meta])* $cause:ident, $word:literal, $next:literal;)*) => {
        /// Cause of a failure. Each has its own next step.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Cause { $($(#[$doc])* #[serde(rename = $word)] $cause,)* }

        impl Cause {
            /// Every cause, for tables and tests.
            pub const ALL: &'static [Self] = &[$(Self::$cause,)*];

            /// Returns the stable code for programs.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $(Self::$cause => $word,)* }
            }

            /// Returns what the operator should do about it.
            #[must_use]
            pub const fn next_step(self) -> &'static str {
                match self { $(Self::$cause => $next,)* }
            }
        }
    };
}

causes! {
    /// The BMC does not answer.
    BmcSilent, "BMC_SILENT", "check that the BMC has power and network and that its address is right (ironmesh node show), then repeat the command";
    /// The BMC rejected the user or the password.
    BmcPassword, "BMC_PASSWORD", "set the right credentials with: ironmesh node set NODE --bmc-user … --bmc-password-file …, then repeat the command";
    /// The BMC's user may not do what is needed.
    BmcPrivilege, "BMC_PRIVILEGE", "give the BMC's user the privilege at the BMC, or set driver_info/ipmi_priv_level to one that it has, then repeat the command";
    /// The BMC has no free session.
    BmcNoSession, "BMC_NO_SESSION", "close stale sessions at the BMC (ipmitool session info all), or reset the BMC, then repeat the command";
    /// The BMC rejected the request.
    BmcRefused, "BMC_REFUSED", "look at the BMC's own log for why it refused, then repeat the command";
    /// The machine did not change its power although the BMC accepted the command.
    PowerStuck, "POWER_STUCK", "look at the machine: power supply, front panel lock; then repeat the command";
    /// The machine lost power during an operation.
    PowerLost, "POWER_LOST", "find out what switched it off (ironmesh node timeline), then repeat the command";
    /// No DHCP packet of the machine was received.
    NoDhcp, "NO_DHCP", "check the cable, the switch port's VLAN and that the port's MAC is right (ironmesh node show), and that the firmware may boot from the network";
    /// The machine did not take the DHCP offer.
    DhcpNotTaken, "DHCP_NOT_TAKEN", "look for a second DHCP server on the segment, and for a switch that drops broadcasts";
    /// The machine had an address but loaded no boot loader.
    TftpBlocked, "TFTP_BLOCKED", "check that UDP port 69 and the answers from high ports pass between the machine and the pxe-service";
    /// The boot loader ran but loaded nothing over HTTP.
    HttpBlocked, "HTTP_BLOCKED", "check that the pxe-service's HTTP port passes between the machine and the pxe-service";
    /// A boot file is missing or has the wrong content.
    RamdiskMissing, "RAMDISK_MISSING", "register the rack's kernel and ramdisk again: ironmesh image create …, ironmesh rack set RACK --kernel … --ramdisk …";
    /// Kernel and ramdisk were loaded, but the agent never called.
    AgentMute, "AGENT_MUTE", "look at the machine's console: did the kernel start, does it know the NIC, does the agent reach the inventory-service?";
    /// The node's and the rack's kernel arguments cannot be used together.
    KernelArguments, "KERNEL_ARGUMENTS", "shorten the node's kernel_append_params or the rack's arguments (ironmesh rack set RACK --kernel-arguments …), then repeat the command";
    /// The agent called and then stopped calling.
    AgentLost, "AGENT_LOST", "look at the machine's console for a crash of the agent or the kernel; check the link";
    /// The agent failed with an error.
    AgentCrashed, "AGENT_CRASHED", "look at the machine's console and the agent's last words in ironmesh node timeline";
    /// A requested step is not supported by anything that could execute it.
    UnknownStep, "UNKNOWN_STEP", "see which steps the node's driver has, and repeat the command without this one";
    /// The agent called but did not report the hardware.
    NoReport, "NO_REPORT", "look at the machine's console for why the agent does not report; register the ramdisk of this release where the rack has an older one";
    /// Two machines presented the same boot token.
    TwoMachines, "TWO_MACHINES", "find the second machine that boots with this node's MAC; nothing was written";
    /// The content of the image does not match its digest.
    ImageDigest, "IMAGE_DIGEST", "register the image with the right digest, or repair the file at its URL";
    /// The image cannot be downloaded from its URL.
    ImageUnreachable, "IMAGE_UNREACHABLE", "check that the image's URL answers from the storage-service, then deploy again";
    /// The rack's image cache has no room, or its disk reports an error.
    ImageCache, "IMAGE_CACHE", "look at the disk and the [storage] settings of the rack's storage-service, as the text says, then repeat the command";
    /// The image was still being downloaded or converted when its time was over.
    ImageSlow, "IMAGE_SLOW", "repeat the command: the rack's storage-service goes on meanwhile (see its log); give large images longer with scheduler.prepare";
    /// The image does not fit on the disk.
    ImageTooLarge, "IMAGE_TOO_LARGE", "choose a larger disk or a smaller image";
    /// The image cannot be decompressed.
    ImageCorrupt, "IMAGE_CORRUPT", "build the image again; its packing is damaged though its digest is right";
    /// The file is not of the format that its image is registered with, or cannot be written to a disk.
    ImageFormat, "IMAGE_FORMAT", "register the image as what it is, or convert it with: qemu-img convert -O raw";
    /// The machine has no suitable disk.
    NoDisk, "NO_DISK", "check the disk and its controller; the ramdisk may lack its driver (ironmesh node show lists what was found)";
    /// The disk reports errors.
    DiskError, "DISK_ERROR", "replace the disk; see the agent's words for its name and serial number";
    /// The storage-service stopped responding during a transfer.
    ImageServerGone, "IMAGE_SERVER_GONE", "check the rack's storage-service (ironmesh rack show), then deploy again";
    /// The machine booted from its disk, and its system did not call in time.
    NoLife, "NO_LIFE", "look at the machine's console: boot loader, kernel, network of the deployed system";
    /// A user aborted the operation.
    Aborted, "ABORTED", "nothing to repair: repeat the command when you want it";
    /// A deadline passed without a known cause.
    Deadline, "DEADLINE", "look at ironmesh node timeline for the last thing that was seen";
}

/// Failure of an operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Cause.
    pub cause: Cause,
    /// Description of what happened, and to what.
    pub text: String,
    /// Time of the failure.
    pub at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_names_a_next_step() {
        for cause in Cause::ALL {
            assert!(cause.next_step().len() > 20, "{cause:?}");
        }
    }
}
