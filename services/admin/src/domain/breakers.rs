//! Which orders about circuit breakers may be given.

use std::collections::BTreeSet;

use embermesh_errors::Error;
use embermesh_proto::internal::v1::OrderBreakersRequest;

use super::names::check_label;

const ACTIONS: [&str; 3] = ["reset", "force_open", "force_closed"];
const MAX_DEPLOYMENTS: usize = 256;

/// One order about some deployments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) action: String,
    pub(crate) deployments: BTreeSet<String>,
}

impl Order {
    /// Checks a request. A deployment that is named twice is ordered once.
    pub(crate) fn parse(request: OrderBreakersRequest) -> Result<Self, Error> {
        let OrderBreakersRequest { deployments, action } = request;
        if !ACTIONS.contains(&action.as_str()) {
            return Err(Error::invalid("action", format!("choose from {}", ACTIONS.join(", "))));
        }
        if !(1..=MAX_DEPLOYMENTS).contains(&deployments.len()) {
            let message = format!("name 1 to {MAX_DEPLOYMENTS} deployments");
            return Err(Error::invalid("deployments", message));
        }
        for (at, name) in deployments.iter().enumerate() {
            check_label(&format!("deployments[{at}]"), name, 400)?;
        }
        Ok(Self { action, deployments: deployments.into_iter().collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_of_a_known_action_and_names_deployments() {
        let parse = |action: &str, deployments: Vec<String>| {
            let request = OrderBreakersRequest { deployments, action: action.to_owned() };
            Order::parse(request).map_err(|error| error.param.unwrap_or_default())
        };
        let name = || "east/small".to_owned();
        for action in ACTIONS {
            let order = parse(action, vec![name(), name()]).unwrap();
            assert_eq!((order.action.as_str(), order.deployments.len()), (action, 1));
        }
        assert_eq!(parse("open", vec![name()]), Err("action".to_owned()));
        assert_eq!(parse("reset", vec![]), Err("deployments".to_owned()));
        assert!(parse("reset", vec![name(); 256]).is_ok());
        assert_eq!(parse("reset", vec![name(); 257]), Err("deployments".to_owned()));
        assert_eq!(parse("reset", vec![name(), "a\nb".to_owned()]), Err("deployments[1]".to_owned()));
    }
}
