//! Where we mean to answer otherwise than Ironic, and why. All of them are here.

/// One deliberate difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Difference {
    /// Its name.
    pub name: &'static str,
    /// What Ironic 39.0.0 does.
    pub ironic: &'static str,
    /// What we do.
    pub ours: &'static str,
    /// Why.
    pub why: &'static str,
}

/// The table. What has been recorded of them is in the tests; the last ones are for a face to keep.
pub static DIFFERENCES: &[Difference] = &[
    Difference {
        name: "next-keeps-filters",
        ironic: "the link to the next page drops the filters",
        ours: "it keeps them, encoded",
        why: "a client that follows it would leave its own list",
    },
    Difference {
        name: "no-500",
        ironic: "500 for malformed JSON, unknown fields of a list, a step without its name, removal of some fields, \
                 an inspection rule without conditions",
        ours: "400, or what was meant: the field's default, no conditions",
        why: "it is the request that is wrong, and clients repeat a 500",
    },
    Difference {
        name: "escapes-work",
        ironic: "`~0` and `~1` in the path of a patch are refused, though 98 promises them",
        ours: "they work from 98",
        why: "keys with slashes can not be named otherwise",
    },
    Difference {
        name: "no-dumps",
        ironic: "refusals end in dumps of schemas, types or the whole value",
        ours: "they end before, or say it in words",
        why: "a value may hold what the next reader must not see, and nobody reads the rest",
    },
    Difference {
        name: "abort-anywhere",
        ironic: "`abort` is refused while an operation works, and taken only where it waits or is held",
        ours: "it is taken wherever an operation can be given up",
        why: "all our interfaces decide alike, and an operator must be able to stop what runs",
    },
    Difference {
        name: "removed-is-default",
        ironic: "`retired` is null once it was removed",
        ours: "it is false again, as any other flag",
        why: "strict clients take no null for a boolean",
    },
    Difference {
        name: "undeploy-since-73",
        ironic: "`undeploy` is taken at any version",
        ours: "406 before 73, as `deploy`",
        why: "it is what the list of versions says",
    },
    Difference {
        name: "rule-links",
        ironic: "links of inspection rules say /v1/inspection",
        ours: "they say /v1/inspection_rules",
        why: "there is nothing at the other",
    },
    Difference {
        name: "one-wording",
        ironic: "some resources say the same thing in words of their own",
        ours: "one wording, and fields are listed by name",
        why: "the status is the same, and no client is known to read these",
    },
    Difference {
        name: "newer-is-refused",
        ironic: "a field, an argument or a path that is newer than the request is sometimes 400, sometimes let through",
        ours: "always 406 where it is set or asked for, 404 for the path",
        why: "the client learns that a newer version would do",
    },
    Difference {
        name: "newer-is-hidden",
        ironic: "the detailed list of port groups shows fields that are newer than the request, and lamps are there in \
                 any version",
        ours: "they are not, as everywhere else",
        why: "a client of that version does not know them",
    },
    Difference {
        name: "named-as-well",
        ironic: "what hangs on a node is not found below the node's name, but below its id alone",
        ours: "it is found below either",
        why: "a node is named by either everywhere else",
    },
    Difference {
        name: "no-such-path",
        ironic: "an unknown path below a node is taken for `fields` of the node, a method that a list does not know for \
                 one of a node, and both are 400",
        ours: "404 and 405",
        why: "an accident of its router",
    },
    Difference {
        name: "quiet-values",
        ironic: "text that looks like `password=…` inside of a harmless key's value is masked",
        ours: "values are masked by their keys alone",
        why: "clients compare what they read with what they wrote",
    },
    Difference {
        name: "owner-without-auth",
        ironic: "without authentication POST of a node with `owner` is 400",
        ours: "201",
        why: "nobody is there whose project it could not be",
    },
    Difference {
        name: "rebuild-without-image",
        ironic: "500",
        ours: "202; it fails in the state, if it must",
        why: "the node has what it was deployed with",
    },
    Difference {
        name: "bare-states",
        ironic: "`manage` is taken in cleaning and `clean` in deleting",
        ours: "refused",
        why: "an accident of its state machine",
    },
    Difference {
        name: "what-is-served",
        ironic: "drivers and implementations are those of its configuration",
        ours: "those that are built",
        why: "what stands there must work",
    },
    Difference {
        name: "owners-are-conductors",
        ironic: "a conductor has the name of its host",
        ours: "it is a power-service of a rack, by where it answers",
        why: "several of one rack may run on one host",
    },
    Difference {
        name: "power-is-known",
        ironic: "the power of fake hardware is null until somebody changes it",
        ours: "it is off once the node was verified",
        why: "clients that wait for a known power wait for ever",
    },
    Difference {
        name: "stock-agent",
        ironic: "lookup and heartbeat are answered to the agent of a node that waits for it",
        ours: "no node waits for one yet: 404",
        why: "not built",
    },
    Difference {
        name: "reserved-steps-run",
        ironic: "hold, wait, power_on, power_off and reboot vanish from lists of steps",
        ours: "they are run",
        why: "they are documented",
    },
];
