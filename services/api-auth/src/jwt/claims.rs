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
    /// What the values of the roles claim mean.
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
        match claim(claims, &self.system) {
            Some(Value::Bool(true)) => return Scope::System,
            Some(Value::String(word)) if word == "all" => return Scope::System,
            _ => {}
        }
        match claim(claims, &self.project).and_then(Value::as_str).filter(|id| !id.is_empty()) {
            Some(id) => Scope::Project { id: id.to_owned(), is_services: false },
            None if self.is_fleet_wide => Scope::System,
            None => Scope::None,
        }
    }

    /// Reads roles from a list, or from a string separated by spaces.
    fn roles(&self, claims: &Value) -> Roles {
        let meaning = |word| self.role_names.get(word).map_or(word, String::as_str);
        match claim(claims, &self.roles) {
            Some(Value::Array(words)) => Roles::named(words.iter().filter_map(Value::as_str).map(meaning)),
            Some(Value::String(words)) => Roles::named(words.split_whitespace().map(meaning)),
            _ => Roles::default(),
        }
    }
}

fn claim<'a>(claims: &'a Value, name: &str) -> Option<&'a Value> {
    let whole = claims.get(name).filter(|_| !name.is_empty());
    whole.or_else(|| name.split('.').try_fold(claims, |value, step| value.get(step)))
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
}
