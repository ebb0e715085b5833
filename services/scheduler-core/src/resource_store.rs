//! Collections in the store: a sheet for each of them, and a key for whatever only one of a collection may have.

use keyspace::{
    Expect, key,
    store::Versioned,
    value::{Holder, Sheet},
};
use serde_json::{Map, Value};
use service_kit::clock;
use uuid::Uuid;
use wire_ironic::error::{Class, Error, text};

use crate::{
    app_state::AppState,
    fault::fault,
    kinds::{Kind, Unique, WEBHOOK_KIND, unique},
    secret,
};

/// One of a collection, as it is stored.
pub type Stored = (Uuid, Versioned<Sheet>);

impl AppState {
    /// One of a collection, by its id or, where it has one, its name.
    pub fn sheet(&self, kind: Kind, ident: &str) -> Result<Stored, Error> {
        let missing = || text::not_found(kind.word, ident);
        let view = self.registry.view();
        let id = match ident.parse::<Uuid>() {
            Ok(id) => id,
            Err(_) if kind.is_named => view.get(&key::name(kind.collection, ident)).ok_or_else(missing)?.value.id,
            Err(_) => return Err(Class::Invalid.says(format!("Expected UUID for uuid: {ident}"))),
        };
        Ok((id, view.get(&key::sheet_of(kind.collection, id)).ok_or_else(missing)?))
    }

    /// A sheet that is new, its secrets sealed.
    pub fn fresh_sheet(&self, kind: Kind, id: Uuid, mut said: Map<String, Value>) -> Result<Sheet, Error> {
        said.retain(|field, value| field != "uuid" && !value.is_null());
        self.seal(kind, id, &mut said)?;
        Ok(Sheet { fields: said, created_at: clock::now(), updated_at: None })
    }

    fn seal(&self, kind: Kind, id: Uuid, said: &mut Map<String, Value>) -> Result<(), Error> {
        let sealed = secret::seal(kind.resource, &id.to_string(), said, &self.registry.sealer);
        sealed.map_err(|error| fault(&id.to_string(), &error.into()))
    }

    /// Stores a new sheet with all that only it may have.
    pub async fn store_sheet(&self, kind: Kind, id: Uuid, sheet: &Sheet) -> Result<(), Error> {
        let registry = &self.registry;
        let internal = |error: crate::Error| fault(&id.to_string(), &error);
        let all = unique(kind, &sheet.fields);
        self.check_unique(id, &all)?;
        let change = registry.mesh.as_member().map_err(|error| internal(error.into()))?;
        let mut change = change
            .put(&key::sheet_of(kind.collection, id), sheet, Expect::Absent)
            .map_err(|error| internal(error.into()))?;
        for one in &all {
            let holder = Holder { kind: kind.collection.to_owned(), id, name: one.value.clone() };
            change = change
                .put(&key::name(&one.kind, &one.value), &holder, Expect::Absent)
                .map_err(|error| internal(error.into()))?;
        }
        registry.commit(change).await.map_err(internal)
    }

    fn check_unique(&self, id: Uuid, all: &[Unique]) -> Result<(), Error> {
        let view = self.registry.view();
        let taken =
            |one: &&Unique| view.get(&key::name(&one.kind, &one.value)).is_some_and(|holder| holder.value.id != id);
        match all.iter().find(taken) {
            Some(one) => Err(text::already_exists(&one.says)),
            None => Ok(()),
        }
    }

    /// Stores what one of a collection has become.
    pub async fn change_sheet(
        &self,
        kind: Kind,
        id: Uuid,
        before: &Versioned<Sheet>,
        mut after: Map<String, Value>,
    ) -> Result<Sheet, Error> {
        let registry = &self.registry;
        let internal = |error: crate::Error| fault(&id.to_string(), &error);
        after.retain(|_, value| !value.is_null());
        self.seal(kind, id, &mut after)?;
        let sheet = Sheet { fields: after, created_at: before.value.created_at, updated_at: Some(clock::now()) };
        let (old, new) = (unique(kind, &before.value.fields), unique(kind, &sheet.fields));
        self.check_unique(id, &new)?;
        let change = registry.mesh.as_member().map_err(|error| internal(error.into()))?;
        let mut change = change
            .put(&key::sheet_of(kind.collection, id), &sheet, Expect::Revision(before.revision))
            .map_err(|error| internal(error.into()))?;
        for gone in old.iter().filter(|one| !new.contains(one)) {
            change = change.clear(&key::name(&gone.kind, &gone.value));
        }
        for one in new.iter().filter(|one| !old.contains(one)) {
            let holder = Holder { kind: kind.collection.to_owned(), id, name: one.value.clone() };
            change = change
                .put(&key::name(&one.kind, &one.value), &holder, Expect::Absent)
                .map_err(|error| internal(error.into()))?;
        }
        registry.commit(change).await.map_err(internal)?;
        Ok(sheet)
    }

    /// Takes one away, with all that only it may have.
    pub async fn delete_sheet(&self, kind: Kind, id: Uuid, sheet: &Versioned<Sheet>) -> Result<(), Error> {
        let registry = &self.registry;
        let internal = |error: crate::Error| fault(&id.to_string(), &error);
        let mut change = registry
            .mesh
            .as_member()
            .map_err(|error| internal(error.into()))?
            .delete(&key::sheet_of(kind.collection, id), Expect::Revision(sheet.revision));
        if kind.collection == WEBHOOK_KIND.collection {
            change = change.clear(&key::delivered(id));
        }
        for one in unique(kind, &sheet.value.fields) {
            change = change.clear(&key::name(&one.kind, &one.value));
        }
        registry.commit(change).await.map_err(internal)
    }
}
