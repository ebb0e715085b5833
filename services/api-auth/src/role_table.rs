//! The role that the certificate of a caller must have for each RPC.

use service_kit::serve::{Rule, admins, members, operators, schedulers, service_operators};

/// The role of each RPC, one row per RPC. An RPC without a row is denied.
pub const RULES: &[Rule] = &[
    Rule::new("/ironmesh.api.v1.AllocationService/CreateAllocation", members),
    Rule::new("/ironmesh.api.v1.AllocationService/DeleteAllocation", members),
    Rule::new("/ironmesh.api.v1.AllocationService/GetAllocation", operators),
    Rule::new("/ironmesh.api.v1.AllocationService/ListAllocations", operators),
    Rule::new("/ironmesh.api.v1.AllocationService/PlanAllocation", operators),
    Rule::new("/ironmesh.api.v1.BulkService/CancelBulk", members),
    Rule::new("/ironmesh.api.v1.BulkService/CreateBulk", members),
    Rule::new("/ironmesh.api.v1.BulkService/GetBulk", operators),
    Rule::new("/ironmesh.api.v1.BulkService/ListBulks", operators),
    Rule::new("/ironmesh.api.v1.BulkService/PauseBulk", members),
    Rule::new("/ironmesh.api.v1.BulkService/ResumeBulk", members),
    Rule::new("/ironmesh.api.v1.CallerService/GetCaller", operators),
    Rule::new("/ironmesh.api.v1.EventService/WatchEvents", operators),
    Rule::new("/ironmesh.api.v1.HostService/CreateJoinToken", admins),
    Rule::new("/ironmesh.api.v1.HostService/DeleteJoinToken", admins),
    Rule::new("/ironmesh.api.v1.HostService/DrainHost", admins),
    Rule::new("/ironmesh.api.v1.HostService/GetHost", operators),
    Rule::new("/ironmesh.api.v1.HostService/ListHosts", operators),
    Rule::new("/ironmesh.api.v1.HostService/ListJoinTokens", admins),
    Rule::new("/ironmesh.api.v1.HostService/RemoveHost", admins),
    Rule::new("/ironmesh.api.v1.HostService/UndrainHost", admins),
    Rule::new("/ironmesh.api.v1.ImageService/CreateImage", service_operators),
    Rule::new("/ironmesh.api.v1.ImageService/DeleteImage", service_operators),
    Rule::new("/ironmesh.api.v1.ImageService/GetImage", operators),
    Rule::new("/ironmesh.api.v1.ImageService/ListImages", operators),
    Rule::new("/ironmesh.api.v1.LockService/BreakLock", admins),
    Rule::new("/ironmesh.api.v1.LockService/ListLocks", operators),
    Rule::new("/ironmesh.api.v1.NodeService/CreateNode", service_operators),
    Rule::new("/ironmesh.api.v1.NodeService/DeleteNode", service_operators),
    Rule::new("/ironmesh.api.v1.NodeService/EnsureNodePower", members),
    Rule::new("/ironmesh.api.v1.NodeService/GetNodeTimeline", operators),
    Rule::new("/ironmesh.api.v1.NodeService/GetNode", operators),
    Rule::new("/ironmesh.api.v1.NodeService/ListNodes", operators),
    Rule::new("/ironmesh.api.v1.NodeService/ProvisionNode", members),
    Rule::new("/ironmesh.api.v1.NodeService/ResetNodeBmc", admins),
    Rule::new("/ironmesh.api.v1.NodeService/SendNodeRawCommand", admins),
    Rule::new("/ironmesh.api.v1.NodeService/UpdateNode", service_operators),
    Rule::new("/ironmesh.api.v1.NodeService/WatchNodes", operators),
    Rule::new("/ironmesh.api.v1.NodeService/WatchNode", operators),
    Rule::new("/ironmesh.api.v1.OperationService/GetOperation", operators),
    Rule::new("/ironmesh.api.v1.OperationService/ListOperations", operators),
    Rule::new("/ironmesh.api.v1.RackService/CreateRack", admins),
    Rule::new("/ironmesh.api.v1.RackService/DeleteRack", admins),
    Rule::new("/ironmesh.api.v1.RackService/GetRack", operators),
    Rule::new("/ironmesh.api.v1.RackService/ListRacks", operators),
    Rule::new("/ironmesh.api.v1.RackService/UpdateRack", admins),
    Rule::new("/ironmesh.api.v1.StatusService/GetStatus", operators),
    Rule::new("/ironmesh.api.v1.WebhookService/CreateWebhook", admins),
    Rule::new("/ironmesh.api.v1.WebhookService/DeleteWebhook", admins),
    Rule::new("/ironmesh.api.v1.WebhookService/GetWebhook", admins),
    Rule::new("/ironmesh.api.v1.WebhookService/ListWebhooks", admins),
    Rule::new("/ironmesh.api.v1.WebhookService/UpdateWebhook", admins),
    Rule::new("/ironmesh.scheduler.v1.SchedulerService/WatchApplied", schedulers),
];

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
        Rule::find(RULES, path)
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
