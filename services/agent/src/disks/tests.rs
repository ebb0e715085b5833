use super::*;

fn disk(name: &str, gib: u64) -> BlockDevice {
    BlockDevice { disk: Disk { name: name.to_owned(), size_bytes: gib << 30, ..Disk::default() }, unusable: None }
}

fn chosen(found: &[BlockDevice], name: &str, gib: u64) -> String {
    choose(found, name, gib << 30).map_or_else(|error| error.cause().word().to_owned(), |disk| disk.name.clone())
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
    let error = choose(&found, "", 1).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot find a usable disk; found sdb (1073741824 bytes; is removable), \
         sdc (1073741824 bytes; is read-only), sdd (0 bytes; is empty), \
         sr0 (4608 bytes; is not a physical disk)"
    );
}
