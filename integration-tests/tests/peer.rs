//! A real Ironic beside ours: both are asked the same.

use anyhow::Result;
use integration_tests::{
    fault::tell,
    fleet::Fleet,
    ironic::{Player, Rules, recorded},
    mesh::Options,
    peer::Peer,
    record::store,
};

#[test]
#[ignore = "needs a real Ironic, and takes a minute: scripts/test --all"]
fn a_real_ironic_that_is_asked_the_same_answers_alike_but_for_a_written_list() {
    let fleet = Fleet::up("peer", 0, &Options::default()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let peer = Peer::up(fleet.place(), folder.path()).unwrap();
    fleet.run(async |_, fleet| both(fleet, &peer).await).unwrap();
}

async fn both(fleet: &Fleet, peer: &Peer) -> Result<()> {
    let (recorded, rules) = (recorded()?, Rules::written()?);
    let store = store(&fleet.data(), "scheduler-service-1").await?;
    let (real, ours) = (Player::of_real(peer)?, Player::new(fleet.mesh().rest(1)?, store)?);
    let (real, ours) = tokio::try_join!(real.play(&recorded), ours.play(&recorded))?;
    rules.still(&recorded, &real)?;
    let alike = rules.hold(&real, &ours)?;
    tell(format_args!("{alike} of {} alike, {} on purpose not", recorded.len(), rules.count()));
    Ok(())
}
