//! Which policies about personal data a tenant may have. Enforcing them is the gateway's affair.

use std::collections::BTreeSet;

use embermesh_errors::{Code, Error};
use embermesh_pii::{Action, CustomPattern, Entity, PiiWords, Policy};
use embermesh_proto::v1::{PiiPolicy, PiiPolicyInput};

/// All run on every text of the tenant.
const MAX_PATTERNS: usize = 16;

/// The policy that a request asks for, once it can be enforced; the version and the times are the store's. `installations` names the
/// entities of the operator's own patterns, which are known to it too.
pub(crate) fn parse(input: PiiPolicyInput, installations: &[String]) -> Result<PiiPolicy, Error> {
    let PiiPolicyInput { enabled, action, entities, patterns, actions, version: _ } = input;
    let policy = PiiPolicy {
        enabled: enabled.unwrap_or(true),
        action: action.unwrap_or_else(|| Action::default().as_str().to_owned()),
        entities,
        patterns,
        actions,
        ..PiiPolicy::default()
    };
    if policy.patterns.len() > MAX_PATTERNS {
        let message = format!("{} are too many, at most {MAX_PATTERNS} fit", policy.patterns.len());
        return Err(Error::invalid("patterns", message));
    }
    let words = PiiWords {
        enabled: policy.enabled,
        action: &policy.action,
        entities: &policy.entities,
        patterns: policy.patterns.iter().map(|one| (one.name.as_str(), one.regex.as_str())).collect(),
        actions: &policy.actions,
    };
    let config = words.read().map_err(|error| Error::invalid(error.field, error.reason))?;
    config.check_cost().map_err(|error| Error::invalid("patterns", error.to_string()))?;
    // the operator's expressions are in the gateways' file; here their names stand for them
    let known = installations.iter().filter_map(|name| Entity::named(name));
    let custom = known.map(|entity| CustomPattern { entity, regex: "x".to_owned() }).collect();
    let installation = Policy { custom, ..Policy::off() };
    config.beside(&installation).map_err(|error| Error::invalid("entities", error.to_string()))?;
    Ok(policy)
}

/// The names of entities that agents of a tenant may list: the operator's own, and those of the tenant's policy.
pub(crate) fn entities(policy: Option<&PiiPolicy>, installations: &[String]) -> Vec<String> {
    let own = policy.into_iter().flat_map(|policy| &policy.patterns).map(|pattern| pattern.name.clone());
    let all: BTreeSet<String> = installations.iter().cloned().chain(own).collect();
    all.into_iter().collect()
}

/// Refuses a change that was made from another version than the current one; 0 is that of no policy.
pub(crate) fn hold_to(expected: Option<i64>, current: Option<&PiiPolicy>) -> Result<(), Error> {
    let held = current.map_or(0, |policy| policy.version);
    if expected.is_none_or(|expected| expected == held) {
        return Ok(());
    }
    let message = format!("the current version is {held}, read the policy again and repeat the change");
    Err(Error::new(Code::Conflict, message).with_param("version").with_detail("current_version", held))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(text: &str) -> PiiPolicyInput {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_policy_is_completed_with_the_defaults_of_the_file() {
        let policy = parse(input(r#"{"patterns": [{"badge": "B[0-9]+"}]}"#), &[]).unwrap();
        assert_eq!((policy.enabled, policy.action.as_str(), policy.patterns.len()), (true, "redact", 1));
        assert_eq!(entities(Some(&policy), &["staff".to_owned()]), ["badge", "staff"]);
        let installations = ["staff".to_owned()];
        assert!(
            parse(input(r#"{"entities": ["staff"], "actions": {"staff": "reject"}}"#), &installations)
                .is_ok()
        );
        assert!(parse(input(r#"{"entities": ["staff"]}"#), &[]).is_err());
    }

    #[test]
    fn what_cannot_be_enforced_or_can_be_slow_is_refused_by_field() {
        for (param, text) in [
            ("action", r#"{"action": "mask"}"#),
            ("entities[0]", r#"{"entities": ["E-Mail"]}"#),
            ("entities", r#"{"entities": ["iban"]}"#),
            ("actions.email", r#"{"actions": {"email": "hide"}}"#),
            ("entities", r#"{"actions": {"iban": "reject"}}"#),
            ("patterns[0]", r#"{"patterns": [{"Badge": "x"}]}"#),
            ("patterns", r#"{"patterns": [{"badge": "EMP("}]}"#),
            ("patterns", r#"{"patterns": [{"badge": "x*"}]}"#),
            ("patterns", r#"{"patterns": [{"badge": "[A-Z].*z|[A-Z]"}]}"#),
            ("patterns", r#"{"patterns": [{"badge": "(\\w{500}){500}"}]}"#),
        ] {
            let error = parse(input(text), &[]).unwrap_err();
            assert_eq!((error.code, error.param.as_deref()), (Code::Invalid, Some(param)), "{text}: {error}");
        }
        let many: Vec<_> = (0..17).map(|n| serde_json::json!({ "badge": format!("B{n}") })).collect();
        let many = serde_json::json!({ "patterns": many }).to_string();
        assert_eq!(parse(input(&many), &[]).unwrap_err().param.as_deref(), Some("patterns"));
    }
}
