//! What the stock agent asks. No node is worked on by one yet: what it says is read and checked, and it is told the
//! truth, that nothing waits for it.

use wire_ironic::{
    agent::{Heartbeat, Lookup, Report},
    error::{Class, Error, text},
};

use super::{Ask, Face, answer::Answer};

impl Face {
    pub(super) fn agents(&self, ask: &Ask, steps: &[&str]) -> Result<Answer, Error> {
        match steps {
            ["lookup"] => {
                Lookup::read(ask.version, &ask.pairs)?;
                Err(text::resource_not_found())
            }
            ["heartbeat", ident] => {
                Heartbeat::read(ask.version, &ask.arguments()?, None)?;
                self.find(ident).ok_or_else(|| text::not_found("Node", ident))?;
                // Nobody was given one.
                Err(Class::Invalid.says("Invalid or missing agent token received."))
            }
            _ => {
                let body = ask.body.as_object().cloned().unwrap_or_default();
                Report::read(ask.version, ask.parameter("node_uuid"), body)?;
                Err(text::resource_not_found())
            }
        }
    }
}
