//! The progress bar. It shows on a terminal and nowhere else.

use std::{
    borrow::Cow,
    fmt::Display,
    io::{self, Write},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};

const OF_A_KNOWN_TOTAL: &str = "{bar:30} {pos}/{len} texts  {per_sec}  {eta} left  {msg}";
const OPEN_ENDED: &str = "{spinner} {pos} texts  {per_sec}  {msg}";

/// How far the work is.
#[derive(Debug)]
pub(super) struct Progress(ProgressBar);

impl Progress {
    /// Of a known number of texts.
    pub fn of(total: usize) -> Self {
        Self::styled(ProgressBar::new(total as u64), OF_A_KNOWN_TOTAL)
    }

    /// Of texts that come as they come.
    pub fn open_ended() -> Self {
        Self::styled(ProgressBar::no_length(), OPEN_ENDED)
    }

    fn styled(bar: ProgressBar, template: &str) -> Self {
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        Self(bar)
    }

    /// Some texts are settled: stored, known or refused.
    pub fn settle(&self, texts: usize) {
        self.0.inc(texts as u64);
    }

    /// A text became two.
    pub fn grow(&self) {
        if self.0.length().is_some() {
            self.0.inc_length(1);
        }
    }

    /// What the work waits for, empty for nothing.
    pub fn say(&self, what: impl Into<Cow<'static, str>>) {
        self.0.set_message(what);
    }

    /// A line above the bar.
    pub fn warn(&self, what: &dyn Display) {
        self.0.suspend(|| {
            let _unread = writeln!(io::stderr(), "warning: {what}");
        });
    }

    /// Takes the bar away.
    pub fn clear(&self) {
        self.0.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_are_valid() {
        for template in [OF_A_KNOWN_TOTAL, OPEN_ENDED] {
            ProgressStyle::with_template(template).unwrap();
        }
    }

    #[test]
    fn the_total_follows_texts_that_were_halved() {
        let progress = Progress::of(3);
        progress.grow();
        progress.settle(4);
        assert_eq!((progress.0.position(), progress.0.length()), (4, Some(4)));
        let progress = Progress::open_ended();
        progress.grow();
        assert_eq!(progress.0.length(), None);
    }
}
