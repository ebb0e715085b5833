use super::*;

fn disk(name: &str, gib: u64) -> BlockDevice {
    BlockDevice { disk: Disk { name: name.to_owned(), size_bytes: gib << 30, ..Disk::default() }, unusable: None }
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
    let left = skip(found.to_vec(), &[DiskHints::parse([("name", "/dev/sdb")]).unwrap()]);
    assert!(chosen("size", ">= 500", &left).unwrap_err().to_string().contains("skip_block_devices"));
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
