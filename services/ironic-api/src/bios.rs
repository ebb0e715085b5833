//! Firmware settings of a node, as its BMC last reported them.

use domain::driver::Interface;
use keyspace::{
    key,
    value::{Bios, BiosSetting},
};
use serde_json::{Map, Value, json};
use wire_ironic::{
    error::{Class, Error},
    links, query,
};

use super::{ApiRequest, RestApi, fault::fault, records::time, response::ApiResponse};
use scheduler_core::node_view::NodeView;

/// First minor version that shows a setting's registry entry.
const REGISTRY: u16 = 74;
/// Fields shown by default.
const PLAIN: &[&str] = &["name", "value"];
/// Fields from the BIOS attribute registry.
const EXPLAINED: &[&str] = &[
    "attribute_type",
    "allowable_values",
    "lower_bound",
    "max_length",
    "min_length",
    "read_only",
    "reset_required",
    "unique",
    "upper_bound",
];
/// Fields that are always shown.
const ALWAYS: &[&str] = &["created_at", "updated_at", "links"];

impl RestApi {
    pub(super) async fn bios(&self, request: &ApiRequest, ident: &str, rest: &[&str]) -> Result<ApiResponse, Error> {
        let node = self.node(request, ident)?;
        let explains = request.version.has(REGISTRY);
        if let [name] = rest {
            request.only(&[])?;
            let bios = self.settings(ident, &node).await?;
            let missing = || {
                let text = format!("Node {} doesn't have a BIOS setting '{name}'", node.node);
                Class::NotFound.error(text)
            };
            let setting = bios.settings.get(*name).ok_or_else(missing)?;
            let fields = fields(explains);
            let shown = shown(request, &node.node.to_string(), name, setting, &fields);
            return Ok(ApiResponse::ok(json!({*name: shown})));
        }
        request.only(if explains { &["detail", "fields"] } else { &[] })?;
        let detail =
            request.parameter("detail").map(|word| query::boolean("detail", word)).transpose()?.unwrap_or(false);
        let fields = match request.parameter("fields") {
            Some(_) if detail => {
                return Err(Class::Invalid.error("Can not specify ?detail=True and fields in the same request."));
            }
            Some(asked) => chosen(asked)?,
            None => fields(detail),
        };
        let bios = self.settings(ident, &node).await?;
        let all = bios.settings.iter().map(|(name, setting)| shown(request, ident, name, setting, &fields));
        Ok(ApiResponse::ok(json!({"bios": all.collect::<Vec<_>>()})))
    }

    /// Reads the known settings of a node. Empty if the node's driver cannot read them.
    async fn settings(&self, ident: &str, node: &NodeView) -> Result<Bios, Error> {
        if !matches!(node.interface(Interface::Bios), Some("fake" | "redfish")) {
            return Ok(Bios::default());
        }
        let read = self.app.registry.mesh.store().get_packed(&key::bios(node.rack, node.node)).await;
        let read = read.map_err(|error| fault(ident, &error.into()))?;
        Ok(read.map(|read| read.value).unwrap_or_default())
    }
}

/// Fields of a setting, with or without those of the registry.
fn fields(explains: bool) -> Vec<&'static str> {
    let explained = if explains { EXPLAINED } else { &[] };
    [PLAIN, explained].concat()
}

/// Parses the `fields` parameter.
fn chosen(asked: &str) -> Result<Vec<&'static str>, Error> {
    let known: Vec<&'static str> = [PLAIN, EXPLAINED, ALWAYS].concat();
    let of = |word: &str| {
        let found = known.iter().copied().find(|known| *known == word);
        found.ok_or_else(|| Class::Invalid.error(format!("Field(s) \"{word}\" are not valid.")))
    };
    asked.split(',').map(|word| of(word.trim())).collect()
}

fn shown(request: &ApiRequest, node: &str, name: &str, setting: &BiosSetting, fields: &[&str]) -> Value {
    let all = json!({
        "name": name, "value": setting.value, "attribute_type": setting.attribute_type,
        "allowable_values": setting.allowable_values, "lower_bound": setting.lower_bound,
        "max_length": setting.max_length, "min_length": setting.min_length, "read_only": setting.read_only,
        "reset_required": setting.reset_required, "unique": setting.unique, "upper_bound": setting.upper_bound,
        "created_at": time(Some(setting.created_at)), "updated_at": time(setting.updated_at),
        "links": links::resource(&request.base, &format!("nodes/{node}/bios/{name}")),
    });
    let members = all.as_object().cloned().unwrap_or_default();
    let is_shown = |name: &String| ALWAYS.contains(&name.as_str()) || fields.contains(&name.as_str());
    Value::Object(members.into_iter().filter(|(name, _)| is_shown(name)).collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_field_is_rejected() {
        assert_eq!(chosen("name, read_only").unwrap(), ["name", "read_only"]);
        assert!(chosen("name,colour").unwrap_err().text.contains("colour"));
        assert_eq!(fields(true).len(), PLAIN.len() + EXPLAINED.len());
    }
}
