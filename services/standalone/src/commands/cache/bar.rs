//! The progress bar of a job. It shows on a terminal and nowhere else, and goes with this value.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::job::Job;

const OF_A_KNOWN_TOTAL: &str = "{bar:30} {pos}/{len} {msg}  {per_sec}  {eta} left";
const OPEN_ENDED: &str = "{spinner} {pos} {msg}";

#[derive(Debug)]
pub(super) struct Bar(ProgressBar);

impl Bar {
    pub fn new() -> Self {
        let bar = ProgressBar::no_length();
        style(&bar, OPEN_ENDED);
        bar.enable_steady_tick(Duration::from_millis(200));
        Self(bar)
    }

    /// Shows how far the job is.
    pub fn show(&self, job: &Job) {
        if let Some(total) = job.total {
            if self.0.length().is_none() {
                style(&self.0, OF_A_KNOWN_TOTAL);
            }
            self.0.set_length(total);
        }
        self.0.set_message(job.unit());
        self.0.set_position(job.done);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

fn style(bar: &ProgressBar, template: &str) {
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_are_valid_and_the_total_comes_when_it_is_known() {
        for template in [OF_A_KNOWN_TOTAL, OPEN_ENDED] {
            ProgressStyle::with_template(template).unwrap();
        }
        let job = |total: &str| {
            let text =
                format!(r#"{{"job_id": "x", "kind": "cache_warm", "state": "running", "done": 3{total}}}"#);
            serde_json::from_str::<Job>(&text).unwrap()
        };
        let bar = Bar::new();
        bar.show(&job(""));
        assert_eq!((bar.0.position(), bar.0.length()), (3, None));
        bar.show(&job(r#", "total": 9"#));
        assert_eq!((bar.0.position(), bar.0.length()), (3, Some(9)));
    }
}
