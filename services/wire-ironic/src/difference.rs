//! Deliberate differences from Ironic, with their reasons. The list is complete.

/// Deliberate difference from Ironic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Difference {
    /// Name of the difference.
    pub name: &'static str,
    /// Behavior of Ironic 39.0.0.
    pub ironic: &'static str,
    /// Behavior of Ironmesh.
    pub ours: &'static str,
    /// Reason for the difference.
    pub why: &'static str,
}

/// All deliberate differences. The tests compare recorded responses of Ironic; the last ones concern the REST API as a whole.
pub static DIFFERENCES: &[Difference] = &[
    Difference {
        name: "next-keeps-filters",
        ironic: "the link to the next page drops the filters",
        ours: "the link keeps the filters, encoded",
        why: "a client that follows the link would read another list",
    },
    Difference {
        name: "no-500",
        ironic: "500 for malformed JSON, unknown fields of a list, a step without its name, removal of some fields, \
                 an inspection rule without conditions",
        ours: "400, or the evident meaning: the field's default, no conditions",
        why: "the request is invalid, and clients retry after a 500",
    },
    Difference {
        name: "escapes-work",
        ironic: "`~0` and `~1` in the path of a patch are refused, though 98 promises them",
        ours: "they work from 98",
        why: "there is no other way to name a key that contains a slash",
    },
    Difference {
        name: "no-dumps",
        ironic: "error messages end in dumps of schemas, types or the whole value",
        ours: "error messages end before the dump, or describe the problem",
        why: "a value may contain a secret, and a dump does not help the user",
    },
    Difference {
        name: "abort-anywhere",
        ironic: "`abort` is accepted only while an operation waits or is held",
        ours: "`abort` is accepted in every state whose operation can be given up",
        why: "all APIs decide alike, and an operator must be able to stop a running operation",
    },
    Difference {
        name: "removed-is-default",
        ironic: "`retired` is null after its removal",
        ours: "`retired` is false after its removal, as any other flag",
        why: "strict clients reject null for a boolean",
    },
    Difference {
        name: "undeploy-since-73",
        ironic: "`undeploy` is accepted at any version",
        ours: "406 before 73, as for `deploy`",
        why: "the documented list of versions requires it",
    },
    Difference {
        name: "rule-links",
        ironic: "links of inspection rules refer to /v1/inspection",
        ours: "links refer to /v1/inspection_rules",
        why: "the former path does not exist",
    },
    Difference {
        name: "one-wording",
        ironic: "some resources have different texts for the same error",
        ours: "one text, with fields listed by name",
        why: "the status is the same, and no client is known to parse these texts",
    },
    Difference {
        name: "newer-is-refused",
        ironic: "a field, an argument or a path that is newer than the request's version is sometimes a 400, sometimes \
                 accepted",
        ours: "always 406 if it is set or requested, 404 for the path",
        why: "the client learns that a newer version supports it",
    },
    Difference {
        name: "newer-is-hidden",
        ironic: "the detailed list of port groups shows fields that are newer than the request's version, and indicators \
                 exist in any version",
        ours: "newer fields and resources are hidden, as everywhere else",
        why: "a client of that version does not know them",
    },
    Difference {
        name: "named-as-well",
        ironic: "some subresources of a node are found only below its id, not below its name",
        ours: "subresources are found below both",
        why: "everywhere else a node can be named by both",
    },
    Difference {
        name: "no-such-path",
        ironic: "400 for an unknown path below a node, and for a method that a list does not support",
        ours: "404 and 405",
        why: "Ironic's status is an accident of its router",
    },
    Difference {
        name: "quiet-values",
        ironic: "text such as `password=…` is masked inside the value of any key",
        ours: "values are masked by their keys only",
        why: "clients compare the values that they read with those that they wrote",
    },
    Difference {
        name: "more-secrets",
        ironic: "`ipmi_hex_kg_key`, `snmp_community`, an object under a secret's name, and what has such a name in `extra` or \
                 `properties` are stored and shown in clear",
        ours: "they are sealed and masked like every other secret",
        why: "the name says that it is a secret, whatever the shape of the value",
    },
    Difference {
        name: "stored-secret-stays",
        ironic: "an address, a port or the trust in a BMC can be changed while the stored password stays",
        ours: "400 unless the password is given again or removed in the same request",
        why: "the stored password would be sent to any address that a user names",
    },
    Difference {
        name: "owner-without-auth",
        ironic: "without authentication, 400 for POST of a node with `owner`",
        ours: "201",
        why: "without authentication there is no project to compare the owner with",
    },
    Difference {
        name: "rebuild-without-image",
        ironic: "500",
        ours: "202; a failure shows in the provision state",
        why: "the node still has the image of its deployment",
    },
    Difference {
        name: "bare-states",
        ironic: "`manage` is accepted in cleaning and `clean` in deleting",
        ours: "both are refused",
        why: "Ironic's behavior is an accident of its state machine",
    },
    Difference {
        name: "what-is-served",
        ironic: "drivers, implementations and their defaults are those of the configuration",
        ours: "drivers are the built-in ones; a node takes every implementation that fits its driver, a default is one \
               that is carried out, and verbs that need another one are refused",
        why: "a record that works with Ironic must be accepted, and a node without a choice must work",
    },
    Difference {
        name: "abort-a-wait",
        ironic: "`abort` of a step that is not abortable, such as fake hardware's trigger_servicewait, waits for its end",
        ours: "`abort` ends the service at once",
        why: "no agent of fake hardware calls, so that the step would never end",
    },
    Difference {
        name: "disabled-deploy",
        ironic: "a deployment without any step is accepted and fails",
        ours: "400 with the same text",
        why: "the request can be refused before anything happens to the node",
    },
    Difference {
        name: "no-raw-commands",
        ironic: "`bmc_reset` and `send_raw` of ipmitool are executed",
        ours: "400 with the reason",
        why: "commands are journaled before they are sent, and the effect of a raw one is unknown",
    },
    Difference {
        name: "owners-are-conductors",
        ironic: "a conductor is named by its host",
        ours: "a conductor is a power-service of a rack, named by its endpoint",
        why: "several power-services may run on one host",
    },
    Difference {
        name: "power-is-known",
        ironic: "the power state of fake hardware is null until a client changes it",
        ours: "the power state is off after the verification of the node",
        why: "clients that wait for a known power state would wait forever",
    },
    Difference {
        name: "stock-agent",
        ironic: "lookup and heartbeat accept the agent of a node that waits for it",
        ours: "404 on a test server, because no node waits for an agent",
        why: "agents are served in their rack, by the inventory-service",
    },
    Difference {
        name: "reserved-steps-run",
        ironic: "hold, wait, power_on, power_off and reboot disappear from lists of steps",
        ours: "these steps are executed",
        why: "Ironic documents them",
    },
];
