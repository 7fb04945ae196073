mod half_open;
mod model;
mod opening;
mod operators;
mod settings;
mod traffic;

use super::*;

const LEASE: Duration = Duration::from_secs(10);
const FAST: Duration = Duration::from_millis(20);

fn settings() -> BreakerSettings {
    BreakerSettings {
        failure_threshold: 5,
        success_threshold: 3,
        open: seconds(30),
        window: seconds(30),
        minimum_calls: 20,
        failure_rate: 0.5,
        minimum_failure_rate: 0.2,
        slow_call_rate: 0.8,
        slow_call: seconds(5),
        half_open_calls: 1,
        ramp: seconds(10),
    }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A breaker and the time that it is told.
struct Bench {
    breaker: Arc<Breaker>,
    now: Instant,
}

impl Bench {
    fn new(settings: BreakerSettings) -> Self {
        Self { breaker: Arc::new(Breaker::new(settings, 7)), now: Instant::now() }
    }

    /// Just opened, by a row of failures.
    fn open(settings: BreakerSettings) -> Self {
        let mut bench = Self::new(settings);
        for _ in 0..=settings.failure_threshold {
            bench.fail();
            bench.wait(millis(100));
        }
        assert_eq!(bench.state(), BreakerState::Open);
        bench
    }

    /// At the moment that the first probe may go out.
    fn half_open(settings: BreakerSettings) -> Self {
        let mut bench = Self::open(settings);
        bench.wait_until_half_open();
        bench
    }

    fn wait(&mut self, wait: Duration) {
        self.now += wait;
    }

    fn wait_until_half_open(&mut self) {
        self.now = self.breaker.standing(self.now).retry_at.unwrap();
        assert_eq!(self.state(), BreakerState::HalfOpen);
    }

    fn admit(&self) -> Option<Permit> {
        self.breaker.admit(self.now, LEASE)
    }

    fn succeed(&self) {
        self.admit().unwrap().succeeded(self.now, FAST);
    }

    fn fail(&self) {
        if let Some(permit) = self.admit() {
            permit.failed(self.now, FAST);
        }
    }

    fn state(&self) -> BreakerState {
        self.breaker.standing(self.now).state
    }

    fn standing(&self) -> Standing {
        self.breaker.standing(self.now)
    }

    fn report(&self) -> BreakerReport {
        self.breaker.report(self.now)
    }

    /// How long it is open from now.
    fn open_for(&self) -> Duration {
        self.standing().retry_at.unwrap() - self.now
    }
}
