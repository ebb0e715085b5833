//! The role that the certificate of a caller must have for each RPC.

use service_kit::serve::{Rule, admins, members, operators, schedulers, service_operators};

/// The role of each RPC, one row per RPC. `service_kit::serve` takes the first row that a path begins with, so of two RPCs
/// where one name begins with the other, the longer comes first. An RPC without a row is denied.
pub const RULES: &[Rule] = &[
    of("/ironmesh.api.v1.AllocationService/CreateAllocation", members),
    of("/ironmesh.api.v1.AllocationService/DeleteAllocation", members),
    of("/ironmesh.api.v1.AllocationService/GetAllocation", operators),
    of("/ironmesh.api.v1.AllocationService/ListAllocations", operators),
    of("/ironmesh.api.v1.AllocationService/PlanAllocation", operators),
    of("/ironmesh.api.v1.BulkService/CreateBulk", members),
    of("/ironmesh.api.v1.BulkService/GetBulk", operators),
    of("/ironmesh.api.v1.BulkService/ListBulks", operators),
    of("/ironmesh.api.v1.BulkService/UpdateBulk", members),
    of("/ironmesh.api.v1.EventService/WatchEvents", operators),
    of("/ironmesh.api.v1.ImageService/CreateImage", service_operators),
    of("/ironmesh.api.v1.ImageService/DeleteImage", service_operators),
    of("/ironmesh.api.v1.ImageService/GetImage", operators),
    of("/ironmesh.api.v1.ImageService/ListImages", operators),
    of("/ironmesh.api.v1.LockService/BreakLock", admins),
    of("/ironmesh.api.v1.LockService/ListLocks", operators),
    of("/ironmesh.api.v1.NodeService/CreateNode", service_operators),
    of("/ironmesh.api.v1.NodeService/DeleteNode", service_operators),
    of("/ironmesh.api.v1.NodeService/EnsureNodePower", members),
    of("/ironmesh.api.v1.NodeService/GetNodeTimeline", operators),
    of("/ironmesh.api.v1.NodeService/GetNode", operators),
    of("/ironmesh.api.v1.NodeService/ListNodes", operators),
    of("/ironmesh.api.v1.NodeService/ProvisionNode", members),
    of("/ironmesh.api.v1.NodeService/UpdateNode", service_operators),
    of("/ironmesh.api.v1.NodeService/WatchNodes", operators),
    of("/ironmesh.api.v1.NodeService/WatchNode", operators),
    of("/ironmesh.api.v1.OperationService/GetOperation", operators),
    of("/ironmesh.api.v1.OperationService/ListOperations", operators),
    of("/ironmesh.api.v1.RackService/CreateRack", admins),
    of("/ironmesh.api.v1.RackService/GetRack", operators),
    of("/ironmesh.api.v1.RackService/ListRacks", operators),
    of("/ironmesh.api.v1.RackService/UpdateRack", admins),
    of("/ironmesh.api.v1.WebhookService/CreateWebhook", admins),
    of("/ironmesh.api.v1.WebhookService/DeleteWebhook", admins),
    of("/ironmesh.api.v1.WebhookService/GetWebhook", admins),
    of("/ironmesh.api.v1.WebhookService/ListWebhooks", admins),
    of("/ironmesh.api.v1.WebhookService/UpdateWebhook", admins),
    of("/ironmesh.scheduler.v1.SchedulerService/WatchApplied", schedulers),
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

    /// The paths of all RPCs of the scheduler, as the descriptor has them.
    fn paths() -> Vec<String> {
        let all = FileDescriptorSet::decode(proto::DESCRIPTORS).unwrap();
        let is_ours = |package: &str| ["ironmesh.api.v1", "ironmesh.scheduler.v1"].contains(&package);
        let mut paths = Vec::new();
        for file in all.file.iter().filter(|file| is_ours(file.package())) {
            for service in &file.service {
                let rpcs = service.method.iter();
                paths.extend(rpcs.map(|rpc| format!("/{}.{}/{}", file.package(), service.name(), rpc.name())));
            }
        }
        paths
    }

    /// The row that `service_kit::serve` takes.
    fn row(path: &str) -> Option<&'static Rule> {
        RULES.iter().find(|rule| path.starts_with(rule.path))
    }

    fn operator(role: Role) -> Identity {
        Identity::Operator { name: "ann".to_owned(), role }
    }

    #[test]
    fn every_rpc_has_exactly_one_row_and_every_row_an_rpc() {
        let paths = paths();
        for path in &paths {
            assert_eq!(RULES.iter().filter(|rule| rule.path == path).count(), 1, "{path}");
        }
        assert_eq!(RULES.len(), paths.len());
    }

    #[test]
    fn no_row_hides_the_row_of_a_longer_name() {
        for path in paths() {
            assert_eq!(row(&path).unwrap().path, path);
        }
    }

    #[test]
    fn an_rpc_without_a_row_is_denied() {
        for path in ["/ironmesh.api.v1.NodeService/Erase", "/ironmesh.api.v1.NewService/Get", "/ironmesh.api.v1.", "/"]
        {
            assert!(row(path).is_none(), "{path}");
        }
    }

    #[test]
    fn a_higher_role_may_call_what_a_lower_role_may() {
        for rule in RULES {
            let allowed: Vec<_> = Role::ALL.iter().map(|role| (rule.allows)(Some(&operator(*role)), "")).collect();
            assert!(allowed.is_sorted(), "{}: {allowed:?}", rule.path);
        }
    }

    #[test]
    fn operators_may_not_call_the_rpcs_between_schedulers() {
        let rule = row("/ironmesh.scheduler.v1.SchedulerService/WatchApplied").unwrap();
        assert!(!Role::ALL.iter().any(|role| (rule.allows)(Some(&operator(*role)), "")));
    }

    #[test]
    fn every_rpc_is_allowed_for_the_roles_of_the_approved_table() {
        let mut table = String::new();
        for path in paths().iter().filter(|path| path.starts_with("/ironmesh.api.v1.")) {
            let rule = row(path).unwrap();
            assert!(!(rule.allows)(None, ""), "{path} is open to strangers");
            let roles = Role::ALL.iter().filter(|role| (rule.allows)(Some(&operator(**role)), ""));
            let roles: Vec<_> = roles.map(|role| role.word()).collect();
            table.push_str(&format!("{:<38} {}\n", path.trim_start_matches("/ironmesh.api.v1."), roles.join(" ")));
        }
        let approved = include_str!("golden/access.txt");
        assert!(table == approved, "the table is another:\n{table}");
    }
}
