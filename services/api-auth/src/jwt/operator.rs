//! Tokens at the gRPC API, whose callers are operators of the whole fleet.

use domain::{
    policy::{Caller, Roles, Scope},
    time::Timestamp,
};
use futures::future::BoxFuture;
use serde_json::Value;
use service_kit::{
    bearer_token::{TokenBearer, TokenError, VerifyToken},
    tls::Role,
};

use super::{Issuer, LEEWAY_SECONDS, claims::Names};
use crate::refusal::{Refusal, within};

/// Maximum length of a user's name, in bytes. It is in every record of what the user changes.
const MAX_NAME_BYTES: usize = 256;

impl VerifyToken for Issuer {
    fn verify<'t>(&'t self, token: &'t str) -> BoxFuture<'t, Result<TokenBearer, TokenError>> {
        Box::pin(async move {
            let claims = within(self.claims(token)).await.map_err(|refusal| match refusal {
                Refusal::Unknown(why) => TokenError::Invalid(why),
                Refusal::Away(why) => TokenError::Unavailable(why),
            })?;
            self.names.operator(&claims)
        })
    }
}

impl Names {
    /// Returns the operator that the claims of a valid token name.
    ///
    /// # Errors
    /// [`TokenError::Invalid`] if the token names no user, [`TokenError::Forbidden`] if the user has no role, or not for the
    /// whole fleet.
    pub(super) fn operator(&self, claims: &Value) -> Result<TokenBearer, TokenError> {
        let caller = self.authenticate(claims).map_err(|error| TokenError::Invalid(error.to_string()))?;
        let Caller { name, account, roles, scope } = caller;
        if name.len() > MAX_NAME_BYTES || name.chars().any(char::is_control) {
            let why =
                format!("the name of the user must have at most {MAX_NAME_BYTES} bytes, and no control characters");
            return Err(TokenError::Invalid(why));
        }
        if scope != Scope::System {
            return Err(TokenError::Forbidden(format!(
                "user {name} has no rights for the whole fleet: the claim {:?} of the token must be \"all\" (the provider adds \
                 it, or scheduler.rest_jwt.fleet_wide stands for it)",
                self.system
            )));
        }
        let role = role(roles).ok_or_else(|| {
            TokenError::Forbidden(format!(
                "user {name} has no role: the claim {:?} of the token must have {}",
                self.roles,
                if self.role_names.is_empty() {
                    "reader, member, service or admin"
                } else {
                    "a value that scheduler.rest_jwt.role_names lists"
                }
            ))
        })?;
        Ok(TokenBearer { name, account, role, expires: end(claims) })
    }
}

/// Returns the greatest role of an operator that these roles include.
fn role(roles: Roles) -> Option<Role> {
    use domain::policy::Role as Word;
    if roles.includes(Word::Admin) {
        Some(Role::Admin)
    } else if roles.includes(Word::Service) {
        Some(Role::Service)
    } else if roles.includes(Word::Member) {
        Some(Role::Member)
    } else if roles.includes(Word::Reader) {
        Some(Role::Reader)
    } else {
        None
    }
}

/// Returns when a token is not accepted any more: with the same allowance for clocks that differ as in its verification.
fn end(claims: &Value) -> Timestamp {
    let seconds = claims.get("exp").and_then(|exp| exp.as_u64().or_else(|| whole(exp.as_f64()?))).unwrap_or(0);
    let millis = seconds.saturating_add(LEEWAY_SECONDS).saturating_mul(1000);
    Timestamp::from_millis(i64::try_from(millis).unwrap_or(i64::MAX))
}

/// RFC 7519 §2: a date may have a fraction.
fn whole(seconds: f64) -> Option<u64> {
    format!("{:.0}", seconds.floor()).parse().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::Jwt;

    fn names(config: Jwt) -> Names {
        Names::of(&config)
    }

    fn config() -> Jwt {
        let role_names = [("ops:admins".to_owned(), "admin".to_owned()), ("admin".to_owned(), "reader".to_owned())];
        Jwt { role_names: role_names.into(), ..Jwt::default() }
    }

    #[test]
    fn the_claims_of_a_token_say_which_operator_its_bearer_is() {
        let (plain, mapped) = (names(Jwt::default()), names(config()));
        let fleet = names(Jwt { fleet_wide: true, ..Jwt::default() });
        let nested = names(Jwt { roles: "realm_access.roles".to_owned(), fleet_wide: true, ..Jwt::default() });
        let groups = names(Jwt { roles: "groups".to_owned(), fleet_wide: true, ..config() });
        let uris = names(Jwt { roles: "https://lab/roles".to_owned(), ..Jwt::default() });
        // What the case is from, the claims besides sub and exp, and the role; `None` if the user may do nothing.
        for (source, names, claims, role) in [
            ("one role", &plain, json!({"system_scope": "all", "roles": ["reader"]}), Some(Role::Reader)),
            (
                "the greatest counts",
                &plain,
                json!({"system_scope": true, "roles": ["member", "admin"]}),
                Some(Role::Admin),
            ),
            (
                "RFC 8693 §4.2, a string",
                &plain,
                json!({"system_scope": "all", "roles": "a member"}),
                Some(Role::Member),
            ),
            ("OpenStack's manager", &plain, json!({"system_scope": "all", "roles": ["manager"]}), Some(Role::Member)),
            ("a program", &plain, json!({"system_scope": "all", "roles": ["service", "reader"]}), Some(Role::Service)),
            ("case", &plain, json!({"system_scope": "all", "roles": ["Admin"]}), Some(Role::Admin)),
            ("no role", &plain, json!({"system_scope": "all"}), None),
            ("an unknown role", &plain, json!({"system_scope": "all", "roles": ["root", "scheduler"]}), None),
            ("roles of another shape", &plain, json!({"system_scope": "all", "roles": {"admin": true}}), None),
            ("no scope", &plain, json!({"roles": ["admin"]}), None),
            ("a scope of another kind", &plain, json!({"system_scope": "some", "roles": ["admin"]}), None),
            ("a project", &plain, json!({"project_id": "p1", "roles": ["admin"]}), None),
            ("a project is not the fleet", &fleet, json!({"project_id": "p1", "roles": ["admin"]}), None),
            (
                "a null is no claim",
                &fleet,
                json!({"system_scope": null, "project_id": null, "roles": ["admin"]}),
                Some(Role::Admin),
            ),
            ("not the fleet, a boolean", &fleet, json!({"system_scope": false, "roles": ["admin"]}), None),
            ("not the fleet, a word", &fleet, json!({"system_scope": "some", "roles": ["admin"]}), None),
            ("not the fleet, an empty word", &fleet, json!({"system_scope": "", "roles": ["admin"]}), None),
            ("not the fleet, a list", &fleet, json!({"system_scope": ["all"], "roles": ["admin"]}), None),
            ("a list of projects", &fleet, json!({"project_id": ["p1"], "roles": ["admin"]}), None),
            ("a project as a number", &fleet, json!({"project_id": 7, "roles": ["admin"]}), None),
            ("a project as an object", &fleet, json!({"project_id": {"id": "p1"}, "roles": ["admin"]}), None),
            ("an empty project", &fleet, json!({"project_id": "", "roles": ["admin"]}), None),
            ("Entra ID, app roles", &fleet, json!({"roles": ["admin"]}), Some(Role::Admin)),
            ("Keycloak", &nested, json!({"realm_access": {"roles": ["offline_access", "member"]}}), Some(Role::Member)),
            ("Dex, groups", &groups, json!({"groups": ["ops:admins"]}), Some(Role::Admin)),
            ("LDAP, a group that is not listed", &groups, json!({"groups": ["Admin", "reader"]}), None),
            (
                "a value that is not listed beside one that is",
                &groups,
                json!({"groups": ["Admin", "admin"]}),
                Some(Role::Reader),
            ),
            ("a string, not listed", &groups, json!({"groups": "Admin member"}), None),
            ("a mapped name", &mapped, json!({"system_scope": "all", "roles": ["admin"]}), Some(Role::Reader)),
            (
                "Auth0, a URI",
                &uris,
                json!({"system_scope": "all", "https://lab/roles": ["reader"]}),
                Some(Role::Reader),
            ),
        ] {
            let mut all = json!({"sub": "u1", "preferred_username": "ann", "exp": 100});
            all.as_object_mut().unwrap().extend(claims.as_object().cloned().unwrap());
            match (names.operator(&all), role) {
                (Ok(bearer), Some(role)) => {
                    let expected = TokenBearer {
                        name: "ann".to_owned(),
                        account: "jwt u1".to_owned(),
                        role,
                        expires: Timestamp::from_millis(130_000),
                    };
                    assert_eq!(bearer, expected, "{source}: {claims}");
                }
                (Err(TokenError::Forbidden(why)), None) => {
                    assert!(why.contains("ann") && why.contains("claim"), "{source}: {why}");
                }
                (found, _) => panic!("{source}: {claims}: {found:?}"),
            }
        }
    }

    #[test]
    fn a_name_that_no_record_can_hold_is_refused() {
        let names = names(Jwt { fleet_wide: true, ..Jwt::default() });
        let long = "a".repeat(MAX_NAME_BYTES + 1);
        for name in [&long, "ann\nwho=root", "ann\u{1b}[31m", "\0", "a\u{85}b", "a\tb"] {
            let claims = json!({"sub": "u1", "preferred_username": name, "exp": 100, "roles": ["admin"]});
            assert!(matches!(names.operator(&claims), Err(TokenError::Invalid(_))), "{name:?}");
        }
    }

    #[test]
    fn a_token_ends_when_its_verification_would_fail() {
        for (exp, end_of_it) in [
            (json!(100), 130_000),
            (json!(100.9), 130_000),
            (json!(0), 30_000),
            (json!(-5), 30_000),
            (json!(null), 30_000),
            (json!("100"), 30_000),
            (json!(u64::MAX), i64::MAX),
            (json!(1e300), i64::MAX),
        ] {
            assert!(end(&json!({ "exp": exp })).millis() <= end_of_it, "{exp}");
        }
        assert_eq!(end(&json!({"exp": 100.9})).millis(), 130_000);
    }
}
