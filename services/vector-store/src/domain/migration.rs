//! Migrations between spaces: what an operator may ask for in which state.

use embermesh_errors::{Code, Error};
use embermesh_proto::internal::v1::CreateMigrationRequest;
use embermesh_types::{AgentId, SpaceId};

use super::{agent, filter::parse_space, text};

/// What an operator asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Pause,
    Resume,
    CutOver,
    RollBack,
    Finish,
}

impl Action {
    pub(crate) fn parse(name: &str) -> Result<Self, Error> {
        Ok(match name {
            "pause" => Self::Pause,
            "resume" => Self::Resume,
            "cut_over" => Self::CutOver,
            "roll_back" => Self::RollBack,
            "finish" => Self::Finish,
            _ => return Err(Error::invalid("action", "choose pause, resume, cut_over, roll_back or finish")),
        })
    }
}

/// Where a migration stands when somebody asks for something.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stand {
    pub(crate) state: String,
    pub(crate) paused_from: Option<String>,
    pub(crate) rows_left: i64,
    pub(crate) rows_failed: i64,
    pub(crate) min_overlap: f64,
    /// Measured when it became ready.
    pub(crate) overlap: Option<f64>,
}

/// The state that an action leads to.
///
/// # Errors
/// `conflict`, with what to do instead.
pub(crate) fn next(action: Action, stand: &Stand, force: bool) -> Result<&'static str, Error> {
    let refuse = |why: String| Err(Error::new(Code::Conflict, why).with_detail("state", stand.state.clone()));
    let state = stand.state.as_str();
    match (action, state) {
        (Action::Pause, "running" | "ready" | "cut_over" | "rolling_back" | "finishing") => Ok("paused"),
        (Action::Resume, "paused") => match stand.paused_from.as_deref() {
            Some("ready") => Ok("ready"),
            Some("cut_over") => Ok("cut_over"),
            Some("rolling_back") => Ok("rolling_back"),
            Some("finishing") => Ok("finishing"),
            Some("cutting_over") => Ok("cutting_over"),
            _ => Ok("running"),
        },
        (Action::CutOver, "ready") => match parity_refusal(stand) {
            Some(why) if !force => {
                refuse(format!("{why}; look at the failures and the parity, or force the cut-over"))
            }
            _ => Ok("cutting_over"),
        },
        (Action::CutOver, "running") => {
            refuse(format!("the migration is not ready, {} rows are left", stand.rows_left))
        }
        (Action::RollBack, "running" | "ready" | "cut_over") => Ok("rolling_back"),
        (Action::RollBack, "paused") if stand.paused_from.as_deref() == Some("cutting_over") => refuse(
            "some pins may have moved, resume the migration and roll it back when it has cut over".to_owned(),
        ),
        (Action::RollBack, "paused") if stand.paused_from.as_deref() != Some("finishing") => {
            Ok("rolling_back")
        }
        (Action::RollBack, "paused" | "finishing" | "finished") => {
            refuse("old vectors are gone already, migrate the other way instead".to_owned())
        }
        (Action::RollBack, "cutting_over") => {
            refuse("the migration is cutting over just now, roll it back when it has".to_owned())
        }
        (Action::Finish, "cut_over") => Ok("finishing"),
        (Action::Finish, "running" | "ready" | "paused") => {
            refuse(format!("the migration is {state}, only one that is cut over can be finished"))
        }
        _ => refuse(format!("the migration is {state}")),
    }
}

/// Why a cut-over should not be.
fn parity_refusal(stand: &Stand) -> Option<String> {
    if stand.rows_failed > 0 {
        return Some(format!("{} rows could not be embedded", stand.rows_failed));
    }
    match stand.overlap {
        None => Some("the spaces have not been compared".to_owned()),
        Some(overlap) if overlap < stand.min_overlap => Some(format!(
            "the spaces agree on {:.0} % of the nearest neighbours, min_overlap asks for {:.0} %",
            overlap * 100.0,
            stand.min_overlap * 100.0
        )),
        Some(_) => None,
    }
}

/// A checked migration that is to begin.
#[derive(Debug, Clone)]
pub(crate) struct NewMigration {
    pub(crate) agent: Option<AgentId>,
    pub(crate) from: SpaceId,
    pub(crate) to: SpaceId,
    pub(crate) asked: CreateMigrationRequest,
}

/// Reads what the gateway asks to begin.
pub(crate) fn parse(asked: CreateMigrationRequest) -> Result<NewMigration, Error> {
    let (from, to) = (parse_space(&asked.from_space_id)?, parse_space(&asked.to_space_id)?);
    if from == to {
        return Err(Error::invalid("to_model", format!("the rows lie in {from} already")));
    }
    if !(0.0..=1.0).contains(&asked.min_overlap) {
        return Err(Error::invalid("min_overlap", "min_overlap must be a number from 0 to 1"));
    }
    if !matches!(asked.on_too_long.as_str(), "error" | "truncate") {
        return Err(Error::invalid("on_too_long", "on_too_long must be error or truncate"));
    }
    check_pace(Some(asked.requests_per_minute), Some(asked.tokens_per_minute), asked.budget_nano_usd)?;
    text::without_nul("to_model", &asked.to_model)?;
    Ok(NewMigration { agent: agent::parse(&asked.agent_id)?, from, to, asked })
}

/// Checks what may also be changed later.
pub(crate) fn check_pace(
    requests: Option<u32>,
    tokens: Option<u64>,
    budget: Option<i64>,
) -> Result<(), Error> {
    if requests.is_some_and(|requests| !(1..=1_000_000).contains(&requests)) {
        return Err(Error::invalid("requests_per_minute", "requests_per_minute must be 1 to 1,000,000"));
    }
    if tokens.is_some_and(|tokens| !(1..=1_000_000_000_000).contains(&tokens)) {
        return Err(Error::invalid("tokens_per_minute", "tokens_per_minute must be 1 to 10^12"));
    }
    if budget.is_some_and(|budget| budget < 0) {
        return Err(Error::invalid("budget_usd", "budget_usd must not be negative"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(state: &str, paused_from: Option<&str>) -> Stand {
        let (state, paused_from) = (state.to_owned(), paused_from.map(str::to_owned));
        Stand { state, paused_from, min_overlap: 0.3, overlap: Some(0.5), ..Stand::default() }
    }

    #[test]
    fn every_action_has_its_states_and_no_other() {
        use Action::{CutOver, Finish, Pause, Resume, RollBack};
        for (action, state, expected) in [
            (Pause, "running", Some("paused")),
            (Pause, "cutting_over", None),
            (Pause, "finished", None),
            (Resume, "running", None),
            (CutOver, "running", None),
            (CutOver, "ready", Some("cutting_over")),
            (CutOver, "cut_over", None),
            (RollBack, "running", Some("rolling_back")),
            (RollBack, "cut_over", Some("rolling_back")),
            (RollBack, "cutting_over", None),
            (RollBack, "finishing", None),
            (RollBack, "rolled_back", None),
            (Finish, "ready", None),
            (Finish, "cut_over", Some("finishing")),
        ] {
            assert_eq!(next(action, &at(state, None), false).ok(), expected, "{action:?} {state}");
        }
    }

    #[test]
    fn a_paused_one_goes_on_where_it_was() {
        for from in ["running", "ready", "cutting_over", "cut_over", "rolling_back", "finishing"] {
            assert_eq!(next(Action::Resume, &at("paused", Some(from)), false).unwrap(), from);
        }
        for from in ["finishing", "cutting_over"] {
            assert!(next(Action::RollBack, &at("paused", Some(from)), false).is_err());
        }
        assert_eq!(next(Action::RollBack, &at("paused", Some("running")), false).unwrap(), "rolling_back");
    }

    #[test]
    fn a_cut_over_without_parity_has_to_be_forced() {
        let ready = at("ready", None);
        let failed = Stand { rows_failed: 1, ..ready.clone() };
        let unlike = Stand { overlap: Some(0.29), ..ready.clone() };
        let unknown = Stand { overlap: None, ..ready };
        for stand in [failed, unlike, unknown] {
            assert_eq!(next(Action::CutOver, &stand, false).unwrap_err().code, Code::Conflict);
            assert_eq!(next(Action::CutOver, &stand, true).unwrap(), "cutting_over");
        }
    }

    #[test]
    fn what_cannot_be_begun_is_named() {
        let asked = CreateMigrationRequest {
            from_space_id: "m@3".into(),
            to_space_id: "n@3".into(),
            on_too_long: "error".into(),
            requests_per_minute: 1,
            tokens_per_minute: 1,
            ..CreateMigrationRequest::default()
        };
        assert!(parse(asked.clone()).is_ok());
        let refused = |change: fn(&mut CreateMigrationRequest)| {
            let mut asked = asked.clone();
            change(&mut asked);
            parse(asked).unwrap_err().param.unwrap()
        };
        assert_eq!(refused(|r| r.to_space_id = "m@3".into()), "to_model");
        assert_eq!(refused(|r| r.min_overlap = f64::NAN), "min_overlap");
        assert_eq!(refused(|r| r.on_too_long = "chunk".into()), "on_too_long");
        assert_eq!(refused(|r| r.requests_per_minute = 0), "requests_per_minute");
        assert_eq!(refused(|r| r.tokens_per_minute = 0), "tokens_per_minute");
        assert_eq!(refused(|r| r.budget_nano_usd = Some(-1)), "budget_usd");
    }
}
