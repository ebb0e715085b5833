//! Reads the caller from Keystone's description of a token. Pure.

use std::time::Duration;

use domain::{
    policy::{Caller, Roles, Scope},
    time::Timestamp,
};
use serde_json::Value;

/// Returns the owner of the token and its remaining lifetime.
pub(super) fn read(body: &Value, services: &str, now: Timestamp) -> Result<(Caller, Duration), &'static str> {
    let token = body.get("token").ok_or("Keystone's answer has no token")?;
    let expires = token.get("expires_at").and_then(Value::as_str).and_then(|text| text.parse::<Timestamp>().ok());
    let left = expires.ok_or("Keystone's answer has no valid expires_at")?.since(now);
    if left.is_zero() {
        return Err("The token has expired");
    }
    // Keystone describes such tokens only to services that enforce the rules (OpenStack-Identity-Access-Rules). We do not.
    if token.get("application_credential").and_then(|credential| credential.get("access_rules")).is_some() {
        return Err("The token is limited by access rules, which are not supported");
    }
    let roles = token.get("roles").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let roles = Roles::named(roles.iter().filter_map(|role| role.get("name")?.as_str()));
    let user = token.get("user");
    let word = |name: &str| user.and_then(|user| user.get(name)).and_then(Value::as_str);
    let name = word("name").or_else(|| word("id")).ok_or("Keystone's answer has no user")?.to_owned();
    // Users of several domains may have the same name.
    let account = format!("keystone {}", word("id").unwrap_or(&name));
    Ok((Caller { name, account, roles, scope: scope(token, services) }, left))
}

fn scope(token: &Value, services: &str) -> Scope {
    if token.get("system").and_then(|system| system.get("all")).and_then(Value::as_bool) == Some(true) {
        return Scope::System;
    }
    let project = token.get("project");
    let word = |name: &str| project.and_then(|project| project.get(name)).and_then(Value::as_str);
    match word("id").filter(|id| !id.is_empty()) {
        Some(id) => {
            Scope::Project { id: id.to_owned(), is_services: !services.is_empty() && word("name") == Some(services) }
        }
        None => Scope::None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(more: &Value) -> Result<(Caller, Duration), &'static str> {
        let mut token = json!({
            "expires_at": "2026-11-27T01:00:00.000000Z", "user": {"id": "u1", "name": "ann"},
            "roles": [{"id": "r1", "name": "member"}, {"id": "r2", "name": "reader"}],
        });
        let members = more.as_object().cloned().unwrap();
        token.as_object_mut().unwrap().extend(members);
        read(&json!({"token": token}), "service", "2026-11-27T00:00:00Z".parse().unwrap())
    }

    #[test]
    fn a_token_gives_name_roles_and_scope() {
        let (caller, left) = told(&json!({"project": {"id": "p1", "name": "lab"}})).unwrap();
        assert_eq!((caller.name.as_str(), left), ("ann", Duration::from_secs(3600)));
        assert_eq!(caller.roles, Roles::named(["member"]));
        assert_eq!(caller.scope, Scope::Project { id: "p1".to_owned(), is_services: false });
        let (caller, _) = told(&json!({"project": {"id": "p2", "name": "service"}})).unwrap();
        assert_eq!(caller.scope, Scope::Project { id: "p2".to_owned(), is_services: true });
        assert_eq!(told(&json!({"system": {"all": true}})).unwrap().0.scope, Scope::System);
    }

    #[test]
    fn a_domain_scoped_or_unscoped_token_has_no_scope() {
        assert_eq!(told(&json!({"domain": {"id": "default"}})).unwrap().0.scope, Scope::None);
        assert_eq!(told(&json!({"system": {"all": false}})).unwrap().0.scope, Scope::None);
    }

    #[test]
    fn an_expired_or_restricted_token_is_rejected() {
        assert!(told(&json!({"expires_at": "2026-11-26T23:00:00.000000Z"})).is_err());
        assert!(told(&json!({"expires_at": null})).is_err());
        assert!(told(&json!({"application_credential": {"access_rules": []}})).is_err());
    }
}
