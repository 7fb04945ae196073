//! Where the log was after writes had been committed: what a reader has to have seen in order to have seen them.

use std::sync::{Mutex, PoisonError};

use embermesh_types::{Lsn, Position, WriteToken};
use tokio_postgres::Row;

/// Told to every connection of a pool that marks, once: the identifier is the server's own, so it cannot change under a connection.
/// Whoever may not read it gets tokens that only the primary satisfies.
pub(crate) const REMEMBER_SYSTEM: &str = "DO $$ BEGIN
    PERFORM set_config('embermesh.system', (SELECT system_identifier::text FROM pg_control_system()), false);
  EXCEPTION WHEN insufficient_privilege THEN NULL; END $$;";

/// Asked right behind a COMMIT, in the same round trip. Not before it: a standby may have replayed everything up to there and not the
/// commit. What a commit without `synchronous_commit` has written need not be flushed yet; otherwise what is flushed is enough, and
/// a standby need not wait for what others have begun.
pub(crate) const WHERE_NOW: &str =
    "SELECT current_setting('embermesh.system', true), pg_walfile_name(lsn), lsn::text FROM (
    SELECT CASE current_setting('synchronous_commit') WHEN 'off' THEN pg_current_wal_insert_lsn()
        ELSE pg_current_wal_flush_lsn() END AS lsn
    ) AS now";

/// Collects the places of the writes of one call.
#[derive(Debug, Default)]
pub struct WriteMark(Mutex<Option<WriteToken>>);

impl WriteMark {
    /// Stands for all writes that were marked; for the primary alone when there were none.
    pub fn token(&self) -> WriteToken {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).unwrap_or_default()
    }

    pub(crate) fn note(&self, token: WriteToken) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *known = Some(known.map_or(token, |known| known.and(token)));
    }
}

/// Reads the answer to [`WHERE_NOW`].
pub(crate) fn read(row: &Row) -> WriteToken {
    let text = |column| row.try_get::<_, Option<&str>>(column).ok().flatten();
    let position = || position(text(0)?, text(1)?, text(2)?);
    position().map_or(WriteToken::Primary, WriteToken::At)
}

/// A place as PostgreSQL tells it; the name of a file of the log begins with the timeline.
pub(crate) fn position(system: &str, file: &str, lsn: &str) -> Option<Position> {
    let timeline = u32::from_str_radix(file.get(..8)?, 16).ok()?;
    let lsn: Lsn = lsn.parse().ok()?;
    Some(Position { system: system.parse().ok()?, timeline, lsn })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_postgresql_tells_them() {
        let expected =
            Position { system: 7_714_037_918_014_039_128, timeline: 0x1a, lsn: Lsn(0x1_0300_0000) };
        assert_eq!(position("7714037918014039128", "0000001A0000000100000002", "1/3000000"), Some(expected));
        for (system, file, lsn) in [("", "0000001A", "1/3"), ("7", "1A", "1/3"), ("7", "0000001A", "3")] {
            assert_eq!(position(system, file, lsn), None);
        }
    }

    #[test]
    fn the_last_of_several_writes_counts_and_one_that_is_unknown_spoils_all() {
        let at = |lsn| WriteToken::At(Position { system: 1, timeline: 1, lsn: Lsn(lsn) });
        let mark = WriteMark::default();
        assert_eq!(mark.token(), WriteToken::Primary);
        mark.note(at(7));
        mark.note(at(5));
        assert_eq!(mark.token(), at(7));
        mark.note(WriteToken::Primary);
        mark.note(at(9));
        assert_eq!(mark.token(), WriteToken::Primary);
    }
}
