//! Stores the resources of collections: each record, and a key for each value that only one of its collection may have.

use keyspace::{
    Expect,
    collection::{Collection, Unique, delete_from, unique_key},
    key,
    seal::seal_record,
    store::Versioned,
    value::{Holder, Secrets, Stamped},
};
use service_kit::clock;
use uuid::Uuid;
use wire_ironic::fields::is_secret;

use crate::{Error, RequestContext, app_state::AppState, registry::Registry};

/// A resource as it is stored.
#[derive(Debug, Clone)]
pub struct Stored<T> {
    /// Its id.
    pub id: Uuid,
    /// Its record.
    pub record: Versioned<Stamped<T>>,
}

impl<T> Stored<T> {
    /// What clients specified of it.
    #[must_use]
    pub const fn spec(&self) -> &T {
        &self.record.value.spec
    }
}

impl Registry {
    /// Seals the secrets of a record that are not sealed yet. `id` is the record's id.
    ///
    /// # Errors
    /// [`Error::Store`] if the operating system provides no randomness.
    pub fn seal_secrets(&self, record: &mut impl Secrets, id: &str) -> Result<(), Error> {
        Ok(seal_record(record, id, is_secret, &self.sealer)?)
    }
}

impl AppState {
    /// The resource with an id.
    #[must_use]
    pub fn resource<T: Collection>(&self, id: Uuid) -> Option<Stored<T>> {
        self.registry.view().get(&T::key(id)).map(|record| Stored { id, record })
    }

    /// The resource with a name.
    #[must_use]
    pub fn resource_named<T: Collection>(&self, name: &str) -> Option<Stored<T>> {
        let holder = self.registry.view().get(&key::name(T::KIND, name))?.value;
        // The key may be another unique value's that reads like this name.
        self.resource::<T>(holder.id).filter(|found| found.spec().name() == Some(name))
    }

    /// The resource with an id or a name.
    ///
    /// # Errors
    /// [`Error::Missing`]
    pub fn find_resource<T: Collection>(&self, ident: &str) -> Result<Stored<T>, Error> {
        let found = match ident.parse() {
            Ok(id) => self.resource(id),
            Err(_) => self.resource_named(ident),
        };
        found.ok_or_else(|| Error::Missing { kind: T::KIND, name: ident.to_owned() })
    }

    /// All resources of a collection, oldest first.
    #[must_use]
    pub fn resources<T: Collection>(&self) -> Vec<Stored<T>> {
        let all = self.registry.view().list(&T::all()).into_iter();
        let mut all: Vec<_> = all.filter_map(|(path, record)| Some(Stored { id: key::last(&path)?, record })).collect();
        all.sort_by_key(|stored: &Stored<T>| (stored.record.value.created_at, stored.id));
        all
    }

    /// Stores a new resource, its secrets sealed, with the keys of its unique values.
    ///
    /// # Errors
    /// [`Error::IdTaken`] and [`Error::NotUnique`] if another resource has the id or one of these; the store's.
    pub async fn create_resource<T: Collection>(
        &self,
        context: &RequestContext,
        id: Uuid,
        mut spec: T,
    ) -> Result<Stamped<T>, Error> {
        self.check_id_is_free::<T>(id)?;
        self.registry.seal_secrets(&mut spec, &id.to_string())?;
        let unique = spec.unique();
        self.check_unique::<T>(id, &unique)?;
        let record = Stamped::created(spec, clock::now());
        let mut change = self.registry.mesh.as_member()?.put(&T::key(id), &record, Expect::Absent)?;
        for value in &unique {
            change = change.put(&unique_key::<T>(value), &holder::<T>(id, value), Expect::Absent)?;
        }
        self.registry.commit(context, change).await?;
        Ok(record)
    }

    /// Stores a changed resource, its secrets sealed, with the keys of its unique values.
    ///
    /// # Errors
    /// [`Error::NotUnique`] if another resource has one of these; a conflict if the record changed since it was read.
    pub(crate) async fn update_resource<T: Collection>(
        &self,
        context: &RequestContext,
        before: &Stored<T>,
        mut spec: T,
    ) -> Result<Stamped<T>, Error> {
        let id = before.id;
        self.registry.seal_secrets(&mut spec, &id.to_string())?;
        let (old, new) = (before.spec().unique(), spec.unique());
        self.check_unique::<T>(id, &new)?;
        let record = before.record.value.updated(spec, clock::now());
        let expect = Expect::Revision(before.record.revision);
        let mut change = self.registry.mesh.as_member()?.put(&T::key(id), &record, expect)?;
        for value in old.iter().filter(|value| !new.contains(value)) {
            change = change.clear(&unique_key::<T>(value));
        }
        for value in new.iter().filter(|value| !old.contains(value)) {
            change = change.put(&unique_key::<T>(value), &holder::<T>(id, value), Expect::Absent)?;
        }
        self.registry.commit(context, change).await?;
        Ok(record)
    }

    /// Deletes a resource, with the keys of its unique values.
    ///
    /// # Errors
    /// A conflict if the record changed since it was read; the store's.
    pub(crate) async fn delete_resource<T: Collection>(
        &self,
        context: &RequestContext,
        stored: &Stored<T>,
    ) -> Result<(), Error> {
        let change = delete_from(self.registry.mesh.as_member()?, stored.id, &stored.record);
        self.registry.commit(context, change).await
    }

    pub(crate) fn check_id_is_free<T: Collection>(&self, id: Uuid) -> Result<(), Error> {
        if self.registry.view().has(&T::key(id)) { Err(Error::IdTaken { kind: T::KIND, id }) } else { Ok(()) }
    }

    fn check_unique<T: Collection>(&self, id: Uuid, unique: &[Unique]) -> Result<(), Error> {
        let view = self.registry.view();
        let is_taken = |value: &&Unique| view.get(&unique_key::<T>(value)).is_some_and(|holder| holder.value.id != id);
        match unique.iter().find(is_taken) {
            Some(value) => Err(Error::NotUnique { kind: T::KIND, value: value.clone() }),
            None => Ok(()),
        }
    }
}

fn holder<T: Collection>(id: Uuid, value: &Unique) -> Holder {
    Holder { kind: T::KIND.to_owned(), id, name: value.key_name() }
}
