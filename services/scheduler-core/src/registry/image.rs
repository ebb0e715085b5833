//! Records of images.

use domain::image::Image;
use keyspace::{Expect, key, value::Holder};

use super::Registry;
use crate::Error;

impl Registry {
    /// Registers an image under its name, which nothing else may have.
    pub async fn create_image(&self, image: &Image) -> Result<(), Error> {
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
        match self.commit(change).await {
            Err(error) if error.is_conflict() => Err(taken()),
            outcome => outcome,
        }
    }
}
