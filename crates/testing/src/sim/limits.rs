//! Rate limits that count: a sliding window over the calls that were let through and their tokens.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// The window that rates per minute are measured over.
const MINUTE_MS: u64 = 60_000;

/// What a deployment lets through. In JSON: `{"rpm": 60, "tpm": 100000}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Most requests in any minute.
    pub rpm: Option<u32>,
    /// Most tokens in any minute.
    pub tpm: Option<u64>,
    /// Length of that minute in milliseconds: shorter for tests that cannot wait.
    pub window_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { rpm: None, tpm: None, window_ms: MINUTE_MS }
    }
}

/// Why a call is not let through, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OverLimit {
    /// Tokens, not calls, are what there is too much of.
    pub tokens: bool,
    /// Until there is room again.
    pub wait: Duration,
}

/// The calls let through within the window. A refused call counts for nothing but [`Window::refused`].
#[derive(Debug, Default)]
pub(super) struct Window(Mutex<Passed>);

#[derive(Debug, Default)]
struct Passed {
    calls: VecDeque<(Instant, u64)>,
    tokens: u64,
    refused: u64,
}

impl Window {
    fn passed(&self) -> MutexGuard<'_, Passed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a call of `tokens` through, or says when it may come back.
    pub fn admit(&self, limits: Limits, now: Instant, tokens: u64) -> Result<(), OverLimit> {
        let window = Duration::from_millis(limits.window_ms);
        let mut passed = self.passed();
        if limits.rpm.is_none() && limits.tpm.is_none() {
            return Ok(());
        }
        passed.forget_before(now, window);
        let by_calls = limits.rpm.and_then(|most| passed.wait_for_call(most, now, window));
        let by_tokens = limits.tpm.and_then(|most| passed.wait_for_tokens(most, tokens, now, window));
        let Some(wait) = by_calls.max(by_tokens) else {
            passed.calls.push_back((now, tokens));
            passed.tokens += tokens;
            return Ok(());
        };
        passed.refused += 1;
        Err(OverLimit { tokens: by_tokens > by_calls, wait })
    }

    /// Calls not let through so far.
    pub fn refused(&self) -> u64 {
        self.passed().refused
    }
}

impl Passed {
    fn forget_before(&mut self, now: Instant, window: Duration) {
        while let Some((at, tokens)) = self.calls.front()
            && now.duration_since(*at) >= window
        {
            self.tokens -= tokens;
            self.calls.pop_front();
        }
    }

    fn wait_for_call(&self, most: u32, now: Instant, window: Duration) -> Option<Duration> {
        let over = (self.calls.len() + 1).checked_sub(most as usize).filter(|over| *over > 0)?;
        // with a limit of 0 there is never room
        let leaves = self.calls.get(over - 1).map_or(now, |(at, _)| *at);
        Some((leaves + window).duration_since(now))
    }

    fn wait_for_tokens(&self, most: u64, tokens: u64, now: Instant, window: Duration) -> Option<Duration> {
        let mut over = (self.tokens + tokens).checked_sub(most).filter(|over| *over > 0)?;
        for (at, tokens) in &self.calls {
            over = over.saturating_sub(*tokens);
            if over == 0 {
                return Some((*at + window).duration_since(now));
            }
        }
        // more than fits a whole minute
        Some(window)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_call_has_room_once_the_oldest_is_a_minute_old() {
        let (window, start) = (Window::default(), Instant::now());
        let limits = Limits { rpm: Some(2), ..Limits::default() };
        assert_eq!(window.admit(limits, start, 1), Ok(()));
        assert_eq!(window.admit(limits, start + 10 * SECOND, 1), Ok(()));
        let refused = window.admit(limits, start + 20 * SECOND, 1).unwrap_err();
        assert_eq!(refused, OverLimit { tokens: false, wait: 40 * SECOND });
        assert_eq!(window.admit(limits, start + 60 * SECOND, 1), Ok(()));
        assert_eq!(window.admit(limits, start + 61 * SECOND, 1).unwrap_err().wait, 9 * SECOND);
        assert_eq!(window.refused(), 2);
    }

    #[test]
    fn tokens_wait_until_enough_have_left() {
        let (window, start) = (Window::default(), Instant::now());
        let limits = Limits { tpm: Some(100), ..Limits::default() };
        for (second, tokens) in [(0, 30), (1, 30), (2, 30)] {
            assert_eq!(window.admit(limits, start + second * SECOND, tokens), Ok(()));
        }
        let refused = window.admit(limits, start + 3 * SECOND, 50).unwrap_err();
        assert_eq!(refused, OverLimit { tokens: true, wait: 58 * SECOND });
        assert_eq!(window.admit(limits, start + 3 * SECOND, 10), Ok(()));
        assert_eq!(window.admit(limits, start + 3 * SECOND, 101).unwrap_err().wait, 60 * SECOND);
    }

    proptest! {
        #[test]
        fn no_minute_ever_has_more_and_the_wait_is_exact(
            calls in proptest::collection::vec((0_u32..5_000, 0_u64..60), 1..200),
            rpm in 1_u32..20,
            tpm in 60_u64..300,
        ) {
            let (window, mut now) = (Window::default(), Instant::now());
            let limits = Limits { rpm: Some(rpm), tpm: Some(tpm), ..Limits::default() };
            let mut passed: Vec<(Instant, u64)> = Vec::new();
            for (pause, tokens) in calls {
                now += Duration::from_millis(pause.into());
                if let Err(over) = window.admit(limits, now, tokens) {
                    let early = over.wait.saturating_sub(Duration::from_nanos(1));
                    prop_assert!(over.wait.is_zero() || window.admit(limits, now + early, tokens).is_err());
                    now += over.wait;
                    prop_assert_eq!(window.admit(limits, now, tokens), Ok(()));
                }
                passed.push((now, tokens));
                let minute = passed.iter().filter(|(at, _)| now.duration_since(*at) < 60 * SECOND);
                let (count, sum) = minute.fold((0, 0), |(count, sum), (_, tokens)| (count + 1, sum + tokens));
                prop_assert!(count <= rpm && sum <= tpm);
            }
        }
    }
}
