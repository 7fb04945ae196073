//! Whether the time that a refusal takes tells what is known of a key: a two-sample t statistic over many requests.
//!
//! A known key differs from an unknown one in nothing that is done: both are held against a record, which is found the same way.

use std::time::Instant;

use embermesh_auth::{ApiKey, Scopes};
use embermesh_subscription::KeyRecord;
use http::HeaderValue;
use rand::{Rng, RngExt, SeedableRng, rngs::StdRng};

use super::*;

/// Of each kind; each is tried for itself, as somebody would who wants to know of one id whether it is known.
const KEYS: usize = 256;
/// Of each key: with both kinds 102,400 requests in all.
const REQUESTS: usize = 200;
/// Before the times of a key are taken: those with cold memory.
const FIRST: usize = 20;
/// The usual bound: |t| stays below it in all but 7 of a million comparisons of what takes equally long.
const BOUND: f64 = 4.5;
/// A busy machine can disturb one comparison, but hardly three. A difference that is really there stands in every one of them, so it
/// fails all three: `what_takes_less_work_is_found_out` asks that of every one, too, for about the work of a hash.
const TRIES: usize = 3;

fn headers(text: &str) -> HeaderMap {
    HeaderMap::from_iter([(API_KEY.parse().unwrap(), HeaderValue::from_str(text).unwrap())])
}

/// Knows [`KEYS`] keys, none of which has the secret that is shown: some alive, some revoked, some expired.
struct World {
    authenticator: Authenticator,
    known: Vec<HeaderMap>,
    unknown: Vec<HeaderMap>,
    malformed: Vec<HeaderMap>,
}

impl World {
    fn new(rng: &mut impl Rng) -> Self {
        let mut keys = || -> Vec<ApiKey> { (0..KEYS).map(|_| ApiKey::generate("live", rng)).collect() };
        let [known, unknown, malformed, others] = [keys(), keys(), keys(), keys()];
        let records = known.iter().zip(&others).enumerate().map(|(n, (key, other))| KeyRecord {
            hash: other.hash(),
            principal: Principal {
                tenant: "0192d5a0-0000-7000-8000-000000000001".parse().unwrap(),
                key: key.id().clone(),
                agent: None,
                scopes: Scopes::parse(["embed"]).unwrap(),
            },
            expires_at: (n % 3 == 1).then_some(std::time::SystemTime::UNIX_EPOCH),
            revoked: n % 3 == 2,
            rotation_due: false,
        });
        // in one go, as a snapshot comes: records that lie far apart take longer to fetch, whatever is done with them
        let snapshot = records.fold(Snapshot::default(), Snapshot::with_key);
        let clock = Clock::system();
        let uses = KeyUse::new(&clock);
        let authenticator = Authenticator::new(Subscription::fixed(snapshot), clock, uses);
        let shown = |keys: &[ApiKey]| keys.iter().map(|key| headers(key.reveal())).collect();
        let cut = |key: &ApiKey| headers(&format!("{}!", &key.reveal()[..key.reveal().len() - 1]));
        Self {
            authenticator,
            known: shown(&known),
            unknown: shown(&unknown),
            malformed: malformed.iter().map(cut).collect(),
        }
    }

    fn nanoseconds(&self, headers: &HeaderMap) -> f64 {
        let begun = Instant::now();
        let refused = std::hint::black_box(self.authenticator.authenticate(std::hint::black_box(headers)));
        let took = begun.elapsed();
        assert_eq!(refused.unwrap_err().code, Code::Unauthenticated);
        took.as_nanos() as f64
    }

    /// The medians of the times of a key and of one of the other kind, in a random order, so that what changes on the machine
    /// meanwhile falls on both. A median leaves out the requests in whose midst the machine did something else.
    fn medians(&self, pair: [&HeaderMap; 2], rng: &mut impl Rng) -> [f64; 2] {
        for headers in pair.iter().cycle().take(2 * FIRST) {
            self.nanoseconds(headers);
        }
        let mut samples = [Vec::with_capacity(2 * REQUESTS), Vec::with_capacity(2 * REQUESTS)];
        for _ in 0..2 * REQUESTS {
            let kind = rng.random_range(0..2);
            samples[kind].push(self.nanoseconds(pair[kind]));
        }
        samples.map(|mut samples| {
            samples.sort_by(f64::total_cmp);
            samples[samples.len() / 2]
        })
    }

    /// Of the keys' medians. So the difference is one between kinds: what an id owes to its place in memory is chance among its kind.
    fn t(&self, kinds: [&[HeaderMap]; 2], rng: &mut impl Rng) -> f64 {
        let mut medians = [Vec::with_capacity(KEYS), Vec::with_capacity(KEYS)];
        for pair in kinds[0].iter().zip(kinds[1]) {
            for (all, median) in medians.iter_mut().zip(self.medians([pair.0, pair.1], rng)) {
                all.push(median);
            }
        }
        welch(&medians)
    }

    fn least_t(&self, kinds: [&[HeaderMap]; 2], rng: &mut impl Rng) -> f64 {
        let mut least = f64::INFINITY;
        for _ in 0..TRIES {
            least = least.min(self.t(kinds, rng).abs());
            if least < BOUND {
                break;
            }
        }
        least
    }
}

fn welch(samples: &[Vec<f64>; 2]) -> f64 {
    let [a, b] = samples.each_ref().map(|samples| {
        let n = samples.len() as f64;
        let mean = samples.iter().sum::<f64>() / n;
        let variance = samples.iter().map(|sample| (sample - mean).powi(2)).sum::<f64>() / (n - 1.0);
        (mean, variance / n)
    });
    println!("{:.1} and {:.1} ns", a.0, b.0);
    (a.0 - b.0) / (a.1 + b.1).sqrt()
}

#[test]
fn the_time_of_a_refusal_does_not_tell_whether_there_is_such_a_key() {
    let mut rng = StdRng::seed_from_u64(7);
    let world = World::new(&mut rng);
    let t = world.least_t([&world.known, &world.unknown], &mut rng);
    println!("t = {t:.2}");
    assert!(t < BOUND, "|t| = {t:.2} in the best of {TRIES} comparisons");
}

#[test]
fn what_takes_less_work_is_found_out() {
    let mut rng = StdRng::seed_from_u64(8);
    let world = World::new(&mut rng);
    // no secret: whoever knows the form knows which texts are refused without a look at the keys
    let t = world.least_t([&world.unknown, &world.malformed], &mut rng);
    println!("t = {t:.2}");
    assert!(t > BOUND, "|t| = {t:.2}: this test would not see a difference");
}
