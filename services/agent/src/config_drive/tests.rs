use std::{
    fs::{self, File, OpenOptions},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use proptest::prelude::*;
use tempfile::TempDir;

use wire_config_drive::ConfigDriveError;

use super::*;

const MIB: u64 = 1 << 20;
const ID: [u8; 16] = [7; 16];

/// A disk of that many MiB, with an image of `image` MiB that was partitioned with another tool.
fn disk(image: u64, size: u64, tool: &str, arguments: &[&str]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vda");
    File::create(&path).unwrap().set_len(image * MIB).unwrap();
    if !tool.is_empty() {
        run(tool, &[arguments, &[path.to_str().unwrap()]].concat());
    }
    OpenOptions::new().write(true).open(&path).unwrap().set_len(size * MIB).unwrap();
    (folder, path)
}

fn run(tool: &str, arguments: &[&str]) -> String {
    let done = Command::new(tool).args(arguments).output().unwrap_or_else(|error| panic!("{tool}: {error}"));
    let text = String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned();
    assert!(done.status.success(), "{tool} {arguments:?}: {text}");
    text
}

fn files() -> BTreeMap<String, Vec<u8>> {
    [
        ("openstack/latest/meta_data.json", br#"{"hostname":"n11"}"#.to_vec()),
        ("openstack/latest/user_data", vec![b'u'; 300_000]),
        ("openstack/content/0000", Vec::new()),
    ]
    .map(|(path, content)| (path.to_owned(), content))
    .into()
}

fn add(path: &Path) -> Result<(), WorkError> {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    write_config_drive(&files(), ID, &mut Target::new("vda".to_owned(), file).unwrap())
}

fn why(path: &Path) -> PlacementError {
    match add(path) {
        Err(WorkError::ConfigDrive { source, .. }) => source,
        other => panic!("{other:?}"),
    }
}

/// Whether others find the volume, its label and its files in the partition that begins at this octet.
fn is_found(path: &Path, start: u64) {
    let path = path.to_str().unwrap();
    let probe = run("blkid", &["-p", "-O", &start.to_string(), "-o", "export", path]);
    assert!(probe.contains("LABEL=config-2\n") && probe.contains("TYPE=vfat"), "{probe}");
    assert!(probe.contains("LABEL_FATBOOT=config-2"), "{probe}");
    let image = format!("{path}@@{start}");
    let text = run("mtype", &["-i", &image, "::/openstack/latest/meta_data.json"]);
    assert_eq!(text, r#"{"hostname":"n11"}"#);
    assert!(run("mdir", &["-/", "-i", &image, "::"]).contains("300000"));
}

#[test]
fn a_gpt_disk_gets_its_config_drive_at_its_end_and_keeps_its_partitions_numbers() {
    // Numbered as Debian's and Ubuntu's cloud images are.
    let table = ["-n14:2048:4095", "-n15:4096:8191", "-n1:8192:0", "-c1:root", "-A15:set:2"];
    let (_folder, path) = disk(24, 64, "sgdisk", &table);
    let before = run("sgdisk", &["-i1", "-i14", "-i15", path.to_str().unwrap()]);
    add(&path).unwrap();
    let text = path.to_str().unwrap();
    assert_eq!(run("sgdisk", &["-i1", "-i14", "-i15", text]), before);
    let verdict = run("sgdisk", &["-v", text]);
    assert!(verdict.contains("No problems found"), "{verdict}");
    let added = run("sgdisk", &["-i2", text]);
    assert!(added.contains("Partition name: 'config-2'"), "{added}");
    assert!(added.contains("EBD0A0A2-B9E5-4433-87C0-68B6B72699C7"), "{added}");
    assert!(added.contains("First sector: 126976 "), "{added}");
    is_found(&path, 126_976 * 512);
}

#[test]
fn firmware_that_lost_the_first_header_finds_the_second_at_the_disks_end() {
    let (_folder, path) = disk(24, 64, "sgdisk", &["-n1:2048:0"]);
    add(&path).unwrap();
    OpenOptions::new().write(true).open(&path).unwrap().write_all_at(&[0; 512], 512).unwrap();
    let text = run("sgdisk", &["-p", path.to_str().unwrap()]);
    assert!(text.contains("config-2"), "{text}");
}

#[test]
fn a_gpt_without_a_config_drive_is_fitted_to_its_disk() {
    let fit = |path: &Path| {
        let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
        move_backup_table(&mut Target::new("vda".to_owned(), file).unwrap()).unwrap();
    };
    let table = ["-n14:2048:4095", "-n1:8192:0", "-c1:root"];
    for (image, size, source) in [
        (24, 64, "UEFI 2.10 §5.3.2: a larger disk"),
        (24, 25, "a disk that is 1 MiB larger, less than the alignment"),
        (24, 4096, "a much larger disk"),
        (24, 24, "a disk of the same size"),
    ] {
        let (_folder, path) = disk(image, size, "sgdisk", &table);
        let text = path.to_str().unwrap();
        let before = run("sgdisk", &["-i1", "-i14", text]);
        fit(&path);
        assert_eq!(run("sgdisk", &["-i1", "-i14", text]), before, "{source}");
        let verdict = run("sgdisk", &["-v", text]);
        assert!(verdict.contains("No problems found"), "{source}: {verdict}");
        // Firmware that lost the first header finds the second at the end of the disk.
        OpenOptions::new().write(true).open(&path).unwrap().write_all_at(&[0; 512], 512).unwrap();
        assert!(run("sgdisk", &["-p", text]).contains("root"), "{source}");
        // Table 5-4: the size of the protective partition.
        let mut sectors = [0; 4];
        File::open(&path).unwrap().read_exact_at(&mut sectors, 446 + 12).unwrap();
        assert_eq!(u64::from(u32::from_le_bytes(sectors)), size * MIB / 512 - 1, "{source}");
    }
    let unchanged = |path: &Path, source: &str| {
        let before = fs::read(path).unwrap();
        fit(path);
        assert!(fs::read(path).unwrap() == before, "{source}");
    };
    let (_folder, path) = disk(24, 24, "sgdisk", &table);
    unchanged(&path, "a GPT that fits");
    let (_folder, path) = disk(24, 64, "", &[]);
    unchanged(&path, "no table");
    mbr_with(&path, &[(0x83, 2048, 40_960)]);
    unchanged(&path, "an MBR");
    let (_folder, path) = disk(24, 64, "mkfs.vfat", &[]);
    unchanged(&path, "a file system");
    let (_folder, path) = disk(24, 64, "sgdisk", &table);
    OpenOptions::new().write(true).open(&path).unwrap().write_all_at(&[9], 1024 + 60).unwrap();
    unchanged(&path, "a damaged GPT");
}

#[test]
fn an_mbr_disk_gets_a_primary_partition() {
    let (_folder, path) = disk(24, 64, "", &[]);
    mbr_with(&path, &[(0x83, 2048, 40_960)]);
    add(&path).unwrap();
    let table = run("partx", &["-bgo", "NR,START,SECTORS,TYPE", path.to_str().unwrap()]);
    let rows: Vec<Vec<&str>> = table.lines().map(|row| row.split_whitespace().collect()).collect();
    assert_eq!(rows, [["1", "2048", "40960", "0x83"], ["2", "129024", "2048", "0xe"]]);
    is_found(&path, 129_024 * 512);
}

#[test]
fn a_table_without_a_free_entry_is_said() {
    let (_folder, path) = disk(24, 64, "", &[]);
    mbr_with(&path, &[(0x83, 2048, 8), (0x83, 4096, 8), (0x83, 6144, 8), (0x05, 8192, 8)]);
    assert!(matches!(why(&path), PlacementError::NoEntry));
}

#[test]
fn a_disk_without_room_behind_its_last_partition_is_said() {
    let (_folder, path) = disk(24, 24, "sgdisk", &["-n1:2048:0"]);
    assert!(matches!(why(&path), PlacementError::NoRoom { .. }));
    let (_folder, path) = disk(24, 24, "", &[]);
    mbr_with(&path, &[(0x83, 2048, 47_104)]);
    assert!(matches!(why(&path), PlacementError::NoRoom { .. }));
}

#[test]
fn an_image_without_a_table_or_with_a_damaged_one_is_said() {
    let (_folder, path) = disk(24, 24, "mkfs.vfat", &[]);
    assert!(matches!(why(&path), PlacementError::NoTable));
    let (_folder, path) = disk(24, 64, "sgdisk", &["-n1:2048:0"]);
    OpenOptions::new().write(true).open(&path).unwrap().write_all_at(&[9], 1024 + 60).unwrap();
    assert!(matches!(why(&path), PlacementError::Damaged(_)));
}

#[test]
fn a_config_drive_never_writes_outside_its_own_folder() {
    for path in ["../etc/passwd", "/etc/passwd", "openstack//x", "", "a/./b"] {
        let files = BTreeMap::from([(path.to_owned(), vec![1])]);
        assert!(matches!(volume(&files, ID, 512), Err(ConfigDriveError::Name(_))), "{path}");
    }
}

#[test]
fn a_volume_holds_what_it_was_made_for() {
    for (count, bytes) in [(1, 0), (400, 1), (1, 30 << 20), (60, 100_000)] {
        let files = (0..count).map(|n| (format!("openstack/content/{n:04}"), vec![7; bytes])).collect();
        for sector in [512, 4096] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("volume");
            let volume = volume(&files, ID, sector).unwrap();
            assert!(volume.len() >= 1 << 20);
            fs::write(&path, volume).unwrap();
            let listed = run("mdir", &["-b", "-/", "-i", path.to_str().unwrap(), "::"]);
            assert_eq!(listed.matches("content/0").count(), count, "{listed}");
        }
    }
}

fn mbr_with(path: &Path, partitions: &[(u8, u32, u32)]) {
    let mut sector = [0_u8; 512];
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    for (n, (kind, first, sectors)) in partitions.iter().enumerate() {
        let entry = &mut sector[446 + n * 16..462 + n * 16];
        entry[4] = *kind;
        entry[8..12].copy_from_slice(&first.to_le_bytes());
        entry[12..16].copy_from_slice(&sectors.to_le_bytes());
    }
    OpenOptions::new().write(true).open(path).unwrap().write_all_at(&sector, 0).unwrap();
}

proptest! {
    #[test]
    fn no_partition_table_makes_us_panic_or_write_beyond_the_disk(
        at in 0_usize..2048, bytes in prop::collection::vec(any::<u8>(), 1..64), mend in any::<bool>(), size in 0_u64..(80 * MIB),
    ) {
        let (_folder, path) = disk(4, 4, "", &[]);
        let mut image = fs::read(&path).unwrap();
        image[512..520].copy_from_slice(b"EFI PART");
        image[510..512].copy_from_slice(&[0x55, 0xaa]);
        for (field, value) in [(524, 92), (592, 128), (596, 128), (584, 2), (552, 34)] {
            image[field] = value;
        }
        for (octet, value) in image.iter_mut().skip(at).zip(&bytes) {
            *octet = *value;
        }
        if mend {
            let array = crc(&image[1024..1024 + 128 * 128]);
            image[600..604].copy_from_slice(&array);
            image[528..532].fill(0);
            let header = crc(&image[512..604]);
            image[528..532].copy_from_slice(&header);
        }
        let table = read_table(&mut io::Cursor::new(image)).unwrap();
        if let Ok(placed) = table.place(size, MIB, ID) {
            prop_assert!(placed.start + MIB <= size);
            for edit in placed.edits {
                prop_assert!(edit.at + edit.bytes.len() as u64 <= size, "{} of {size}", edit.at);
            }
        }
    }
}

fn crc(bytes: &[u8]) -> [u8; 4] {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum().to_le_bytes()
}
