//! One row per model: what is sent is what AWS documents, N texts give N vectors in order, and usage is right.

use embermesh_providers::{Failure, InputType, verify};
use embermesh_testing::sim::{count_tokens, vector, vector_for};
use serde_json::{Value, json};

use crate::account::*;

struct Row {
    model: &'static str,
    family: &'static str,
    native: u32,
    /// Another length that may be asked for.
    other: Option<u32>,
    asymmetric: bool,
    per_call: usize,
    /// The body for some texts, a length, and what the texts are for.
    body: fn(&[&str], u32, &str) -> Value,
}

const ROWS: [Row; 6] = [
    Row {
        model: "amazon.titan-embed-text-v1",
        family: "amazon.titan-embed-text-v1",
        native: 1536,
        other: None,
        asymmetric: false,
        per_call: 1,
        body: |texts, _, _| json!({"inputText": texts[0]}),
    },
    Row {
        model: "amazon.titan-embed-text-v2:0",
        family: "amazon.titan-embed-text-v2:0",
        native: 1024,
        other: Some(256),
        asymmetric: false,
        per_call: 1,
        body: |texts, dimensions, _| json!({"inputText": texts[0], "dimensions": dimensions, "normalize": true, "embeddingTypes": ["float"]}),
    },
    Row {
        model: "amazon.titan-embed-image-v1",
        family: "amazon.titan-embed-image-v1",
        native: 1024,
        other: Some(384),
        asymmetric: false,
        per_call: 1,
        body: |texts, dimensions, _| json!({"inputText": texts[0], "embeddingConfig": {"outputEmbeddingLength": dimensions}}),
    },
    Row {
        model: "cohere.embed-english-v3",
        family: "embed-english-v3.0",
        native: 1024,
        other: None,
        asymmetric: true,
        per_call: 96,
        body: |texts, _, input_type| json!({"texts": texts, "input_type": input_type, "truncate": "NONE"}),
    },
    Row {
        model: "cohere.embed-multilingual-v3",
        family: "embed-multilingual-v3.0",
        native: 1024,
        other: None,
        asymmetric: true,
        per_call: 96,
        body: |texts, _, input_type| json!({"texts": texts, "input_type": input_type, "truncate": "NONE"}),
    },
    Row {
        model: "cohere.embed-v4:0",
        family: "embed-v4.0",
        native: 1536,
        other: Some(512),
        asymmetric: true,
        per_call: 96,
        body: |texts, dimensions, input_type| {
            json!({
                "texts": texts, "input_type": input_type, "truncate": "NONE",
                "embedding_types": ["float"], "output_dimension": dimensions,
            })
        },
    },
];

impl Row {
    /// Embeds so many texts, split as the limits say, and checks all that can be seen of it.
    async fn check(&self, account: &Account, count: usize, dimensions: u32, input_type: InputType) {
        account.sim.clear_calls();
        let provider = account.provider();
        let model = model(self.model, self.native, self.asymmetric);
        assert_eq!(provider.limits(&model).texts as usize, self.per_call, "{}", self.model);
        let texts = texts(count);
        let (mut vectors, mut tokens, mut attempts) = (Vec::new(), 0, Vec::new());
        for slice in texts.chunks(self.per_call) {
            let mut call = call(&model, slice.to_vec());
            (call.dimensions, call.input_type) = (dimensions, input_type);
            attempts.push(call.attempt.to_string());
            let answer = provider.embed(call).await.unwrap();
            tokens += answer.usage.tokens.unwrap().0;
            assert_eq!(answer.usage.characters, None);
            vectors.extend(answer.vectors);
        }

        verify::check(&vectors, count, dimensions).unwrap();
        let word = if input_type == InputType::Query { "search_query" } else { "search_document" };
        for (text, bytes) in texts.iter().zip(&vectors) {
            let length = dimensions as usize;
            let expected = if self.asymmetric {
                vector_for(self.family, word, text, length)
            } else {
                vector(self.family, text, length)
            };
            assert_eq!(floats(bytes), expected, "{} {text}", self.model);
        }
        let counted: usize = texts.iter().map(|text| count_tokens(text)).sum();
        assert_eq!(tokens, counted as u64, "{}", self.model);

        let calls = account.invocations();
        assert_eq!(calls.len(), count.div_ceil(self.per_call));
        let path = format!("/model/{}/invoke", self.model.replace(':', "%3A"));
        for ((call, slice), attempt) in calls.iter().zip(texts.chunks(self.per_call)).zip(attempts) {
            let sent: Vec<&str> = slice.iter().map(AsRef::as_ref).collect();
            assert_eq!(call.body, Some((self.body)(&sent, dimensions, word)), "{}", self.model);
            assert_eq!(call.path, path);
            assert_eq!(call.attempt.as_deref(), Some(attempt.as_str()));
        }
    }
}

#[tokio::test]
async fn every_model_gives_one_vector_per_text_in_order() {
    let account = Account::open().await;
    for row in &ROWS {
        for count in [1, 7, row.per_call, row.per_call + 1] {
            row.check(&account, count, row.native, InputType::Document).await;
        }
        row.check(&account, 2, row.native, InputType::Query).await;
        if let Some(other) = row.other {
            row.check(&account, 3, other, InputType::Document).await;
        }
    }
}

#[tokio::test]
async fn a_length_that_a_model_does_not_have_is_refused_by_name_and_not_sent() {
    let account = Account::open().await;
    let provider = account.provider();
    for row in &ROWS {
        let mut call = call(&model(row.model, row.native, row.asymmetric), texts(1));
        call.dimensions = 300;
        let error = provider.embed(call).await.unwrap_err();
        assert_eq!(error.failure, Failure::Refused, "{}", row.model);
        assert!(error.message.starts_with("dimensions 300"), "{error}");
        assert!(error.message.contains(row.model), "{error}");
    }
    assert_eq!(account.invocations(), []);
}

#[tokio::test]
async fn a_region_group_and_an_arn_reach_the_model() {
    let account = Account::open().await;
    let model = model("cohere.embed-v4:0", 1536, true);
    for name in [
        "us.cohere.embed-v4:0",
        "arn:aws:bedrock:eu-west-1:123456789012:inference-profile/eu.cohere.embed-v4:0",
    ] {
        let mut call = call(&model, texts(2));
        call.name = name.into();
        let answer = account.provider().embed(call).await.unwrap();
        verify::check(&answer.vectors, 2, 1536).unwrap();
    }
}

#[tokio::test]
async fn several_texts_for_titan_are_not_sent_as_one() {
    let account = Account::open().await;
    let error = account.provider().embed(call(&titan_v2(), texts(2))).await.unwrap_err();
    assert_eq!(error.failure, Failure::Local);
    assert_eq!(account.invocations(), []);
}

#[tokio::test]
async fn an_unknown_model_is_not_here() {
    let account = Account::open().await;
    for name in ["amazon.titan-text-express-v1", "cohere.embed-english-v3-but-not-served"] {
        let error = account.provider().embed(call(&model(name, 1024, true), texts(1))).await.unwrap_err();
        assert_eq!(error.failure, Failure::NotHere, "{name}: {error}");
    }
}
