//! Counts tokens as the model will, to charge what a provider does not count and to refuse what a model cannot take.

use std::sync::Arc;

use embermesh_errors::{Code, Error};
use embermesh_minilm::MiniLm;
use embermesh_proto::v1::CatalogModel;
use embermesh_tokens::{Cl100kBase, TextTokenizer, TokenizerKind};
use embermesh_types::TokenCount;

/// Texts above this are counted off the async threads.
const INLINE_BYTES: usize = 16 * 1024;

/// The tokenizers that this process has.
#[derive(Debug, Clone)]
pub(crate) struct Tokenizers {
    local: Option<Arc<MiniLm>>,
}

impl Tokenizers {
    /// `local` brings the WordPiece tokenizer.
    pub fn new(local: Option<Arc<MiniLm>>) -> Self {
        Self { local }
    }

    /// No fewer tokens than `text` can cost, at once.
    pub fn bound(model: &CatalogModel, text: &str) -> TokenCount {
        let kind = model.tokenizer.parse().unwrap_or(TokenizerKind::Cl100kBase);
        TokenCount(u64::try_from(kind.upper_bound(text)).unwrap_or(u64::MAX))
    }

    /// The tokens of `text`, exact where the model's tokenizer is known, else the bound.
    pub async fn count(&self, model: &CatalogModel, text: &Arc<str>) -> TokenCount {
        let bound = Self::bound(model, text);
        let counted = if text.len() <= INLINE_BYTES {
            self.count_now(model, text)
        } else {
            let (this, model, text) = (self.clone(), model.clone(), Arc::clone(text));
            tokio::task::spawn_blocking(move || this.count_now(&model, &text)).await.ok().flatten()
        };
        counted.unwrap_or(bound)
    }

    fn count_now(&self, model: &CatalogModel, text: &str) -> Option<TokenCount> {
        let count = match model.tokenizer.parse() {
            Ok(TokenizerKind::Cl100kBase) => Cl100kBase.count(text),
            Ok(TokenizerKind::WordPiece) => self.local.as_ref()?.tokenizer().count(text),
            Err(_) => return None,
        };
        Some(TokenCount(u64::try_from(count.ok()?).unwrap_or(u64::MAX)))
    }

    /// Refuses a text over the model's limit, with the figures. Never cuts.
    pub async fn check_length(&self, model: &CatalogModel, text: &Arc<str>) -> Result<(), Error> {
        let limit = u64::from(model.max_input_tokens);
        if limit == 0 || Self::bound(model, text).0 <= limit {
            return Ok(());
        }
        let tokens = self.count(model, text).await.0;
        if tokens <= limit {
            return Ok(());
        }
        let message =
            format!("the text has {tokens} tokens, {} takes {limit}; shorten or split it", model.id);
        let error = Error::new(Code::InputTooLong, message).with_param("text");
        Err(error.with_detail("tokens", tokens).with_detail("limit", limit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_text_at_the_limit_passes_and_one_over_it_is_refused_with_figures() {
        let tokenizers = Tokenizers::new(None);
        let model = CatalogModel {
            id: "m".into(),
            tokenizer: "cl100k_base".into(),
            max_input_tokens: 100,
            ..CatalogModel::default()
        };
        let text = |n: usize| Arc::<str>::from(" word".repeat(n));
        assert!(tokenizers.check_length(&model, &text(100)).await.is_ok());
        let error = tokenizers.check_length(&model, &text(101)).await.unwrap_err();
        assert_eq!((error.code, &error.details["tokens"]), (Code::InputTooLong, &101.into()));
    }
}
