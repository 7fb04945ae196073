//! A provider of ours against one simulated deployment, over real sockets.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use embermesh_config::ProviderKind;
use embermesh_proto::{to_le_bytes, v1::CatalogModel};
use embermesh_providers::{
    Billing, Connector, Failure, InputType, Provider, ProviderAnswer, ProviderCall, ProviderError, verify,
};
use embermesh_testing::sim::{
    Call, Deployment, DeploymentSpec, Fault, Injection, RetryAfter, Simulator, count_tokens, vector,
    vector_for,
};
use embermesh_types::{AttemptId, TokenCount};
use serde_json::{Value, json};

/// Long enough for anything that is not meant to time out.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is asked for.
#[derive(Clone, Copy)]
pub struct Row {
    /// Of the catalog.
    pub model: &'static str,
    /// The provider's own name.
    pub name: &'static str,
    /// What the simulator's vectors depend on.
    pub family: &'static str,
    pub native: u32,
    pub dimensions: u32,
    /// Absent: the model makes no difference.
    pub input_type: Option<InputType>,
    pub texts: usize,
}

impl Row {
    /// A model that goes by one name and makes no difference between queries and documents.
    pub const fn of(model: &'static str, native: u32) -> Self {
        Self { model, name: model, family: model, native, dimensions: native, input_type: None, texts: 1 }
    }

    pub fn texts(&self) -> Vec<Arc<str>> {
        // quotes, umlauts and line ends have to survive
        (0..self.texts).map(|i| format!("text {i}: \"grüße\"\nand so on").into()).collect()
    }

    fn model(&self) -> CatalogModel {
        CatalogModel {
            id: self.model.to_owned(),
            family: self.family.to_owned(),
            native_dimensions: self.native,
            any_dimensions: true,
            distinguishes_input_type: self.input_type.is_some(),
            ..CatalogModel::default()
        }
    }

    pub fn call(&self) -> ProviderCall {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let id = format!("00000000-0000-4000-8000-{:012}", NEXT.fetch_add(1, Ordering::Relaxed));
        ProviderCall {
            attempt: id.parse::<AttemptId>().unwrap(),
            model: Arc::new(self.model()),
            name: self.name.into(),
            texts: self.texts(),
            dimensions: self.dimensions,
            input_type: self.input_type.unwrap_or_default(),
            timeout: PATIENCE,
        }
    }

    fn vector(&self, text: &str) -> Vec<f32> {
        let dimensions = usize::try_from(self.dimensions).unwrap();
        match self.input_type {
            Some(input_type) => vector_for(self.family, input_type.as_str(), text, dimensions),
            None => vector(self.family, text, dimensions),
        }
    }
}

pub struct Rig {
    sim: Simulator,
    pub provider: Arc<dyn Provider>,
}

impl Rig {
    /// `entry` is the provider's entry of the configuration but for `base_url`, which is the deployment's own, followed by `path`.
    pub async fn start(kind: ProviderKind, spec: DeploymentSpec, path: &str, mut entry: Value) -> Self {
        let sim = Simulator::start(&[spec]).await.unwrap();
        entry["base_url"] = json!(format!("{}{path}", sim.deployments()[0].base_url()));
        let entry = serde_json::from_value(entry).unwrap();
        let provider = Connector::new(None).unwrap().connect(kind, &entry).unwrap();
        Self { sim, provider }
    }

    pub fn deployment(&self) -> &Deployment {
        &self.sim.deployments()[0]
    }

    pub fn last_call(&self) -> Call {
        self.sim.calls().pop().unwrap()
    }

    pub async fn embed(&self, call: ProviderCall) -> Result<ProviderAnswer, ProviderError> {
        self.provider.embed(call).await
    }

    /// N texts give N vectors, those of the texts and in their order; tokens are counted; the request is `path` and `body`, in
    /// which `TEXTS` stands for the texts.
    pub async fn serves(&self, row: Row, path: &str, mut body: Value) {
        let what = format!("{} as {}, {} texts, {:?}", row.model, row.name, row.texts, row.input_type);
        let call = row.call();
        let attempt = call.attempt.to_string();
        let answer = self.embed(call).await.unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_eq!(answer.vectors.len(), row.texts, "{what}");
        for (text, vector) in row.texts().iter().zip(&answer.vectors) {
            assert_eq!(*vector, to_le_bytes(&row.vector(text)), "{what}: {text}");
        }
        verify::check(&answer.vectors, row.texts, row.dimensions).unwrap();
        let tokens: usize = row.texts().iter().map(|text| count_tokens(text)).sum();
        assert_eq!(answer.usage.tokens, Some(TokenCount(tokens.try_into().unwrap())), "{what}");
        let seen = self.last_call();
        assert_eq!(seen.attempt, Some(attempt), "{what}");
        assert_eq!(seen.path, path, "{what}");
        for value in body.as_object_mut().unwrap().values_mut() {
            if value == "TEXTS" {
                *value = json!(row.texts());
            }
        }
        assert_eq!(seen.body, Some(body), "{what}");
    }

    /// A call while `injection` strikes, which must fail.
    pub async fn fails(&self, row: Row, injection: Injection) -> ProviderError {
        self.deployment().inject([injection]);
        let answer = self.embed(row.call()).await;
        self.deployment().heal();
        answer.unwrap_err()
    }

    /// Every fault that all formats have gives the failure that it is, and a healed deployment serves again.
    pub async fn tells_faults_apart(&self, row: Row) {
        let billed = Billing::Unknown;
        let free = Billing::NotBilled;
        for (fault, failure, billing) in [
            (Fault::status(400), Failure::Refused, free),
            (Fault::status(401), Failure::Unauthorized, free),
            (Fault::status(402), Failure::Exhausted, free),
            (Fault::status(403), Failure::Unauthorized, free),
            (Fault::status(404), Failure::NotHere, free),
            (Fault::status(408), Failure::Intermediary, billed),
            (Fault::status(413), Failure::Refused, free),
            (Fault::status(422), Failure::Refused, free),
            (Fault::status(429), Failure::Throttled, free),
            (Fault::status(500), Failure::Server, free),
            (Fault::status(502), Failure::Intermediary, billed),
            (Fault::status(503), Failure::Server, free),
            (Fault::status(504), Failure::Intermediary, billed),
            (Fault::status(529), Failure::Server, free),
            (Fault::ResetBeforeRead, Failure::Broken, billed),
            (Fault::ResetAfterRead, Failure::Broken, billed),
            (Fault::TruncatedJson, Failure::BadAnswer, billed),
            (Fault::ErrorWithStatus200, Failure::BadAnswer, billed),
            (Fault::WrongCount, Failure::BadAnswer, billed),
            // where the API has no index: one vector too many
            (Fault::WrongIndex, Failure::BadAnswer, billed),
        ] {
            let error = self.fails(row, fault.clone().forever()).await;
            assert_eq!((error.failure, error.failure.billing()), (failure, billing), "{fault:?}");
        }
        for fault in [Fault::Hang, Fault::Delay { ms: 60_000 }, Fault::Trickle { bytes: 1, every_ms: 40 }] {
            self.deployment().inject([fault.clone().forever()]);
            let call = ProviderCall { timeout: Duration::from_millis(200), ..row.call() };
            let error = self.embed(call).await.unwrap_err();
            assert_eq!((error.failure, error.failure.billing()), (Failure::TimedOut, billed), "{fault:?}");
        }
        self.deployment().refuse_text(Some("grüße"));
        let error = self.embed(row.call()).await.unwrap_err();
        self.deployment().refuse_text(None);
        assert_eq!((error.failure, error.failure.billing()), (Failure::Refused, free));
        assert!(!format!("{error} {error:?}").contains("grüße"), "{error:?}");
        // what is in the vectors is found by the check that every caller makes
        for fault in [Fault::WrongDims, Fault::NotANumber, Fault::ZeroVector] {
            self.deployment().inject([fault.clone().forever()]);
            if let Ok(answer) = self.embed(row.call()).await {
                assert!(verify::check(&answer.vectors, row.texts, row.dimensions).is_err(), "{fault:?}");
            }
        }
        self.deployment().heal();
        assert!(self.embed(row.call()).await.is_ok());
    }

    /// A server that says when to come again is heard.
    pub async fn hears_retry_after(&self, row: Row) {
        for status in [429, 503] {
            for (said, soonest, latest) in [
                (RetryAfter::Seconds(7), 7_000, 7_000),
                (RetryAfter::Millis(1_500), 1_500, 1_500),
                // dates are whole seconds
                (RetryAfter::Date(9), 8_000, 10_000),
                (RetryAfter::Seconds(86_400), 60_000, 60_000),
            ] {
                let error = self.fails(row, Fault::status(status).retry_after(said).forever()).await;
                let wait = error.retry_after.unwrap();
                let heard = Duration::from_millis(soonest)..=Duration::from_millis(latest);
                assert!(heard.contains(&wait), "{status} {said:?}: {wait:?}");
            }
            assert_eq!(self.fails(row, Fault::status(status).forever()).await.retry_after, None);
        }
    }

    /// A text beyond the model's length is told from other refusals.
    pub async fn tells_too_long(&self, row: Row, tokens: usize) {
        let call = ProviderCall { texts: vec!["hello ".repeat(tokens).into()], ..row.call() };
        let error = self.embed(call).await.unwrap_err();
        assert_eq!((error.failure, error.failure.billing()), (Failure::TooLong, Billing::NotBilled));
        assert!(!error.message.contains("hello"), "{error}");
    }

    /// A call with one text more than the API takes is refused by it, so that [`Provider::limits`] is the API's own limit.
    pub async fn takes_no_more_than(&self, row: Row) {
        let limits = self.provider.limits(&row.call().model);
        let row = Row { texts: usize::try_from(limits.texts).unwrap() + 1, ..row };
        assert_eq!(self.embed(row.call()).await.unwrap_err().failure, Failure::Refused);
    }

    /// Names that the deployment does not know, and a key that it refuses.
    pub async fn refuses_strangers(&self, row: Row) {
        let stranger = Row { name: "no-such-model", ..row };
        let failure = self.embed(stranger.call()).await.unwrap_err().failure;
        assert!(matches!(failure, Failure::NotHere | Failure::Refused), "{failure:?}");
    }
}

/// What is refused with another key than the deployment's.
pub async fn refuses_a_wrong_key(
    kind: ProviderKind,
    spec: DeploymentSpec,
    path: &str,
    mut entry: Value,
    row: Row,
) {
    entry["api_key"] = json!("another-key");
    let rig = Rig::start(kind, spec, path, entry).await;
    let error = rig.embed(row.call()).await.unwrap_err();
    assert_eq!((error.failure, error.failure.billing()), (Failure::Unauthorized, Billing::NotBilled));
    assert!(!format!("{error} {error:?} {:?}", rig.provider).contains("another-key"));
}
