//! Indicators of a node. Only `fake-hardware` has some, the same as in Ironic.

use serde_json::json;
use wire_ironic::{
    call,
    error::{Class, Error, text},
    links,
};

use super::{ApiRequest, RestApi, nodes::one, response::ApiResponse};

/// Indicators: component, name, whether it is read-only, and its states.
const INDICATORS: &[(&str, &str, bool, &[&str])] =
    &[("chassis", "led-0", true, &["off", "on"]), ("system", "led", false, &["blinking", "off", "on"])];

impl RestApi {
    /// Lists, shows or sets indicators. `rest` is the name of one, such as `led@system`, or empty for all.
    pub(super) fn indicators(&self, request: &ApiRequest, ident: &str, rest: &[&str]) -> Result<ApiResponse, Error> {
        let node = self.node(request, ident)?;
        let Some(unique) = rest.first() else {
            self.check_is_fake(request, ident, "get_supported_indicators")?;
            let lamps = INDICATORS.iter().map(|(part, name, is_fixed, states)| {
                let unique = format!("{name}@{part}");
                let path = format!("nodes/{ident}/management/indicators/{unique}");
                json!({
                    "name": unique, "component": part, "readonly": is_fixed, "states": states,
                    "links": links::resource(&request.base, &path),
                })
            });
            return Ok(ApiResponse::ok(one("indicators", lamps.collect())));
        };
        if request.method == "PUT" {
            call::indicator(&request.arguments()?)?;
        }
        let malformed = || Class::Invalid.error(format!("Malformed indicator name \"{unique}\""));
        let (name, part) = unique.split_once('@').ok_or_else(malformed)?;
        if request.method == "PUT" {
            // A read-only indicator cannot be set.
            return Err(text::unsupported(&node.intent.driver.to_string(), "set_indicator_state", Class::Invalid));
        }
        self.check_is_fake(request, ident, "get_indicator_state")?;
        let lamps = INDICATORS.iter().filter(|(of, ..)| *of == part);
        let names: Vec<&str> = lamps.map(|(_, name, ..)| *name).collect();
        match names.as_slice() {
            [] => Err(Class::Invalid.error(format!("Invalid component {part} specified."))),
            names if !names.contains(&name) => {
                Err(Class::Invalid.error(format!("Invalid indicator {name} specified.")))
            }
            _ => Ok(ApiResponse::ok(json!({"state": "on"}))),
        }
    }
}
