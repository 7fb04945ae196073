//! How often and how long to wait for a server that is busy or away. Pure.

use std::time::Duration;

/// Bounds of waiting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Patience {
    /// The first wait; each following one is twice as long.
    pub first: Duration,
    /// The longest wait that is not asked for by the server.
    pub longest: Duration,
    /// All waits together.
    pub total: Duration,
}

impl Patience {
    /// For a person who waits for the answer.
    pub const SHORT: Self = Self {
        first: Duration::from_millis(200),
        longest: Duration::from_secs(1),
        total: Duration::from_secs(3),
    };
    /// For what must not be done twice when the answer to it was lost.
    pub const ONCE: Self = Self { total: Duration::ZERO, ..Self::SHORT };
    /// For long work, over the restart of a server or a minute's rate limit.
    pub const LONG: Self = Self {
        first: Duration::from_millis(250),
        longest: Duration::from_secs(10),
        total: Duration::from_secs(180),
    };

    /// At most as patient as with a person in front of it.
    pub fn hasty(&self) -> Self {
        Self { total: self.total.min(Self::SHORT.total), ..self.clone() }
    }

    /// The waits of one piece of work.
    pub fn waits(&self) -> Waits {
        Waits { next: self.first, longest: self.longest, left: self.total }
    }
}

/// The waits that are left.
#[derive(Debug)]
pub(crate) struct Waits {
    next: Duration,
    longest: Duration,
    left: Duration,
}

impl Waits {
    /// The next wait, not shorter than `asked`; `None` when it would be over the bound.
    pub fn next(&mut self, asked: Option<Duration>) -> Option<Duration> {
        let wait = self.next.max(asked.unwrap_or_default());
        self.next = (self.next * 2).min(self.longest);
        self.left = self.left.checked_sub(wait)?;
        Some(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience {
        first: Duration::from_secs(1),
        longest: Duration::from_secs(4),
        total: Duration::from_secs(12),
    };

    fn seconds(waits: &mut Waits, asked: Option<u64>) -> Option<u64> {
        waits.next(asked.map(Duration::from_secs)).map(|wait| wait.as_secs())
    }

    #[test]
    fn waits_double_up_to_a_cap_and_end() {
        let mut waits = PATIENCE.waits();
        let all: Vec<_> = std::iter::from_fn(|| seconds(&mut waits, None)).collect();
        assert_eq!(all, [1, 2, 4, 4]);
    }

    #[test]
    fn what_the_server_asks_for_is_kept_when_it_is_bearable() {
        let mut waits = PATIENCE.waits();
        assert_eq!(seconds(&mut waits, Some(7)), Some(7));
        assert_eq!(seconds(&mut waits, Some(0)), Some(2));
        assert_eq!(seconds(&mut waits, Some(4)), None);
        assert_eq!(seconds(&mut PATIENCE.waits(), Some(13)), None);
    }
}
