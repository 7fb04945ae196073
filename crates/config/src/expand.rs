//! `${VAR}` and `${VAR:-default}` in the values of a file.

use figment::value::Value;

/// A variable that is not set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("${{{0}}} is used but not set; set it, or write ${{{0}:-default}}")]
pub struct Unset(pub String);

/// Replaces variables in every text of `value`. A text that is one variable and nothing else keeps being a text.
pub(crate) fn expand(value: &mut Value, variable: &dyn Fn(&str) -> Option<String>) -> Result<(), Unset> {
    match value {
        Value::String(_, text) => *text = expand_text(text, variable)?,
        Value::Dict(_, dict) => dict.values_mut().try_for_each(|v| expand(v, variable))?,
        Value::Array(_, array) => array.iter_mut().try_for_each(|v| expand(v, variable))?,
        _ => {}
    }
    Ok(())
}

fn expand_text(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<String, Unset> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let Some((inside, after)) = after.split_once('}') else { break };
        let (name, default) = inside.split_once(":-").map_or((inside, None), |(n, d)| (n, Some(d)));
        out.push_str(before);
        match (variable(name).filter(|value| !value.is_empty()), default) {
            (Some(value), _) => out.push_str(&value),
            (None, Some(default)) => out.push_str(default),
            (None, None) => return Err(Unset(name.to_owned())),
        }
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_and_defaults_are_replaced_and_unset_ones_are_named() {
        let variable = |name: &str| (name == "KEY").then(|| "k$1".to_owned());
        for (text, expected) in [
            ("${KEY}", Ok("k$1")),
            ("a-${KEY}-${PORT:-80}", Ok("a-k$1-80")),
            ("no $KEY, {KEY}, ${", Ok("no $KEY, {KEY}, ${")),
            ("${NOPE}", Err("NOPE")),
        ] {
            let expected = expected.map(str::to_owned).map_err(|name| Unset(name.to_owned()));
            assert_eq!(expand_text(text, &variable), expected, "{text}");
        }
    }
}
