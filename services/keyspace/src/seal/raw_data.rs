//! Seals the data of raw commands, for one instruction and one BMC.

use domain::{
    generation::Generation,
    id::{NodeId, RackId},
    secret::Secret,
};

use super::{Place, Sealer};
use crate::{
    Error,
    value::{Intent, RawData},
};

/// Seals the data of the raw command of a generation, for the BMC that a node has now.
///
/// # Errors
/// [`Error::Seal`] as for [`Sealer::seal`]
pub fn seal_raw_data(
    sealer: &Sealer,
    (rack, node): (RackId, NodeId),
    intent: &Intent,
    generation: Generation,
    data: &Secret,
) -> Result<RawData, Error> {
    let data = sealer.seal(&Place::raw_data(rack, node), data.expose())?;
    Ok(RawData { generation, address: intent.bmc_address().cloned(), data })
}

/// Opens the data of the raw command of a generation. `None` if the intent has none of that generation, or the node has
/// another BMC since: a stored secret is not sent to another destination.
///
/// # Errors
/// [`Error::Seal`] as for [`Sealer::open`]
pub fn open_raw_data(
    sealer: &Sealer,
    (rack, node): (RackId, NodeId),
    intent: &Intent,
    generation: Generation,
) -> Result<Option<Secret>, Error> {
    let is_meant = |raw: &&RawData| raw.generation == generation && raw.address.as_ref() == intent.bmc_address();
    let Some(raw) = intent.raw_data.as_ref().filter(is_meant) else { return Ok(None) };
    sealer.open(&Place::raw_data(rack, node), &raw.data).map(Some)
}

#[cfg(test)]
mod tests {
    use domain::{driver::Driver, time::Timestamp};
    use uuid::Uuid;

    use super::*;
    use crate::{
        seal::{KeyFile, RackNames},
        value::{Bmc, Ipmi},
    };

    const PLACE: (RackId, NodeId) = (RackId::new(Uuid::from_u128(1)), NodeId::new(Uuid::from_u128(2)));

    fn intent(sealer: &Sealer, address: &str) -> Intent {
        let password = sealer.seal(&Place::bmc_password(PLACE.0, PLACE.1), b"p").unwrap();
        let (user, ipmi) = ("admin".to_owned(), Ipmi::default());
        let bmc = Some(Bmc { address: address.parse().unwrap(), user, password, ipmi, redfish: None });
        Intent { bmc, ..Intent::new("n1".to_owned(), Driver::Ipmi, Timestamp::default()) }
    }

    #[test]
    fn data_is_opened_for_its_generation_and_bmc_alone_and_is_not_stored_in_the_clear() {
        let sealer = Sealer::new(KeyFile::for_tests(), RackNames::Known([(PLACE.0, "r1".to_owned())].into()));
        let (five, six) = (Generation::from_number(5), Generation::from_number(6));
        let data = Secret::new(b"hunter2".to_vec());
        let mut asked = intent(&sealer, "10.0.0.5:623");
        asked.raw_data = Some(seal_raw_data(&sealer, PLACE, &asked, five, &data).unwrap());
        let stored = serde_json::to_string(&asked).unwrap();
        let hex = "68756e74657232";
        assert!(
            !stored.contains("hunter2") && !stored.contains(hex) && stored.contains(r#""generation":5"#),
            "{stored}"
        );
        assert_eq!(serde_json::from_str::<Intent>(&stored).unwrap(), asked);
        assert_eq!(open_raw_data(&sealer, PLACE, &asked, five).unwrap(), Some(data));
        let moved = Intent { raw_data: asked.raw_data.clone(), ..intent(&sealer, "10.0.0.6:623") };
        let gone = Intent { bmc: None, ..asked.clone() };
        let replaced = Intent { raw_data: None, ..asked.clone() };
        for (intent, generation, source) in [
            (&asked, six, "a later instruction"),
            (&moved, five, "another BMC"),
            (&gone, five, "no BMC"),
            (&replaced, five, "replaced by another request"),
        ] {
            assert_eq!(open_raw_data(&sealer, PLACE, intent, generation).unwrap(), None, "{source}");
        }
        let elsewhere = (PLACE.0, NodeId::new(Uuid::from_u128(3)));
        open_raw_data(&sealer, elsewhere, &asked, five).unwrap_err();
    }
}
