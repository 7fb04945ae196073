use embermesh_proto::internal::v1::{Hit, entry::Entry as Value};
use tempfile::TempDir;

use super::{record::Record, *};

const TENANT: TenantId = TenantId::SYSTEM;

fn journal() -> (TempDir, Journal) {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::create(dir.path(), Uuid::now_v7()).unwrap();
    (dir, journal)
}

fn hit(n: usize) -> Entry {
    Entry { entry: Some(Value::Hit(Hit { charge_id: n.to_string(), ..Hit::default() })) }
}

fn name(entry: &Entry) -> usize {
    match &entry.entry {
        Some(Value::Hit(hit)) => hit.charge_id.parse().unwrap(),
        other => panic!("{other:?}"),
    }
}

/// What the ledger would get, to the last, as the shipper takes it.
fn drain(journal: &Journal) -> Vec<usize> {
    let mut names = Vec::new();
    loop {
        let queued = journal.take(300);
        if let Some(last) = queued.last() {
            let (end, count) = (last.end, queued.len());
            names.extend(queued.iter().map(|one| name(&one.entry)));
            journal.acknowledge(Some(end), count);
        } else if let Some((from, to)) = journal.behind() {
            let page = backlog::read(&journal.session.dir, from, to, 300).unwrap();
            let next = if page.records.is_empty() { to } else { page.next };
            let entries = page.records.iter().filter_map(|(_, record)| match record {
                Record::Entry(entry) => Some(name(entry)),
                _ => None,
            });
            let before = names.len();
            names.extend(entries);
            journal.caught_up(next);
            journal.acknowledge(Some(next), names.len() - before);
        } else {
            let unwritten = journal.take_unwritten();
            if unwritten.is_empty() {
                return names;
            }
            journal.acknowledge(None, unwritten.len());
            names.extend(unwritten.iter().map(|(_, entry)| name(entry)));
        }
    }
}

#[test]
fn entries_come_in_their_order_however_far_the_ledger_is_behind() {
    let (_dir, journal) = journal();
    let all = IN_MEMORY * 2 + 77;
    for n in 0..all {
        if n % 1000 == 0 {
            drop(journal.note(TENANT, AttemptId::new(Uuid::now_v7())).unwrap());
        }
        // some alone, some together
        if n % 3 == 0 {
            journal.put_one(TENANT, hit(n));
        } else if n % 3 == 1 {
            let together = [n, n + 1].into_iter().filter(|n| *n < all);
            journal.put(together.map(|n| (TENANT, hit(n))));
        }
    }
    assert!(journal.inner().queue.len() <= IN_MEMORY && journal.behind().is_some());
    assert_eq!(journal.backlog().entries, all as u64);
    assert_eq!(drain(&journal), (0..all).collect::<Vec<_>>());
    assert_eq!(journal.backlog(), Backlog { entries: 0, bytes: 0 });
    journal.put_one(TENANT, hit(all));
    assert_eq!(drain(&journal), [all]);
    assert!(journal.behind().is_none());
}

#[test]
fn a_file_stays_while_an_attempt_that_began_in_it_is_open() {
    let (_dir, journal) = journal();
    let kept = journal.begin(TENANT, hit(0)).unwrap();
    let large = "x".repeat(64 * 1024);
    let fill = || {
        for _ in 0..200 {
            let hit = Hit { charge_id: "1".to_owned(), model: large.clone(), ..Hit::default() };
            journal.put_one(TENANT, Entry { entry: Some(Value::Hit(hit)) });
        }
        drain(&journal);
        segments::numbers(&journal.session.dir).unwrap()
    };
    assert!(fill().starts_with(&[1]));
    assert_eq!(journal.open(), 1);
    drop(kept);
    assert_eq!(journal.open(), 0);
    assert!(!fill().contains(&1));
}

#[test]
fn on_a_full_disk_nothing_begins_and_what_has_to_be_said_is_kept_in_memory() {
    let (_dir, journal) = journal();
    for number in 1..=3 {
        std::os::unix::fs::symlink("/dev/full", segments::path(&journal.session.dir, number)).unwrap();
    }
    let entry = journal.begin(TENANT, hit(0)).unwrap_err();
    assert_eq!(name(&entry), 0);
    assert!(journal.note(TENANT, AttemptId::new(Uuid::now_v7())).is_none());
    journal.put_one(TENANT, hit(1));
    // the next file has room
    journal.put_one(TENANT, hit(2));
    assert_eq!(journal.open(), 0);
    let mut names = drain(&journal);
    names.sort_unstable();
    assert_eq!(names, [1, 2]);
}

#[test]
fn nothing_is_written_to_a_closed_journal() {
    let (_dir, journal) = journal();
    journal.seal();
    assert!(journal.begin(TENANT, hit(0)).is_err());
    assert!(journal.note(TENANT, AttemptId::new(Uuid::now_v7())).is_none());
}

/// Files whose records are these.
fn written(files: &[Vec<u8>]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (at, bytes) in files.iter().enumerate() {
        std::fs::write(segments::path(dir.path(), at as u64 + 1), bytes).unwrap();
    }
    dir
}

fn records(names: std::ops::Range<usize>) -> Vec<u8> {
    let mut bytes = Vec::new();
    names.for_each(|n| record::write_entry(&mut bytes, TENANT, &hit(n)));
    bytes
}

/// Everything in `dir`, and whether something in it was damaged.
fn read_all(dir: &Path) -> (Vec<usize>, bool) {
    let (mut from, to) =
        (Place { segment: 1, ..Place::default() }, Place { segment: 3, offset: u64::MAX, written: 0 });
    let (mut names, mut damaged) = (Vec::new(), false);
    loop {
        let page = backlog::read(dir, from, to, 2).unwrap();
        damaged |= page.damaged;
        if page.records.is_empty() {
            return (names, damaged);
        }
        from = page.next;
        names.extend(page.records.iter().filter_map(|(_, record)| match record {
            Record::Entry(entry) => Some(name(entry)),
            _ => None,
        }));
    }
}

#[test]
fn a_torn_end_is_passed_over_and_the_next_file_is_read() {
    let mut torn = records(0..5);
    torn.truncate(torn.len() - 3);
    let dir = written(&[torn, records(5..7), records(7..8)]);
    assert_eq!(read_all(dir.path()), (vec![0, 1, 2, 3, 5, 6, 7], false));
}

#[test]
fn a_record_that_was_whole_and_is_not_what_was_written_is_damage() {
    let mut damaged = records(0..5);
    let at = records(0..3).len() + 12;
    damaged[at] ^= 1;
    let dir = written(&[damaged, records(5..6)]);
    assert_eq!(read_all(dir.path()), (vec![0, 1, 2, 5], true));
}

#[test]
fn a_record_longer_than_what_is_read_at_once_is_read() {
    let long = Hit { charge_id: "0".to_owned(), model: "x".repeat(700_000), ..Hit::default() };
    let mut bytes = Vec::new();
    record::write_entry(&mut bytes, TENANT, &Entry { entry: Some(Value::Hit(long)) });
    let dir = written(&[bytes, records(1..2)]);
    assert_eq!(read_all(dir.path()), (vec![0, 1], false));
}
