use proptest::prelude::*;

use super::*;

const HOUR: Duration = Duration::from_secs(3_600);

fn at(hours: u32) -> SystemTime {
    SystemTime::UNIX_EPOCH + HOUR * hours
}

fn made(created: u32, expires: Option<u32>) -> KeyState {
    KeyState {
        created_at: at(created),
        expires_at: expires.map(at),
        revoked: false,
        overlap_ends_at: None,
        own_expires_at: None,
    }
}

/// What the store makes of a rotation.
fn put(key: &mut KeyState, rotation: &Rotation, now: SystemTime) -> KeyState {
    key.own_expires_at = if key.overlap_ends_at.is_some() { key.own_expires_at } else { key.expires_at };
    key.expires_at = Some(rotation.ends_at);
    key.overlap_ends_at = Some(rotation.overlap_ends_at);
    KeyState { created_at: now, expires_at: rotation.successor_expires_at, ..made(0, None) }
}

#[test]
fn an_overlap_is_a_day_unless_it_is_said_and_a_week_at_most() {
    assert_eq!(parse_overlap(None), Ok(HOUR * 24));
    assert_eq!(parse_overlap(Some("0s")), Ok(Duration::ZERO));
    assert_eq!(parse_overlap(Some("7d")), Ok(HOUR * 24 * 7));
    for refused in ["", "soon", "-1h", "7d 1s", "8d", "99999999999999999999d"] {
        assert_eq!(parse_overlap(Some(refused)).unwrap_err().param.as_deref(), Some("overlap"), "{refused}");
    }
}

#[test]
fn a_successor_lives_as_long_as_the_key_was_made_to() {
    let forever = made(0, None).rotate(None, HOUR * 24, at(10)).unwrap();
    assert_eq!((forever.ends_at, forever.successor_expires_at), (at(34), None));
    let mut key = made(0, Some(100));
    let early = key.rotate(None, HOUR * 24, at(10)).unwrap();
    assert_eq!((early.ends_at, early.successor_expires_at), (at(34), Some(at(110))));
    // an overlap makes no key live longer than it would have
    let late = key.rotate(None, HOUR * 24, at(90)).unwrap();
    assert_eq!(
        (late.ends_at, late.overlap_ends_at, late.successor_expires_at),
        (at(100), at(114), Some(at(190)))
    );
    // once more, the successor being dead: the overlap is not its length of life
    put(&mut key, &early, at(10));
    let again = key.rotate(None, HOUR, at(20)).unwrap();
    assert_eq!((again.ends_at, again.successor_expires_at), (at(21), Some(at(120))));
}

#[test]
fn what_has_ended_is_neither_rotated_nor_brought_back() {
    let revoked = KeyState { revoked: true, ..made(0, None) };
    for dead in [revoked, made(0, Some(10))] {
        assert_eq!(dead.rotate(None, HOUR, at(10)).unwrap_err().code, Code::Conflict);
        assert_eq!(dead.check_end(at(20), at(10)).unwrap_err().code, Code::Conflict);
    }
}

#[test]
fn a_refusal_names_the_other_version() {
    let mut key = made(0, None);
    let rotation = key.rotate(None, HOUR, at(1)).unwrap();
    let successor = put(&mut key, &rotation, at(1));
    let twice = key.rotate(Some("NEW"), HOUR, at(1)).unwrap_err();
    assert!(twice.message.contains("rotate its successor NEW"), "{twice}");
    let third = successor.rotate(Some("OLD"), HOUR, at(1)).unwrap_err();
    assert!(third.message.contains("OLD still works"), "{third}");
    // the one that leaked is dead at once, the third is the second that lives
    assert!(successor.rotate(Some("OLD"), Duration::ZERO, at(1)).is_ok());
}

#[test]
fn the_end_of_a_rotated_key_moves_within_its_overlap() {
    let mut key = made(0, None);
    let rotation = key.rotate(None, HOUR * 2, at(10)).unwrap();
    put(&mut key, &rotation, at(10));
    assert_eq!(key.check_end(at(11), at(10)), Ok(()));
    assert_eq!(key.check_end(at(12), at(10)), Ok(()));
    assert_eq!(key.check_end(at(13), at(10)).unwrap_err().param.as_deref(), Some("expires_at"));
    assert_eq!(made(0, Some(20)).check_end(at(1_000), at(10)), Ok(()));
}

#[derive(Debug, Clone)]
enum Step {
    Wait(u32),
    Rotate(usize, u32),
    Revoke(usize),
    End(usize, u32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (1_u32..30).prop_map(Step::Wait),
        (0_usize..8, 0_u32..30).prop_map(|(which, overlap)| Step::Rotate(which, overlap)),
        (0_usize..8).prop_map(Step::Revoke),
        (0_usize..8, 1_u32..60).prop_map(|(which, hours)| Step::End(which, hours)),
    ]
}

proptest! {
    #[test]
    fn at_most_two_versions_are_ever_alive_and_none_comes_back(
        life in proptest::option::of(1_u32..200),
        steps in proptest::collection::vec(step(), 1..60),
    ) {
        let (mut hour, mut versions, mut dead) = (0, vec![made(0, life)], vec![false]);
        for step in steps {
            let now = at(hour);
            let index = |which: usize| which % versions.len();
            match step {
                Step::Wait(hours) => hour += hours,
                Step::Revoke(which) => { let at = index(which); versions[at].revoked = true; }
                Step::End(which, hours) => {
                    let (which, end) = (index(which), at(hour + hours));
                    if versions[which].check_end(end, now).is_ok() {
                        versions[which].expires_at = Some(end);
                    }
                }
                Step::Rotate(which, overlap) => {
                    let which = index(which);
                    let other = (0..versions.len()).find(|other| *other != which && versions[*other].is_alive(now));
                    let other = other.map(|other| other.to_string());
                    if let Ok(rotation) = versions[which].rotate(other.as_deref(), HOUR * overlap, now) {
                        let own = versions[which].expires_at;
                        prop_assert!(rotation.ends_at <= now + HOUR * overlap);
                        prop_assert!(own.is_none_or(|own| rotation.ends_at <= own));
                        let successor = put(&mut versions[which], &rotation, now);
                        prop_assert!(successor.is_alive(now));
                        versions.push(successor);
                        dead.push(false);
                    }
                }
            }
            let now = at(hour);
            let alive: Vec<bool> = versions.iter().map(|version| version.is_alive(now)).collect();
            prop_assert!(alive.iter().filter(|alive| **alive).count() <= 2, "{versions:?}");
            for (dead, alive) in dead.iter_mut().zip(alive) {
                prop_assert!(!(*dead && alive), "{versions:?}");
                *dead = !alive;
            }
        }
    }
}
