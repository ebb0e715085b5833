//! A BMC session of one process: requests, retransmissions, and the permit before each datagram that changes something.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use domain::{id::NodeId, power::Power};
use mesh::Permit;
use tokio::sync::mpsc;

use super::{
    bmc::{Command, Datagram, Reply, Request},
    fault::Point,
    process::Control,
    rules::Mutant,
};

/// Maximum number of times that a request is sent before the BMC counts as unresponsive.
const ATTEMPTS: usize = 4;

/// Why a request failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BmcError {
    Silent,
    NoFreeSession,
    NotPermitted,
    /// A command was sent, and not answered.
    Unknown,
}

pub(crate) struct BmcSession {
    control: Arc<Control>,
    node: NodeId,
    id: u32,
    numbers: AtomicU32,
}

impl BmcSession {
    pub(crate) async fn open(control: &Arc<Control>, node: NodeId) -> Result<Self, BmcError> {
        control.point(Point::BeforeLogin).await;
        let mut session = Self { control: Arc::clone(control), node, id: 0, numbers: AtomicU32::new(0) };
        let client = control.shared.sim.chance.draw();
        match session.request(Request::Login(client), None, ATTEMPTS).await? {
            Reply::Session(id) => session.id = id,
            Reply::NoFreeSession | Reply::Closed | Reply::CannotClose | Reply::Power(_) | Reply::Done => {
                return Err(BmcError::NoFreeSession);
            }
        }
        Ok(session)
    }

    pub(crate) const fn id(&self) -> u32 {
        self.id
    }

    pub(crate) async fn power(&self) -> Result<Power, BmcError> {
        match self.request(Request::Read, None, ATTEMPTS).await? {
            Reply::Power(power) => Ok(power),
            Reply::Session(_) | Reply::NoFreeSession | Reply::Closed | Reply::CannotClose | Reply::Done => {
                Err(BmcError::Silent)
            }
        }
    }

    /// Closes a session. Returns whether the BMC confirmed it.
    pub(crate) async fn close(&self, session: u32) -> Result<bool, BmcError> {
        Ok(self.request(Request::Close(session), None, ATTEMPTS).await? == Reply::Closed)
    }

    pub(crate) async fn command(&self, command: Command, permit: &Permit) -> Result<(), BmcError> {
        let attempts = if command == Command::Reset { 1 } else { ATTEMPTS };
        self.request(Request::Command(command), Some(permit), attempts).await.map(drop)
    }

    /// Sends a request, and repeats it while no answer arrives.
    async fn request(&self, request: Request, permit: Option<&Permit>, attempts: usize) -> Result<Reply, BmcError> {
        let (control, shared) = (&self.control, &self.control.shared);
        let (sender, mut replies) = mpsc::unbounded_channel();
        for attempt in 0..attempts {
            if let Some(permit) = permit {
                self.check(permit, attempt).await?;
                control.trace(|| format!("sends {request:?} to {} in {:08x}", self.node, self.id));
            }
            let number = self.numbers.fetch_add(1, Ordering::Relaxed);
            shared.bmcs.send(self.node, Datagram { session: self.id, number, request }, &sender);
            if permit.is_some() {
                control.point(Point::AfterSend).await;
            }
            let reply = tokio::select! {
                biased;
                reply = replies.recv() => reply,
                () = control.sleep(shared.answer_timeout) => None,
            };
            if let Some(reply) = reply {
                if permit.is_some() {
                    control.point(Point::BeforeOutcome).await;
                }
                return Ok(reply);
            }
        }
        Err(if permit.is_some() { BmcError::Unknown } else { BmcError::Silent })
    }

    /// Asks the permit before a datagram.
    async fn check(&self, permit: &Permit, attempt: usize) -> Result<(), BmcError> {
        let (control, shared) = (&self.control, &self.control.shared);
        let chance = &shared.sim.chance;
        if chance.percent(shared.sluggish) {
            control.sleep(chance.millis(1, 950)).await;
        }
        control.point(if attempt == 0 { Point::BeforeSend } else { Point::BeforeRepeat }).await;
        let is_unchecked = attempt > 0 && shared.rules.breaks(Mutant::FreeRepeats);
        if !is_unchecked && !permit.allows(self.id) {
            return Err(if attempt > 0 { BmcError::Unknown } else { BmcError::NotPermitted });
        }
        // A pause here is the remaining risk (OWNERSHIP.md). It is harmless if sessions are closed.
        if shared.all_close {
            control.point(Point::Permitted).await;
        }
        Ok(())
    }
}
