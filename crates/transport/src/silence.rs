//! How long a connection has left its calls without any answer.

use std::{
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

/// From here on other connections are tried first: whoever is cut off sends no word of it, and it takes keep-alive seconds to find out.
const LONG: Duration = Duration::from_secs(1);
/// A connection that is still there then has answered keep-alive's pings meanwhile: its calls are slow, or were given up.
const EXPLAINED: Duration = Duration::from_secs(12);

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Since when a connection has owed an answer, in milliseconds since [`START`]; 0 when the last it owed came. Calls tell of
/// themselves without a lock, so a call that is put while another is answered may be overlooked until the next.
#[derive(Debug, Default)]
pub(crate) struct Silence(AtomicU64);

impl Silence {
    /// A call is put.
    pub fn asked(&self, now: Instant) {
        let now = since_start(now);
        let since = self.0.load(Ordering::Relaxed);
        if since == 0 || now > since + millis(EXPLAINED) {
            self.0.store(now, Ordering::Relaxed);
        }
    }

    /// An answer came, or word that there will be none.
    pub fn answered(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// Whether no answer has come for longer than most take.
    pub fn lasts(&self, now: Instant) -> bool {
        let since = self.0.load(Ordering::Relaxed);
        let lasted = since_start(now).saturating_sub(since);
        since != 0 && (millis(LONG)..millis(EXPLAINED)).contains(&lasted)
    }
}

/// At least 1, which 0 is not.
fn since_start(now: Instant) -> u64 {
    millis(now.saturating_duration_since(*START)) + 1
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(milliseconds: u64) -> Instant {
        *START + Duration::from_millis(milliseconds)
    }

    #[test]
    fn a_call_without_an_answer_for_a_second_is_silence_until_one_comes() {
        let silence = Silence::default();
        assert!(!silence.lasts(after(50_000)), "nobody asked");
        silence.asked(after(0));
        silence.asked(after(900));
        assert!(!silence.lasts(after(999)));
        assert!(silence.lasts(after(1_000)));
        silence.answered();
        assert!(!silence.lasts(after(1_000)));
        silence.asked(after(5_000));
        assert!(!silence.lasts(after(5_999)) && silence.lasts(after(6_000)));
    }

    #[test]
    fn a_call_that_was_given_up_does_not_keep_others_away_for_ever() {
        let silence = Silence::default();
        silence.asked(after(0));
        assert!(silence.lasts(after(11_999)) && !silence.lasts(after(12_000)));
        silence.asked(after(13_000));
        assert!(!silence.lasts(after(13_999)) && silence.lasts(after(14_000)));
    }
}
