//! What a router has left of a lease. Reserving is one atomic subtraction; the books are the ledger's.
//!
//! A pocket is closed once and for good. Draws and the closing may race: each draw is either turned away, or counted as under way until
//! it ends, and a pocket is only done when nothing is under way.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use crate::Amount;

/// Set in [`Pocket::left`] once nothing is drawn any more. The other bits are an amount, which a lease never fills.
const CLOSED: u64 = 1 << 63;

/// A lease in a router's hands.
#[derive(Debug)]
pub struct Pocket {
    granted: Amount,
    /// What can be drawn; of a closed pocket, what has come back and is not returned yet.
    left: AtomicU64,
    /// Draws that have not ended.
    under_way: AtomicU64,
    returned: AtomicI64,
}

/// What became of an attempt to take from a pocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Draw {
    /// It is set aside, until [`Pocket::end`].
    Taken,
    /// There is not that much left.
    TooLittle,
    /// Nothing is drawn from it any more.
    Closed,
}

/// What the ledger is told about a closed pocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Returned {
    /// All that was returned so far.
    pub amount: Amount,
    /// Nothing is under way any more: this is the last of it.
    pub closes: bool,
    /// More than the last time.
    pub is_news: bool,
}

impl Pocket {
    /// All of a lease.
    pub const fn new(granted: Amount) -> Self {
        let granted = if granted.0 < 0 { Amount::ZERO } else { granted };
        Self {
            granted,
            left: AtomicU64::new(granted.0.unsigned_abs()),
            under_way: AtomicU64::new(0),
            returned: AtomicI64::new(0),
        }
    }

    /// What the lease was granted.
    pub const fn granted(&self) -> Amount {
        self.granted
    }

    /// What is there to be drawn.
    pub fn available(&self) -> Amount {
        let left = self.left.load(Ordering::Acquire);
        if left & CLOSED > 0 { Amount::ZERO } else { amount(left) }
    }

    /// Sets `amount` aside, which is not negative.
    pub fn draw(&self, amount: Amount) -> Draw {
        let Ok(wanted) = u64::try_from(amount.0) else { return Draw::TooLittle };
        // counted first: a pocket that is closed meanwhile is not done before this has made up its mind
        self.under_way.fetch_add(1, Ordering::SeqCst);
        let take = |left: u64| (left & CLOSED == 0).then(|| left.checked_sub(wanted)).flatten();
        match self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take) {
            Ok(_) => Draw::Taken,
            Err(left) => {
                self.under_way.fetch_sub(1, Ordering::SeqCst);
                if left & CLOSED > 0 { Draw::Closed } else { Draw::TooLittle }
            }
        }
    }

    /// Ends a draw of `drawn`, of which `spent` is gone. What was spent beyond it is taken from what is left, as far as that goes.
    pub fn end(&self, drawn: Amount, spent: Amount) {
        let back = drawn.0.saturating_sub(spent.0.max(0));
        if let Ok(back) = u64::try_from(back) {
            self.left.fetch_add(back, Ordering::SeqCst);
        } else {
            let over = back.unsigned_abs();
            let less = |left: u64| Some(left & CLOSED | (left & !CLOSED).saturating_sub(over));
            // the closure refuses nothing
            let _before = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less);
        }
        self.under_way.fetch_sub(1, Ordering::SeqCst);
    }

    /// Ends drawing, for good.
    pub fn close(&self) {
        self.left.fetch_or(CLOSED, Ordering::SeqCst);
    }

    /// Whether drawing has ended.
    pub fn is_closed(&self) -> bool {
        self.left.load(Ordering::SeqCst) & CLOSED > 0
    }

    /// What a closed pocket has to return; nothing of an open one. For one caller at a time.
    pub fn sweep(&self) -> Option<Returned> {
        if !self.is_closed() {
            return None;
        }
        // looked at first: what a draw gives back is there before it ends
        let closes = self.under_way.load(Ordering::SeqCst) == 0;
        let back = amount(self.left.swap(CLOSED, Ordering::SeqCst) & !CLOSED);
        let before = self.returned.fetch_add(back.0, Ordering::SeqCst);
        Some(Returned { amount: Amount(before + back.0), closes, is_news: back.0 > 0 })
    }
}

fn amount(left: u64) -> Amount {
    Amount(i64::try_from(left).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests;
