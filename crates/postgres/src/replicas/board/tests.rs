use proptest::prelude::*;

use super::*;

const CAPACITY: usize = 4;
const MAX_LAG: Duration = Duration::from_secs(5);

fn at(timeline: u32, lsn: u64) -> Position {
    Position { system: 1, timeline, lsn: Lsn(lsn) }
}

fn after(timeline: u32, lsn: u64) -> Consistency {
    Consistency::ReadYourWrites(WriteToken::At(at(timeline, lsn)))
}

fn look(timeline: Option<u32>, lsn: u64) -> Look {
    Look { is_in_recovery: true, replayed: Some(Lsn(lsn)), timeline }
}

/// Two standbys at 10 of a primary at 10.
fn board(now: Instant) -> Board<u32> {
    let mut board = Board::new(2, CAPACITY, MAX_LAG);
    board.primary(now, at(1, 10));
    for host in 0..2 {
        board.connected(host, 1, 0);
        board.looked(host, look(Some(1), 10));
    }
    board
}

#[test]
fn eventual_reads_go_to_each_replica_in_turn_and_to_the_less_busy_first() {
    let now = Instant::now();
    let mut board = board(now);
    let next = |board: &mut Board<u32>| match board.choose(now, Consistency::Eventual) {
        Choice::Replica(host, _) => Some(host),
        _ => None,
    };
    let chosen: Vec<_> = (0..4).filter_map(|_| next(&mut board)).collect();
    assert_eq!(chosen, [0, 1, 0, 1]);
    board.done(1);
    assert_eq!(next(&mut board), Some(1));
    // all connections in use: the primary
    let more = (0..).take_while(|_| next(&mut board).is_some()).count();
    assert_eq!(more, 2 * CAPACITY - 4);
    assert_eq!(board.choose(now, Consistency::Eventual), Choice::Primary(Why::Away));
}

#[test]
fn a_write_is_read_where_it_has_arrived_else_it_is_waited_for_or_asked_of_the_primary() {
    let now = Instant::now();
    let mut board = board(now);
    board.looked(1, look(Some(1), 12));
    for _ in 0..3 {
        assert_eq!(board.choose(now, after(1, 12)), Choice::Replica(1, 0));
    }
    board.primary(now, at(1, 20));
    assert_eq!(board.choose(now, after(1, 20)), Choice::Wait);
    // not for one that was late before
    let later = now + Duration::from_secs(2);
    board.primary(later, at(1, 30));
    assert_eq!(board.choose(later, after(1, 30)), Choice::Primary(Why::Behind));
    assert_eq!(board.choose(now, Consistency::PRIMARY), Choice::Primary(Why::Asked));
}

#[test]
fn a_late_replica_serves_no_eventual_reads() {
    let now = Instant::now();
    let mut board = board(now);
    board.primary(now, at(1, 20));
    board.looked(0, look(Some(1), 20));
    let later = now + MAX_LAG + Duration::from_secs(1);
    for _ in 0..2 {
        assert_eq!(board.choose(later, Consistency::Eventual), Choice::Replica(0, 0));
    }
    board.lost(0);
    assert_eq!(board.choose(later, Consistency::Eventual), Choice::Primary(Why::Behind));
    board.looked(1, look(Some(1), 20));
    assert_eq!(board.choose(later, Consistency::Eventual), Choice::Replica(1, 0));
}

#[test]
fn no_token_is_satisfied_on_another_timeline_or_in_another_cluster() {
    let now = Instant::now();
    let mut board = board(now);
    // the fail-over: replica 0 was promoted, replica 1 follows it and has come further than the token
    board.looked(0, Look { is_in_recovery: false, replayed: Some(Lsn(15)), timeline: None });
    board.looked(1, look(Some(2), 100));
    assert_eq!(board.standing(now, 0).0, Standing::Promoted);
    assert_eq!(board.standing(now, 1).0, Standing::Foreign);
    assert_eq!(board.choose(now, after(1, 12)), Choice::Primary(Why::Behind));
    assert_eq!(board.choose(now, Consistency::Eventual), Choice::Primary(Why::Behind));
    // once the primary's name leads to the new one
    board.primary(now, at(2, 100));
    assert_eq!(board.choose(now, Consistency::Eventual), Choice::Replica(1, 0));
    assert_eq!(board.choose(now, after(2, 90)), Choice::Replica(1, 0));
    assert_eq!(board.choose(now, after(1, 12)), Choice::Primary(Why::Behind));
    // a former primary that does not know that it is one does not have what was written since
    let mut left_behind: Board<u32> = Board::new(1, CAPACITY, MAX_LAG);
    left_behind.primary(now, at(1, 500));
    assert_eq!(left_behind.choose(now, after(2, 90)), Choice::Nobody);
    assert_eq!(left_behind.choose(now, after(1, 90)), Choice::Primary(Why::Away));
    // a copy of another cluster
    board.connected(0, 2, 7);
    board.looked(0, look(Some(2), 1_000));
    assert_eq!(board.standing(now, 0).0, Standing::Foreign);
    board.lost(1);
    assert_eq!(board.choose(now, after(2, 90)), Choice::Primary(Why::Behind));
    assert_eq!(board.choose(now, Consistency::Eventual), Choice::Primary(Why::Behind));
}

#[test]
fn without_a_stream_nothing_new_is_proven_and_what_was_stays_so() {
    let now = Instant::now();
    let mut board = board(now);
    board.lost(1);
    // out of an archive, of whatever timeline
    board.looked(0, look(None, 500));
    assert_eq!(board.choose(now, after(1, 10)), Choice::Replica(0, 0));
    assert_eq!(board.choose(now, after(1, 11)), Choice::Wait);
    // a new server at its place may have lost the end of what the old one showed
    board.connected(0, 1, 1);
    board.looked(0, look(None, 500));
    assert_eq!(board.choose(now, after(1, 10)), Choice::Primary(Why::Behind));
    // whose login may not know the timeline serves eventual reads alone
    assert_eq!(board.choose(now, Consistency::Eventual), Choice::Replica(0, 1));
}

#[test]
fn one_that_fails_is_left_alone_and_another_is_used() {
    let now = Instant::now();
    let mut board = board(now);
    for _ in 0..3 {
        board.outcome(now, 0, Outcome::Failed);
    }
    assert_eq!(board.standing(now, 0).0, Standing::Failing);
    for _ in 0..3 {
        assert_eq!(board.choose(now, after(1, 10)), Choice::Replica(1, 0));
    }
    board.outcome(now, 0, Outcome::Served);
    assert_eq!(board.choose(now, after(1, 10)), Choice::Replica(0, 0));
}

/// A standby as it really is, beside what the board is told of it.
#[derive(Debug, Clone)]
struct Real {
    generation: u32,
    is_running: bool,
    is_standby: bool,
    is_streaming: bool,
    timeline: u32,
    /// Writes that can be read there: timeline and place.
    has: Vec<(u32, u64)>,
    replayed: u64,
}

#[derive(Debug, Clone)]
enum Event {
    Write,
    Replay(usize, u64),
    Stream(usize, bool),
    Look(usize),
    Crash(usize),
    Restart(usize, u64),
    Promote(usize),
    FailOver,
    Read(bool, usize),
}

fn event() -> impl Strategy<Value = Event> {
    let host = || 0..3_usize;
    prop_oneof![
        4 => Just(Event::Write),
        4 => (host(), 1..4_u64).prop_map(|(host, records)| Event::Replay(host, records)),
        1 => (host(), any::<bool>()).prop_map(|(host, on)| Event::Stream(host, on)),
        4 => host().prop_map(Event::Look),
        1 => host().prop_map(Event::Crash),
        1 => (host(), 0..3_u64).prop_map(|(host, lost)| Event::Restart(host, lost)),
        1 => host().prop_map(Event::Promote),
        1 => Just(Event::FailOver),
        6 => (any::<bool>(), 0..8_usize).prop_map(|(eventual, age)| Event::Read(eventual, age)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    /// Whatever happens to servers between two looks, a replica that is chosen for a token has the write.
    #[test]
    fn a_replica_that_is_chosen_has_the_write(events in prop::collection::vec(event(), 1..80)) {
        let mut now = Instant::now();
        let mut board: Board<u32> = Board::new(3, 1_000, MAX_LAG);
        // the log of the primary: the timeline and place of each write of its history
        let mut log: Vec<(u32, u64)> = Vec::new();
        let (mut timeline, mut end) = (1_u32, 0_u64);
        let standby = Real { generation: 0, is_running: true, is_standby: true, is_streaming: true, timeline: 1, has: vec![], replayed: 0 };
        let mut hosts = vec![standby; 3];
        let mut tokens: Vec<(u32, u64)> = Vec::new();
        for (at_host, host) in hosts.iter().enumerate() {
            board.connected(at_host, 1, host.generation);
        }
        for event in events {
            now += Duration::from_millis(30);
            match event {
                Event::Write => {
                    end += 1;
                    log.push((timeline, end));
                    tokens.push((timeline, end));
                    board.primary(now, at(timeline, end));
                }
                Event::Replay(host, records) => {
                    let host = &mut hosts[host];
                    if host.is_running && host.is_standby {
                        // follows the primary's history; what it had beyond the fork of another timeline keeps it from following
                        let prefix = log.get(..host.has.len()).is_some_and(|prefix| prefix == &host.has[..]);
                        if prefix {
                            let until = (host.has.len() + records as usize).min(log.len());
                            host.has = log[..until].to_vec();
                            if let Some((last, place)) = host.has.last() {
                                (host.timeline, host.replayed) = (*last, *place);
                            }
                        }
                    }
                }
                Event::Stream(host, on) => hosts[host].is_streaming = on,
                Event::Look(at_host) => {
                    let host = &hosts[at_host];
                    if host.is_running {
                        // a restart is noticed by the connection it broke
                        if board.hosts[at_host].generation.as_ref().map(|known| known.handle) != Some(host.generation) {
                            board.lost(at_host);
                            board.connected(at_host, 1, host.generation);
                        }
                        let timeline = (host.is_streaming && host.is_standby).then_some(host.timeline);
                        board.looked(at_host, Look { is_in_recovery: host.is_standby, replayed: Some(Lsn(host.replayed)), timeline });
                    }
                }
                Event::Crash(host) => hosts[host].is_running = false,
                Event::Restart(host, lost) => {
                    let host = &mut hosts[host];
                    if !host.is_running {
                        host.generation += 1;
                        host.is_running = true;
                        let kept = host.has.len().saturating_sub(lost as usize);
                        host.has.truncate(kept);
                        (host.timeline, host.replayed) = host.has.last().copied().unwrap_or((1, 0));
                    }
                }
                Event::Promote(host) => hosts[host].is_standby = false,
                Event::FailOver => {
                    // a standby becomes the primary: the end of the log that it does not have is lost, and its places are used again
                    if let Some(host) = hosts.iter().find(|host| host.is_running && host.is_standby) {
                        log = host.has.clone();
                        end = host.replayed;
                        timeline += 1;
                    }
                }
                Event::Read(eventual, age) => {
                    let Some(token) = tokens.get(tokens.len().saturating_sub(age + 1)).copied() else { continue };
                    let consistency = if eventual { Consistency::Eventual } else { after(token.0, token.1) };
                    if let Choice::Replica(at_host, generation) = board.choose(now, consistency) {
                        board.done(at_host);
                        let host = &hosts[at_host];
                        // connections of another generation are refused, and then the primary is asked
                        if !eventual && host.is_running && host.generation == generation {
                            prop_assert!(host.has.contains(&token), "{token:?} is not in {:?}", host.has);
                        }
                    }
                }
            }
        }
    }
}
