//! The space that a catalog model gives at a length.

use embermesh_errors::Error;
use embermesh_proto::v1::CatalogModel;
use embermesh_types::SpaceId;

/// The space of `model` at `dimensions`, or at its native length. A length that the model cannot give is refused: padding or
/// cutting it anyway would make vectors that nobody else makes.
pub(crate) fn space_of(model: &CatalogModel, dimensions: Option<u32>) -> Result<SpaceId, Error> {
    let dimensions = dimensions.unwrap_or(model.native_dimensions);
    let native = dimensions == model.native_dimensions;
    let cut = model.any_dimensions && (1..model.native_dimensions).contains(&dimensions);
    if !(native || cut || model.allowed_dimensions.contains(&dimensions)) {
        let choice = if model.any_dimensions {
            format!("1 to {}", model.native_dimensions)
        } else {
            let mut all: Vec<String> = model.allowed_dimensions.iter().map(u32::to_string).collect();
            all.push(model.native_dimensions.to_string());
            all.join(", ")
        };
        let message = format!("{} cannot give {dimensions} dimensions, it gives {choice}", model.id);
        return Err(Error::invalid("dimensions", message));
    }
    SpaceId::new(&model.family, &model.revision, dimensions).map_err(|error| {
        Error::internal(format!("the catalog entry of {} makes no space: {error}", model.id))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model() -> CatalogModel {
        CatalogModel {
            id: "m".into(),
            family: "f/m".into(),
            native_dimensions: 1024,
            ..CatalogModel::default()
        }
    }

    #[test]
    fn only_lengths_that_the_model_gives_make_a_space() {
        assert_eq!(space_of(&model(), None).unwrap().as_str(), "f/m@1024");
        assert!(space_of(&model(), Some(512)).is_err());
        let listed = CatalogModel { allowed_dimensions: vec![256, 512], ..model() };
        assert_eq!(space_of(&listed, Some(512)).unwrap().as_str(), "f/m@512");
        assert!(space_of(&listed, Some(500)).unwrap_err().message.contains("256, 512, 1024"));
        let any = CatalogModel { any_dimensions: true, ..model() };
        assert_eq!(space_of(&any, Some(7)).unwrap().dimensions(), 7);
        assert!(space_of(&any, Some(1025)).is_err() && space_of(&any, Some(0)).is_err());
    }

    #[test]
    fn a_revision_is_part_of_the_space() {
        let revised = CatalogModel { revision: "2".into(), ..model() };
        assert_ne!(space_of(&revised, None).unwrap(), space_of(&model(), None).unwrap());
    }
}
