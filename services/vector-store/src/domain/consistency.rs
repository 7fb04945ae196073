//! What a read has to see, as another service tells it.

use embermesh_errors::Error;
use embermesh_proto::internal::v1::StoreRead;
use embermesh_types::Consistency;

/// Reads it. Who says nothing gets everything that was acknowledged.
pub(crate) fn parse(read: Option<&StoreRead>) -> Result<Consistency, Error> {
    let Some(read) = read else { return Ok(Consistency::PRIMARY) };
    if read.eventual {
        return Ok(Consistency::Eventual);
    }
    let token = Some(read.after_token.as_str()).filter(|token| !token.is_empty());
    Consistency::parse(None, token, Consistency::PRIMARY)
        .map_err(|error| Error::invalid(error.param(), error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_means_the_primary() {
        assert_eq!(parse(None).unwrap(), Consistency::PRIMARY);
        assert_eq!(parse(Some(&StoreRead::default())).unwrap(), Consistency::PRIMARY);
        let eventual = StoreRead { eventual: true, ..StoreRead::default() };
        assert_eq!(parse(Some(&eventual)).unwrap(), Consistency::Eventual);
        let broken = StoreRead { after_token: "w1-".into(), ..StoreRead::default() };
        assert_eq!(parse(Some(&broken)).unwrap_err().param.as_deref(), Some("after_token"));
    }
}
