//! Vendor passthru. `fake-hardware` has Ironic's four test methods, and `ipmitool` the commands to the BMC.

use domain::{
    driver::Interface,
    generation::Generation,
    power::{BmcReset, PowerTarget},
    raw_command::{BmcRequest, RawCommand},
};
use keyspace::key;
use serde_json::{Map, Value, json};
use service_kit::clock;
use wire_ironic::{
    call,
    error::{Class, Error, text},
};

use super::{ApiRequest, RestApi, response::ApiResponse, states::bmc_fault, validate};
use scheduler_core::{node_view::NodeView, registry::Record};

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
    /// Makes a request to the BMC of the arguments.
    Bmc(fn(&Map<String, Value>) -> Result<BmcRequest, Error>),
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
        action: Action::Bmc(bmc_reset),
        description: "Reset the BMC. Required argument: 'warm' (Boolean) - for warm (True) or cold (False) reset.",
        is_awaited: false,
        is_exclusive: true,
    },
    Method {
        name: "send_raw",
        action: Action::Bmc(send_raw),
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
    pub(super) async fn vendor(&self, request: &ApiRequest, ident: &str, name: &str) -> Result<ApiResponse, Error> {
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
        match method.call(&request.arguments()?)? {
            Call::Answered(response) => Ok(response),
            Call::Bmc(to) => self.command_bmc(request, ident, &node, to).await,
        }
    }

    /// Stores a command for the node's BMC, which its power-service sends later. A failure becomes the node's `last_error`.
    async fn command_bmc(
        &self,
        request: &ApiRequest,
        ident: &str,
        node: &NodeView,
        to: BmcRequest,
    ) -> Result<ApiResponse, Error> {
        validate::interface(node, Interface::Power)?;
        let registry = &self.app.registry;
        let record = registry.record(node.rack, node.node).ok_or_else(|| text::not_found("Node", ident))?;
        self.check_since(request, ident, node, &record)?;
        self.accept(request, ident, node, &record, to).await?;
        Ok(ApiResponse::accepted(None))
    }

    /// Stores a request to the node's BMC, and returns its generation. A stock client repeats a request that a 503 answers, so
    /// a command that is stored, or may be, is not answered so: it would be sent twice.
    pub(super) async fn accept(
        &self,
        request: &ApiRequest,
        ident: &str,
        node: &NodeView,
        record: &Record,
        to: BmcRequest,
    ) -> Result<Generation, Error> {
        let to = to.accepted(clock::now());
        let (target, generation) = (to.target, record.life.value.generation.next());
        let Err(error) = self.app.registry.accept_power(&request.context(), record, to).await else {
            return Ok(generation);
        };
        match Stored::of(&error) {
            Stored::Yes => Ok(generation),
            Stored::No => Err(bmc_fault(node, ident, &error)),
            Stored::Unknown if self.is_stored(record, generation, target).await => Ok(generation),
            Stored::Unknown => Err(Class::Server.error(format!(
                "The request to the BMC of node {} may have been accepted; see its last_error before repeating it",
                node.node
            ))),
        }
    }

    /// Returns whether the store has the request. It has a deadline to the millisecond, so another client's differs.
    async fn is_stored(&self, record: &Record, generation: Generation, target: PowerTarget) -> bool {
        let store = self.app.registry.mesh.store();
        let life = store.get(&key::life(record.rack, record.node)).await;
        let intent = store.get(&key::intent(record.rack, record.node)).await;
        let is_latest = life.is_ok_and(|life| life.is_some_and(|life| life.value.generation == generation));
        is_latest && intent.is_ok_and(|intent| intent.is_some_and(|intent| intent.value.power == Some(target)))
    }
}

/// Whether a request that was answered with an error is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stored {
    Yes,
    No,
    Unknown,
}

impl Stored {
    const fn of(error: &scheduler_core::Error) -> Self {
        use keyspace::Error::Unavailable;
        use scheduler_core::Error::{Mesh, NotEverywhere, Store};

        if matches!(error, NotEverywhere { .. }) {
            Self::Yes
        } else if matches!(error, Mesh(mesh::Error::Store(Unavailable { .. })) | Store(Unavailable { .. })) {
            Self::Unknown
        } else {
            Self::No
        }
    }
}

/// What a call of a method leads to.
enum Call {
    /// This response.
    Answered(ApiResponse),
    /// This request to the node's BMC.
    Bmc(BmcRequest),
}

fn bmc_reset(arguments: &Map<String, Value>) -> Result<BmcRequest, Error> {
    let reset = if call::bmc_reset(arguments)? { BmcReset::Warm } else { BmcReset::Cold };
    Ok(PowerTarget::BmcReset { reset, by: None }.into())
}

fn send_raw(arguments: &Map<String, Value>) -> Result<BmcRequest, Error> {
    let raw = RawCommand::parse(call::send_raw(arguments)?);
    raw.map(Into::into).map_err(|why| Class::Invalid.error(format!("Invalid raw_bytes: {why}.")))
}

impl Method {
    fn call(&self, arguments: &Map<String, Value>) -> Result<Call, Error> {
        let name = self.name;
        let passed = |argument: &str| {
            let missing = || Class::Invalid.error(format!("Parameter '{argument}' not passed to method '{name}'."));
            let value = arguments.get(argument).filter(|value| !value.is_null() && **value != json!(""));
            value.ok_or_else(missing)
        };
        let is_equal = match self.action {
            Action::Nothing => true,
            Action::Compare(wanted) => passed("bar")? == wanted,
            Action::Bmc(request) => return request(arguments).map(Call::Bmc),
        };
        if self.is_awaited {
            return Ok(Call::Answered(ApiResponse::ok(Value::Bool(is_equal))));
        }
        Ok(Call::Answered(ApiResponse::accepted(None)))
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

    fn called(of: &str, name: &str, arguments: &Value) -> Result<Call, Error> {
        let method = methods_of(of).iter().find(|method| method.name == name).unwrap();
        method.call(arguments.as_object().unwrap())
    }

    #[test]
    fn a_command_that_is_or_may_be_stored_is_not_answered_as_one_to_repeat() {
        let away = || keyspace::Error::Unavailable { doing: "writing", source: None };
        let not_everywhere = scheduler_core::Error::NotEverywhere {
            instance: domain::id::InstanceId::new(uuid::Uuid::from_u128(1)),
            endpoint: "h".to_owned(),
            waited: std::time::Duration::from_secs(10),
        };
        for (error, right, source) in [
            (not_everywhere, Stored::Yes, "the change is made"),
            (mesh::Error::Store(away()).into(), Stored::Unknown, "etcd did not answer the commit"),
            (away().into(), Stored::Unknown, "etcd did not answer"),
            (mesh::Error::Store(keyspace::Error::Conflict).into(), Stored::No, "another change was first"),
            (mesh::Error::Store(keyspace::Error::Full { doing: "writing" }).into(), Stored::No, "etcd refused it"),
            (scheduler_core::Error::Stopping, Stored::No, "it was not begun"),
            (domain::provision::Refused::AwaitsPower.into(), Stored::No, "an earlier command is under way"),
        ] {
            assert_eq!(Stored::of(&error), right, "{error:?}: {source}");
        }
    }

    /// Recorded from a real Ironic 39.0.0.
    #[test]
    fn a_test_method_answers_as_that_of_a_real_ironic() {
        for (name, arguments, status, text) in [
            ("second_method", json!({"bar": "kazoo"}), 202, ""),
            ("second_method", json!({"bar": "x"}), 202, ""),
            ("second_method", json!({}), 400, "Parameter 'bar' not passed to method 'second_method'."),
            ("third_method_sync", json!({"bar": "meow"}), 200, ""),
            ("third_method_sync", json!({"bar": ""}), 400, "Parameter 'bar' not passed"),
            ("fourth_method_shared_lock", json!({"bar": "woof"}), 202, ""),
            ("log_passthrough", json!({}), 202, ""),
            ("log_passthrough", json!({"a": 1}), 202, ""),
        ] {
            match called("fake", name, &arguments) {
                Ok(Call::Answered(response)) => assert_eq!(response.status(), status, "{name} {arguments}"),
                Ok(Call::Bmc(to)) => panic!("{name} {arguments}: {to:?}"),
                Err(error) => {
                    assert_eq!(error.status, status, "{name} {arguments}");
                    assert!(error.text.contains(text) && !text.is_empty(), "{name} {arguments}: {}", error.text);
                }
            }
        }
        assert!(methods_of("fake").iter().all(|method| method.name != "trigger_servicewait"));
        assert!(methods_of("no-vendor").is_empty());
    }

    #[test]
    fn a_command_to_the_bmc_is_made_of_the_arguments_or_they_are_refused_by_name() {
        let [warm, cold] = [BmcReset::Warm, BmcReset::Cold].map(|reset| PowerTarget::BmcReset { reset, by: None });
        let raw = |netfn, command| PowerTarget::RawCommand { netfn, command, by: None };
        // Recorded from a real Ironic 39.0.0, which accepts any `warm` and any text of bytes, and then fails.
        let table: Vec<(&str, Value, Result<PowerTarget, &str>)> = vec![
            ("bmc_reset", json!({"warm": true}), Ok(warm)),
            ("bmc_reset", json!({"warm": false}), Ok(cold)),
            ("bmc_reset", json!({"warm": "False"}), Ok(cold)),
            ("bmc_reset", json!({"warm": "on"}), Ok(warm)),
            ("bmc_reset", json!({"warm": 0}), Ok(cold)),
            ("bmc_reset", json!({}), Ok(warm)),
            ("bmc_reset", json!({"method": "bmc_reset", "warm": "1"}), Ok(warm)),
            ("bmc_reset", json!({"warm": "tepid"}), Err("warm")),
            ("bmc_reset", json!({"warm": []}), Err("warm")),
            ("send_raw", json!({"raw_bytes": "0x00 0x01"}), Ok(raw(0, 1))),
            ("send_raw", json!({"raw_bytes": "6 0x47 2 2 112"}), Ok(raw(6, 0x47))),
            ("send_raw", json!({}), Err("Parameter raw_bytes (string of bytes) was not specified.")),
            ("send_raw", json!({"raw_bytes": ""}), Err("Parameter raw_bytes (string of bytes) was not specified.")),
            ("send_raw", json!({"raw_bytes": null}), Err("Parameter raw_bytes (string of bytes) was not specified.")),
            ("send_raw", json!({"raw_bytes": 6}), Err("raw_bytes must be a string")),
            ("send_raw", json!({"raw_bytes": "0x06"}), Err("Invalid raw_bytes: it has 1 words")),
            ("send_raw", json!({"raw_bytes": "6 0x100"}), Err("Invalid raw_bytes: word 2")),
            ("send_raw", json!({"raw_bytes": "0x07 1"}), Err("Invalid raw_bytes: word 1 is 0x07")),
            (
                "send_raw",
                json!({"raw_bytes": "6 0x47 hunter2"}),
                Err("Invalid raw_bytes: word 3, octet 1 of the data,"),
            ),
        ];
        for (name, arguments, right) in table {
            match (called("ipmitool", name, &arguments), right) {
                (Ok(Call::Bmc(to)), Ok(target)) => {
                    assert_eq!(to.target, target, "{name} {arguments}");
                    assert_eq!(to.data.is_some(), name == "send_raw", "{name} {arguments}");
                }
                (Err(error), Err(text)) => {
                    assert_eq!(error.status, 400, "{name} {arguments}");
                    assert!(error.text.contains(text) && !error.text.contains("hunter2"), "{}", error.text);
                }
                (Ok(_), _) | (Err(_), Ok(_)) => panic!("{name} {arguments}"),
            }
        }
    }

    #[test]
    fn the_methods_of_ipmitool_are_listed_as_by_a_real_ironic() {
        let all = shown(IPMITOOL);
        assert_eq!(all.as_object().unwrap().keys().collect::<Vec<_>>(), ["bmc_reset", "send_raw"]);
        for method in all.as_object().unwrap().values() {
            let keys: Vec<_> = method.as_object().unwrap().keys().collect();
            assert_eq!(keys, ["async", "attach", "description", "http_methods", "require_exclusive_lock"]);
            assert_eq!((&method["async"], &method["http_methods"]), (&json!(true), &json!(["POST"])));
        }
    }
}
