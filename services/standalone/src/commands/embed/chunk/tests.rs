//! What chunks promise, over handwritten and generated texts.

use proptest::prelude::*;

use super::*;

const MANUAL: &str = "\
# Manual

Read this first.

## Keys

A key belongs to a tenant. It may be bound to an agent.

```sh
# list them
embermesh keys list

embermesh keys revoke 7
```

### Rotating

Old keys stay valid for a day.

## Budgets
";

fn shown(text: &str, format: Format, max: usize) -> String {
    let show = |chunk: Chunk<'_>| format!("[{}]\n{}\n", chunk.heading, text_of(&chunk.context, chunk.body));
    chunks(text, format, max).into_iter().map(show).collect::<Vec<_>>().join("-----\n")
}

#[test]
fn a_manual_is_cut_at_its_headings() {
    insta::assert_snapshot!(shown(MANUAL, Format::Markdown, MAX_CHARS), @r"
    [Manual]
    # Manual

    Read this first.
    -----
    [Manual > Keys]
    Manual

    ## Keys

    A key belongs to a tenant. It may be bound to an agent.

    ```sh
    # list them
    embermesh keys list

    embermesh keys revoke 7
    ```
    -----
    [Manual > Keys > Rotating]
    Manual > Keys

    ### Rotating

    Old keys stay valid for a day.
    -----
    [Manual > Budgets]
    Manual

    ## Budgets
    ");
}

#[test]
fn a_fence_that_fits_a_chunk_of_its_own_is_not_cut() {
    let found = chunks(MANUAL, Format::Markdown, 110);
    let fence = found.iter().find(|chunk| chunk.body.contains("# list them")).unwrap();
    assert!(fence.body.starts_with("```sh") && fence.body.ends_with("```"), "{fence:?}");
    assert_eq!(fence.context, "Manual > Keys");
}

#[test]
fn a_heading_stays_with_what_it_announces() {
    let text = format!("# Guide\n\n## Deep\n\n{}", "Words and words. ".repeat(60));
    let found = chunks(&text, Format::Markdown, MAX_CHARS);
    assert!(found[0].body.starts_with("# Guide\n\n## Deep\n\nWords"), "{found:?}");
    assert_eq!(found[0].context, "");
    assert_eq!((found[1].context.as_str(), found[1].heading.as_str()), ("Guide > Deep", "Guide > Deep"));
    assert!(found.iter().all(|chunk| chunk.body.ends_with('.')), "cut inside a sentence: {found:?}");
}

#[test]
fn paragraphs_are_packed() {
    let text = "One line of text.\n\n".repeat(100);
    let found = chunks(&text, Format::Plain, MAX_CHARS);
    // 36 lines of 17 characters and the blank lines between them
    assert_eq!(found.len(), 3);
    assert_eq!(found[0].body.len(), 36 * 19 - 2);
}

#[test]
fn an_overlong_heading_is_text() {
    let text = format!("# {}\n\nbody", "x".repeat(300));
    let found = chunks(&text, Format::Markdown, MAX_CHARS);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].heading, "");
}

#[test]
fn nothing_gives_no_chunk() {
    assert_eq!(chunks(" \n\t\n", Format::Markdown, MAX_CHARS), []);
}

fn markdown() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        3 => "[a-zé漢🦀.。!#`~=| -]{0,60}",
        2 => "(one|two\\. |three |\t){1,12}",
        2 => "#{1,7} ?[a-z漢 #]{0,30}",
        1 => Just("---".to_owned()),
        1 => Just("===".to_owned()),
        1 => Just("```".to_owned()),
        1 => Just("~~~~".to_owned()),
        4 => Just(String::new()),
    ];
    let ending = prop_oneof![Just("\n"), Just("\r\n")];
    prop::collection::vec((line, ending), 0..40)
        .prop_map(|lines| lines.into_iter().flat_map(|(line, ending)| [line, ending.to_owned()]).collect())
}

proptest! {
    #[test]
    fn nothing_but_whitespace_is_lost_and_no_chunk_is_over_the_limit(
        text in prop_oneof![markdown(), "\\PC{0,300}", "[a-z\\s]{0,400}"],
        plain in any::<bool>(),
        max in 10_usize..300,
    ) {
        let format = if plain { Format::Plain } else { Format::Markdown };
        let found = chunks(&text, format, max);
        let solid = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
        let bodies: String = found.iter().map(|chunk| solid(chunk.body)).collect();
        prop_assert_eq!(bodies, solid(&text));
        for chunk in &found {
            prop_assert!(!chunk.body.trim().is_empty());
            let length = text_of(&chunk.context, chunk.body).chars().count();
            prop_assert!(length <= max, "{length} > {max}: {chunk:?}");
        }
    }
}
