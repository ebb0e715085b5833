//! Points of a deployment at which a service has something to do, as seen from outside.

use std::fmt;

use domain::service::Service;

/// A point of a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// The n-th write since the request to the node's key with this ending.
    Written(&'static str, usize),
    /// The n-th journal entry is stored and has no result.
    Journalled(usize),
    /// The BMC has carried out the n-th command that changes the machine, and has not answered.
    Unanswered(usize),
    /// The console has a line with these words.
    Said(&'static str),
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Written(key, number) => write!(f, "write {number} of {key}"),
            Self::Journalled(number) => write!(f, "journal entry {number}"),
            Self::Unanswered(number) => write!(f, "command {number} without its answer"),
            Self::Said(words) => write!(f, "the machine says {words:?}"),
        }
    }
}

const AGENT_CALLED: Point = Point::Written("/agent", 1);

/// Points of a deployment of a simulated machine.
#[must_use]
pub const fn points(service: Service) -> &'static [Point] {
    match service {
        Service::Power => &[
            Point::Written("/boot", 1),
            Point::Journalled(1),
            Point::Journalled(2),
            Point::Journalled(3),
            Point::Journalled(4),
            Point::Unanswered(1),
        ],
        Service::Pxe => &[
            Point::Written("/boot", 1),
            Point::Said("power on"),
            Point::Said("has 10.77.1."),
            Point::Said("loader"),
            Point::Said("script from"),
            Point::Said("vmlinuz from"),
        ],
        Service::Storage => {
            &[Point::Written("/boot", 1), Point::Said("vmlinuz from"), Point::Said("the agent starts"), AGENT_CALLED]
        }
        Service::Inventory => &[Point::Said("the agent starts"), AGENT_CALLED, Point::Written("/inventory", 1)],
        Service::Scheduler => SCHEDULER,
    }
}

/// Points of a scheduler's own writes, and of what it waits for; the same for machines of any kind.
const SCHEDULER: &[Point] = &[
    Point::Written("/node-operation/", 1),
    Point::Written("/life", 1),
    Point::Written("/boot", 1),
    Point::Written("/life", 2),
    Point::Written("/power", 1),
    AGENT_CALLED,
    Point::Written("/life", 3),
    Point::Written("/life", 4),
];

/// Points of a deployment with real firmware, with console lines of iPXE, Linux and our ramdisk. The machine is off.
/// Its commands are: boot device in five entries, on; and after the disk is written: off, boot device, on.
#[must_use]
pub const fn firmware_points(service: Service) -> &'static [Point] {
    match service {
        Service::Power => &[
            Point::Written("/boot", 1),
            Point::Journalled(1),
            Point::Journalled(4),
            Point::Journalled(6),
            Point::Journalled(7),
            Point::Unanswered(1),
            Point::Unanswered(2),
            Point::Unanswered(3),
            Point::Unanswered(5),
        ],
        Service::Pxe => &[
            Point::Written("/boot", 1),
            Point::Written("/power", 1),
            Point::Said("iPXE initialising devices"),
            Point::Said("Ironmesh: booting the agent"),
            Point::Said("/vmlinuz"),
            Point::Said("/initrd.img"),
        ],
        Service::Storage => &[
            Point::Written("/boot", 1),
            Point::Said("/vmlinuz"),
            Point::Said("/initrd.img"),
            Point::Said("ramdisk: kernel"),
            AGENT_CALLED,
        ],
        Service::Inventory => &[Point::Said("ramdisk: eth0 has"), AGENT_CALLED, Point::Written("/inventory", 1)],
        Service::Scheduler => SCHEDULER,
    }
}
