//! What goes in comes out.

use embermesh_proto::{from_le_bytes, internal::v1::PutRow};

use crate::harness::{Bench, row};

#[tokio::test]
async fn text_and_metadata_come_back_as_they_were_given() {
    let bench = Bench::start().await;
    let caller = bench.caller();
    let long = "Grüße, 世界 🌍 ".repeat(10_000);
    assert!(long.len() > 200_000);
    let texts = [
        r"back\slash \n \\ \u0041 C:\new",
        "quotes ' '' \" $$ $1 ; -- /* */ %s {}",
        "emoji 👩‍👩‍👧‍👦 🇩🇪, CJK 漢字かな한글, RTL שלום, combining e\u{301}",
        "controls \u{1}\t\r\n\u{7f}\u{2028}\u{feff}",
        "\"json\": [1, 2], <xml/>, NULL, \\N",
        "",
        &long,
    ];
    let metadata =
        "{ \"z\":1.50, \"a\" : 1e2, \"a\":\"dup\", \"big\":12345678901234567890123, \"é\\n\":\"\\u00e9\" }";
    let rows = texts.iter().enumerate().map(|(n, text)| PutRow {
        metadata: metadata.into(),
        context_id: format!("c'{n}\\"),
        ..row(text, &[1.0, n as f32, 0.0, 0.0])
    });
    for (kept, text) in caller.put(rows.collect()).await.iter().zip(texts) {
        let stored = caller.get(&kept.embedding_id).await.unwrap();
        assert_eq!(stored.content, text);
        assert_eq!(stored.metadata, metadata);
        assert!(stored.context_id.starts_with("c'"));
    }
}

#[tokio::test]
async fn a_vector_comes_back_in_the_precision_of_its_space() {
    let bench = Bench::start().await;
    let caller = bench.caller();
    let vector = [0.5, -0.25, 0.1, 0.000_123];
    let stored = caller.get(&caller.put_one(row("x", &vector)).await).await.unwrap();
    let back = from_le_bytes(&stored.vector).unwrap();
    assert_eq!(back[..2], vector[..2]);
    assert!(back.iter().zip(vector).all(|(a, b)| (a - b).abs() <= b.abs() / 1024.0), "{back:?}");
    let huge =
        caller.put_into(crate::harness::SPACE, vec![row("y", &[1e6, 0.0, 0.0, 0.0])]).await.unwrap_err();
    assert_eq!(huge.param.as_deref(), Some("rows[0].vector"));
}
