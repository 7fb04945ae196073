//! How the catalog of this release meets a model that the database holds already.

use std::fmt;

use embermesh_proto::v1::CatalogModel;

/// A release of Embermesh, in the order of releases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Release(pub(crate) [i32; 3]);

impl Release {
    /// The one that this build is of.
    pub(crate) fn current() -> Self {
        let part = |text: &str| text.parse().unwrap_or_default();
        Self([
            part(env!("CARGO_PKG_VERSION_MAJOR")),
            part(env!("CARGO_PKG_VERSION_MINOR")),
            part(env!("CARGO_PKG_VERSION_PATCH")),
        ])
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.0;
        write!(f, "{major}.{minor}.{patch}")
    }
}

/// A model of the database.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) model: CatalogModel,
    /// `None` for one that an operator added.
    pub(crate) shipped: Option<Shipped>,
}

/// How a release shipped a model.
#[derive(Debug)]
pub(crate) struct Shipped {
    /// Without prices. `None` when this build cannot read it.
    pub(crate) form: Option<CatalogModel>,
    pub(crate) release: Release,
}

/// What to do about a held model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is what this release ships, or what a later one has; only prices may be missing.
    Current,
    /// A release shipped it, nobody has touched it since, and this release knows better.
    Renew,
    /// It is an operator's own.
    Theirs,
    /// Somebody has changed it in the database.
    Touched,
    /// The release now means another space by the same id. Vectors of the held one may be stored, so that one stays.
    OtherSpace,
}

/// Judges `held` against what this `release` ships under the same id.
pub(crate) fn judge(held: &Held, ours: &CatalogModel, release: Release) -> Verdict {
    let Some(shipped) = &held.shipped else { return Verdict::Theirs };
    if shipped.release > release {
        return Verdict::Current;
    }
    let (ours, theirs) = (form(ours), form(&held.model));
    if ours == theirs {
        return Verdict::Current;
    }
    if space(&ours) != space(&theirs) {
        return Verdict::OtherSpace;
    }
    if shipped.form.as_ref() == Some(&theirs) { Verdict::Renew } else { Verdict::Touched }
}

/// The model without its prices, which have a life of their own.
pub(crate) fn form(model: &CatalogModel) -> CatalogModel {
    CatalogModel { prices: Vec::new(), ..model.clone() }
}

/// What tells its vectors from those of other models.
fn space(model: &CatalogModel) -> (&str, &str, u32, bool) {
    (&model.family, &model.revision, model.native_dimensions, model.distinguishes_input_type)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: Release = Release([0, 9, 9]);
    const NOW: Release = Release([0, 10, 0]);

    fn model(max_batch: u32) -> CatalogModel {
        CatalogModel { id: "m".to_owned(), family: "acme/m".to_owned(), max_batch, ..CatalogModel::default() }
    }

    fn held(max_batch: u32, shipped: u32, release: Release) -> Held {
        Held { model: model(max_batch), shipped: Some(Shipped { form: Some(model(shipped)), release }) }
    }

    #[test]
    fn a_release_renews_what_an_earlier_one_shipped_and_nobody_touched() {
        assert!(OLD < NOW);
        assert_eq!(judge(&held(8, 8, OLD), &model(8), NOW), Verdict::Current);
        assert_eq!(judge(&held(8, 8, OLD), &model(9), NOW), Verdict::Renew);
        // between two builds of one release
        assert_eq!(judge(&held(8, 8, NOW), &model(9), NOW), Verdict::Renew);
        assert_eq!(judge(&held(8, 8, NOW), &model(9), OLD), Verdict::Current, "no release goes back");
        assert_eq!(judge(&held(7, 8, OLD), &model(9), NOW), Verdict::Touched);
        assert_eq!(judge(&held(9, 8, OLD), &model(9), NOW), Verdict::Current, "touched to what is right now");
        let unreadable = Held { shipped: Some(Shipped { form: None, release: OLD }), ..held(8, 8, OLD) };
        assert_eq!(judge(&unreadable, &model(9), NOW), Verdict::Touched);
        let theirs = Held { shipped: None, ..held(8, 8, OLD) };
        assert_eq!(judge(&theirs, &model(9), NOW), Verdict::Theirs);
    }

    #[test]
    fn no_release_moves_a_model_to_another_space() {
        for ours in [
            CatalogModel { family: "acme/other".to_owned(), ..model(8) },
            CatalogModel { revision: "2".to_owned(), ..model(8) },
            CatalogModel { native_dimensions: 9, ..model(8) },
            CatalogModel { distinguishes_input_type: true, ..model(8) },
        ] {
            assert_eq!(judge(&held(8, 8, OLD), &ours, NOW), Verdict::OtherSpace, "{ours:?}");
        }
    }
}
