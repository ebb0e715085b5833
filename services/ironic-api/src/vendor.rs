//! Vendor passthru. Only `fake-hardware` has methods: four that check their argument, as in Ironic.

use domain::driver::Driver;
use serde_json::{Map, Value, json};
use wire_ironic::error::{Class, Error};

use super::{ApiRequest, RestApi, response::ApiResponse};

/// Method of `fake-hardware`.
struct Method {
    name: &'static str,
    /// Argument for which the method returns true. `None` if any argument is accepted.
    bar: Option<&'static str>,
    description: &'static str,
    is_awaited: bool,
    is_exclusive: bool,
}

static METHODS: &[Method] = &[
    Method {
        name: "second_method",
        bar: Some("kazoo"),
        description: "Test if the value of bar is kazoo",
        is_awaited: false,
        is_exclusive: true,
    },
    Method {
        name: "third_method_sync",
        bar: Some("meow"),
        description: "Test if the value of bar is meow",
        is_awaited: true,
        is_exclusive: true,
    },
    Method {
        name: "fourth_method_shared_lock",
        bar: Some("woof"),
        description: "Test if the value of bar is woof",
        is_awaited: false,
        is_exclusive: false,
    },
    Method {
        name: "log_passthrough",
        bar: None,
        description: "Test pass-through to wait.",
        is_awaited: false,
        is_exclusive: true,
    },
];

impl RestApi {
    pub(super) fn vendor(&self, request: &ApiRequest, ident: &str, name: &str) -> Result<ApiResponse, Error> {
        let node = self.node(request, ident)?;
        let methods = if node.intent.driver == Driver::FakeHardware { METHODS } else { &[] };
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
        let bar = arguments.get("bar").and_then(Value::as_str);
        if method.bar.is_some() && bar.is_none() {
            return Err(Class::Invalid.error(format!("Parameter 'bar' not passed to method '{name}'.")));
        }
        if method.is_awaited {
            return Ok(ApiResponse::ok(Value::Bool(bar == method.bar)));
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
