//! What free names may look like.

use embermesh_errors::Error;

/// Longest name of a task type.
const TASK_TYPE: usize = 64;

/// A task type: any short name, in the letters of an agent id.
pub(crate) fn check_task_type(param: impl Into<String>, text: &str) -> Result<(), Error> {
    let fits = (1..=TASK_TYPE).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b':' | b'-'));
    if fits {
        return Ok(());
    }
    Err(Error::invalid(
        param,
        format!("a task type has 1 to {TASK_TYPE} of the characters A-Z a-z 0-9 . _ : -"),
    ))
}

/// A text for people, such as a key's name: 1 to `max` characters, none of them a control character.
pub(crate) fn check_label(param: &str, text: &str, max: usize) -> Result<(), Error> {
    let length = text.chars().count();
    if (1..=max).contains(&length) && !text.chars().any(char::is_control) && !text.trim().is_empty() {
        return Ok(());
    }
    Err(Error::invalid(param, format!("{param} must have 1 to {max} characters and no control characters")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_task_types_have_bounds() {
        assert!(check_label("name", "Prüfung 1", 100).is_ok());
        for bad in ["", " ", "a\nb", "nul\0", &"x".repeat(101)] {
            assert_eq!(check_label("name", bad, 100).unwrap_err().param.as_deref(), Some("name"), "{bad:?}");
        }
        assert!(check_task_type("task_type", "code_analysis").is_ok());
        for bad in ["", "a b", "é", &"x".repeat(65)] {
            assert!(check_task_type("task_type", bad).is_err(), "{bad:?}");
        }
    }
}
