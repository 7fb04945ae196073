//! Which prices the catalog may hold.

use std::time::SystemTime;

use embermesh_errors::Error;
use embermesh_proto::v1::{CatalogModel, Price};

use super::{model::BY_OPERATOR, names::check_label};

const UNITS: [&str; 2] = ["tokens", "characters"];

/// Checks that each provider kind of the model has a price, and each price.
pub(crate) fn check_all(model: &CatalogModel) -> Result<(), Error> {
    let prices = &model.prices;
    if prices.is_empty() {
        return Err(Error::invalid("prices", "a model needs a price, 0 if it costs nothing"));
    }
    prices.iter().enumerate().try_for_each(|(at, price)| check(&format!("prices[{at}]."), price))?;
    let priced =
        |kind: &String| prices.iter().any(|price| price.provider.is_empty() || price.provider == *kind);
    match model.provider_kinds.iter().find(|kind| !priced(kind)) {
        None => Ok(()),
        Some(kind) => {
            let message = format!("there is no price at '{kind}', give one for it or one without a provider");
            Err(Error::invalid("prices", message))
        }
    }
}

/// Checks a price; `within` is the path of the message that it stands in, with its dot.
pub(crate) fn check(within: &str, price: &Price) -> Result<(), Error> {
    let wrong = match price.per_million_tokens_nano_usd {
        // taken for 0 it would make the model free
        None => Some("the price is missing, give 0 for a model that costs nothing"),
        Some(..0) => Some("a price may not be negative"),
        Some(_) => None,
    };
    if let Some(message) = wrong {
        return Err(Error::invalid(format!("{within}per_million_tokens_usd"), message));
    }
    if let Some(time) = &price.effective_from {
        // PostgreSQL and RFC 3339 both reach from year 1 to 9999
        if !(-62_135_596_800..=253_402_300_799).contains(&time.seconds)
            || !(0..1_000_000_000).contains(&time.nanos)
        {
            return Err(Error::invalid(format!("{within}effective_from"), "not a time"));
        }
    }
    if !price.provider.is_empty() {
        check_label("provider", &price.provider, 100)
            .map_err(|error| error.with_param(format!("{within}provider")))?;
    }
    if !price.unit.is_empty() && !UNITS.contains(&price.unit.as_str()) {
        return Err(Error::invalid(format!("{within}unit"), format!("choose from {}", UNITS.join(", "))));
    }
    if !price.source.is_empty() {
        check_label("source", &price.source, 500)
            .map_err(|error| error.with_param(format!("{within}source")))?;
    }
    Ok(())
}

/// Refuses a price that would be added at `now` to a model that is there, and begin before: calls of that time were charged what was
/// in force then, and the table must go on saying so.
pub(crate) fn check_beginning(price: &Price, now: SystemTime) -> Result<(), Error> {
    let beginning = price.effective_from.and_then(|time| SystemTime::try_from(time).ok());
    if beginning.is_some_and(|beginning| beginning < now) {
        let message =
            "the time lies in the past, and what was charged stays; leave it out for a price from now on";
        return Err(Error::invalid("effective_from", message));
    }
    Ok(())
}

/// The price with the defaults written out, as the catalog holds it.
pub(crate) fn completed(mut price: Price) -> Price {
    if price.unit.is_empty() {
        price.unit = UNITS[0].to_owned();
    }
    if price.source.is_empty() {
        price.source = BY_OPERATOR.to_owned();
    }
    price
}
