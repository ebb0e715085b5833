//! What is wrong with a machine, on purpose. Simulated hardware is bad hardware: each of these was met in a data centre.

/// Everything that is wrong with one machine. May be changed while it runs; a boot looks when it comes there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// With its BMC.
    pub bmc: Bmc,
    /// With its firmware or network.
    pub boot: Boot,
    /// With its agent.
    pub agent: Agent,
}

/// What is wrong with a BMC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bmc {
    /// Nothing.
    #[default]
    Well,
    /// It answers to nothing.
    Deaf,
    /// It takes seconds over each command that changes its machine.
    Slow,
    /// It closes nobody's session but that of who asks. Seen when it starts, and when its password is changed.
    ClosesOwnAlone,
}

/// What is wrong with a boot from the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Boot {
    /// Nothing.
    #[default]
    Well,
    /// The firmware asks for no address: the cable is out, or the option is off.
    NoDhcp,
    /// It asks and takes no offer.
    IgnoresOffers,
    /// It asks for its loader's size and then takes this many blocks of it, and no more.
    TftpSilentAfter(u32),
    /// It takes its script, and nothing that the script names.
    StopsAfterScript,
    /// Its self-test takes seconds, as a real one takes minutes.
    SlowSelfTest,
    /// What was written to its disk does not come up.
    DeadSystem,
}

/// What is wrong with an agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Agent {
    /// Nothing.
    #[default]
    Well,
    /// The kernel does not come up with it.
    NeverStarts,
    /// It is gone as soon as it has touched a disk.
    DiesAtWork,
    /// Its connection stands and it says nothing any more, as soon as it has touched a disk.
    MuteAtWork,
    /// As soon as it has touched a disk, a second machine calls with the same boot token.
    CalledByTwo,
}
