//! The tables of attacks: how many there are, and that each is carried out.

use std::{collections::BTreeSet, fs, path::Path};

use integration_tests::{fault::tell, hostile};

#[test]
fn there_are_at_least_sixty_distinct_attacks_and_each_table_is_carried_out() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let tests = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let is_attack = |path: &std::path::PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        name.starts_with("hostile_") && name != "hostile_tables.rs"
    };
    let tests = tests.filter(is_attack);
    let code: String = tests.map(|path| fs::read_to_string(path).unwrap()).collect();
    assert!(
        !code.replace("#[ignore = \"a measurement", "").contains("#[ignore"),
        "an attack that is ignored is not carried out"
    );
    let (mut names, mut count) = (BTreeSet::new(), 0);
    for door in hostile::doors() {
        tell(format_args!("{}: {} attacks", door.name, door.attacks.len()));
        assert!(
            code.contains(&format!("hostile::attack(\"{0}\", {0}::TABLE", door.name)),
            "no test runs {}",
            door.name
        );
        for (name, source) in door.attacks {
            assert!(name.contains(' ') && source.len() > 3, "{name}: {source}");
            names.insert(name);
            count += 1;
        }
    }
    assert_eq!(names.len(), count, "two attacks have the same name");
    assert!(count >= 60, "{count}");
}
