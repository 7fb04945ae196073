//! A TCP relay in front of a service, whose connections can be cut, and can be left open with nothing passing any more.

use std::sync::Arc;

use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// What happens to the connections that were opened before.
#[derive(Clone, Copy, PartialEq)]
enum Order {
    Stall,
    Cut,
}

/// Number of the last order, what it was, and whether new connections are refused.
#[derive(Clone, Copy)]
struct State {
    number: u64,
    order: Order,
    refuses: bool,
}

pub struct Relay {
    port: u16,
    state: Arc<watch::Sender<State>>,
}

impl Relay {
    /// Passes everything on to `port` on loopback.
    pub async fn to(port: u16) -> Self {
        Self::at("127.0.0.1", port).await
    }

    /// The same, for callers who reach this address.
    pub async fn at(address: &str, port: u16) -> Self {
        let listener = TcpListener::bind((address, 0)).await.unwrap();
        let own = listener.local_addr().unwrap().port();
        let state = Arc::new(watch::Sender::new(State { number: 0, order: Order::Cut, refuses: false }));
        let states = Arc::clone(&state);
        in_background(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                if !states.borrow().refuses {
                    in_background(pass(client, port, states.subscribe()));
                }
            }
        });
        Self { port: own, state }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The connections of now stay open, and nothing passes through them any more. New ones work.
    pub fn stall(&self) {
        self.order(Order::Stall, false);
    }

    /// Ends the connections of now, and refuses new ones until [`Relay::heal`].
    pub fn refuse(&self) {
        self.order(Order::Cut, true);
    }

    /// New connections work.
    pub fn heal(&self) {
        self.state.send_modify(|state| state.refuses = false);
    }

    fn order(&self, order: Order, refuses: bool) {
        self.state.send_modify(|state| *state = State { number: state.number + 1, order, refuses });
    }
}

async fn pass(mut client: TcpStream, port: u16, mut states: watch::Receiver<State>) {
    let opened = states.borrow().number;
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)).await else { return };
    for socket in [&client, &server] {
        socket.set_nodelay(true).unwrap();
    }
    let ordered = tokio::select! {
        _ended = tokio::io::copy_bidirectional(&mut client, &mut server) => return,
        // the relay itself may be gone, and everything with it
        state = states.wait_for(|state| state.number > opened) => match state {
            Ok(state) => state.order,
            Err(_) => return,
        },
    };
    if ordered == Order::Stall {
        let _gone = states.wait_for(|_| false).await;
    }
}

#[expect(clippy::disallowed_methods, reason = "lives as long as the test's runtime")]
fn in_background(work: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(work);
}
