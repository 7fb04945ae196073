//! How the tokens and the cost of one call fall to its texts.

use std::iter::Sum;

use embermesh_types::{NanoUsd, TokenCount};

/// What falls to one text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Share {
    pub tokens: TokenCount,
    pub cost: NanoUsd,
}

impl Sum for Share {
    fn sum<I: Iterator<Item = Self>>(shares: I) -> Self {
        shares.fold(Self::default(), |sum, share| Self {
            tokens: TokenCount(sum.tokens.0 + share.tokens.0),
            cost: NanoUsd(sum.cost.0 + share.cost.0),
        })
    }
}

/// Splits what a provider reports for a call by `weights`, exactly: what rounding leaves goes to the first texts. A call of one text
/// has its own count; for several, providers report only the sum. The cost goes by what the price counts: `characters`, or else the
/// tokens that each has got, so that equal tokens cost the same.
pub(crate) fn shares(
    tokens: TokenCount,
    cost: NanoUsd,
    weights: &[u64],
    characters: Option<&[u64]>,
) -> Vec<Share> {
    let total = i64::try_from(tokens.0).unwrap_or(i64::MAX);
    let tokens = NanoUsd(total).split(weights);
    let by_tokens: Vec<u64> = tokens.iter().map(|part| part.0.unsigned_abs()).collect();
    let costs = cost.split(characters.unwrap_or(&by_tokens));
    let share = |(tokens, cost): (u64, NanoUsd)| Share { tokens: TokenCount(tokens), cost };
    by_tokens.into_iter().zip(costs).map(share).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn nothing_is_lost(tokens in 0..10_000_000_u64, cost in 0..10_000_000_i64, weights in prop::collection::vec(1..10_000_u64, 1..40)) {
            let shares = shares(TokenCount(tokens), NanoUsd(cost), &weights, None);
            prop_assert_eq!(shares.len(), weights.len());
            prop_assert_eq!(shares.into_iter().sum::<Share>(), Share { tokens: TokenCount(tokens), cost: NanoUsd(cost) });
        }
    }

    #[test]
    fn more_weight_is_more_tokens() {
        let shares = shares(TokenCount(10), NanoUsd(100), &[4, 2, 1], None);
        assert!(shares[0].tokens > shares[1].tokens && shares[0].cost > shares[1].cost);
    }

    #[test]
    fn a_price_by_character_is_shared_by_characters_whatever_the_tokens() {
        // a hundred characters of three bytes beside three hundred of one: nobody pays for more than the own
        let shares = shares(TokenCount(200), NanoUsd(400), &[300, 300], Some(&[100, 300]));
        assert_eq!(shares.iter().map(|share| share.cost.0).collect::<Vec<_>>(), [100, 300]);
    }
}
