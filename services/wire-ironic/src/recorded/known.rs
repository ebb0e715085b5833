//! Requests whose recorded responses the tables do not predict, with the reasons.

/// Requests with a deliberate difference, and its name.
pub(super) const DIFFERENT: &[(&str, &str)] = &[
    (
        r#"1.115 GET /v1/nodes?limit=2&fields=uuid,name&sort_key=name&sort_dir=desc&driver=fake-hardware"#,
        "next-keeps-filters",
    ),
    (r#"1.115 GET /v1/nodes?limit=2&maintenance=false"#, "next-keeps-filters"),
    (r#"1.115 GET /v1/ports?limit=1&address=52:54:00:aa:bb:01"#, "next-keeps-filters"),
    (r#"1.115 GET /v1/ports?limit=1&node=node-1"#, "next-keeps-filters"),
    (r#"1.115 GET /v1/nodes?fields=bogus"#, "no-500"),
    (r#"1.115 GET /v1/nodes?fields=links"#, "no-500"),
    (r#"1.115 PATCH /v1/nodes/node-1 [{"op":"remove","path":"/maintenance"}]"#, "no-500"),
    (r#"1.115 PATCH /v1/nodes/node-1 [{"op":"remove","path":"/automated_clean"}]"#, "no-500"),
    (r#"1.115 PATCH /v1/nodes/node-1 [{"op":"remove","path":"/conductor_group"}]"#, "no-500"),
    (
        r#"1.115 PUT /v1/nodes/node-1/states/provision {"target":"clean","clean_steps":[{"interface":"deploy"}]}"#,
        "no-500",
    ),
    (r#"1.115 PATCH /v1/ports/22222222-2222-4222-8222-000000000001 [{"op":"remove","path":"/pxe_enabled"}]"#, "no-500"),
    (
        r#"1.115 POST /v1/inspection_rules {"uuid":"88888888-8888-4888-8888-000000000001","description":"r","priority":5,"actions":[{"op":"set-attribute","args":["/driver","x"]}]}"#,
        "no-500",
    ),
    (r#"1.115 PATCH /v1/nodes/node-1 [{"op":"add","path":"/extra/a~1b","value":"x"}]"#, "escapes-work"),
    (r#"1.115 PATCH /v1/nodes/node-1 [{"op":"add","path":"/extra/no/such","value":1}]"#, "no-dumps"),
    (r#"1.115 PATCH /v1/nodes/node-1 [{"op":"remove","path":"/extra/no/such"}]"#, "no-dumps"),
    (r#"1.115 PATCH /v1/nodes/node-1 [{"op":"add","path":"/extra/password/x","value":1}]"#, "no-dumps"),
    (
        r#"1.115 PUT /v1/nodes/node-1/states/provision {"target":"clean","clean_steps":[{"interface":"nope","step":"x"}]}"#,
        "no-dumps",
    ),
    (
        r#"1.115 PUT /v1/nodes/node-1/states/provision {"target":"clean","clean_steps":[{"interface":"deploy","step":"x","priority":1}]}"#,
        "no-dumps",
    ),
    (
        r#"1.115 PUT /v1/nodes/node-1/states/provision {"target":"active","deploy_steps":[{"interface":"deploy","step":"x"}]}"#,
        "no-dumps",
    ),
    (r#"1.115 PUT /v1/nodes/node-1/states/provision {"target":"active","configdrive":{"bogus":1}}"#, "no-dumps"),
    (r#"1.115 POST /v1/ports {"address":"52:54:00:aa:bb:03"}"#, "no-dumps"),
    (
        r#"1.115 POST /v1/ports {"address":"52:54:00:aa:bb:03","node_uuid":"11111111-1111-4111-8111-000000000001","node_ident":"node-1"}"#,
        "no-dumps",
    ),
    (r#"1.115 PATCH /v1/nodes/node-1 [{"op":"add","path":"/extra/s/x","value":1}]"#, "no-dumps"),
    (r#"1.115 PATCH /v1/nodes/node-1 [{"op":"add","path":"/extra/n/x","value":1}]"#, "no-dumps"),
    (r#"1.115 PATCH /v1/nodes/node-1 [{"op":"remove","path":"/name/x"}]"#, "no-dumps"),
    (r#"1.115 PATCH /v1/nodes/node-1 [{"op":"remove","path":"/retired"}]"#, "removed-is-default"),
    (r#"1.72 PUT /v1/nodes/node-1/states/provision {"target":"undeploy"}"#, "undeploy-since-73"),
    (r#"1.115 GET /v1/inspection_rules/88888888-8888-4888-8888-000000000001"#, "rule-links"),
    (r#"1.31 GET /v1/volume/connectors"#, "one-wording"),
    (
        r#"1.115 PATCH /v1/ports/22222222-2222-4222-8222-000000000001 [{"op":"replace","path":"/node_uuid","value":"zz"}]"#,
        "one-wording",
    ),
    (r#"1.115 GET /v1/drivers?fields=bogus"#, "one-wording"),
    (r#"1.115 GET /v1/inspection_rules?sort_key=actions"#, "one-wording"),
    (r#"1.115 GET /v1/chassis?sort_dir=up"#, "one-wording"),
    (r#"1.17 GET /v1/ports?fields=internal_info"#, "newer-is-refused"),
    (
        r#"1.99 PATCH /v1/ports/22222222-2222-4222-8222-000000000001 [{"op":"replace","path":"/vendor","value":"v"}]"#,
        "newer-is-refused",
    ),
    (r#"1.59 GET /v1/allocations?fields=owner"#, "newer-is-refused"),
    (r#"1.115 GET /v1/nodes/node-1/bogus"#, "no-such-path"),
    (
        r#"1.66 POST /v1/nodes/node-1/vifs {"id":"v","port_uuid":"22222222-2222-4222-8222-000000000001"}"#,
        "newer-is-refused",
    ),
    (r#"1.62 GET /v1/nodes/node-1/management/indicators"#, "newer-is-refused"),
    (r#"1.28 PUT /v1/nodes/node-1/management/inject_nmi {}"#, "one-wording"),
    (r#"1.111 GET /v1/runbooks/77777777-7777-4777-8777-000000000001/traits"#, "one-wording"),
    (r#"1.115 PATCH /v1/nodes"#, "no-such-path"),
];

/// Requests whose responses depend on facts that the test lacks, and those facts.
pub(super) const UNPREDICTABLE: &[(&str, &str)] = &[
    (
        r#"1.115 POST /v1/nodes {"driver":"fake-hardware","uuid":"11111111-1111-4111-8111-000000000001"}"#,
        "used names and addresses",
    ),
    (r#"1.115 POST /v1/nodes {"driver":"fake-hardware","name":"node-1"}"#, "used names and addresses"),
    (
        r#"1.115 POST /v1/ports {"address":"52:54:00:aa:bb:01","node_uuid":"11111111-1111-4111-8111-000000000001"}"#,
        "used names and addresses",
    ),
    (r#"1.115 POST /v1/allocations {"resource_class":"x","name":"alloc-1"}"#, "used names and addresses"),
    (r#"1.115 POST /v1/nodes {"driver":"nope"}"#, "available drivers"),
    (r#"1.115 POST /v1/nodes {"driver":"fake-hardware","deploy_interface":"nope"}"#, "available drivers"),
    (
        r#"1.115 PATCH /v1/nodes/node-1 [{"op":"replace","path":"/conductor_group","value":"GROUP"}]"#,
        "available drivers",
    ),
    (r#"1.115 GET /v1/drivers/nope"#, "available drivers"),
    (r#"1.115 PATCH /v1/nodes/node-1 [{"op":"replace","path":"/driver","value":"ipmi"}]"#, "available drivers"),
    (
        r#"1.115 POST /v1/nodes {"driver":"fake-hardware","chassis_uuid":"11111111-1111-4111-8111-0000000000cc"}"#,
        "existing resources",
    ),
    (r#"1.115 GET /v1/nodes?marker=11111111-1111-4111-8111-00000000ffff"#, "existing resources"),
    (r#"1.115 GET /v1/nodes?chassis_uuid=11111111-1111-4111-8111-00000000ffff"#, "existing resources"),
    (r#"1.115 PUT /v1/nodes/node-1/states/provision {"target":"service","runbook":"nope"}"#, "existing resources"),
    (r#"1.115 PUT /v1/nodes/node-1/states/provision {"target":"rebuild","runbook":"nope"}"#, "existing resources"),
    (
        r#"1.115 POST /v1/ports {"address":"52:54:00:aa:bb:03","node_uuid":"11111111-1111-4111-8111-00000000ffff"}"#,
        "existing resources",
    ),
    (r#"1.115 GET /v1/ports?node_uuid=11111111-1111-4111-8111-00000000ffff"#, "existing resources"),
    (r#"1.115 POST /v1/allocations {"resource_class":"x","candidate_nodes":["nobody"]}"#, "existing resources"),
    (r#"1.115 GET /v1/lookup?addresses=52:54:00:aa:bb:0f"#, "existing resources"),
    (r#"1.115 GET /v1/lookup?node_uuid=11111111-1111-4111-8111-000000000001"#, "existing resources"),
    (
        r#"1.115 POST /v1/heartbeat/nobody {"callback_url":"https://127.0.0.1:9999","agent_token":"t"}"#,
        "existing resources",
    ),
    (
        r#"1.115 POST /v1/continue_inspection {"inventory":{"interfaces":[{"mac_address":"52:54:00:aa:bb:0f"}]}}"#,
        "existing resources",
    ),
    (
        r#"1.1 POST /v1/continue_inspection {"inventory":{"interfaces":[{"mac_address":"52:54:00:aa:bb:0f"}]}}"#,
        "existing resources",
    ),
    (
        r#"1.115 POST /v1/heartbeat/node-1 {"callback_url":"https://127.0.0.1:9999","agent_token":"t","agent_version":"1"}"#,
        "agent token of the node",
    ),
    (r#"1.115 GET /v1/nodes/node-1/inventory"#, "existing resources"),
    (r#"1.115 GET /v1/nodes/node-1/management/indicators/led"#, "indicators of the hardware"),
    (r#"1.115 GET /v1/nodes/node-1/management/indicators/nope@system"#, "indicators of the hardware"),
    (r#"1.115 GET /v1/nodes/node-1/management/indicators/led@nope"#, "indicators of the hardware"),
    (r#"1.115 PUT /v1/nodes/node-1/management/indicators/led@system {"state":"on"}"#, "indicators of the hardware"),
    (r#"1.115 PUT /v1/nodes/node-1/management/indicators/led {"state":"on"}"#, "indicators of the hardware"),
    (r#"1.75 PUT /v1/nodes/nobody/states/boot_mode {"target":"uefi"}"#, "existing resources"),
];
