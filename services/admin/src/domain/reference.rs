//! Which vectors may be recorded as the reference of a space.

use embermesh_errors::Error;
use embermesh_proto::internal::v1::Reference;
use embermesh_types::SpaceId;

use super::names::check_label;

const MAX_TEXTS: usize = 16;

/// Checks a reference and tells its space.
pub(crate) fn check(reference: &Reference) -> Result<SpaceId, Error> {
    let space: SpaceId = reference
        .space_id
        .parse()
        .map_err(|error: embermesh_types::SpaceError| Error::invalid("space_id", error.to_string()))?;
    check_label("texts_version", &reference.texts_version, 100)?;
    check_label("deployment", &reference.deployment, 400)?;
    if !(1..=MAX_TEXTS).contains(&reference.vectors.len()) {
        return Err(Error::invalid("vectors", format!("expected 1 to {MAX_TEXTS}, one for each text")));
    }
    for (at, vector) in reference.vectors.iter().enumerate() {
        if let Some(wrong) = fault(vector, space.dimensions()) {
            return Err(Error::invalid(format!("vectors[{at}]"), wrong));
        }
    }
    Ok(space)
}

fn fault(vector: &[u8], dimensions: u32) -> Option<&'static str> {
    let (numbers, rest) = vector.as_chunks::<4>();
    if !rest.is_empty() || u32::try_from(numbers.len()) != Ok(dimensions) {
        return Some("expected 4 bytes for each dimension of the space");
    }
    let numbers = || numbers.iter().map(|number| f32::from_le_bytes(*number));
    if !numbers().all(f32::is_finite) {
        return Some("holds a number that is not finite");
    }
    if numbers().all(|number| number == 0.0) {
        return Some("is all zero, which is no vector of a text");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference(numbers: &[f32]) -> Reference {
        let vector: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        Reference {
            space_id: "acme/x@2".to_owned(),
            texts_version: "1".to_owned(),
            vectors: vec![vector.into(); 16],
            deployment: "east/x".to_owned(),
        }
    }

    #[test]
    fn every_refusal_names_its_field() {
        let good = || reference(&[0.6, -0.8]);
        assert_eq!(check(&good()).unwrap().as_str(), "acme/x@2");
        let cut = {
            let mut reference = good();
            reference.vectors[3].truncate(7);
            reference
        };
        let many = Reference { vectors: vec![good().vectors[0].clone(); 17], ..good() };
        for (param, bad) in [
            ("space_id", Reference { space_id: "acme/x".to_owned(), ..good() }),
            ("texts_version", Reference { texts_version: String::new(), ..good() }),
            ("deployment", Reference { deployment: "\n".to_owned(), ..good() }),
            ("vectors", Reference { vectors: vec![], ..good() }),
            ("vectors", many),
            ("vectors[3]", cut),
            ("vectors[0]", reference(&[1.0])),
            ("vectors[0]", reference(&[1.0, 0.0, 0.0])),
            ("vectors[0]", reference(&[1.0, f32::NAN])),
            ("vectors[0]", reference(&[1.0, f32::INFINITY])),
            ("vectors[0]", reference(&[0.0, -0.0])),
        ] {
            assert_eq!(check(&bad).unwrap_err().param.as_deref(), Some(param));
        }
    }
}
