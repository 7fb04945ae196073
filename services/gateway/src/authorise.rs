//! What a key may call: the scopes of every public method, from the contracts, for REST and gRPC alike.

use embermesh_auth::{Principal, Scope};
use embermesh_errors::{Code, Error};

/// A public method.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Method {
    /// `/embermesh.v1.Embeddings/Embed`.
    pub path: &'static str,
    /// Any of these is enough.
    pub scopes: &'static [Scope],
    /// It concerns every tenant, so the key must be of the operator's.
    pub operator: bool,
}

include!(concat!(env!("OUT_DIR"), "/methods.rs"));

/// Refuses a principal that has none of `scopes`, and names them.
pub(crate) fn require(principal: &Principal, scopes: &[Scope]) -> Result<(), Error> {
    if scopes.iter().any(|scope| principal.may(*scope)) {
        return Ok(());
    }
    let names: Vec<&str> = scopes.iter().map(|scope| scope.as_str()).collect();
    let message = match names.as_slice() {
        [one] => format!("the key lacks the scope {one}, use one that has it"),
        several => format!("the key lacks the scope, use one that has any of {}", several.join(", ")),
    };
    Err(Error::new(Code::Forbidden, message).with_detail("scopes", names))
}

/// Refuses a key of any other tenant than the operator's.
pub(crate) fn require_operator(is_operator: bool) -> Result<(), Error> {
    if is_operator {
        return Ok(());
    }
    let message = "this concerns every tenant, use an admin key of the operator's tenant, which is that of the first start";
    Err(Error::new(Code::Forbidden, message).with_detail("operator_only", true))
}
