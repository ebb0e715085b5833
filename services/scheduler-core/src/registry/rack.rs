//! Records of racks.

use keyspace::{
    Expect, key,
    store::Versioned,
    value::{Holder, Rack},
};

use super::Registry;
use crate::{Error, RequestContext};

impl Registry {
    /// Adds a rack under its name, which no other rack may have.
    ///
    /// # Errors
    /// [`Error::Taken`] if another rack has the name.
    pub async fn create_rack(&self, context: &RequestContext, rack: &Rack) -> Result<(), Error> {
        let holder = Holder { kind: "rack".to_owned(), id: rack.id.uuid(), name: rack.name.clone() };
        let change = self.mesh.as_member()?;
        let change = change.put(&key::rack_name(&rack.name), &holder, Expect::Absent)?;
        match self.commit(context, change.put(&key::rack(rack.id), rack, Expect::Absent)?).await {
            Err(error) if error.is_conflict() => {
                let (value, holder) = (rack.name.clone(), rack.name.clone());
                Err(Error::Taken { what: "the name", value, kind: "rack".to_owned(), holder })
            }
            outcome => outcome,
        }
    }

    /// Stores a changed rack.
    ///
    /// # Errors
    /// A conflict if the rack changed since it was read.
    pub async fn update_rack(
        &self,
        context: &RequestContext,
        before: &Versioned<Rack>,
        rack: &Rack,
    ) -> Result<(), Error> {
        self.replace(context, &key::rack(rack.id), before, rack).await
    }
}
