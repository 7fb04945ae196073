use std::{
    sync::atomic::{AtomicBool, AtomicI64},
    thread,
};

use proptest::prelude::*;

use super::*;

#[test]
fn nobody_draws_from_a_closed_pocket_and_it_is_done_when_the_last_draw_has_ended() {
    let pocket = Pocket::new(Amount(100));
    assert_eq!(pocket.draw(Amount(70)), Draw::Taken);
    assert_eq!(pocket.draw(Amount(31)), Draw::TooLittle);
    assert_eq!(pocket.sweep(), None);
    pocket.close();
    assert_eq!(pocket.draw(Amount(1)), Draw::Closed);
    let returned = |amount, closes, is_news| Some(Returned { amount: Amount(amount), closes, is_news });
    assert_eq!(pocket.sweep(), returned(30, false, true));
    assert_eq!(pocket.sweep(), returned(30, false, false));
    pocket.end(Amount(70), Amount(50));
    assert_eq!(pocket.sweep(), returned(50, true, true));
}

#[test]
fn what_costs_more_than_was_drawn_comes_out_of_the_rest() {
    let pocket = Pocket::new(Amount(100));
    assert_eq!(pocket.draw(Amount(40)), Draw::Taken);
    pocket.end(Amount(40), Amount(65));
    assert_eq!(pocket.available(), Amount(35));
    assert_eq!(pocket.draw(Amount(35)), Draw::Taken);
    pocket.end(Amount(35), Amount(90));
    assert_eq!(pocket.available(), Amount::ZERO);
}

/// What threads have drawn and spent while another one closed the pocket.
fn race(granted: i64, draws: &[(i64, i64)], threads: usize) -> (i64, Returned) {
    let (pocket, spent) = (Pocket::new(Amount(granted)), AtomicI64::new(0));
    let (over, done) = (AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    for (amount, cost) in draws {
                        let cost = Amount((*cost).min(*amount));
                        if pocket.draw(Amount(*amount)) == Draw::Taken {
                            if done.load(Ordering::SeqCst) {
                                over.store(true, Ordering::SeqCst);
                            }
                            spent.fetch_add(cost.0, Ordering::SeqCst);
                            pocket.end(Amount(*amount), cost);
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
