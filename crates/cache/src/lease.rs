//! Leases from a rate limit that all processes share: GCRA, in one script that Redis runs alone and by its own clock.
//!
//! What is granted holds in *any* window and not only on average. A bucket of `b` that regains one every `T` gives at most
//! `b + ⌈w/T⌉ - 1` in a half-open window of length `w`. With `T = w / (n - b + 1)` that is `n`. The window is a minute and
//! [`USE_WITHIN`], so that also what is *used* in any minute stays within `n`, as long as a lease is used that soon.
//!
//! A call for more than `b` is granted after the bucket has been full for as long as the rest takes to come in, which keeps the bound,
//! and claims its turn meanwhile: smaller calls would otherwise keep the bucket from ever filling. A claim holds for 2 s unless it
//! is renewed by asking again.
//!
//! A limit whose burst is the whole minute's worth is a sliding window instead: all of it in any pattern, then nothing until the
//! first are a minute old. GCRA would let next to nothing through after such a burst.

use std::{sync::OnceLock, time::Duration};

use fred::{
    clients::{Client, WithOptions},
    error::Error,
    interfaces::LuaInterface as _,
};

use crate::{Away, RedisCache, connection::Link, key};

/// How soon a lease has to be used, so that no minute sees more than the limit.
pub const USE_WITHIN: Duration = Duration::from_secs(2);

const WINDOW: Duration = Duration::from_secs(60 + USE_WITHIN.as_secs());
/// The same in 1/16 µs, so that all sums are whole numbers.
const TICKS: u64 = WINDOW.as_secs() * 16_000_000;
/// The script counts in doubles.
const MOST: u64 = 1 << 40;

/// A limit that is shared under its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit<'a> {
    /// The same everywhere.
    pub name: &'a str,
    /// Most in any minute.
    pub per_minute: u64,
    /// Most at once; all of `per_minute` makes the limit a sliding window.
    pub burst: u64,
}

/// What was granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// 0 when fewer than `at_least` are there.
    pub granted: u64,
    /// When `at_least` will be there, if nobody else takes them.
    pub retry_after: Duration,
}

impl RedisCache {
    /// Takes up to `want` and at least `at_least` from a limit, now or not at all. More than a minute's worth counts as a minute's.
    ///
    /// # Errors
    /// [`Away`], when Redis does not answer; it may have granted all the same.
    pub async fn lease(&self, limit: Limit<'_>, want: u64, at_least: u64) -> Result<Lease, Away> {
        if limit.per_minute == 0 {
            return Ok(Lease { granted: 0, retry_after: Duration::from_secs(60) });
        }
        let link = self.admit(|link| &link.quick)?;
        let outcome = self.lease_through(link, limit, want, at_least).await;
        self.report(outcome.map_err(Away::from))
    }

    async fn lease_through(
        &self,
        link: &Link,
        limit: Limit<'_>,
        want: u64,
        at_least: u64,
    ) -> Result<Lease, Error> {
        let client = self.limited(&link.quick, 1);
        let (script, arguments) = self.scripts().choose(limit, want, at_least);
        let answer = script.run(&client, key::limit(limit.name), arguments).await?;
        let [granted, micros] = answer.map(|number| u64::try_from(number).unwrap_or(0));
        Ok(Lease { granted, retry_after: Duration::from_micros(micros) })
    }
}

/// The two kinds of limit.
#[derive(Debug)]
pub(crate) struct Scripts {
    gcra: Script,
    window: Script,
}

impl Default for Scripts {
    fn default() -> Self {
        Self { gcra: Script::new(include_str!("lease.lua")), window: Script::new(include_str!("window.lua")) }
    }
}

impl Scripts {
    fn choose(&self, limit: Limit<'_>, want: u64, at_least: u64) -> (&Script, Vec<String>) {
        let per_minute = limit.per_minute.min(MOST);
        let burst = limit.burst.clamp(1, per_minute);
        let at_least = at_least.clamp(1, per_minute);
        let want = want.clamp(at_least, per_minute.max(at_least));
        let texts = |numbers: &[u64]| numbers.iter().map(u64::to_string).collect();
        if burst == per_minute {
            (&self.window, texts(&[WINDOW.as_secs(), per_minute, want, at_least]))
        } else {
            let interval = TICKS.div_ceil(per_minute - burst + 1);
            (&self.gcra, texts(&[interval, burst, per_minute, want, at_least]))
        }
    }
}

#[derive(Debug)]
struct Script {
    text: &'static str,
    /// Redis' name of it, once it has told it.
    name: OnceLock<String>,
}

impl Script {
    const fn new(text: &'static str) -> Self {
        Self { text, name: OnceLock::new() }
    }

    /// Runs it by its name; where that is not known, at a new master or after a flush, by its text.
    async fn run(
        &self,
        client: &WithOptions<Client>,
        key: String,
        arguments: Vec<String>,
    ) -> Result<[i64; 2], Error> {
        let name = match self.name.get() {
            Some(name) => name,
            None => {
                let name: String = client.script_load(self.text).await?;
                self.name.get_or_init(|| name)
            }
        };
        match client.evalsha(name.as_str(), key.as_str(), arguments.clone()).await {
            Err(error) if error.details().starts_with("NOSCRIPT") => {
                client.eval(self.text, key, arguments).await
            }
            answer => answer,
        }
    }
}
