use super::*;

fn disk(name: &str, gib: u64) -> BlockDevice {
    let disk = Disk { name: name.to_owned(), size_bytes: gib << 30, ..Disk::default() };
    BlockDevice { disk, identifier: String::new(), unusable: None }
}

fn chosen(found: &[BlockDevice], name: &str, gib: u64) -> String {
    let wanted = Wanted { name: name.to_owned(), bytes: gib << 30, ..Wanted::default() };
    choose(found, &wanted).map_or_else(|error| error.cause().word().to_owned(), |disk| disk.name.clone())
}

#[test]
fn the_smallest_disk_that_is_large_enough_is_taken() {
    let found = [disk("sda", 900), disk("sdb", 200), disk("sdc", 2)];
    assert_eq!(chosen(&found, "", 0), "sdb");
    assert_eq!(chosen(&found, "", 1), "sdb", "a disk under 4 GiB comes last");
    assert_eq!(chosen(&found, "", 300), "sda");
    assert_eq!(chosen(&found, "", 901), "IMAGE_TOO_LARGE");
    assert_eq!(chosen(&[disk("sdc", 2)], "", 1), "sdc");
}

#[test]
fn a_disk_that_is_named_is_that_disk_or_none() {
    let found = [disk("sda", 900), disk("sdb", 200)];
    assert_eq!(chosen(&found, "sda", 1), "sda");
    assert_eq!(chosen(&found, "sdb", 300), "IMAGE_TOO_LARGE");
    assert_eq!(chosen(&found, "vda", 1), "NO_DISK");
}

#[test]
fn a_root_device_hint_selects_the_disk_and_none_is_written_if_none_matches() {
    let found = [disk("sda", 200), disk("sdb", 900)];
    let chosen = |hint: &str, value: &str, found: &[BlockDevice]| {
        let hints = DiskHints::parse([(hint, value)]).unwrap();
        choose(found, &Wanted { hints, ..Wanted::default() }).map(|disk| disk.name.clone())
    };
    // Without the hint sda is chosen, which is the smaller one.
    assert_eq!(chosen("name", "/dev/sdb", &found).unwrap(), "sdb");
    assert_eq!(chosen("size", ">= 500", &found).unwrap(), "sdb");
    let error = chosen("serial", "S1", &found).unwrap_err();
    assert_eq!(error.cause().word(), "NO_DISK");
    assert!(error.to_string().contains("root device hints (properties/root_device); found sda"), "{error}");
    // A disk that is skipped is not written either.
    let left = skip(found.to_vec(), &[DiskHints::parse([("name", "/dev/sdb")]).unwrap()]).unwrap();
    assert!(chosen("size", ">= 500", &left.found).unwrap_err().to_string().contains("skip_block_devices"));
}

#[test]
fn where_there_is_no_disk_the_operator_hears_what_there_is() {
    let folder = tempfile::tempdir().unwrap();
    let block = folder.path().join("sys/block");
    for (name, file, value) in
        [("sr0", "size", "9"), ("sdb", "removable", "1"), ("sdc", "ro", "1"), ("sdd", "size", "0")]
    {
        fs::create_dir_all(block.join(name)).unwrap();
        fs::write(block.join(name).join("size"), "2097152\n").unwrap();
        fs::write(block.join(name).join(file), value).unwrap();
    }
    let found = scan(&Machine::at(folder.path()));
    let error = choose(&found, &Wanted { bytes: 1, ..Wanted::default() }).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot find a usable disk; found sdb (1073741824 bytes; is removable), \
         sdc (1073741824 bytes; is read-only), sdd (0 bytes; is empty), \
         sr0 (4608 bytes; is not a physical disk)"
    );
}

#[test]
fn the_serial_number_of_a_scsi_disk_is_read_from_its_page() {
    let page = |serial: &str| [&[0, 0x80, 0, u8::try_from(serial.len()).unwrap()], serial.as_bytes()].concat();
    for (page, source, right) in [
        (page("S5H7NS0N"), "SPC-4 §7.8.10", Some("S5H7NS0N")),
        (page("     S5H7NS0N"), "SAT-4 §10.3.3: aligned to the right", Some("S5H7NS0N")),
        (page("S5H7NS0N\0\0 "), "padded", Some("S5H7NS0N")),
        ([page("S5H7NS0N"), b"more".to_vec()].concat(), "bytes after its end", Some("S5H7NS0N")),
        (page("S5H7NS0N")[..8].to_vec(), "cut", Some("S5H7")),
        (page(""), "no serial number", Some("")),
        ([0, 0x83, 0, 1, b'x'].to_vec(), "another page", None),
        (vec![0, 0x80, 0], "no header", None),
        (vec![], "no page", None),
    ] {
        assert_eq!(serial_of_page(&page).as_deref(), right, "{source}");
    }
}

#[test]
fn a_scsi_disk_is_skipped_by_its_serial_number_and_by_its_identifier() {
    let folder = tempfile::tempdir().unwrap();
    let device = folder.path().join("sys/block/sda/device");
    fs::create_dir_all(&device).unwrap();
    fs::write(folder.path().join("sys/block/sda/size"), "2097152\n").unwrap();
    fs::write(device.join("wwid"), "naa.5002538e40a1b2c3\n").unwrap();
    let with_page = [&[0, 0x80, 0, 10][..], b"  S5H7NS0N"].concat();
    // The page, the hint, and whether the disk is skipped; `None` if that is not known.
    for (page, value, right) in [
        (Some(&with_page), "S5H7NS0N", Some(true)),
        (Some(&with_page), "naa.5002538e40a1b2c3", Some(true)),
        (Some(&with_page), "S5H7NS0M", Some(false)),
        (None, "S5H7NS0N", None),
        (None, "naa.5002538e40a1b2c3", Some(true)),
        (None, "naa.5002538e40a1b2c4", Some(false)),
    ] {
        match page {
            Some(page) => fs::write(device.join("vpd_pg80"), page).unwrap(),
            None => drop(fs::remove_file(device.join("vpd_pg80"))),
        }
        let hints = DiskHints::parse([("serial", value)]).unwrap();
        // A disk of which it is not known is left alone when another one is written.
        let left = skip_for_write(scan(&Machine::at(folder.path())), std::slice::from_ref(&hints));
        assert_eq!(left.found.first().unwrap().unusable.is_some(), right != Some(false), "{value}");
        match (skip(scan(&Machine::at(folder.path())), &[hints]), right) {
            (Ok(Skipped { found, unmatched }), Some(right)) => {
                assert_eq!(found.first().unwrap().unusable.is_some(), right, "{value}");
                assert_eq!(unmatched.is_empty(), right, "{value}");
            }
            (Err(error), None) => assert_eq!(error.cause().word(), "NO_DISK", "{error}"),
            (found, _) => panic!("{value}: {found:?}"),
        }
    }
}
