//! What the headers of an embedding answer say: where its vectors lie, who made them, how many were known, what they cost.

use embermesh_proto::v1;
use embermesh_types::NanoUsd;
use http::{HeaderMap, HeaderName, HeaderValue};
use tonic::Response;

use super::Item;

const SPACE: HeaderName = HeaderName::from_static("x-embermesh-space");
const PROVIDER: HeaderName = HeaderName::from_static("x-embermesh-provider");
const CACHED: HeaderName = HeaderName::from_static("x-embermesh-cached");
const COST: HeaderName = HeaderName::from_static("x-embermesh-cost-usd");

/// Collected over the vectors of an answer.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Summary {
    spaces: Names,
    providers: Names,
    cached: usize,
    inputs: usize,
    /// What they cost together.
    pub cost: NanoUsd,
    /// Their tokens together.
    pub tokens: u64,
}

impl Summary {
    /// Of the answer to one text.
    pub fn of_one(answer: &v1::EmbedResponse) -> Self {
        let mut summary = Self::default();
        let cost = NanoUsd(answer.cost_nano_usd);
        summary.count(&answer.space_id, &answer.provider, answer.cached, cost, answer.tokens_used);
        summary
    }

    /// Of the answer to a batch, in which some may have no vector.
    pub fn of_batch(answer: &v1::EmbedBatchResponse) -> Self {
        let mut summary = Self::default();
        for entry in &answer.embeddings {
            let (Some(space), Some(provider)) = (&entry.space_id, &entry.provider) else {
                summary.inputs += 1;
                continue;
            };
            let cost = NanoUsd(entry.cost_nano_usd.unwrap_or(0));
            let (is_cached, tokens) = (entry.cached.unwrap_or(false), entry.tokens_used.unwrap_or(0));
            summary.count(space, provider, is_cached, cost, tokens);
        }
        summary
    }

    /// Counts one vector.
    pub fn add(&mut self, item: &Item) {
        self.count(item.space.as_str(), &item.provider, item.cached, item.cost, item.tokens);
    }

    fn count(&mut self, space: &str, provider: &str, is_cached: bool, cost: NanoUsd, tokens: u64) {
        self.spaces.add(space);
        self.providers.add(provider);
        self.cached += usize::from(is_cached);
        self.inputs += 1;
        self.cost = NanoUsd(self.cost.0.saturating_add(cost.0));
        self.tokens = self.tokens.saturating_add(tokens);
    }

    /// Writes the headers.
    pub fn write(&self, headers: &mut HeaderMap) {
        for (name, text) in [(SPACE, &self.spaces.0), (PROVIDER, &self.providers.0)] {
            if let Ok(value) = HeaderValue::from_str(text)
                && !text.is_empty()
            {
                headers.insert(name, value);
            }
        }
        // of one text, which most answers are of, there is little to write
        let cached = match (self.cached, self.inputs) {
            (0, 1) => Ok(HeaderValue::from_static("0/1")),
            (1, 1) => Ok(HeaderValue::from_static("1/1")),
            (cached, inputs) => HeaderValue::try_from(format!("{cached}/{inputs}")),
        };
        let cost = match self.cost {
            NanoUsd::ZERO => Ok(HeaderValue::from_static("0")),
            cost => HeaderValue::try_from(cost.to_string()),
        };
        for (name, value) in [(CACHED, cached), (COST, cost)] {
            if let Ok(value) = value {
                headers.insert(name, value);
            }
        }
    }

    /// An answer with these headers as its metadata.
    pub fn dress<T>(&self, answer: T) -> Response<T> {
        let mut response = Response::new(answer);
        self.write(response.metadata_mut().as_mut());
        response
    }
}

/// Distinct names with commas between, in the order of their first use.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Names(String);

impl Names {
    fn add(&mut self, name: &str) {
        if self.0 == name || self.0.split(',').any(|known| known == name) {
            return;
        }
        if !self.0.is_empty() {
            self.0.push(',');
        }
        self.0.push_str(name);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn headers_name_each_space_once_and_sum_exactly() {
        let item = |space: &str, provider: &str, cached, cost| Item {
            vector: Bytes::new(),
            space: space.parse().unwrap(),
            provider: provider.into(),
            tokens: 3,
            cost: NanoUsd(cost),
            cached,
            cut: None,
        };
        let mut summary = Summary::default();
        summary.add(&item("a@3", "openai", true, 0));
        summary.add(&item("b@3", "azure", false, 20));
        summary.add(&item("a@3", "openai", false, 1));
        summary.inputs += 1;
        let answer = summary.dress(());
        let text = |name| answer.metadata().get(name).unwrap().to_str().unwrap();
        assert_eq!(text("x-embermesh-space"), "a@3,b@3");
        assert_eq!(text("x-embermesh-provider"), "openai,azure");
        assert_eq!(text("x-embermesh-cached"), "1/4");
        assert_eq!(text("x-embermesh-cost-usd"), "0.000000021");
        assert_eq!(summary.tokens, 9);
    }
}
