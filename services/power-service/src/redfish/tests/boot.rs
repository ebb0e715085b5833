//! The boot override, resets and entity tags at services that deviate.

use super::{
    odd_bmc::{Call, Odd, OddBmc, RESET, Raw, SETTINGS, State, complains, shows, status},
    repeat::execute,
    *,
};

pub(super) fn order(device: BootDevice, persistence: Persistence, mode: BootMode) -> Command {
    Command::Boot(Boot { device, persistence, mode }, 0)
}

pub(super) const DISK: Boot =
    Boot { device: BootDevice::Disk, persistence: Persistence::Persistent, mode: BootMode::Uefi };

pub(super) fn patches(call: &Call) -> bool {
    call.is("PATCH", SYSTEM)
}

pub(super) fn is_continuous(call: &Call) -> bool {
    patches(call) && call.boot("Enabled") == Some("Continuous")
}

/// The settings resource takes the override, and the system refuses it.
fn at_settings(state: &mut State, call: &Call, refusal: Raw) -> Option<Raw> {
    match () {
        () if call.is("PATCH", SETTINGS) => Some(state.change_boot(call)),
        () if patches(call) => Some(refusal),
        () => None,
    }
}

fn with_settings(state: &mut State) {
    state.settings = Some(json!({"@odata.id": SETTINGS, "Boot": {"BootSourceOverrideTarget": "None"}}));
}

fn nothing(_: &mut State) {}

/// One way to take the boot override.
struct Dialect {
    source: &'static str,
    prepare: fn(&mut State),
    odd: Odd,
    mode: BootMode,
    /// `BootSourceOverrideEnabled` afterwards.
    enabled: &'static str,
    /// Maximum number of PATCHes the first time.
    first: usize,
}

fn dialect(source: &'static str, enabled: &'static str, first: usize, odd: Odd) -> Dialect {
    Dialect { source, prepare: nothing, odd, mode: BootMode::Uefi, enabled, first }
}

fn dialects() -> Vec<Dialect> {
    vec![
        dialect("DSP0268, ComputerSystem", "Continuous", 1, |_, _| None),
        dialect("Ironic, restore_boot_device: Continuous refused with 400", "Once", 5, |_, call| {
            is_continuous(call)
                .then(|| complains(400, "PropertyValueNotInList", &["Continuous", "BootSourceOverrideEnabled"]))
        }),
        dialect("Continuous refused without a reason", "Once", 5, |_, call| is_continuous(call).then(|| status(400))),
        dialect("Continuous refused with 501", "Once", 5, |_, call| is_continuous(call).then(|| status(501))),
        // Two are repeated in the same way.
        dialect("Continuous fails with 500", "Once", 7, |_, call| is_continuous(call).then(|| status(500))),
        dialect("Continuous not taken, said with status 200", "Once", 5, |_, call| {
            is_continuous(call).then(|| complains(200, "PropertyNotWritable", &["BootSourceOverrideEnabled"]))
        }),
        Dialect {
            prepare: |state| {
                state.boot["BootSourceOverrideEnabled@Redfish.AllowableValues"] = json!(["Disabled", "Once"])
            },
            ..dialect("Continuous not allowable", "Once", 1, |_, _| None)
        },
        Dialect {
            prepare: |state| state.boot["BootSourceOverrideEnabled"] = json!("Continuous"),
            ..dialect(
                "ironic redfish/management.py: a value that it has already is refused",
                "Continuous",
                1,
                |state, call| {
                    let is_same = |name: &str| {
                        call.boot(name).is_some_and(|new| state.boot[format!("BootSourceOverride{name}")] == new)
                    };
                    (patches(call) && ["Enabled", "Target", "Mode"].into_iter().any(is_same)).then(|| status(400))
                },
            )
        },
        Dialect {
            mode: BootMode::Bios,
            ..dialect("HPE ProLiant, community.general #3509: mode not writable", "Continuous", 3, |_, call| {
                let sends = patches(call) && call.boot("Mode").is_some();
                sends.then(|| complains(400, "PropertyNotWritable", &["BootSourceOverrideMode"]))
            })
        },
        dialect("community.general #11542: mode must be sent", "Continuous", 2, |_, call| {
            let lacks = patches(call) && call.boot("Mode").is_none();
            lacks.then(|| complains(400, "PropertyMissing", &["BootSourceOverrideMode"]))
        }),
        Dialect {
            prepare: |state| drop(state.boot.as_object_mut().unwrap().remove("BootSourceOverrideMode")),
            ..dialect("Supermicro X10, metal-operator #982: no mode", "Continuous", 1, |_, call| {
                (patches(call) && call.boot("Mode").is_some()).then(|| status(400))
            })
        },
        Dialect {
            prepare: |state| state.system["Manufacturer"] = json!("Supermicro"),
            ..dialect("Supermicro, Redfishtool #106: what is not sent is reset", "Continuous", 1, |state, call| {
                if patches(call) && call.boot("Mode").is_none() {
                    state.boot["BootSourceOverrideMode"] = json!("Legacy");
                }
                None
            })
        },
        Dialect {
            prepare: with_settings,
            ..dialect("AMI, Redfish-Tacklebox #111 and #144", "Continuous", 1, |state, call| {
                at_settings(state, call, complains(400, "OperationSupportedInFutureStateURI", &[SETTINGS]))
            })
        },
        Dialect {
            prepare: |state| state.settings = Some(json!({"Attributes": {}})),
            ..dialect("iDRAC 10, community.general #11297", "Continuous", 2, |state, call| {
                at_settings(state, call, complains(400, "PropertyNotWritable", &["Boot"]))
            })
        },
        Dialect {
            prepare: with_settings,
            ..dialect("DSP0266 §9.10: an apply time is demanded", "Continuous", 2, |state, call| {
                let lacks = call.is("PATCH", SETTINGS) && call.body.get("@Redfish.SettingsApplyTime").is_none();
                if lacks { Some(status(400)) } else { at_settings(state, call, status(405)) }
            })
        },
        Dialect {
            prepare: |state| state.settings = Some(json!({"Attributes": {}})),
            ..dialect("sushy: settings for something else", "Continuous", 1, |_, call| {
                call.is("PATCH", SETTINGS).then(|| status(400))
            })
        },
    ]
}

#[tokio::test]
async fn a_boot_order_is_set_in_the_way_that_the_service_takes_and_the_detour_is_made_once() {
    for Dialect { source, prepare, odd, mode, enabled, first } in dialects() {
        let bmc = OddBmc::new(odd).with(prepare);
        bmc.run(async |driver, login| {
            for (turn, device) in [BootDevice::Disk, BootDevice::Pxe, BootDevice::Disk].into_iter().enumerate() {
                let reply = execute(driver, login, order(device, Persistence::Persistent, mode)).await;
                assert_eq!(reply, Ok(Reply::Done), "{source}, turn {turn}");
                let patched = bmc.take_calls("PATCH");
                let most = if turn == 0 { first } else { 1 };
                assert!((1..=most).contains(&patched.len()), "{source}, turn {turn}: {patched:#?}");
                let target = if device == BootDevice::Pxe { "Pxe" } else { "Hdd" };
                assert_eq!((bmc.boot("Enabled").as_str(), bmc.boot("Target").as_str()), (enabled, target), "{source}");
            }
            let reply = execute(driver, login, order(BootDevice::Disk, Persistence::Persistent, mode)).await;
            assert_eq!(reply, Ok(Reply::Done), "{source}");
            let patched = bmc.take_calls("PATCH");
            assert!(patched.is_empty() || mode == BootMode::Bios, "{source}: nothing changes: {patched:#?}");
        })
        .await;
    }
}

#[tokio::test]
async fn a_persistent_order_that_is_not_kept_is_set_again_before_each_boot() {
    let bmc = OddBmc::new(|_, call| is_continuous(call).then(|| status(400)));
    bmc.run(async |driver, login| {
        execute(driver, login, Command::Boot(DISK, 0)).await.unwrap();
        for _ in 0..2 {
            // The machine booted, which used the override up.
            bmc.state.lock().boot["BootSourceOverrideEnabled"] = json!("Disabled");
            bmc.take_calls("");
            execute(driver, login, Command::On).await.unwrap();
            let told = bmc.take_calls("P");
            assert!(
                told[1].starts_with("PATCH") && told[1].contains("\"Once\"") && told[2].contains(RESET),
                "{told:#?}"
            );
            assert_eq!(bmc.boot("Enabled"), "Once");
            execute(driver, login, Command::Off).await.unwrap();
        }
        // An order for the next boot has precedence, and is followed by the persistent one again.
        bmc.state.lock().boot["BootSourceOverrideEnabled"] = json!("Disabled");
        execute(driver, login, order(BootDevice::Pxe, Persistence::Once, BootMode::Uefi)).await.unwrap();
        bmc.take_calls("");
        execute(driver, login, Command::On).await.unwrap();
        assert_eq!((bmc.take_calls("PATCH").len(), bmc.boot("Target").as_str()), (0, "Pxe"));
    })
    .await;
}

#[tokio::test]
async fn an_order_that_the_service_does_not_support_is_refused_without_a_request() {
    type Prepare = fn(&mut State);
    let table: &[(&str, Prepare, Boot)] = &[
        (
            "Pxe only",
            |state| state.boot["BootSourceOverrideTarget@Redfish.AllowableValues"] = json!(["None", "Pxe"]),
            DISK,
        ),
        (
            "no UefiHttp",
            |state| state.boot["BootSourceOverrideTarget@Redfish.AllowableValues"] = json!(["Pxe", "Hdd"]),
            Boot { device: BootDevice::UefiHttp, ..DISK },
        ),
        ("iLO 4", |state| state.boot["BootSourceOverrideSupported"] = json!(["None", "Cd"]), DISK),
        (
            "UEFI only",
            |state| state.boot["BootSourceOverrideMode@Redfish.AllowableValues"] = json!(["UEFI"]),
            Boot { mode: BootMode::Bios, ..DISK },
        ),
        (
            "no override",
            |state| state.boot["BootSourceOverrideEnabled@Redfish.AllowableValues"] = json!(["Disabled"]),
            DISK,
        ),
        (
            "settings",
            |state| {
                state.settings = Some(json!({"Boot": {"BootSourceOverrideTarget@Redfish.AllowableValues": ["Pxe"]}}));
            },
            DISK,
        ),
    ];
    for (source, prepare, boot) in table {
        let bmc = OddBmc::new(|_, _| None).with(prepare);
        let reply = bmc.run(async |driver, login| execute(driver, login, Command::Boot(*boot, 0)).await).await;
        assert!(matches!(&reply, Ok(Reply::Refused(why)) if why.contains("does not support")), "{source}: {reply:?}");
        assert!(bmc.take_calls("PATCH").is_empty(), "{source}");
    }
}

#[tokio::test]
async fn an_order_that_is_refused_in_every_way_ends_with_the_first_reason() {
    let bmc = OddBmc::new(|_, call| patches(call).then(|| complains(400, "PropertyNotWritable", &["Boot"])));
    let reply = bmc.run(async |driver, login| execute(driver, login, Command::Boot(DISK, 0)).await).await;
    assert!(matches!(&reply, Ok(Reply::Refused(why)) if why.contains("PropertyNotWritable: Boot")), "{reply:?}");
    let patched = bmc.take_calls("PATCH");
    assert!(patched.len() <= 6, "{patched:#?}");
}

/// A system with this entity tag, whose PATCH needs one of these values of `If-Match`.
pub(super) fn tagged(state: &mut State, call: &Call, tag: &str, takes: &[&str], otherwise: u16) -> Option<Raw> {
    if call.is("GET", SYSTEM) && state.is_known(call) {
        let head = if tag.is_empty() { String::new() } else { format!("ETag: {tag}\r\n") };
        return Some(Raw { head, ..shows(200, &state.whole_system()) });
    }
    if !patches(call) {
        return None;
    }
    Some(if takes.contains(&call.header("if-match")) { state.change_boot(call) } else { status(otherwise) })
}

#[tokio::test]
async fn an_entity_tag_is_sent_as_the_service_compares_it_and_the_detour_is_made_once() {
    let table: &[(&str, Odd, usize)] = &[
        ("RFC 9110 §13.1.1: strong comparison", |s, c| tagged(s, c, "W/\"1\"", &["\"1\""], 412), 2),
        ("weak comparison", |s, c| tagged(s, c, "W/\"1\"", &["W/\"1\""], 412), 1),
        ("a weak tag never matches, RFC 9110 §13.1.1", |s, c| tagged(s, c, "W/\"1\"", &[""], 412), 3),
        ("a strong tag that changes with each read", |s, c| tagged(s, c, "\"1\"", &[""], 412), 2),
        ("no tag", |s, c| tagged(s, c, "", &[""], 412), 1),
        ("gofish #171, Lenovo SR655: no tag, 428 without If-Match", |s, c| tagged(s, c, "", &["*"], 428), 2),
        ("a tag without quotes", |s, c| tagged(s, c, "1", &["1"], 412), 1),
        ("a tag without quotes, compared with quotes", |s, c| tagged(s, c, "1", &["\"1\""], 412), 2),
        ("compared without quotes", |s, c| tagged(s, c, "\"1\"", &["1"], 412), 4),
        ("community.general #3268: quoted twice", |s, c| tagged(s, c, "\"\"1\"\"", &["\"1\""], 412), 2),
        (
            "a tag in the body only",
            |s, c| {
                s.system["@odata.etag"] = json!("W/\"1\"");
                tagged(s, c, "", &["\"1\""], 412)
            },
            2,
        ),
        (
            "another tag in the body",
            |s, c| {
                s.system["@odata.etag"] = json!("\"1\"");
                tagged(s, c, "W/\"2\"", &["\"1\""], 412)
            },
            2,
        ),
    ];
    for (source, odd, first) in table {
        let bmc = OddBmc::new(*odd);
        bmc.run(async |driver, login| {
            for (device, most) in [(BootDevice::Disk, *first), (BootDevice::Pxe, 1)] {
                let order = order(device, Persistence::Once, BootMode::Uefi);
                assert_eq!(execute(driver, login, order).await, Ok(Reply::Done), "{source}");
                let patched = bmc.take_calls("PATCH");
                assert_eq!(patched.len(), most, "{source}: {patched:#?}");
            }
        })
        .await;
    }
}

#[tokio::test]
async fn a_conflict_ends_after_a_few_tries() {
    let bmc = OddBmc::new(|s, c| tagged(s, c, "W/\"1\"", &["never"], 412));
    let reply = bmc.run(async |driver, login| execute(driver, login, Command::Boot(DISK, 0)).await).await;
    let Ok(Reply::NotNow(failure)) = reply else { panic!("{reply:?}") };
    assert!(matches!(failure.believed(), BmcError::Refused { why, .. } if why.contains("entity tag")));
    let patched = bmc.take_calls("PATCH");
    assert_eq!(patched.len(), 3 * 5, "each form, in three tries: {patched:#?}");
}

/// Takes resets of these types only.
pub(super) fn takes(call: &Call, kinds: &[&str]) -> Option<Raw> {
    let kind = call.body["ResetType"].as_str().unwrap_or_default();
    (call.is("POST", RESET) && !kinds.contains(&kind))
        .then(|| complains(400, "ActionParameterNotSupported", &["ResetType"]))
}

/// Sets what the system says about resets.
fn action(state: &mut State, action: Value) {
    state.system["Actions"] = json!({"#ComputerSystem.Reset": action});
}

#[tokio::test]
async fn a_reset_is_of_a_type_that_the_service_takes() {
    type Row = (&'static str, fn(&mut State), Odd, Command, &'static str);
    let table: &[Row] = &[
        (
            "listed inline",
            |s| action(s, json!({"ResetType@Redfish.AllowableValues": ["ForceOn"]})),
            |_, c| takes(c, &["ForceOn"]),
            Command::On,
            "ForceOn",
        ),
        (
            "listed in the action info",
            |s| action(s, json!({"@Redfish.ActionInfo": "/redfish/v1/Info"})),
            |_, call| {
                let types = json!({"Parameters": [{"Name": "ResetType", "AllowableValues": ["ForceOn"]}]});
                if call.is("GET", "/redfish/v1/Info") { Some(shows(200, &types)) } else { takes(call, &["ForceOn"]) }
            },
            Command::On,
            "ForceOn",
        ),
        ("not listed, On refused", nothing, |_, c| takes(c, &["ForceOn"]), Command::On, "ForceOn"),
        (
            "not listed, refused without a reason",
            nothing,
            |_, call| (call.body["ResetType"] == "On").then(|| status(400)),
            Command::On,
            "ForceOn",
        ),
        ("missing action info", |s| action(s, json!({"@Redfish.ActionInfo": "/none"})), |_, _| None, Command::On, "On"),
        (
            "no ForceOff",
            |s| {
                s.power = json!("On");
                action(s, json!({"ResetType@Redfish.AllowableValues": ["GracefulShutdown", "On"]}));
            },
            |_, _| None,
            Command::Off,
            "GracefulShutdown",
        ),
    ];
    for (source, prepare, odd, command, right) in table {
        let bmc = OddBmc::new(*odd).with(prepare);
        let reply = bmc.run(async |driver, login| execute(driver, login, *command).await).await;
        let told = bmc.take_calls(&format!("POST {RESET}"));
        assert_eq!(reply, Ok(Reply::Done), "{source}: {told:#?}");
        assert!(told.last().unwrap().contains(&format!("\"{right}\"")), "{source}: {told:#?}");
    }
    let bmc = OddBmc::new(|_, _| None)
        .with(|state| action(state, json!({"ResetType@Redfish.AllowableValues": ["PushPowerButton", "Nmi"]})));
    let reply = bmc.run(async |driver, login| execute(driver, login, Command::On).await).await;
    assert!(matches!(&reply, Ok(Reply::Refused(why)) if why.contains("lists only these types: PushPowerButton, Nmi")));
    assert!(bmc.take_calls(&format!("POST {RESET}")).is_empty(), "a push would toggle");
    let bmc = OddBmc::new(|_, call| call.is("POST", RESET).then(|| complains(400, "General", &["the lid is open"])));
    let reply = bmc.run(async |driver, login| execute(driver, login, Command::On).await).await;
    assert!(matches!(&reply, Ok(Reply::Refused(why)) if why.contains("the lid is open")), "{reply:?}");
    assert_eq!(bmc.take_calls(&format!("POST {RESET}")).len(), 1, "another type would not help");
}
