//! Who may call what of the public gRPC API: by the role in the certificate.

use service_kit::serve::{Rule, admins, members, operators, schedulers, service_operators};

/// The first rule that a call's path begins with counts.
pub const RULES: &[Rule] = &[
    // What changes nothing.
    of("/ironmesh.api.v1.AllocationService/Get", operators),
    of("/ironmesh.api.v1.AllocationService/List", operators),
    of("/ironmesh.api.v1.AllocationService/Plan", operators),
    of("/ironmesh.api.v1.BulkService/Get", operators),
    of("/ironmesh.api.v1.BulkService/List", operators),
    of("/ironmesh.api.v1.EventService/Watch", operators),
    of("/ironmesh.api.v1.ImageService/Get", operators),
    of("/ironmesh.api.v1.ImageService/List", operators),
    of("/ironmesh.api.v1.LockService/List", operators),
    of("/ironmesh.api.v1.NodeService/Get", operators),
    of("/ironmesh.api.v1.NodeService/List", operators),
    of("/ironmesh.api.v1.NodeService/Watch", operators),
    of("/ironmesh.api.v1.OperationService/Get", operators),
    of("/ironmesh.api.v1.OperationService/List", operators),
    of("/ironmesh.api.v1.RackService/Get", operators),
    of("/ironmesh.api.v1.RackService/List", operators),
    // What uses nodes.
    of("/ironmesh.api.v1.AllocationService/", members),
    of("/ironmesh.api.v1.BulkService/", members),
    of("/ironmesh.api.v1.NodeService/EnsureNodePower", members),
    of("/ironmesh.api.v1.NodeService/ProvisionNode", members),
    // What looks after them.
    of("/ironmesh.api.v1.ImageService/", service_operators),
    of("/ironmesh.api.v1.NodeService/", service_operators),
    // Webhooks have us call whom they name: not even their list is everybody's.
    // Racks, and taking a node from who works on it.
    Rule { path: "/ironmesh.api.v1.", allows: admins },
    Rule { path: "/ironmesh.scheduler.v1.", allows: schedulers },
];

const fn of(path: &'static str, allows: fn(Option<&service_kit::tls::Identity>, &str) -> bool) -> Rule {
    Rule { path, allows }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use prost_types::FileDescriptorSet;
    use service_kit::tls::{Identity, Role};

    use super::*;

    /// What `domain::policy` has for the REST API, this has for gRPC: a call that nobody thought of is the
    /// administrator's.
    #[test]
    fn every_call_is_open_to_whom_the_approved_table_says() {
        let all = FileDescriptorSet::decode(proto::DESCRIPTORS).unwrap();
        let mut table = String::new();
        for file in all.file.iter().filter(|file| file.package() == "ironmesh.api.v1") {
            for service in &file.service {
                for method in &service.method {
                    let path = format!("/ironmesh.api.v1.{}/{}", service.name(), method.name());
                    let rule = RULES.iter().find(|rule| path.starts_with(rule.path)).unwrap();
                    let may = |role: &Role| {
                        let who = Identity::Operator { name: "ann".to_owned(), role: *role };
                        (rule.allows)(Some(&who), "")
                    };
                    let roles: Vec<_> = Role::ALL.iter().filter(|role| may(role)).map(|role| role.word()).collect();
                    assert!(!(rule.allows)(None, ""), "{path} is open to strangers");
                    table.push_str(&format!(
                        "{:<38} {}\n",
                        path.trim_start_matches("/ironmesh.api.v1."),
                        roles.join(" ")
                    ));
                }
            }
        }
        let approved = include_str!("golden/access.txt");
        assert!(table == approved, "the table is another:\n{table}");
    }
}
