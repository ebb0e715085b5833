//! try
use integration_tests::model::{Rules, Story, Tally, run};

#[test]
fn try_some() {
    let (from, count): (u64, u64) = (1, 300);
    let mut tally = Tally::default();
    let mut bad = 0;
    for seed in from..from + count {
        let outcome = run(seed, Rules::sound(), Story::Untold);
        tally += outcome.tally;
        if !outcome.violations.is_empty() {
            bad += 1;
            if bad <= 3 {
                println!(
                    "seed {seed}: {}",
                    outcome.violations.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n   ")
                );
            }
            if bad == 1 {
                let told = run(seed, Rules::sound(), Story::Told);
                println!("{}", told.story.join("\n"));
            }
        }
    }
    println!("bad {bad} {tally:#?}");
}
