//! What an agent may take in one request.

use embermesh_errors::{Code, Error};
use embermesh_types::{NanoUsd, Price, TokenCount};

/// The limits that apply to one request.
pub(crate) struct RequestLimits {
    pub tokens: Option<u64>,
    pub cost: Option<NanoUsd>,
    pub price: Price,
}

impl RequestLimits {
    /// Checks a request whose texts have `all` tokens, of which `to_send` are in no cache.
    pub fn check(&self, all: u64, to_send: u64) -> Result<(), Error> {
        if let Some(limit) = self.tokens.filter(|limit| all > *limit) {
            let message =
                format!("the request has {all} tokens, max_tokens_per_request of the agent is {limit}");
            let error = Error::new(Code::InputTooLong, message).with_param("input");
            return Err(error.with_detail("tokens", all).with_detail("limit", limit));
        }
        let cost = self.price.cost(TokenCount(to_send));
        if let Some(limit) = self.cost.filter(|limit| cost > *limit) {
            let message =
                format!("the request costs {cost} USD, max_cost_per_request of the agent is {limit}");
            return Err(Error::new(Code::BudgetExceeded, message).with_param("input"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_memory_counts_as_tokens_but_not_as_cost() {
        let price = Price(NanoUsd(20_000_000));
        let limits = RequestLimits { tokens: Some(10), cost: Some(NanoUsd(100)), price };
        assert!(limits.check(10, 4).is_ok());
        assert_eq!(limits.check(11, 5).unwrap_err().code, Code::InputTooLong);
        let limits = RequestLimits { tokens: None, ..limits };
        assert!(limits.check(11, 5).is_ok());
        assert_eq!(limits.check(12, 6).unwrap_err().code, Code::BudgetExceeded);
    }
}
