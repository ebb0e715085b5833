//! Golden matrix of callers and rules, and its invariants.

use std::{fmt::Write as _, fs, path::Path};

use super::*;

const OWNER: &str = "owner";
const LESSEE: &str = "lessee";

fn caller(roles: Roles, scope: Scope) -> Caller {
    Caller { name: "ann".to_owned(), account: String::new(), roles, scope }
}

fn of(project: &str, word: &str) -> Caller {
    caller(Roles::named([word]), Scope::Project { id: project.to_owned(), is_services: project == "services" })
}

fn in_system(word: &str) -> Caller {
    caller(Roles::named([word]), Scope::System)
}

const fn record() -> Option<Ownership<'static>> {
    Some(Ownership { owner: Some(OWNER), lessee: Some(LESSEE) })
}

/// Returns the columns of the matrix.
fn callers() -> Vec<(&'static str, Vec<Caller>)> {
    let words = ["admin", "manager", "member", "reader", "service"];
    let project = |name: &'static str| (name, words.iter().map(|word| of(name, word)).collect());
    let mut all = vec![("system", words.iter().map(|word| in_system(word)).collect())];
    all.extend([OWNER, LESSEE, "stranger", "services"].map(project));
    all
}

#[test]
fn the_verdicts_are_those_of_the_golden_matrix() {
    let mut out =
        String::from("# + allowed, - denied, . not there for him; each of: admin manager member reader service\n");
    let heads: Vec<_> = callers().iter().map(|(name, _)| format!("{name:8}")).collect();
    writeln!(out, "{:50} {}", "#", heads.join(" ").trim_end()).unwrap();
    for rule in all() {
        let sign = |who: &Caller| match who.ask(rule, record()) {
            Verdict::Allowed => '+',
            Verdict::Denied => '-',
            Verdict::Hidden => '.',
        };
        let columns: Vec<String> =
            callers().iter().map(|(_, all)| format!("{:8}", all.iter().map(sign).collect::<String>())).collect();
        writeln!(out, "{:50} {}", rule.name(), columns.join(" ").trim_end()).unwrap();
    }
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/policy/golden/matrix.txt");
    if option_env!("UPDATE").is_some() {
        fs::write(&golden, &out).unwrap();
    }
    assert_eq!(out, fs::read_to_string(&golden).unwrap(), "UPDATE=1 rewrites the matrix; read its diff");
}

#[test]
fn a_role_has_all_rights_of_the_roles_that_it_includes() {
    let ranks = ["reader", "member", "manager", "admin"];
    for rule in all() {
        for (less, more) in ranks.iter().zip(ranks.iter().skip(1)) {
            for scope in [None, Some(OWNER), Some(LESSEE), Some("stranger")] {
                let caller = |word: &str| scope.map_or_else(|| in_system(word), |project| of(project, word));
                let (may, may_too) = (caller(less).may(rule, record()), caller(more).may(rule, record()));
                assert!(!may || may_too, "{} of {scope:?}: {less} and not {more}", rule.name());
            }
        }
    }
}

#[test]
fn only_a_system_admin_has_full_rights() {
    for rule in all() {
        assert_eq!(Caller::unrestricted("root").ask(rule, record()), Verdict::Allowed, "{}", rule.name());
    }
    let others = callers().into_iter().flat_map(|(_, all)| all).filter(|who| *who != in_system("admin"));
    for other in others {
        assert!(!other.is_unrestricted(), "{other:?}");
        assert!(all().any(|rule| !other.may(rule, record())), "{other:?}");
    }
}

#[test]
fn an_unrelated_caller_does_not_learn_that_a_node_exists() {
    for rule in all().filter(|rule| rule.row().sight == Sight::Node) {
        assert_eq!(of("stranger", "admin").ask(rule, record()), Verdict::Hidden, "{}", rule.name());
        assert_eq!(of("stranger", "admin").ask(rule, Some(Ownership::default())), Verdict::Hidden, "{}", rule.name());
    }
}

#[test]
fn a_caller_without_scope_or_roles_has_no_rights() {
    let nowhere = caller(Roles::named(["admin", "service"]), Scope::None);
    let powerless = of(OWNER, "dancer");
    assert!(powerless.roles.is_empty());
    for rule in all() {
        assert!(!nowhere.may(rule, record()), "{}", rule.name());
        assert!(!powerless.may(rule, record()), "{}", rule.name());
    }
}

#[test]
fn a_project_without_an_id_does_not_own_records_without_an_owner() {
    let nameless = of("", "admin");
    for whose in [Ownership::default(), Ownership { owner: Some(""), lessee: Some("") }] {
        assert!(!nameless.may(SEE_NODE, Some(whose)));
    }
}

#[test]
fn rule_names_are_unique() {
    let mut names: Vec<_> = all().map(Rule::name).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
}
