use proptest::prelude::*;

use super::*;

const ROLES: [Role; 5] = [Role::Asked, Role::Pinned, Role::Primary, Role::Fallback, Role::Default];

fn candidate(name: &str, role: Role, score: f64) -> Candidate<'_> {
    Candidate { name, role, tier: 0, callable: true, score, load: 1.0 }
}

fn ranked_names<'a>(candidates: &[Candidate<'a>]) -> Vec<&'a str> {
    rank(candidates).into_iter().map(|at| candidates[at].name).collect()
}

#[test]
fn primaries_come_before_fallbacks_whatever_the_score() {
    let ranked = ranked_names(&[
        candidate("default", Role::Default, 1.0),
        candidate("fallback", Role::Fallback, 0.9),
        candidate("second primary", Role::Primary, 0.2),
        candidate("first primary", Role::Primary, 0.4),
        candidate("pinned", Role::Pinned, 0.0),
    ]);
    assert_eq!(ranked, ["pinned", "first primary", "second primary", "fallback", "default"]);
}

#[test]
fn what_can_be_called_comes_before_what_cannot_within_a_role() {
    let excluded = Candidate { callable: false, ..candidate("excluded", Role::Primary, 0.9) };
    let ranked = ranked_names(&[
        candidate("fallback", Role::Fallback, 1.0),
        excluded,
        candidate("poor", Role::Primary, 0.1),
    ]);
    assert_eq!(ranked, ["poor", "excluded", "fallback"]);
}

#[test]
fn scores_that_hardly_differ_do_not_change_the_order() {
    for score in [0.5, 0.502, 0.505, 0.509] {
        let two = [candidate("b", Role::Primary, score), candidate("a", Role::Primary, 0.5)];
        assert_eq!(ranked_names(&two), ["a", "b"], "{score}");
    }
    let loaded = Candidate { load: 0.5, ..candidate("a", Role::Primary, 0.505) };
    assert_eq!(ranked_names(&[loaded, candidate("b", Role::Primary, 0.5)]), ["b", "a"], "the idle one first");
    assert_eq!(
        ranked_names(&[candidate("a", Role::Primary, 0.5), candidate("b", Role::Primary, 0.55)]),
        ["b", "a"]
    );
}

#[test]
fn an_exclusion_says_what_it_is_and_what_to_do_or_to_wait_for() {
    let slow = Exclusion::TooSlow { p99: Duration::from_millis(1_250), most: Duration::from_millis(800) };
    assert_eq!(slow.to_string(), "its p99 of 1250 ms is over the 800 ms of max_latency_p99_ms");
    assert!(Exclusion::NoPrice.to_string().contains("add one to the catalog"));
    assert_eq!(Exclusion::Credential("its key was refused").to_string(), "its key was refused");
}

fn candidates() -> impl Strategy<Value = Vec<(usize, usize, bool, f64, f64)>> {
    // steps that collide often, and their edges
    let part =
        || prop_oneof![0.0..1.0_f64, prop::sample::select(vec![0.0, -0.0, 0.5, 0.509, 0.51, 0.511, 1.0])];
    prop::collection::vec((0..5_usize, 0..3_usize, any::<bool>(), part(), part()), 1..12)
}

proptest! {
    #[test]
    fn the_order_is_total_and_what_is_added_reorders_nobody(parts in candidates(), seed in any::<usize>()) {
        let names: Vec<String> = (0..parts.len()).map(|n| format!("{n:02}")).collect();
        let all: Vec<Candidate<'_>> = parts
            .iter()
            .zip(&names)
            .map(|(&(role, tier, callable, score, load), name)| {
                Candidate { name, role: ROLES[role], tier, callable, score, load }
            })
            .collect();
        let ranked = ranked_names(&all);
        let mut turned = all.clone();
        turned.rotate_left(seed % all.len());
        turned.reverse();
        prop_assert_eq!(ranked_names(&turned), ranked.clone(), "whatever order they come in");
        let without = turned.pop().unwrap();
        let left: Vec<&str> = ranked.iter().copied().filter(|name| *name != without.name).collect();
        prop_assert_eq!(ranked_names(&turned), left);
    }
}
