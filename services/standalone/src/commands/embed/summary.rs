//! What became of the texts: counted while it happens, told at the end.

use std::{fmt::Write, process::ExitCode, time::Duration};

use embermesh_types::NanoUsd;
use serde::Serialize;
use serde_json::{json, value::RawValue};

use crate::{
    client::{ErrorBody, Failure},
    commands::output::printable,
};

/// Refusals that are told one by one.
const TOLD: usize = 5;

/// Running counts.
#[derive(Debug, Default)]
pub(super) struct Tally {
    files: usize,
    /// Files or lines that could not be read.
    skipped: usize,
    chunks: usize,
    halved: usize,
    stored: usize,
    already_there: usize,
    refused: usize,
    first_refused: Vec<Refused>,
    tokens: u64,
    cost: NanoUsd,
}

/// A text that the server will not take.
#[derive(Debug)]
pub(super) struct Refused {
    /// Where it stands.
    pub place: String,
    pub error: ErrorBody,
}

impl Tally {
    /// Before anything is sent.
    pub fn of_files(files: usize, skipped: usize, chunks: usize) -> Self {
        Self { files, skipped, chunks, ..Self::default() }
    }

    /// Counts a text that came along.
    pub fn find(&mut self) {
        self.chunks += 1;
    }

    /// Counts a line that cannot be read.
    pub fn skip(&mut self) {
        self.skipped += 1;
    }

    /// Counts a text that is now two, because the model cannot take it whole.
    pub fn halve(&mut self) {
        self.chunks += 1;
        self.halved += 1;
    }

    /// Counts a text that is stored now.
    pub fn store(&mut self, was_there: bool) {
        *if was_there { &mut self.already_there } else { &mut self.stored } += 1;
    }

    /// Counts a text that is refused for good.
    pub fn refuse(&mut self, refused: Refused) {
        self.refused += 1;
        if self.first_refused.len() < TOLD {
            self.first_refused.push(refused);
        }
    }

    /// Counts what an answer was charged.
    pub fn pay(&mut self, cost: NanoUsd, tokens: u64) {
        self.cost = NanoUsd(self.cost.0.saturating_add(cost.0));
        self.tokens = self.tokens.saturating_add(tokens);
    }

    fn unsettled(&self) -> usize {
        self.chunks.saturating_sub(self.stored + self.already_there + self.refused)
    }
}

/// The end of a run.
#[derive(Debug)]
pub(super) struct Summary {
    pub tally: Tally,
    /// Why the work ended early.
    pub stopped: Option<Failure>,
    pub elapsed: Duration,
}

impl Summary {
    /// As documented in the help.
    pub fn exit_code(&self) -> ExitCode {
        match &self.stopped {
            Some(failure) => failure.exit_code(),
            None => ExitCode::from(u8::from(self.tally.refused > 0)),
        }
    }

    /// For people.
    pub fn table(&self) -> String {
        let tally = &self.tally;
        let mut text = String::new();
        let mut line = |name: &str, value: String| {
            // writing to a string cannot fail
            let _ = writeln!(text, "{name:<14}{value}");
        };
        if tally.files > 0 {
            line("files", tally.files.to_string());
        }
        if tally.skipped > 0 {
            line("skipped", tally.skipped.to_string());
        }
        let halved =
            if tally.halved > 0 { format!(" ({} too long, halved)", tally.halved) } else { String::new() };
        line("chunks", format!("{}{halved}", tally.chunks));
        line("stored new", tally.stored.to_string());
        line("already there", tally.already_there.to_string());
        line("refused", tally.refused.to_string());
        for refused in &tally.first_refused {
            line("", format!("{}: {}", printable(&refused.place), refused.error));
        }
        if tally.refused > tally.first_refused.len() {
            line("", format!("and {} more", tally.refused - tally.first_refused.len()));
        }
        if tally.unsettled() > 0 {
            line("not sent", tally.unsettled().to_string());
        }
        line("tokens", tally.tokens.to_string());
        line("cost", format!("{} USD", tally.cost));
        line("seconds", format!("{:.1}", self.elapsed.as_secs_f64()));
        if let Some(failure) = &self.stopped {
            line("stopped", failure.to_string());
            if failure.is_passing() {
                line("", "run the same command again to go on: nothing is stored twice".to_owned());
            }
        }
        text
    }

    /// For programs: one object on one line.
    pub fn json(&self) -> String {
        #[derive(Serialize)]
        struct Told {
            files: usize,
            skipped: usize,
            chunks: usize,
            halved: usize,
            stored: usize,
            already_there: usize,
            refused: usize,
            not_sent: usize,
            first_refused: Vec<serde_json::Value>,
            tokens: u64,
            cost_usd: Option<Box<RawValue>>,
            seconds: f64,
            stopped: Option<String>,
        }
        let tally = &self.tally;
        let refused = |refused: &Refused| {
            let ErrorBody { code, message, param, request_id } = &refused.error;
            json!({"place": refused.place, "code": code, "message": message, "param": param, "request_id": request_id})
        };
        let told = Told {
            files: tally.files,
            skipped: tally.skipped,
            chunks: tally.chunks,
            halved: tally.halved,
            stored: tally.stored,
            already_there: tally.already_there,
            refused: tally.refused,
            not_sent: tally.unsettled(),
            first_refused: tally.first_refused.iter().map(refused).collect(),
            tokens: tally.tokens,
            // a decimal is a JSON number
            cost_usd: RawValue::from_string(tally.cost.to_string()).ok(),
            seconds: (self.elapsed.as_secs_f64() * 1000.0).round() / 1000.0,
            stopped: self.stopped.as_ref().map(ToString::to_string),
        };
        serde_json::to_string(&told).unwrap_or_default() + "\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(refused: usize, stopped: Option<Failure>) -> Summary {
        let mut tally = Tally::of_files(3, 1, 11);
        tally.halve();
        for place in 0..refused {
            let error = ErrorBody {
                code: "pii_rejected".into(),
                message: "holds\n2 e-mails".into(),
                ..ErrorBody::default()
            };
            tally.refuse(Refused { place: format!("a.md chunk {place}"), error });
        }
        tally.store(false);
        tally.store(true);
        tally.pay(NanoUsd(20), 1000);
        tally.pay(NanoUsd(1_000_000_001), 234);
        Summary { tally, stopped, elapsed: Duration::from_millis(4240) }
    }

    #[test]
    fn the_summary_of_a_whole_run() {
        insta::assert_snapshot!(summary(6, None).table());
    }

    #[test]
    fn the_summary_of_a_run_that_was_stopped() {
        let url = "http://127.0.0.1:8081".to_owned();
        let stopped = Failure::Unreachable { url, why: "connection refused".to_owned() };
        insta::assert_snapshot!(summary(0, Some(stopped)).table());
    }

    #[test]
    fn the_summary_for_programs_is_one_line_with_exact_money() {
        let json = summary(1, None).json();
        assert!(json.contains(r#""cost_usd":1.000000021,"#), "{json}");
        assert_eq!(json.trim_end().lines().count(), 1);
        let read: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!((&read["not_sent"], &read["stopped"]), (&json!(9), &json!(null)));
        assert_eq!(read["first_refused"][0]["code"], "pii_rejected");
    }

    #[test]
    fn the_exit_code_tells_refused_texts_from_a_refused_run() {
        assert_eq!(summary(0, None).exit_code(), ExitCode::SUCCESS);
        assert_eq!(summary(2, None).exit_code(), ExitCode::from(1));
        assert_eq!(summary(2, Some(Failure::Garbled(String::new()))).exit_code(), ExitCode::from(4));
    }
}
