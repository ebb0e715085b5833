//! etcd's users and roles over its API of version 3.

use std::collections::BTreeSet;

use etcd_client::{AuthClient, Permission as EtcdPermission, RoleRevokePermissionOptions, UserAddOptions};
use futures::future::try_join_all;

use crate::{
    access::{ADMINISTRATOR, Access, Permission, Present, Step},
    store::connection::Failure,
};

/// How often a request is sent that etcd refused because roles were changed meanwhile.
pub(super) const ATTEMPTS: u32 = 5;

/// Whether etcd did not carry out a request because users or roles were changed while it was under way.
pub(super) fn is_outdated(error: &etcd_client::Error) -> bool {
    let etcd_client::Error::GRpcStatus(status) = error else { return false };
    ["revision of auth store is old", "revision in header is old"].iter().any(|text| status.message().contains(text))
}

/// Whether a role or user to be added exists: another process makes the same changes.
fn is_made(error: &etcd_client::Error) -> bool {
    let etcd_client::Error::GRpcStatus(status) = error else { return false };
    ["role name already exists", "user name already exists"].iter().any(|text| status.message().contains(text))
}

pub(super) async fn present(mut client: AuthClient) -> Result<Present, Failure> {
    let (roles, users) = (client.role_list().await?, client.user_list().await?);
    let role = |name: &String| {
        let (mut client, name) = (client.clone(), name.clone());
        async move {
            let answer = client.role_get(name.clone()).await?;
            Ok::<_, Failure>((name, answer.permissions().iter().map(permission).collect()))
        }
    };
    let user = |name: &String| {
        let (mut client, name) = (client.clone(), name.clone());
        async move {
            let answer = client.user_get(name.clone()).await?;
            Ok::<_, Failure>((name, answer.roles().iter().cloned().collect::<BTreeSet<_>>()))
        }
    };
    let roles = try_join_all(roles.roles().iter().map(role)).await?.into_iter().collect();
    let users = try_join_all(users.users().iter().map(user)).await?.into_iter().collect();
    Ok(Present { roles, users, enabled: is_enabled(client).await? })
}

/// Whether permissions are checked. etcd says so itself only since 3.5; before, it tells by how it refuses a login.
async fn is_enabled(mut client: AuthClient) -> Result<bool, Failure> {
    match client.authenticate(ADMINISTRATOR.to_owned(), String::new()).await {
        Ok(_) => Ok(true),
        Err(etcd_client::Error::GRpcStatus(status)) if status.message().contains("authentication is not enabled") => {
            Ok(false)
        }
        Err(etcd_client::Error::GRpcStatus(status)) if status.message().contains("authentication failed") => Ok(true),
        Err(error) => Err(error.into()),
    }
}

pub(super) async fn change(mut client: AuthClient, step: Step) -> Result<(), Failure> {
    let mut attempts = 0;
    loop {
        attempts += 1;
        match once(&mut client, step.clone()).await {
            Err(error) if is_outdated(&error) && attempts < ATTEMPTS => {}
            Err(error) if is_made(&error) => return Ok(()),
            outcome => return Ok(outcome?),
        }
    }
}

async fn once(client: &mut AuthClient, step: Step) -> Result<(), etcd_client::Error> {
    match step {
        Step::AddRole(role) => client.role_add(role).await.map(drop),
        Step::AddUser(user) => {
            client.user_add(user, String::new(), Some(UserAddOptions::new().with_no_pwd())).await.map(drop)
        }
        Step::Grant { role, permission: Permission { access, key, range_end } } => {
            let permission = match access {
                Access::Read => EtcdPermission::read(key),
                Access::Write => EtcdPermission::write(key),
                Access::ReadWrite => EtcdPermission::read_write(key),
            };
            client.role_grant_permission(role, permission.with_range_end(range_end)).await.map(drop)
        }
        Step::Revoke { role, permission: Permission { key, range_end, .. } } => {
            let options = RoleRevokePermissionOptions::new().with_range_end(range_end);
            client.role_revoke_permission(role, key, Some(options)).await.map(drop)
        }
        Step::Assign { user, role } => client.user_grant_role(user, role).await.map(drop),
        Step::Withdraw { user, role } => client.user_revoke_role(user, role).await.map(drop),
        Step::Enable => client.auth_enable().await.map(drop),
    }
}

fn permission(permission: &EtcdPermission) -> Permission {
    // The numbers of authpb.Permission.Type.
    let access = match permission.get_type() {
        0 => Access::Read,
        1 => Access::Write,
        _ => Access::ReadWrite,
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Permission { access, key: text(permission.key()), range_end: text(permission.range_end()) }
}
