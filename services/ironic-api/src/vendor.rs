//! Vendor passthru. `fake-hardware` has Ironic's four test methods. The methods of `ipmitool` are listed, and calls of them
//! are refused with the reason.

use domain::driver::Interface;
use serde_json::{Map, Value, json};
use wire_ironic::error::{Class, Error};

use super::{ApiRequest, RestApi, response::ApiResponse, validate};

/// Method of a vendor interface.
struct Method {
    name: &'static str,
    action: Action,
    description: &'static str,
    is_awaited: bool,
    is_exclusive: bool,
}

/// What a method does.
#[derive(Clone, Copy)]
enum Action {
    /// Accepts any arguments.
    Nothing,
    /// Returns whether the argument `bar` has this value.
    Compare(&'static str),
    /// Needs this argument, and is refused for this reason.
    Refused { argument: &'static str, why: &'static str },
}

static FAKE: &[Method] = &[
    Method {
        name: "second_method",
        action: Action::Compare("kazoo"),
        description: "Test if the value of bar is kazoo",
        is_awaited: false,
        is_exclusive: true,
    },
    Method {
        name: "third_method_sync",
        action: Action::Compare("meow"),
        description: "Test if the value of bar is meow",
        is_awaited: true,
        is_exclusive: true,
    },
    Method {
        name: "fourth_method_shared_lock",
        action: Action::Compare("woof"),
        description: "Test if the value of bar is woof",
        is_awaited: false,
        is_exclusive: false,
    },
    Method {
        name: "log_passthrough",
        action: Action::Nothing,
        description: "Test pass-through to wait.",
        is_awaited: false,
        is_exclusive: true,
    },
];

static IPMITOOL: &[Method] = &[
    Method {
        name: "bmc_reset",
        action: Action::Refused {
            argument: "warm",
            why: "this service does not reset BMCs; use the BMC's own tools, and then read the node's power again",
        },
        description: "Reset the BMC. Required argument: 'warm' (Boolean) - for warm (True) or cold (False) reset.",
        is_awaited: false,
        is_exclusive: true,
    },
    Method {
        name: "send_raw",
        action: Action::Refused {
            argument: "raw_bytes",
            why: "this service does not send raw commands, because it could not tell what they change; use ipmitool",
        },
        description: "Send raw bytes to the BMC. Required argument: 'raw_bytes' - a string of raw bytes (e.g. '0x00 \
                      0x01').",
        is_awaited: false,
        is_exclusive: true,
    },
];

/// Methods of an implementation of the vendor interface.
fn methods_of(implementation: &str) -> &'static [Method] {
    match implementation {
        "fake" => FAKE,
        "ipmitool" => IPMITOOL,
        _ => &[],
    }
}

impl RestApi {
    pub(super) fn vendor(&self, request: &ApiRequest, ident: &str, name: &str) -> Result<ApiResponse, Error> {
        let node = self.node(request, ident)?;
        let implementation = node.interface(Interface::Vendor).unwrap_or_default();
        let methods = methods_of(implementation);
        if name == "methods" {
            return Ok(ApiResponse::ok(shown(methods)));
        }
        let missing = || Class::Invalid.error(format!("No handler for method {name}"));
        let method = methods.iter().find(|method| method.name == name).ok_or_else(missing)?;
        if request.method != "POST" {
            let refusal = format!("The method {name} does not support HTTP {}", request.method);
            return Err(Class::Invalid.error(refusal));
        }
        let arguments = request.arguments()?;
        if implementation == "ipmitool" {
            validate::interface(&node, Interface::Management)?;
        }
        method.call(&arguments)
    }
}

impl Method {
    fn call(&self, arguments: &Map<String, Value>) -> Result<ApiResponse, Error> {
        let name = self.name;
        let passed = |argument: &str| {
            let missing = || Class::Invalid.error(format!("Parameter '{argument}' not passed to method '{name}'."));
            let value = arguments.get(argument).filter(|value| !value.is_null() && **value != json!(""));
            value.ok_or_else(missing)
        };
        let is_equal = match self.action {
            Action::Nothing => true,
            Action::Compare(wanted) => passed("bar")? == wanted,
            Action::Refused { argument, why } => {
                passed(argument)?;
                return Err(Class::Invalid.error(format!("The method {name} is refused: {why}")));
            }
        };
        if self.is_awaited {
            return Ok(ApiResponse::ok(Value::Bool(is_equal)));
        }
        Ok(ApiResponse::accepted(None))
    }
}

fn shown(methods: &[Method]) -> Value {
    let one = |method: &Method| {
        let value = json!({
            "http_methods": ["POST"], "async": !method.is_awaited, "description": method.description,
            "attach": false, "require_exclusive_lock": method.is_exclusive,
        });
        (method.name.to_owned(), value)
    };
    Value::Object(methods.iter().map(one).collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Recorded from a real Ironic 39.0.0; the last four are refused here.
    #[test]
    fn a_method_answers_as_that_of_a_real_ironic_or_is_refused_with_the_reason() {
        for (of, name, arguments, status, text) in [
            ("fake", "second_method", json!({"bar": "kazoo"}), 202, ""),
            ("fake", "second_method", json!({"bar": "x"}), 202, ""),
            ("fake", "second_method", json!({}), 400, "Parameter 'bar' not passed to method 'second_method'."),
            ("fake", "third_method_sync", json!({"bar": "meow"}), 200, ""),
            ("fake", "third_method_sync", json!({"bar": ""}), 400, "Parameter 'bar' not passed"),
            ("fake", "fourth_method_shared_lock", json!({"bar": "woof"}), 202, ""),
            ("fake", "log_passthrough", json!({}), 202, ""),
            ("fake", "log_passthrough", json!({"a": 1}), 202, ""),
            ("ipmitool", "bmc_reset", json!({"warm": true}), 400, "does not reset BMCs"),
            ("ipmitool", "bmc_reset", json!({}), 400, "Parameter 'warm' not passed"),
            ("ipmitool", "send_raw", json!({"raw_bytes": "0x00 0x01"}), 400, "does not send raw commands"),
            ("ipmitool", "send_raw", json!({}), 400, "Parameter 'raw_bytes' not passed"),
        ] {
            let method = methods_of(of).iter().find(|method| method.name == name).unwrap();
            match method.call(arguments.as_object().unwrap()) {
                Ok(response) => assert_eq!(response.status(), status, "{name} {arguments}"),
                Err(error) => {
                    assert_eq!(error.status, status, "{name} {arguments}");
                    assert!(error.text.contains(text) && !text.is_empty(), "{name} {arguments}: {}", error.text);
                }
            }
        }
        assert!(methods_of("fake").iter().all(|method| method.name != "trigger_servicewait"));
        assert!(methods_of("no-vendor").is_empty());
    }
}
