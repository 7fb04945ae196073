//! The progress bar of a migration: on a terminal and nowhere else. What is left is told at the rate that the server has measured over
//! the last minute, its waits included; until then it says that it does not know.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::answers::{Migration, span};

const TEMPLATE: &str = "{bar:30} {pos}/{len} rows  {msg}";

#[derive(Debug)]
pub(super) struct Bar(ProgressBar);

impl Bar {
    pub fn new() -> Self {
        let bar = ProgressBar::no_length();
        if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        Self(bar)
    }

    /// Shows how far the migration is.
    pub fn show(&self, migration: &Migration) {
        self.0.set_length(migration.rows_done + migration.rows_left);
        self.0.set_position(migration.rows_done);
        self.0.set_message(message(migration));
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

fn message(migration: &Migration) -> String {
    let rate = migration.rows_per_second.as_ref().and_then(serde_json::Number::as_f64);
    match (rate, migration.seconds_left) {
        (Some(rate), Some(left)) => format!("{}  {rate:.1} rows/s, {} left", migration.now(), span(left)),
        _ => format!("{}  no rate measured yet", migration.now()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_told_once_it_was_measured() {
        ProgressStyle::with_template(TEMPLATE).unwrap();
        let of = |more: &str| -> Migration {
            let text = format!(
                r#"{{"migration_id": "m", "from_space_id": "a@1", "to_space_id": "b@1", "state": "running",
                "activity": "copying", "rows_done": 7, "rows_left": 13, "cost_usd": 0, "estimated_cost_usd": 0{more}}}"#
            );
            serde_json::from_str(&text).unwrap()
        };
        assert_eq!(message(&of("")), "running, copying  no rate measured yet");
        let measured = of(r#", "rows_per_second": 2.5, "seconds_left": 75"#);
        assert_eq!(message(&measured), "running, copying  2.5 rows/s, 1 min 15 s left");
        let bar = Bar::new();
        bar.show(&measured);
        assert_eq!((bar.0.position(), bar.0.length()), (7, Some(20)));
    }
}
