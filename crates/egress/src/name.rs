//! What is a host's name and nothing else to everybody who may read it.

/// Longest name in the DNS.
const LONGEST: usize = 253;
const LONGEST_LABEL: usize = 63;

/// Whether `name` is a name in lowercase ASCII that no resolver takes for an address: C libraries read `2130706433`, `0x7f.1` and
/// `0177.0.0.1` as 127.0.0.1, and what they read is a matter of the last label.
pub(crate) fn is_name(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or_default();
    (1..=LONGEST).contains(&name.len()) && name.split('.').all(is_label) && !reads_as_number(last)
}

fn is_label(label: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=LONGEST_LABEL).contains(&label.len())
        && label.bytes().all(inner)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

fn reads_as_number(label: &str) -> bool {
    let hexadecimal =
        label.strip_prefix("0x").is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
    hexadecimal || label.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_an_address_is_no_name() {
        for name in ["api.openai.com", "a", "vllm", "1and1.example", "xn--bcher-kva.example", "0xen.example"]
        {
            assert!(is_name(name), "{name}");
        }
        for other in [
            "",
            ".",
            "a.",
            ".a",
            "a..b",
            "A.b",
            "127.0.0.1",
            "2130706433",
            "0x7f000001",
            "0x7f.1",
            "017700000001",
            "a.1",
            "0x",
            "a.0xff",
            "a_b.example",
            "-a.example",
            "a-.example",
            "a b",
            "é.example",
            "a。b",
            "[::1]",
            "a:1",
            "a%2e",
            "a@b",
        ] {
            assert!(!is_name(other), "{other}");
        }
        assert!(
            !is_name(&"a".repeat(64)) && !is_name(&"a.".repeat(127)) && !is_name(&vec!["a"; 128].join("."))
        );
    }
}
