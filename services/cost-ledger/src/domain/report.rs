//! What reports are asked for.

use std::time::{Duration, SystemTime};

use embermesh_errors::Error;
use embermesh_proto::v1::GetCostReportRequest;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// What the rows of a report are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GroupBy {
    Agent,
    Model,
    Provider,
    Day,
    Hour,
    Key,
}

impl GroupBy {
    pub(crate) const ALL: [Self; 6] =
        [Self::Agent, Self::Model, Self::Provider, Self::Day, Self::Hour, Self::Key];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Model => "model",
            Self::Provider => "provider",
            Self::Day => "day",
            Self::Hour => "hour",
            Self::Key => "key",
        }
    }

    /// Whether rows are read in the order of time, and not of cost.
    pub(crate) const fn is_time(self) -> bool {
        matches!(self, Self::Day | Self::Hour)
    }

    fn parse(text: &str) -> Result<Self, Error> {
        let names = Self::ALL.map(Self::as_str).join(", ");
        let found = Self::ALL.into_iter().find(|group| group.as_str() == text);
        found.ok_or_else(|| Error::invalid("group_by", format!("choose from {names}")))
    }
}

/// From a time up to, and without, another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) from: SystemTime,
    pub(crate) to: SystemTime,
}

impl Span {
    /// The 24 hours before `now`.
    pub(crate) fn last_day(now: SystemTime) -> Self {
        Self { from: now - DAY, to: now }
    }
}

/// Reads a request made at `now`.
pub(crate) fn parse(request: &GetCostReportRequest, now: SystemTime) -> Result<(Span, GroupBy), Error> {
    // the gateway takes the field out of what it forwards
    if request.format.as_deref().is_some_and(|format| format != "json") {
        return Err(Error::invalid("format", "over gRPC a report has one form, ask for csv over REST"));
    }
    let group_by = request.group_by.as_deref().map_or(Ok(GroupBy::Agent), GroupBy::parse)?;
    let time = |param: &str, given: &Option<prost_types::Timestamp>| match given {
        None => Ok(None),
        Some(time) => match SystemTime::try_from(*time) {
            // what PostgreSQL and RFC 3339 can both hold
            Ok(parsed) if (0..=253_402_300_799).contains(&time.seconds) => Ok(Some(parsed)),
            _ => Err(Error::invalid(param, "expected a time since 1970")),
        },
    };
    let to = time("to", &request.to)?.unwrap_or(now);
    let from =
        time("from", &request.from)?.unwrap_or_else(|| to.checked_sub(DAY).unwrap_or(SystemTime::UNIX_EPOCH));
    if from > to {
        return Err(Error::invalid("from", "must not lie after to"));
    }
    Ok((Span { from, to }, group_by))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(from: Option<i64>, to: Option<i64>, group_by: Option<&str>) -> GetCostReportRequest {
        let time = |seconds| prost_types::Timestamp { seconds, nanos: 0 };
        let group_by = group_by.map(str::to_owned);
        GetCostReportRequest { from: from.map(time), to: to.map(time), group_by, format: None }
    }

    #[test]
    fn a_report_is_of_the_last_day_by_agent_unless_it_is_said() {
        let now = SystemTime::UNIX_EPOCH + DAY * 10;
        let (span, group_by) = parse(&request(None, None, None), now).unwrap();
        assert_eq!((span, group_by), (Span::last_day(now), GroupBy::Agent));
        let (span, group_by) = parse(&request(None, Some(172_800), Some("hour")), now).unwrap();
        assert_eq!((span.from, group_by), (SystemTime::UNIX_EPOCH + DAY, GroupBy::Hour));
        for (param, bad) in [
            ("group_by", request(None, None, Some("week"))),
            ("from", request(Some(2), Some(1), None)),
            ("to", request(None, Some(-1), None)),
            ("from", request(Some(i64::MAX), None, None)),
        ] {
            assert_eq!(parse(&bad, now).unwrap_err().param.as_deref(), Some(param));
        }
        for (format, taken) in [("json", true), ("csv", false), ("", false)] {
            let of_form =
                GetCostReportRequest { format: Some(format.to_owned()), ..request(None, None, None) };
            assert_eq!(parse(&of_form, now).is_ok(), taken, "{format}");
        }
    }
}
