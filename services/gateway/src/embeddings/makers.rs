//! Which models of the catalog make the vectors of a space.

use std::{collections::HashSet, sync::Arc};

use embermesh_errors::Error;
use embermesh_proto::v1::CatalogModel;
use embermesh_subscription::Snapshot;
use embermesh_types::{SpaceId, TenantId};

/// The models that a search is restricted to.
#[derive(Debug)]
pub(super) struct Chosen {
    /// Empty: all.
    include: HashSet<String>,
    exclude: HashSet<String>,
}

impl Chosen {
    /// Checks the ids against the catalog: a name that is written wrongly would leave out or let in the wrong space.
    pub fn parse(include: Vec<String>, exclude: Vec<String>, snapshot: &Snapshot) -> Result<Self, Error> {
        for (param, ids) in [("include_models", &include), ("exclude_models", &exclude)] {
            if let Some(at) = ids.iter().position(|id| snapshot.model(id).is_none()) {
                let param = format!("{param}[{at}]");
                let message = format!("{param} is not in the catalog, GET /v1/models lists what is");
                return Err(Error::invalid(param, message));
            }
        }
        Ok(Self { include: include.into_iter().collect(), exclude: exclude.into_iter().collect() })
    }

    /// Whether the space is to be searched, which all of `makers` make.
    pub fn allow(&self, makers: &[Arc<CatalogModel>]) -> bool {
        let any = |ids: &HashSet<String>| makers.iter().any(|model| ids.contains(&model.id));
        (self.include.is_empty() || any(&self.include)) && !any(&self.exclude)
    }
}

/// The models whose vectors lie in `space`, in the order of their ids.
pub(crate) fn makers(snapshot: &Snapshot, space: &SpaceId) -> Vec<Arc<CatalogModel>> {
    let makes = |model: &&Arc<CatalogModel>| {
        let length = space.dimensions();
        let gives = length == model.native_dimensions
            || model.allowed_dimensions.contains(&length)
            || (model.any_dimensions && length < model.native_dimensions);
        gives && SpaceId::new(&model.family, &model.revision, length).is_ok_and(|of_model| of_model == *space)
    };
    snapshot.models().filter(makes).cloned().collect()
}

/// Those of them that a tenant may use.
pub(crate) fn usable(
    makers: &[Arc<CatalogModel>],
    snapshot: &Snapshot,
    tenant: TenantId,
) -> Vec<Arc<CatalogModel>> {
    makers.iter().filter(|model| snapshot.may_use(tenant, &model.id)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(id: &str, family: &str) -> CatalogModel {
        CatalogModel {
            id: id.into(),
            family: family.into(),
            native_dimensions: 4,
            allowed_dimensions: vec![2],
            ..CatalogModel::default()
        }
    }

    #[test]
    fn a_space_is_made_by_every_model_of_its_family_and_length() {
        let any = CatalogModel { any_dimensions: true, ..model("any", "f/b") };
        let snapshot = Snapshot::default()
            .with_model(model("one", "f/a"))
            .with_model(model("alias", "f/a"))
            .with_model(CatalogModel { revision: "2".into(), ..model("newer", "f/a") })
            .with_model(any);
        let ids = |space: &str| -> Vec<String> {
            makers(&snapshot, &space.parse().unwrap()).iter().map(|model| model.id.clone()).collect()
        };
        assert_eq!(ids("f/a@4"), ["alias", "one"]);
        assert_eq!(ids("f/a@2"), ["alias", "one"]);
        assert!(ids("f/a@3").is_empty() && ids("f/b@5").is_empty());
        assert_eq!(ids("f/b@3"), ["any"]);
    }

    #[test]
    fn a_space_is_chosen_by_any_of_its_models() {
        let snapshot = Snapshot::default().with_model(model("one", "f/a")).with_model(model("other", "f/c"));
        let makers = [Arc::new(model("one", "f/a")), Arc::new(model("alias", "f/a"))];
        let chosen = |include: &[&str], exclude: &[&str]| {
            let owned = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect();
            Chosen::parse(owned(include), owned(exclude), &snapshot)
        };
        for (include, exclude, expected) in [
            (&[][..], &[][..], true),
            (&["one"], &[], true),
            (&["other"], &[], false),
            (&["one", "other"], &["one"], false),
            (&[], &["other"], true),
        ] {
            assert_eq!(chosen(include, exclude).unwrap().allow(&makers), expected);
        }
        assert!(chosen(&[], &[]).unwrap().allow(&[]) && !chosen(&["one"], &[]).unwrap().allow(&[]));
        let refused = chosen(&["one", "on"], &[]).unwrap_err();
        assert_eq!(refused.param.as_deref(), Some("include_models[1]"));
    }
}
