//! What PostgreSQL can hold as text.

use embermesh_errors::Error;

/// Refuses the one character that PostgreSQL cannot store.
pub(crate) fn without_nul(param: &str, text: &str) -> Result<(), Error> {
    match text.bytes().position(|byte| byte == 0) {
        None => Ok(()),
        Some(at) => Err(Error::invalid(
            param,
            format!("{param} has a NUL character at byte {at}, which cannot be stored; remove it"),
        )),
    }
}
