//! Clients that ask one request after another, with short pauses, whatever becomes of them.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::{sync::watch, task::JoinSet};

use super::{
    FaultError,
    request::{Answered, Ask, Client, text},
};

/// One request in so many asks for texts that were asked for before.
const REPEAT_EVERY: u32 = 6;
/// One request in so many has several texts.
const SEVERAL_EVERY: u32 = 6;
/// Of one's own texts that are remembered for repeats.
const REMEMBERED: usize = 32;

/// How much is asked.
#[derive(Clone, Copy, Debug)]
pub struct Pressure {
    /// Clients at once.
    pub clients: u64,
    /// Longest pause of a client between two requests.
    pub pause: Duration,
}

/// What the clients were told.
#[derive(Debug, Default)]
pub struct Tally {
    /// Requests that were answered with vectors.
    pub answered: Vec<Answered>,
    /// How many were not, by status; 0: no whole answer.
    pub failed: BTreeMap<u16, u64>,
    /// The first of each status.
    pub examples: BTreeMap<u16, String>,
}

impl Tally {
    /// Adds what another knows.
    pub fn add(&mut self, other: Self) {
        self.answered.extend(other.answered);
        for (status, count) in other.failed {
            *self.failed.entry(status).or_default() += count;
        }
        for (status, example) in other.examples {
            self.examples.entry(status).or_insert(example);
        }
    }
}

/// Running clients.
#[derive(Debug)]
pub struct Load {
    stop: watch::Sender<bool>,
    clients: JoinSet<Tally>,
}

impl Load {
    /// Starts clients that act as `agents`; `name` makes their texts unlike those of every other load.
    #[must_use]
    pub fn start(client: &Client, agents: Vec<String>, pressure: Pressure, seed: u64, name: &str) -> Self {
        let (stop, stopped) = watch::channel(false);
        let agents: Arc<[String]> = agents.into();
        let mut clients = JoinSet::new();
        for number in 0..pressure.clients {
            let one = One {
                client: client.clone(),
                agents: Arc::clone(&agents),
                pause: pressure.pause,
                name: format!("{name} {number}"),
                dice: StdRng::seed_from_u64(seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
                asked: Vec::new(),
            };
            clients.spawn(one.run(stopped.clone()));
        }
        Self { stop, clients }
    }

    /// Lets every client end its request; what all of them were told.
    ///
    /// # Errors
    /// When a client broke.
    pub async fn stop(mut self) -> Result<Tally, FaultError> {
        self.stop.send_replace(true);
        let mut tally = Tally::default();
        while let Some(one) = self.clients.join_next().await {
            tally.add(one?);
        }
        Ok(tally)
    }
}

struct One {
    client: Client,
    agents: Arc<[String]>,
    pause: Duration,
    name: String,
    dice: StdRng,
    asked: Vec<String>,
}

impl One {
    async fn run(mut self, stopped: watch::Receiver<bool>) -> Tally {
        let mut tally = Tally::default();
        let mut number = 0_u64;
        while !*stopped.borrow() {
            number += 1;
            let ask = self.next(number);
            let gateway = self.dice.random_range(0..self.client.gateways().max(1));
            let mut pause = self.pause.mul_f64(self.dice.random_range(0.0..1.0));
            match self.client.embed(gateway, &ask).await {
                Ok(answered) => tally.answered.push(answered),
                Err((status, said)) => {
                    *tally.failed.entry(status).or_default() += 1;
                    tally.examples.entry(status).or_insert(said);
                    // what is down refuses at once: most requests would meet it
                    pause += self.pause;
                }
            }
            tokio::time::sleep(pause).await;
        }
        tally
    }

    fn next(&mut self, number: u64) -> Ask {
        let agent = self.agents[self.dice.random_range(0..self.agents.len())].clone();
        let count = if self.dice.random_ratio(1, SEVERAL_EVERY) { self.dice.random_range(2..5) } else { 1 };
        let repeats = self.dice.random_ratio(1, REPEAT_EVERY) && !self.asked.is_empty();
        let texts = (0..count).map(|part| {
            if repeats {
                return self.asked[self.dice.random_range(0..self.asked.len())].clone();
            }
            let text = text(&format!("{} {number} {part}", self.name), &mut self.dice);
            if self.asked.len() < REMEMBERED {
                self.asked.push(text.clone());
            } else {
                let at = self.dice.random_range(0..REMEMBERED);
                self.asked[at].clone_from(&text);
            }
            text
        });
        Ask { agent, texts: texts.collect() }
    }
}
