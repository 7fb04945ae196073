//! What holds for every text.

use proptest::prelude::*;

use super::*;
use crate::CustomPattern;

/// Pieces that detectors care about, so that random texts get near the edges.
fn piece() -> impl Strategy<Value = String> {
    let fixed = [
        "bob@example.com",
        "@",
        "a@b.co",
        "git@github.com:o/r.git",
        "123-45-6789",
        "666-12-3456",
        "4111 1111 1111 1111",
        "4111111111111111",
        "+1 415 555 0132",
        "(415) 555-0132",
        "020 7946 0958",
        "call ",
        "ssn ",
        "card ",
        "phone: ",
        "[EMAIL]",
        "[SSN]",
        "[PHO",
        "[",
        "]",
        "(",
        ")",
        "-",
        " ",
        ".",
        "/",
        "+",
        "_",
        ",",
        "\n",
        "x",
        "EMP",
        "\u{200B}",
        "\u{2013}",
        "\u{A0}",
        "\u{AD}",
        "１２３",
        "㏾",
        "é",
        "漢",
        "🎉",
        "＠",
        "ext. 5",
        "00",
        "1",
    ];
    prop_oneof![
        6 => prop::sample::select(fixed.to_vec()).prop_map(str::to_owned),
        2 => "[0-9]{1,5}",
        1 => "\\PC{0,6}",
    ]
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => prop::collection::vec(piece(), 0..24).prop_map(|pieces| pieces.concat()),
        1 => any::<String>(),
        1 => "[-0-9 ().+/@a]{0,60}",
    ]
}

fn policies() -> Vec<Policy> {
    let mut custom = Policy::built_in(Action::Redact);
    for (name, regex) in [("emp", r"EMP\b|\b1"), ("caps", "[A-Z]{3}"), ("dash", r"-\w"), ("phone", "x[0-9]+")]
    {
        let entity = Entity::named(name).unwrap();
        custom.entities.insert(entity.clone());
        custom.custom.push(CustomPattern { entity, regex: regex.to_owned() });
    }
    vec![Policy::built_in(Action::Redact), custom]
}

fn passed<'t>(scrubber: &Scrubber, text: &'t str) -> Scrubbed<'t> {
    match scrubber.scrub(text) {
        Outcome::Passed(scrubbed) => scrubbed,
        Outcome::Rejected(rejection) => panic!("{rejection}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn scrubbing_is_idempotent_and_findings_are_whole_disjoint_characters(text in text()) {
        for policy in policies() {
            let scrubber = Scrubber::new(&policy).unwrap();
            let once = passed(&scrubber, &text);
            let again = passed(&scrubber, &once.text);
            prop_assert_eq!(&again.text, &once.text);
            prop_assert_eq!(again.findings.len(), 0);
            prop_assert!(once.findings.iter().all(|f| f.start < f.end && text.get(f.start..f.end).is_some()));
            prop_assert!(once.findings.windows(2).all(|pair| pair[0].end <= pair[1].start));
        }
    }

    #[test]
    fn the_text_outside_of_findings_is_kept_to_the_byte(text in text()) {
        for policy in policies() {
            let once = passed(&Scrubber::new(&policy).unwrap(), &text);
            let mut rest = &*once.text;
            let mut copied = 0;
            for finding in &once.findings {
                let kept = format!("{}{}", &text[copied..finding.start], finding.entity.placeholder());
                rest = rest.strip_prefix(kept.as_str()).expect("text, then placeholder");
                copied = finding.end;
            }
            prop_assert_eq!(rest, &text[copied..]);
        }
    }

    #[test]
    fn detect_reject_and_redact_agree_on_what_is_there(text in text()) {
        let scrub = |action| Scrubber::new(&Policy::built_in(action)).unwrap();
        let (detect, reject, redact) = (scrub(Action::Detect), scrub(Action::Reject), scrub(Action::Redact));
        let redacted = passed(&redact, &text).findings.len();
        let detected = passed(&detect, &text).findings.len();
        prop_assert_eq!(detected == 0, redacted == 0);
        prop_assert_eq!(matches!(reject.scrub(&text), Outcome::Rejected(_)), redacted > 0);
    }

    #[test]
    fn an_address_is_found_in_any_surroundings_that_are_not_part_of_it(
        before in "[ ,;:<(\"漢\n]{0,5}", local in "[a-z][a-z0-9]{0,10}", domain in "[a-z][a-z0-9]{0,10}", after in "[ ,;>)\"漢\n]{0,5}",
    ) {
        prop_assume!(!["git", "hg", "svn"].contains(&local.as_str()));
        let text = format!("{before}{local}@{domain}.com{after}");
        let scrubber = Scrubber::new(&Policy::built_in(Action::Redact)).unwrap();
        prop_assert_eq!(passed(&scrubber, &text).text, format!("{before}[EMAIL]{after}"));
    }

    #[test]
    fn impossible_social_security_numbers_are_never_found(group in 0_u32..100, serial in 0_u32..10_000, area in 900_u32..1_000) {
        let scrubber = Scrubber::new(&Policy::built_in(Action::Redact).only([Entity::UsSsn])).unwrap();
        for text in [
            format!("{area}-{group:02}-{serial:04}"), format!("000-{group:02}-{serial:04}"), format!("666-{group:02}-{serial:04}"),
            format!("{:03}-00-{serial:04}", area - 800), format!("{:03}-{group:02}-0000", area - 800),
        ] {
            prop_assert_eq!(passed(&scrubber, &text).findings.len(), 0, "{}", text);
        }
    }
}

#[test]
fn hostile_texts_of_a_megabyte_come_to_an_end() {
    // no clock: a quadratic step would take hours and the test runner would say so
    let scrubber = Scrubber::new(&Policy::built_in(Action::Redact)).unwrap();
    for unit in [
        "1-",
        "a@",
        "a@b.co",
        "+",
        "1",
        "1 ",
        "(1)",
        "123-45-6789",
        "123-45-6789 ",
        "4111 ",
        "call 1234567 ",
        "a@b.co@",
        "00 ",
        ".",
        "a.",
        "@",
        "+1 415 555 0132 ",
        "1\u{200B}",
        "１",
        "\u{2013}1",
        "4111111111111111 ",
        "a@b.co:",
        "a@b.co:x",
        "(415) 555-0132 x",
    ] {
        let text = unit.repeat((1 << 20) / unit.len());
        let once = passed(&scrubber, &text);
        assert!(passed(&scrubber, &once.text).findings.is_empty(), "{unit}");
    }
}
