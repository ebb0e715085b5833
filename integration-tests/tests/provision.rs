//! The life of machines, from enrolled to active and back: the whole mesh as one runs it, and simulated machines.
//! Needs root and the packages of `scripts/test`; `ironmesh` must be built.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by its panic")]

use integration_tests::lab::{IMAGE, Lab, PATIENCE, holds_image, image};
use integration_tests::machine::{Spec, disk, is_blank};
use integration_tests::mesh::Options;
use wire_ipmi::chassis::Power;

#[test]
fn a_machine_goes_from_enrolled_to_active_and_back_to_available() {
    let lab = Lab::up("tlife1", &[Spec::default()], Options::default()).unwrap();
    lab.run(async |mut api, lab| {
        let machine = lab.machine("n1")?;
        api.enrol(machine).await?;
        api.bring("n1", "manage", "", "manageable", PATIENCE).await?;
        api.bring("n1", "provide", "", "available", PATIENCE).await?;
        assert_eq!(machine.power(), Power::Off);

        let node = api.bring("n1", "deploy", IMAGE, "active", PATIENCE).await?;
        assert_eq!(machine.power(), Power::On);
        assert!(holds_image(&machine.disk(), &image())?);
        assert!(disk::phone_home(&machine.disk())?.contains(&node.id));
        assert_eq!(node.observed.unwrap().diagnosis, "");
        let marks = api.marks("n1").await?;
        assert!(marks.iter().any(|(mark, _)| mark == "FIRST_LIFE"), "{marks:?}");

        api.bring("n1", "undeploy", "", "available", PATIENCE).await?;
        assert_eq!(machine.power(), Power::Off);
        assert!(is_blank(&machine.disk())?);
        Ok(())
    })
    .unwrap();
    lab.down().unwrap();
}
