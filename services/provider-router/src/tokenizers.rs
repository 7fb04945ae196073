//! Counts tokens as the model will, to charge what a provider does not count and to refuse what a model cannot take.

use std::{ops::Range, sync::Arc};

use embermesh_minilm::MiniLm;
use embermesh_proto::v1::CatalogModel;
use embermesh_tokens::{Cl100kBase, TextTokenizer, TokenizerKind};
use embermesh_types::TokenCount;

/// Texts above this are counted off the async threads.
const INLINE_BYTES: usize = 16 * 1024;

/// Of a piece, how much may be given up at its end for a better place to cut.
const SOFT_END: usize = 8;

/// How many tokens a text has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counted {
    pub count: TokenCount,
    /// The model's own tokenizer has counted; otherwise there are no more than that.
    pub exact: bool,
}

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
        self.measure(model, text).await.count
    }

    /// The tokens of `text`, and whether they are counted.
    pub async fn measure(&self, model: &CatalogModel, text: &Arc<str>) -> Counted {
        let counted = if text.len() <= INLINE_BYTES {
            self.count_now(model, text)
        } else {
            let (this, model, text) = (self.clone(), model.clone(), Arc::clone(text));
            tokio::task::spawn_blocking(move || this.count_now(&model, &text)).await.ok().flatten()
        };
        let count = counted.unwrap_or_else(|| Self::bound(model, text));
        Counted { count, exact: counted.is_some() }
    }

    fn count_now(&self, model: &CatalogModel, text: &str) -> Option<TokenCount> {
        let count = match model.tokenizer.parse() {
            Ok(TokenizerKind::Cl100kBase) => Cl100kBase.count(text),
            Ok(TokenizerKind::WordPiece) => self.local.as_ref()?.tokenizer().count(text),
            Err(_) => return None,
        };
        Some(TokenCount(u64::try_from(count.ok()?).unwrap_or(u64::MAX)))
    }

    /// The first pieces of `text`, at most `most`, that each have `limit` tokens or fewer and together are its beginning or all of it.
    /// They end between words where one is near.
    pub async fn cut(
        &self,
        model: &Arc<CatalogModel>,
        text: &Arc<str>,
        limit: u64,
        most: usize,
    ) -> Vec<Range<usize>> {
        let (this, model, text) = (self.clone(), Arc::clone(model), Arc::clone(text));
        let cutting = tokio::task::spawn_blocking(move || {
            let mut pieces = Vec::new();
            let mut start = 0;
            while start < text.len() && pieces.len() < most {
                let Some(end) = this.end_of_piece(&model, &text, start, limit) else { return Vec::new() };
                pieces.push(start..end);
                start = end;
            }
            pieces
        });
        cutting.await.unwrap_or_default()
    }

    /// Where the longest piece from `start` ends.
    fn end_of_piece(&self, model: &CatalogModel, text: &str, start: usize, limit: u64) -> Option<usize> {
        let fits = |end: usize| {
            let piece = &text[start..end];
            let bound = Self::bound(model, piece);
            bound.0 <= limit || self.count_now(model, piece).is_some_and(|count| count.0 <= limit)
        };
        if fits(text.len()) {
            return Some(text.len());
        }
        let (mut good, mut bad) = (start, text.len());
        // no token of the known tokenizers is longer than this, so nothing beyond fits anyway
        bad = bad.min(start.saturating_add(usize::try_from(limit).ok()?.saturating_mul(128)));
        while let Some(middle) = between(text, good, bad) {
            if fits(middle) { good = middle } else { bad = middle }
        }
        let soft = good - (good - start) / SOFT_END;
        let soft = (soft..=good).find(|at| text.is_char_boundary(*at))?;
        let word = text[soft..good].rfind(char::is_whitespace).map(|at| soft + at);
        let word = word.map(|at| at + text[at..].chars().next().map_or(1, char::len_utf8));
        let end = word.filter(|end| fits(*end)).unwrap_or(good);
        (end > start).then_some(end)
    }
}

/// A character boundary between two others, near their middle.
fn between(text: &str, low: usize, high: usize) -> Option<usize> {
    let middle = low + (high - low) / 2;
    let up = (middle..high).find(|at| text.is_char_boundary(*at)).filter(|at| *at > low);
    up.or_else(|| (low + 1..middle).rev().find(|at| text.is_char_boundary(*at)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn model(tokenizer: &str) -> Arc<CatalogModel> {
        Arc::new(CatalogModel { id: "m".into(), tokenizer: tokenizer.into(), ..CatalogModel::default() })
    }

    #[tokio::test]
    async fn only_known_tokenizers_are_exact() {
        let tokenizers = Tokenizers::new(None);
        let text = Arc::<str>::from(" word".repeat(100));
        let exact = tokenizers.measure(&model("cl100k_base"), &text).await;
        assert_eq!(exact, Counted { count: TokenCount(100), exact: true });
        assert!(!tokenizers.measure(&model("bytes"), &text).await.exact);
    }

    #[tokio::test]
    async fn a_piece_ends_between_words() {
        let tokenizers = Tokenizers::new(None);
        let text = Arc::<str>::from("internationalisation ".repeat(60));
        let pieces = tokenizers.cut(&model("cl100k_base"), &text, 50, usize::MAX).await;
        assert!(pieces.len() > 2);
        assert!(pieces.iter().all(|piece| text[piece.clone()].ends_with(' ')), "{pieces:?}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn pieces_are_the_text_in_order_and_none_is_over_the_limit(
            text in "[a-z äß日本\n👩‍🚀]{1,600}",
            limit in 20_u64..60,
            exact: bool,
        ) {
            let model = model(if exact { "cl100k_base" } else { "bytes" });
            let tokenizers = Tokenizers::new(None);
            let text = Arc::<str>::from(text);
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let pieces = runtime.block_on(tokenizers.cut(&model, &text, limit, usize::MAX));
            let joined: String = pieces.iter().map(|piece| &text[piece.clone()]).collect();
            prop_assert_eq!(joined.as_str(), &*text);
            for piece in pieces {
                let piece = Arc::<str>::from(&text[piece]);
                prop_assert!(runtime.block_on(tokenizers.count(&model, &piece)).0 <= limit);
            }
        }
    }
}
