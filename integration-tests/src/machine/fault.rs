//! Faults of a machine. Simulated hardware is bad hardware: each fault was observed in a data center.

pub use crate::bmc::fault::Bmc;

/// All faults of one machine. They can be changed while it runs; a boot reads each when it gets there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Fault of its BMC.
    pub bmc: Bmc,
    /// Fault of its firmware or network.
    pub boot: Boot,
    /// Fault of its agent.
    pub agent: Agent,
}

/// Fault of a network boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Boot {
    /// None.
    #[default]
    Well,
    /// The firmware requests no address: the cable is unplugged, or the option is off.
    NoDhcp,
    /// It requests an address and accepts no offer.
    IgnoresOffers,
    /// It requests its loader's size, downloads this many blocks of it, and then nothing more.
    TftpSilentAfter(u32),
    /// It downloads its script, and nothing that the script names.
    StopsAfterScript,
    /// Its self-test takes seconds, as a real one takes minutes.
    SlowSelfTest,
    /// The system on its disk does not start.
    DeadSystem,
}

/// Fault of an agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Agent {
    /// None.
    #[default]
    Well,
    /// The kernel does not start it.
    NeverStarts,
    /// It ends as soon as it has written to a disk.
    DiesAtWork,
    /// It stops sending as soon as it has written to a disk; its connection stays open.
    MuteAtWork,
    /// As soon as it has written to a disk, a second machine calls with the same boot token.
    CalledByTwo,
}
