//! Records of images.

use domain::image::Image;
use keyspace::{Expect, key, store::Versioned, value::Holder};

use super::Registry;
use crate::{Error, RequestContext};

impl Registry {
    /// Registers an image under its name, which nothing else may have.
    pub async fn create_image(&self, context: &RequestContext, image: &Image) -> Result<(), Error> {
        let holder = Holder { kind: "image".to_owned(), id: image.id.uuid(), name: image.name.clone() };
        let name = key::image_name(&image.name);
        let taken = || Error::Taken {
            what: "the name",
            value: image.name.clone(),
            kind: "image".to_owned(),
            holder: image.name.clone(),
        };
        let change = self.mesh.as_member()?.put(&name, &holder, Expect::Absent)?.put(
            &key::image(image.id),
            image,
            Expect::Absent,
        )?;
        match self.commit(context, change).await {
            Err(error) if error.is_conflict() => Err(taken()),
            outcome => outcome,
        }
    }

    /// Forgets an image.
    ///
    /// # Errors
    /// [`Error::InUse`] if the agent of a rack boots it or a node runs it; a conflict if it changed since it was read.
    pub async fn delete_image(&self, context: &RequestContext, image: &Versioned<Image>) -> Result<(), Error> {
        let (id, name) = (image.value.id, &image.value.name);
        let racks = self.view().list(&key::racks());
        let rack = racks.iter().find(|(_, rack)| [rack.value.kernel, rack.value.ramdisk].contains(&Some(id)));
        if let Some((_, rack)) = rack {
            return Err(Error::InUse(format!("the agent of rack {:?} boots image {name}", rack.value.name)));
        }
        for (node, rack) in self.nodes(None) {
            let intent = self.view().get(&key::intent(rack, node)).map(|intent| intent.value);
            if let Some(intent) = intent.filter(|intent| intent.deployment.as_ref().is_some_and(|d| d.image == id)) {
                return Err(Error::InUse(format!("node {} runs image {name}", intent.name)));
            }
        }
        let change = self.mesh.as_member()?.delete(&key::image(id), Expect::Revision(image.revision));
        self.commit(context, change.clear(&key::image_name(name))).await
    }
}
