//! A real Ironic beside our service: both get the same requests.

use anyhow::Result;
use integration_tests::{
    fault::tell,
    fleet::Fleet,
    ironic::{self, Player, Rules, recorded},
    mesh::Options,
    peer::{Enabled, Peer},
    record::store,
};

#[test]
#[ignore = "needs a real Ironic, and takes a minute: scripts/test --all"]
fn a_real_ironic_gives_the_same_answers_except_for_a_written_list() {
    let fleet = Fleet::up("peer", 0, &ironic::options()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let peer = Peer::up(fleet.place(), folder.path(), Enabled::Recorded).unwrap();
    fleet.run(async |_, fleet| both(fleet, &peer).await).unwrap();
}

/// The unit tests of `ironic-api` compare our own answers with this table.
#[test]
#[ignore = "needs a real Ironic, and takes four minutes: scripts/test --all"]
fn the_matrix_of_interfaces_is_still_that_of_a_real_ironic() {
    let fleet = Fleet::up("matrix", 0, &Options::default()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let peer = Peer::up(fleet.place(), folder.path(), Enabled::All).unwrap();
    let matrix = peer.matrix().unwrap();
    let golden = include_str!("../../services/wire-ironic/src/golden/matrix.txt");
    for (now, recorded) in matrix.lines().zip(golden.lines()) {
        assert_eq!(now, recorded);
    }
    assert_eq!(matrix.lines().count(), golden.lines().count());
}

/// Reads in every version, after all requests.
const READS: &[&str] = &[
    "/v1",
    "/v1/nodes",
    "/v1/nodes/detail",
    "/v1/nodes/node-1",
    "/v1/nodes/11111111-1111-4111-8111-000000000002",
    "/v1/nodes/node-1/ports",
    "/v1/nodes/11111111-1111-4111-8111-000000000001/states",
    "/v1/nodes/11111111-1111-4111-8111-000000000001/states/console",
    "/v1/nodes/11111111-1111-4111-8111-000000000001/validate",
    "/v1/nodes/11111111-1111-4111-8111-000000000001/ports",
    "/v1/nodes/11111111-1111-4111-8111-000000000001/ports/detail",
    "/v1/nodes/11111111-1111-4111-8111-000000000001/portgroups",
    "/v1/nodes/11111111-1111-4111-8111-000000000001/volume",
    "/v1/nodes/11111111-1111-4111-8111-000000000001/volume/targets",
    "/v1/nodes/11111111-1111-4111-8111-000000000001/bios",
    "/v1/nodes/11111111-1111-4111-8111-000000000001/firmware",
    "/v1/nodes/11111111-1111-4111-8111-000000000001/traits",
    "/v1/nodes/11111111-1111-4111-8111-000000000001/vifs",
    "/v1/nodes/11111111-1111-4111-8111-000000000001/children",
    "/v1/nodes/11111111-1111-4111-8111-000000000001/allocation",
    "/v1/nodes/11111111-1111-4111-8111-000000000001/inventory",
    "/v1/nodes/11111111-1111-4111-8111-000000000001/vmedia",
    "/v1/nodes/11111111-1111-4111-8111-000000000001/management/boot_device",
    "/v1/nodes/11111111-1111-4111-8111-000000000001/management/indicators",
    "/v1/nodes/11111111-1111-4111-8111-000000000001/vendor_passthru/methods",
    "/v1/nodes?fields=uuid,name,owner,lessee,shard",
    "/v1/nodes?sort_key=resource_class&limit=1",
    "/v1/nodes?owner=o",
    "/v1/nodes?retired=true",
    "/v1/nodes?shard=x",
    "/v1/nodes?detail=true",
    "/v1/ports",
    "/v1/ports/detail",
    "/v1/ports/22222222-2222-4222-8222-000000000001",
    "/v1/ports?shard=x",
    "/v1/portgroups",
    "/v1/portgroups/detail",
    "/v1/portgroups/bond",
    "/v1/chassis/detail",
    "/v1/drivers",
    "/v1/drivers/fake-hardware",
    "/v1/conductors",
    "/v1/allocations",
    "/v1/allocations/alloc-1",
    "/v1/deploy_templates/CUSTOM_T",
    "/v1/runbooks",
    "/v1/runbooks/77777777-7777-4777-8777-000000000001",
    "/v1/runbooks/77777777-7777-4777-8777-000000000001/traits",
    "/v1/inspection_rules",
    "/v1/volume",
    "/v1/volume/connectors",
    "/v1/volume/targets",
    "/v1/shards",
    "/v1/bogus",
];

async fn both(fleet: &Fleet, peer: &Peer) -> Result<()> {
    let (recorded, rules) = (recorded()?, Rules::written()?);
    let store = store(&fleet.data(), "scheduler-service-1").await?;
    let (them, us) = (Player::of_real(peer)?, Player::new(fleet.mesh().rest(1)?, store)?);
    let (real, ours) = tokio::try_join!(them.play(&recorded), us.play(&recorded))?;
    rules.still(&recorded, &real)?;
    let alike = rules.hold(&real, &ours)?;
    tell(format_args!("{alike} of {} alike, {} on purpose not", recorded.len(), rules.count()));
    let (real, ours) = tokio::try_join!(them.read_in_every_version(READS), us.read_in_every_version(READS))?;
    let alike = rules.hold_in_every_version(&real, &ours)?;
    tell(format_args!("{alike} of {} reads alike", real.len()));
    Ok(())
}
