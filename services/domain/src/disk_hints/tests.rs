use super::*;

fn disk() -> Disk {
    Disk {
        name: "sdb".to_owned(),
        size_bytes: 100 << 30,
        serial: "S5H7NS0N".to_owned(),
        model: "Samsung SSD 860".to_owned(),
        rotational: false,
    }
}

#[test]
fn a_disk_is_selected_by_every_expression_of_ironics_root_device_hints() {
    for (hint, value, source, right) in [
        ("serial", "s5h7ns0n", "ironic install guide: any case of letters", true),
        ("serial", "s== S5H7NS0N", "oslo.utils specs_matcher", true),
        ("serial", "S5H7NS0", "a part of it", false),
        ("serial", "s!= S5H7NS0N", "specs_matcher", false),
        ("model", "<in> samsung", "specs_matcher", true),
        ("model", "<or> Intel <or> samsung ssd 860", "specs_matcher", true),
        ("model", "<or> Intel <or> Toshiba", "specs_matcher", false),
        ("model", "<all-in> samsung 860", "specs_matcher", true),
        ("model", "<all-in> samsung 970", "specs_matcher", false),
        ("name", "/dev/sdb", "Metal3 deviceName", true),
        ("name", "s== /dev/sda", "Metal3", false),
        ("rotational", "False", "Metal3", true),
        ("rotational", "1", "strutils.bool_from_string", false),
        ("size", "100", "ironic install guide", true),
        ("size", "99", "equal, not at least", false),
        ("size", "= 60", "specs_matcher: a plain = is at least", true),
        ("size", ">= 100", "Metal3 minSizeGigabytes", true),
        ("size", "> 100", "specs_matcher", false),
        ("size", "<range-in> [ 90 100 ]", "specs_matcher", true),
        ("size", "<range-in> [ 90 100 )", "specs_matcher", false),
    ] {
        let hints = DiskHints::parse([(hint, value)]).unwrap_or_else(|error| panic!("{source}: {error}"));
        let verdict = if right { Verdict::Matches } else { Verdict::Differs };
        assert_eq!(hints.judge(&disk(), ""), verdict, "{hint} {value} ({source})");
    }
}

#[test]
fn a_hint_that_cannot_be_evaluated_is_an_error_and_never_selects_another_disk() {
    for (hint, value) in [
        ("size", "big"),
        ("size", "0"),
        ("size", "-1"),
        ("size", "<range-in> 1 2"),
        ("size", "<range-in> [ 1"),
        ("size", "<range-in>"),
        ("rotational", "perhaps"),
        ("serial", ""),
        ("serial", "s=="),
        ("model", "<all-in>"),
        ("wwn", "0x5000"),
        ("hctl", "1:0:0:0"),
        ("colour", "red"),
    ] {
        assert!(DiskHints::parse([(hint, value)]).is_err(), "{hint} {value:?}");
    }
}

#[test]
fn all_conditions_must_be_met_and_what_is_unknown_of_a_disk_meets_none() {
    let both = DiskHints::parse([("size", "100"), ("serial", "other")]).unwrap();
    assert_eq!(both.judge(&disk(), ""), Verdict::Differs);
    let unknown = Disk { serial: String::new(), model: String::new(), ..disk() };
    assert!(DiskHints::default().is_empty());
    for (hints, source, right) in [
        (&[][..], "no hints", Verdict::Matches),
        (&[("serial", "s!= x")], "another serial number", Verdict::Unknown),
        (&[("serial", "x")], "a serial number", Verdict::Unknown),
        (&[("model", "<in> x")], "a model", Verdict::Unknown),
        (&[("serial", "x"), ("size", "1")], "another condition is not met", Verdict::Differs),
        (&[("serial", "x"), ("size", "100")], "another condition is met", Verdict::Unknown),
        (&[("name", "/dev/sdb")], "what is known", Verdict::Matches),
    ] {
        assert_eq!(DiskHints::parse(hints.iter().copied()).unwrap().judge(&unknown, ""), right, "{source}");
    }
}

#[test]
fn a_part_of_an_identifier_selects_no_disk_that_tells_its_serial_number() {
    const NAA: &str = "naa.5002538e40a1b2c3";
    // The serial number, the hint, whether the disk is one to skip, and whether it is one to write.
    for (serial, value, skips, selects) in [
        ("S5H7NS0N", "<in> 5002", true, false),
        ("S5H7NS0N", "<in> s5h7", true, true),
        ("S5H7NS0N", "s< s5", true, false),
        ("S5H7NS0N", "<all-in> 5002 538e", true, false),
        ("S5H7NS0N", NAA, true, true),
        ("S5H7NS0N", "<or> 5002538e40a1b2c3 <or> x", true, true),
        (NAA, "<in> naa.5002", true, true),
    ] {
        let disk = Disk { serial: serial.to_owned(), ..disk() };
        let hints = DiskHints::parse([("serial", value)]).unwrap();
        let judged = (hints.judge(&disk, NAA) == Verdict::Matches, hints.select(&disk, NAA));
        assert_eq!(judged, (skips, selects), "{serial} {value}");
    }
}

#[test]
fn a_serial_number_is_that_of_the_disk_or_its_identifier() {
    use Verdict::{Differs, Matches, Unknown};
    const NAA: &str = "naa.5002538e40a1b2c3";
    for (serial, identifier, value, source, right) in [
        ("S5H7NS0N", NAA, "S5H7NS0N", "SCSI: the unit serial number", Matches),
        ("S5H7NS0N", NAA, NAA, "the identifier, as earlier inventories have it", Matches),
        ("S5H7NS0N", NAA, "5002538E40A1B2C3", "udev's ID_SERIAL_SHORT of a SAS disk", Matches),
        ("S5H7NS0N", NAA, "OTHER", "another disk", Differs),
        ("S5H7NS0N", NAA, "s!= S5H7NS0N", "all but this one", Differs),
        ("S5H7NS0N", NAA, "s!= OTHER", "all but another", Matches),
        (NAA, NAA, "S5H7NS0N", "the disk tells only its identifier", Unknown),
        (NAA, NAA, "naa.1", "the identifier of another disk", Differs),
        (NAA, NAA, NAA, "the identifier", Matches),
        (NAA, NAA, "s!= S5H7NS0N", "it may be that one", Unknown),
        ("", "", "S5H7NS0N", "nothing is known", Unknown),
        ("", "", "naa.1", "nothing is known, and an identifier is named", Unknown),
    ] {
        let disk = Disk { serial: serial.to_owned(), ..disk() };
        let hints = DiskHints::parse([("serial", value)]).unwrap();
        assert_eq!(hints.judge(&disk, identifier), right, "{value}: {source}");
    }
}

#[test]
fn hints_of_ironics_own_agent_are_accepted_where_it_is_the_one_that_runs() {
    let only_ironics = |name: &str| Err(DiskHintsError::OnlyIronicsAgent(name.to_owned()));
    let unknown = |name: &str| Err(DiskHintsError::Unknown(name.to_owned()));
    for (name, value, skips, source, by_ironics, by_ours) in [
        ("wwn", "x", false, "a hint that the other agent does not know", Ok(()), only_ironics("wwn")),
        ("hctl", "x", true, "the same, for a disk to skip", Ok(()), only_ironics("hctl")),
        ("volume_name", "x", true, "ipa: get_skip_list_from_node", Ok(()), only_ironics("volume_name")),
        ("volume_name", "x", false, "no root device hint", unknown("volume_name"), only_ironics("volume_name")),
        ("colour", "x", true, "no hint", unknown("colour"), unknown("colour")),
        ("serial", "S1", true, "a text", Ok(()), Ok(())),
    ] {
        let hints = BTreeMap::from([(name.to_owned(), value.to_owned())]);
        assert_eq!(check(&hints, HintUse { by_ironics_agent: true, skips }), by_ironics, "{name}: {source}");
        assert_eq!(check(&hints, HintUse { by_ironics_agent: false, skips }), by_ours, "{name}: {source}");
    }
    for (name, value) in [("model", "<all-in> samsung ssd"), ("size", "int(1)"), ("serial", "<regex> x")] {
        let hints = BTreeMap::from([(name.to_owned(), value.to_owned())]);
        assert_eq!(check(&hints, HintUse { by_ironics_agent: true, skips: false }), Ok(()), "{name} {value}");
    }
}
