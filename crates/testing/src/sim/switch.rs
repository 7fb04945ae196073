//! Turns a listener off and on while its port is kept.

use tokio::sync::watch;

/// What is wanted of a listener, and what it is.
#[derive(Debug)]
pub(super) struct Switch {
    wanted: watch::Sender<bool>,
    up: watch::Sender<bool>,
}

impl Switch {
    /// For a listener that is up, and wanted so or not.
    pub fn new(wanted: bool) -> Self {
        Self { wanted: watch::Sender::new(wanted), up: watch::Sender::new(true) }
    }

    /// Wants it so, without waiting for it.
    pub fn want(&self, up: bool) {
        self.wanted.send_replace(up);
    }

    /// Until the listener is as wanted.
    pub async fn settled(&self) {
        let up = *self.wanted.borrow();
        // the sender lives in self, so that the wait can only end by success
        let mut actual = self.up.subscribe();
        let _settled = actual.wait_for(|actual| *actual == up).await;
    }

    /// For the listener: until it is wanted so.
    pub async fn until(&self, up: bool) {
        let mut wanted = self.wanted.subscribe();
        let _wanted = wanted.wait_for(|wanted| *wanted == up).await;
    }

    /// For the listener: it is so now.
    pub fn is(&self, up: bool) {
        self.up.send_replace(up);
    }
}
