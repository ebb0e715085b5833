//! The lamps of a node: those of `fake-hardware`, which are as Ironic's. Of other machines we know none yet.

use serde_json::json;
use wire_ironic::{
    call,
    error::{Class, Error, text},
    links,
};

use super::{Ask, Face, answer::Answer, below::driver, nodes::one};

/// The lamps: part, name, whether it can only be read, and what it can be.
const LAMPS: &[(&str, &str, bool, &[&str])] =
    &[("chassis", "led-0", true, &["off", "on"]), ("system", "led", false, &["blinking", "off", "on"])];

impl Face {
    /// `rest` is the name of one, `led@system`; empty: all.
    pub(super) fn indicators(&self, ask: &Ask, ident: &str, rest: &[&str]) -> Result<Answer, Error> {
        let node = self.node(ask, ident)?;
        let Some(unique) = rest.first() else {
            self.fake(ask, ident, "get_supported_indicators")?;
            let lamps = LAMPS.iter().map(|(part, name, is_fixed, states)| {
                let unique = format!("{name}@{part}");
                let path = format!("nodes/{ident}/management/indicators/{unique}");
                json!({
                    "name": unique, "component": part, "readonly": is_fixed, "states": states,
                    "links": links::resource(&ask.base, &path),
                })
            });
            return Ok(Answer::shows(one("indicators", lamps.collect())));
        };
        if ask.method == "PUT" {
            call::indicator(&ask.arguments()?)?;
        }
        let malformed = || Class::Invalid.says(format!("Malformed indicator name \"{unique}\""));
        let (name, part) = unique.split_once('@').ok_or_else(malformed)?;
        if ask.method == "PUT" {
            // A lamp of nobody's can not be switched.
            return Err(text::unsupported(&driver(&node).to_string(), "set_indicator_state", Class::Invalid));
        }
        self.fake(ask, ident, "get_indicator_state")?;
        let lamps = LAMPS.iter().filter(|(of, ..)| *of == part);
        let names: Vec<&str> = lamps.map(|(_, name, ..)| *name).collect();
        match names.as_slice() {
            [] => Err(Class::Invalid.says(format!("Invalid component {part} specified."))),
            names if !names.contains(&name) => Err(Class::Invalid.says(format!("Invalid indicator {name} specified."))),
            _ => Ok(Answer::shows(json!({"state": "on"}))),
        }
    }
}
