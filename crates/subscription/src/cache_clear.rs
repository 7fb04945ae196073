//! Orders to serve nothing that was kept before.

use std::collections::HashMap;

use embermesh_proto::internal::v1;
use embermesh_types::{AgentId, SpaceId, TenantId};

use crate::entry::BadEntry;

/// What an order to clear is about; absent parts restrict nothing.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct CacheClear {
    /// `None`: every tenant.
    pub tenant: Option<TenantId>,
    /// Who is served nothing that was kept before; `None`: nobody is.
    pub agent: Option<AgentId>,
    /// `None`: whatever the space.
    pub space: Option<SpaceId>,
}

/// What orders of one tenant are about.
type Part = (Option<AgentId>, Option<SpaceId>);

/// The last order about each, by the version of the configuration that it is.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct CacheClears(HashMap<Option<TenantId>, HashMap<Part, i64>>);

impl CacheClears {
    /// What is kept with a smaller stamp is not served to `agent`; 0 when nothing was ever cleared.
    pub fn floor(&self, tenant: TenantId, agent: &AgentId, space: &SpaceId) -> i64 {
        let of = |tenant: Option<TenantId>| {
            let Some(clears) = self.0.get(&tenant) else { return 0 };
            let parts = [
                (None, None),
                (None, Some(space.clone())),
                (Some(agent.clone()), None),
                (Some(agent.clone()), Some(space.clone())),
            ];
            parts.iter().filter_map(|part| clears.get(part)).copied().max().unwrap_or(0)
        };
        if self.0.is_empty() { 0 } else { of(None).max(of(Some(tenant))) }
    }

    pub fn iter(&self) -> impl Iterator<Item = (CacheClear, i64)> {
        self.0.iter().flat_map(|(tenant, clears)| {
            clears.iter().map(|((agent, space), number)| {
                let clear = CacheClear { tenant: *tenant, agent: agent.clone(), space: space.clone() };
                (clear, *number)
            })
        })
    }

    pub fn get(&self, clear: &CacheClear) -> Option<i64> {
        self.0.get(&clear.tenant)?.get(&(clear.agent.clone(), clear.space.clone())).copied()
    }

    pub fn put(&mut self, clear: CacheClear, number: i64) {
        self.0.entry(clear.tenant).or_default().insert((clear.agent, clear.space), number);
    }

    pub fn remove(&mut self, clear: &CacheClear) {
        let Some(clears) = self.0.get_mut(&clear.tenant) else { return };
        clears.remove(&(clear.agent.clone(), clear.space.clone()));
        if clears.is_empty() {
            self.0.remove(&clear.tenant);
        }
    }
}

impl CacheClear {
    /// Reads what admin sent.
    pub(crate) fn read(clear: &v1::CacheClear) -> Result<Self, BadEntry> {
        fn part<T: std::str::FromStr>(text: &str, bad: &'static str) -> Result<Option<T>, BadEntry> {
            if text.is_empty() { Ok(None) } else { text.parse().map(Some).map_err(|_| BadEntry(bad)) }
        }
        Ok(Self {
            tenant: part(&clear.tenant_id, "an order to clear of a malformed tenant_id")?,
            agent: part(&clear.agent_id, "an order to clear of a malformed agent_id")?,
            space: part(&clear.space_id, "an order to clear of a malformed space_id")?,
        })
    }

    /// The message that [`Self::read`] reads.
    pub(crate) fn write(&self, number: i64) -> v1::CacheClear {
        fn text<T: ToString>(part: Option<&T>) -> String {
            part.map_or_else(String::new, ToString::to_string)
        }
        v1::CacheClear {
            tenant_id: text(self.tenant.as_ref()),
            agent_id: text(self.agent.as_ref()),
            space_id: text(self.space.as_ref()),
            number,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_order_that_is_about_somebody_holds() {
        let tenant = |n: u8| format!("0192d5a0-0000-7000-8000-{n:012}").parse::<TenantId>().unwrap();
        let agent = |id: &str| id.parse::<AgentId>().unwrap();
        let space = |id: &str| id.parse::<SpaceId>().unwrap();
        let mut clears = CacheClears::default();
        let floor =
            |clears: &CacheClears, t: u8, a: &str, s: &str| clears.floor(tenant(t), &agent(a), &space(s));
        assert_eq!(floor(&clears, 1, "a", "m@3"), 0);
        let of = |t: Option<u8>, a: Option<&str>, s: Option<&str>| CacheClear {
            tenant: t.map(tenant),
            agent: a.map(agent),
            space: s.map(space),
        };
        clears.put(of(Some(1), Some("a"), None), 5);
        clears.put(of(Some(1), None, Some("m@3")), 7);
        clears.put(of(Some(1), Some("b"), Some("n@3")), 9);
        clears.put(of(None, None, None), 2);
        for (t, a, s, expected) in [
            (1, "a", "m@3", 7),
            (1, "a", "n@3", 5),
            (1, "b", "n@3", 9),
            (1, "c", "n@3", 2),
            (2, "a", "m@3", 2),
        ] {
            assert_eq!(floor(&clears, t, a, s), expected, "{t} {a} {s}");
        }
        clears.put(of(None, None, None), 10);
        assert_eq!((floor(&clears, 1, "a", "m@3"), floor(&clears, 2, "x", "x@1")), (10, 10));
        clears.remove(&of(None, None, None));
        assert_eq!((floor(&clears, 1, "a", "m@3"), floor(&clears, 2, "x", "x@1")), (7, 0));
    }

    #[test]
    fn an_order_is_read_as_it_was_written() {
        let whole = v1::CacheClear {
            tenant_id: "0192d5a0-0000-7000-8000-000000000001".into(),
            agent_id: "a".into(),
            space_id: "m@3".into(),
            number: 4,
        };
        for message in [v1::CacheClear::default(), whole] {
            assert_eq!(CacheClear::read(&message).unwrap().write(message.number), message);
        }
        assert!(CacheClear::read(&v1::CacheClear { space_id: "m".into(), ..Default::default() }).is_err());
    }
}
