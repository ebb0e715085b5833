//! Ironic's clients before our face: what a real one was asked, the stock command line, and the SDK's own tests.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use integration_tests::{
    fault::tell,
    fleet::Fleet,
    ironic::{Player, recorded, unlike},
    mesh::Options,
    record::store,
};
use wire_ironic::difference::DIFFERENCES;

/// The list of what is answered otherwise: `reason<TAB>request`, a line each.
fn list() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/ironic.txt")
}

#[test]
fn what_a_real_ironic_was_asked_is_answered_alike_but_for_a_written_list() {
    let fleet = Fleet::up("iron", 0, &Options::default()).unwrap();
    fleet
        .run(async |_, fleet| {
            let recorded = recorded()?;
            let store = store(&fleet.data(), "scheduler-service-1").await?;
            let answers = Player::new(fleet.mesh().rest(1)?, store)?.play(&recorded).await?;
            ensure!(answers.len() == recorded.len(), "{} answers of {}", answers.len(), recorded.len());
            let text = fs::read_to_string(list()).context("golden/ironic.txt")?;
            let excused: BTreeMap<&str, &str> =
                text.lines().filter_map(|line| line.split_once('\t')).map(|(reason, ask)| (ask, reason)).collect();
            let (mut wrong, mut alike) = (Vec::new(), 0);
            let mut unused: BTreeSet<&str> = excused.keys().copied().collect();
            for (real, ours) in recorded.iter().zip(&answers) {
                let reason = excused.get(real.ask.as_str());
                match (unlike(real, ours), reason) {
                    (None, _) => alike += 1,
                    (Some(_), Some(reason)) => {
                        let known = DIFFERENCES.iter().any(|difference| difference.name == *reason);
                        ensure!(known, "{reason:?} is no difference of wire_ironic's: {}", real.ask);
                        unused.remove(real.ask.as_str());
                    }
                    (Some(how), None) => wrong.push(format!("{}\n     {how}", real.ask)),
                }
            }
            wrong.extend(unused.iter().map(|ask| format!("{ask}\n     is answered alike and needs no excuse")));
            tell(format_args!("{alike} of {} alike, {} on purpose not", recorded.len(), excused.len()));
            ensure!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
            Ok(())
        })
        .unwrap();
}
