//! Reads the caller from the claims of a verified token, with the provider's claim names. Pure.

use std::collections::BTreeMap;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use domain::policy::{Caller, Roles, Scope};
use serde_json::Value;

use crate::{config::Jwt, error::Error};

/// The names of claims. A name with dots that is not itself a claim is a path, such as `realm_access.roles`.
#[derive(Debug)]
pub(super) struct Names {
    pub(super) roles: String,
    /// What the values of the roles claim mean. If it is empty, they are names of roles.
    pub(super) role_names: BTreeMap<String, String>,
    pub(super) project: String,
    pub(super) system: String,
    /// Whether a token without a scope has system scope.
    pub(super) is_fleet_wide: bool,
}

impl Names {
    /// Returns the names of a configuration.
    pub(super) fn of(config: &Jwt) -> Self {
        Self {
            roles: config.roles.clone(),
            role_names: config.role_names.clone(),
            project: config.project.clone(),
            system: config.system.clone(),
            is_fleet_wide: config.fleet_wide,
        }
    }

    /// Returns the caller.
    ///
    /// # Errors
    /// [`Error::NoSubject`] if the token has no `sub`.
    pub(super) fn authenticate(&self, claims: &Value) -> Result<Caller, Error> {
        let word = |name: &str| claims.get(name).and_then(Value::as_str).filter(|word| !word.is_empty());
        let name = word("preferred_username").or_else(|| word("client_id")).or_else(|| word("sub"));
        let name = name.ok_or(Error::NoSubject)?.to_owned();
        // Only `sub` is unique at an issuer (OpenID Connect Core §5.7).
        let account = format!("jwt {}", word("sub").unwrap_or(&name));
        Ok(Caller { name, account, roles: self.roles(claims), scope: self.scope(claims) })
    }

    fn scope(&self, claims: &Value) -> Scope {
        let system = claim(claims, &self.system).filter(|value| !value.is_null());
        let project = claim(claims, &self.project).filter(|value| !value.is_null());
        match (system, project) {
            (Some(Value::Bool(true)), _) => Scope::System,
            (Some(Value::String(word)), _) if word == "all" => Scope::System,
            (_, Some(Value::String(id))) if !id.is_empty() => Scope::Project { id: id.clone(), is_services: false },
            // Only a token that says nothing about its scope has that of the configuration: a claim of another shape may
            // be a restriction that is not understood here.
            (None, None) if self.is_fleet_wide => Scope::System,
            _ => Scope::None,
        }
    }

    /// Reads roles from a list, or from a string separated by spaces.
    fn roles(&self, claims: &Value) -> Roles {
        // A list of names is complete: a group of a directory may be called Admin without being meant.
        let meaning = |word| match self.role_names.get(word) {
            None if self.role_names.is_empty() => Some(word),
            listed => listed.map(String::as_str),
        };
        match claim(claims, &self.roles) {
            Some(Value::Array(words)) => Roles::named(words.iter().filter_map(Value::as_str).filter_map(meaning)),
            Some(Value::String(words)) => Roles::named(words.split_whitespace().filter_map(meaning)),
            _ => Roles::default(),
        }
    }
}

fn claim<'a>(claims: &'a Value, name: &str) -> Option<&'a Value> {
    let whole = claims.get(name).filter(|_| !name.is_empty());
    whole.or_else(|| name.split('.').try_fold(claims, |value, step| value.get(step)))
}

/// Returns whether a token says that it is an ID token, as those of Keycloak do. Such a token tells a client who logged in,
/// and is no permission to call an API, although its `aud` may be the same.
pub(super) fn is_id_token(claims: &Value) -> bool {
    claims.get("typ").and_then(Value::as_str).is_some_and(|kind| kind.eq_ignore_ascii_case("ID"))
}

/// Returns whether the header of a token has critical extensions, or cannot be read.
pub(super) fn is_critical(token: &str) -> bool {
    let header = token.split('.').next().and_then(|part| BASE64_URL_SAFE_NO_PAD.decode(part).ok());
    let header: Option<Value> = header.and_then(|text| serde_json::from_slice(&text).ok());
    header.is_none_or(|header| header.get("crit").is_some())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn names() -> Names {
        let config =
            Jwt { roles: "realm_access.roles".to_owned(), project: "https://lab/project".to_owned(), ..Jwt::default() };
        Names::of(&config)
    }

    #[test]
    fn a_claim_is_found_by_its_name_or_by_a_path_to_it() {
        let claims = json!({"sub": "u1", "realm_access": {"roles": ["Member", "dancer"]}, "https://lab/project": "p1"});
        let caller = names().authenticate(&claims).unwrap();
        assert_eq!((caller.name.as_str(), caller.roles), ("u1", Roles::named(["member"])));
        assert_eq!(caller.scope, Scope::Project { id: "p1".to_owned(), is_services: false });
    }

    #[test]
    fn without_a_project_or_system_claim_the_scope_is_none() {
        let scope = |more: Value| {
            let mut claims = json!({"sub": "u1"});
            claims.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
            names().authenticate(&claims).unwrap().scope
        };
        assert_eq!(scope(json!({})), Scope::None);
        assert_eq!(scope(json!({"system_scope": "some"})), Scope::None);
        assert_eq!(scope(json!({"system_scope": "all"})), Scope::System);
        assert_eq!(scope(json!({"system_scope": true})), Scope::System);
    }

    #[test]
    fn a_token_without_a_subject_is_rejected() {
        assert!(names().authenticate(&json!({"realm_access": {"roles": ["admin"]}})).is_err());
    }

    #[test]
    fn roles_may_be_one_string() {
        let names = Names { roles: "scope".to_owned(), ..names() };
        let caller = names.authenticate(&json!({"sub": "u1", "scope": "openid admin"})).unwrap();
        assert_eq!(caller.roles, Roles::named(["admin"]));
    }

    #[test]
    fn an_id_token_is_recognized() {
        for (claims, source, expected) in [
            (json!({"typ": "ID"}), "Keycloak's ID token", true),
            (json!({"typ": "id"}), "case", true),
            (json!({"typ": "Bearer"}), "Keycloak's access token", false),
            (json!({"typ": ["ID"]}), "another shape", false),
            (json!({"typ": null}), "another shape", false),
            (json!({}), "RFC 9068 §2.2: no such claim", false),
        ] {
            assert_eq!(is_id_token(&claims), expected, "{source}");
        }
    }
}
