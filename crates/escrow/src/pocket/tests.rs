use std::{
    sync::atomic::{AtomicBool, AtomicI64},
    thread,
};

use proptest::prelude::*;

use super::*;

#[test]
fn nobody_draws_from_a_closed_pocket_and_it_is_done_when_the_last_draw_has_ended() {
    let pocket = Pocket::new(NanoUsd(100));
    assert_eq!(pocket.draw(NanoUsd(70)), Draw::Taken);
    assert_eq!(pocket.draw(NanoUsd(31)), Draw::TooLittle);
    assert_eq!(pocket.sweep(), None);
    pocket.close();
    assert_eq!(pocket.draw(NanoUsd(1)), Draw::Closed);
    let returned = |amount, closes, is_news| Some(Returned { amount: NanoUsd(amount), closes, is_news });
    assert_eq!(pocket.sweep(), returned(30, false, true));
    assert_eq!(pocket.sweep(), returned(30, false, false));
    pocket.end(NanoUsd(70), NanoUsd(50));
    assert_eq!(pocket.sweep(), returned(50, true, true));
}

#[test]
fn what_costs_more_than_was_drawn_comes_out_of_the_rest() {
    let pocket = Pocket::new(NanoUsd(100));
    assert_eq!(pocket.draw(NanoUsd(40)), Draw::Taken);
    pocket.end(NanoUsd(40), NanoUsd(65));
    assert_eq!(pocket.available(), NanoUsd(35));
    assert_eq!(pocket.draw(NanoUsd(35)), Draw::Taken);
    pocket.end(NanoUsd(35), NanoUsd(90));
    assert_eq!(pocket.available(), NanoUsd::ZERO);
}

/// What threads have drawn and spent while another one closed the pocket.
fn race(granted: i64, draws: &[(i64, i64)], threads: usize) -> (i64, Returned) {
    let (pocket, spent) = (Pocket::new(NanoUsd(granted)), AtomicI64::new(0));
    let (over, done) = (AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    for (amount, cost) in draws {
                        let cost = NanoUsd((*cost).min(*amount));
                        if pocket.draw(NanoUsd(*amount)) == Draw::Taken {
                            if done.load(Ordering::SeqCst) {
                                over.store(true, Ordering::SeqCst);
                            }
                            spent.fetch_add(cost.0, Ordering::SeqCst);
                            pocket.end(NanoUsd(*amount), cost);
                        }
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            thread::yield_now();
            pocket.close();
            while pocket.sweep().is_some_and(|returned| !returned.closes) {
                thread::yield_now();
            }
            done.store(true, Ordering::SeqCst);
        });
        drop(workers);
    });
    assert!(!over.load(Ordering::SeqCst), "something was drawn after the last return");
    (spent.load(Ordering::SeqCst), pocket.sweep().unwrap())
}

proptest! {
    #[test]
    fn what_is_spent_and_what_is_returned_is_what_was_granted(
        granted in 0_i64..10_000,
        draws in prop::collection::vec((0_i64..300, 0_i64..300), 1..80),
        threads in 1_usize..5,
    ) {
        let (spent, returned) = race(granted, &draws, threads);
        prop_assert!(returned.closes);
        prop_assert_eq!(spent + returned.amount.0, granted);
    }
}
